"""How a kind of transaction is defined: its payload, who must sign, and what it does.

A rule's `execute` checks everything first and writes afterwards, on an overlay that is thrown away
when it raises: a refusal changes nothing. Source: PROTOCOL §3; DOMAIN §1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from node.chain.certificate import Network
from node.chain.frame import no_hash
from node.chain.reading import accreditation
from node.chain.records.common import Act, KeyReference
from node.chain.records.institution import Institution, InstitutionKey, Purpose, Role, Step
from node.chain.records.network import Parameters
from node.chain.transaction import Transaction
from node.errors import Reason, Rejected
from node.primitives import Epoch, Hash, Height, InstitutionId, PublicKey, TimestampMs
from node.state import keys
from node.state.world_state import WorldState

P = TypeVar("P", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class GivenKey:
    """A key that signs although the state does not hold it yet (of an application, or one that is added)."""

    algorithm: int
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class SignatureGroup:
    """Exactly `count` signatures by distinct keys of one institution with one of some purposes."""

    institution: InstitutionId
    purposes: frozenset[Purpose]
    count: int
    given: tuple[GivenKey, ...] = ()
    """Where not empty: exactly these keys sign, and none is looked up."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a transaction did, for receipts, indexes, subscriptions and metrics."""

    topic: str
    """`institution`, `catalog`, `credential`, `governance`."""
    action: str
    """The verb, such as `issue` or `revoke`."""
    subject: str
    """Plain key of the record that changed."""
    count: int = 1
    """How many things: credentials in a batch, entries of a status change."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where and when a transaction executes."""

    state: WorldState
    network: Network
    epoch: Epoch
    height: Height
    """Of the block that includes it."""
    time_ms: TimestampMs
    """Block time."""
    version: int
    """Protocol version that judges the block."""
    parameters: Parameters
    hash_at: Callable[[Height], Hash | None] = no_hash
    """As in `Frame`."""

    def act(self, transaction: Transaction) -> Act:
        """Return the act that this transaction is: every key that signed, all of them required."""
        references = tuple(
            KeyReference(signature.institution, signature.key_id) for signature in transaction.signatures
        )
        return Act(self.height, self.time_ms, transaction.signer, references, len(references))

    def institution(self, institution_id: InstitutionId) -> Institution:
        """Return an institution. Raises: Rejected(UNKNOWN_INSTITUTION)."""
        found = self.state.get(keys.accreditation(institution_id), Institution)
        if found is None:
            raise Rejected(Reason.UNKNOWN_INSTITUTION, f"{institution_id} is not on the chain")
        return found

    def accredited(self, institution_id: InstitutionId) -> Step:
        """Return the step that accredits an institution now.

        Raises: Rejected(UNKNOWN_INSTITUTION), Rejected(NOT_ACCREDITED).
        """
        self.institution(institution_id)
        step = accreditation(self.state, institution_id, time_ms=self.time_ms)
        if step is None:
            raise Rejected(Reason.NOT_ACCREDITED, f"{institution_id} is not accredited now")
        return step

    def with_role(self, institution_id: InstitutionId, *roles: Role) -> Step:
        """Return the accrediting step of an institution that has one of some roles now.

        Raises: as `accredited`, and Rejected(NOT_PERMITTED).
        """
        step = self.accredited(institution_id)
        if not any(role in step.roles for role in roles):
            wanted = " or ".join(roles)
            raise Rejected(Reason.NOT_PERMITTED, f"{institution_id} has no role {wanted}")
        return step

    def own_keys(self, institution_id: InstitutionId, kind: str) -> SignatureGroup:
        """Return the usual group: the institution's transaction keys, as many as it asks for."""
        institution = self.institution(institution_id)
        return SignatureGroup(
            institution_id,
            frozenset({Purpose.TRANSACTION}),
            institution.signatures_for(kind),
        )

    def key(self, reference: KeyReference) -> InstitutionKey:
        """Return a key. Raises: Rejected(UNKNOWN_KEY)."""
        found = self.state.get(keys.key(reference.institution, reference.key_id), InstitutionKey)
        if found is None:
            raise Rejected(Reason.UNKNOWN_KEY, f"{reference.institution} has no key {reference.key_id.hex()}")
        return found


@dataclass(frozen=True, slots=True)
class Rule(Generic[P]):
    """One kind of transaction."""

    kind: str
    payload: type[P]
    signers: Callable[[Context, Transaction, P], tuple[SignatureGroup, ...]]
    """Who must sign; exactly these, no more."""
    execute: Callable[[Context, Transaction, P], tuple[Event, ...]]
    """Checks, then writes to `context.state`. Raises: Rejected."""
    cost: Callable[[P], int]
    """Cost units beyond bytes and signatures: state keys, hashes, paths."""
    priority: bool = False
    """Whether it may use the reserved half of a block: status changes and what authorities do."""


def signer_group(context: Context, transaction: Transaction, _payload: object) -> tuple[SignatureGroup, ...]:
    """Ask for the signer's own transaction keys: the rule of most kinds."""
    return (context.own_keys(transaction.signer, transaction.kind),)
