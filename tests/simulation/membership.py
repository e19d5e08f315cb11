"""How the validators of the small chain change: a kind of transaction, and when it takes effect.

As node/chain/membership.py has it, without the votes that approve a change there:

    block h     carries a change                                → effective height h + 2
    block h + 1 its header commits to the new set
    block h + 2 the new set votes; nothing else is planned before a block above that
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from node.chain.validator_set import Validator, ValidatorSet
from node.limits import VALIDATORS_MIN
from node.primitives import InstitutionId, PublicKey

PREFIX = b"change "


def join(institution: InstitutionId, public_key: PublicKey) -> bytes:
    """Return the transaction that makes a machine a validator, or gives one another key."""
    return PREFIX + b"%s %s" % (institution.encode("ascii"), public_key.hex().encode("ascii"))


def leave(institution: InstitutionId, number: int) -> bytes:
    """Return the transaction that ends a membership; `number` tells it from an earlier one."""
    return PREFIX + b"%s -%d" % (institution.encode("ascii"), number)


@dataclass(frozen=True)
class Membership:
    """What a state says of the validators."""

    validators: ValidatorSet
    """Of the height after the block that led to this state."""
    used: frozenset[PublicKey]
    """Keys that were in a set; none comes back."""
    planned: ValidatorSet | None = None
    effective: int = 0
    """First height of the last change, planned or done."""

    def after(self, height: int, transactions: Sequence[bytes]) -> "Membership":
        """Return what the state after a block says."""
        if self.planned is not None and self.effective == height + 1:
            return replace(self, validators=self.planned, planned=None)
        if self.planned is not None or height <= self.effective:
            return self
        changed, used = self.validators, self.used
        most = max(1, self.validators.max_faulty)
        for transaction in transactions:
            candidate = changed_by(transaction, changed, used)
            if candidate is not None and differences(self.validators, candidate) <= most:
                changed = candidate
                used |= {member.public_key for member in candidate.members}
        if changed == self.validators:
            return self
        return replace(self, planned=changed, used=used, effective=height + 2)


def first_membership(validators: ValidatorSet) -> Membership:
    """Return what the state of the genesis says."""
    return Membership(validators, frozenset(member.public_key for member in validators.members))


def changed_by(transaction: bytes, validators: ValidatorSet, used: frozenset[PublicKey]) -> ValidatorSet | None:
    """Return the set as a transaction wants it; None where it is no change, or not one that may be."""
    if not transaction.startswith(PREFIX):
        return None
    name, what = transaction[len(PREFIX) :].decode("ascii").split(" ")
    members = {member.institution: member for member in validators.members}
    if what.startswith("-"):
        if name not in members or len(members) <= VALIDATORS_MIN:
            return None
        del members[name]
    else:
        public_key = bytes.fromhex(what)
        if public_key in used:
            return None
        members[name] = Validator(name, public_key)
    return ValidatorSet(tuple(members[institution] for institution in sorted(members)))


def differences(one: ValidatorSet, other: ValidatorSet) -> int:
    """Count the institutions that come, go or swap their key between two sets."""
    return len({member.institution for member in set(one.members) ^ set(other.members)})
