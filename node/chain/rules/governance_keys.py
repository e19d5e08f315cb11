"""Which governance keys a network may have, and how they take the place of others.

They sign recovery documents, offline and once in a network's life; so they lie with authorities and validators,
and two thirds of them are needed. Source: PROTOCOL §5, "Quorum lost for good".
"""

from collections import Counter
from typing import Final

import msgspec

from node.chain.membership import check_no_vote_of
from node.chain.records.common import Act
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.chain.records.network import Governance, GovernanceKey
from node.chain.rules.framework import Context
from node.crypto.signing import check_public_key, key_id
from node.errors import Reason, Rejected
from node.limits import GOVERNED_KEYS_PER_INSTITUTION_MAX
from node.state import keys

OF_ONE_INSTITUTION_MAX: Final = GOVERNED_KEYS_PER_INSTITUTION_MAX - 1


def least_threshold(count: int) -> int:
    """Return how many of so many keys a recovery document needs at least: two thirds. 3 → 2, 4 → 3, 6 → 4."""
    return (2 * count + 2) // 3


def check_governance(context: Context, wanted: Governance) -> None:
    """Refuse governance keys that could not recover the network.

    Raises: Rejected(ALREADY_EXISTS, INVALID_VALUE, LIMIT_EXCEEDED, UNKNOWN_INSTITUTION, BAD_PUBLIC_KEY, ALREADY_USED).
    """
    if wanted == context.state.get(keys.GOVERNANCE_KEYS, Governance):
        raise Rejected(Reason.ALREADY_EXISTS, "these are the governance keys in force")
    names = [key.institution for key in wanted.keys]
    if names != sorted(names):
        raise Rejected(Reason.INVALID_VALUE, "governance keys: not ascending by institution")
    if not names:
        raise Rejected(Reason.INVALID_VALUE, "governance keys: there are none")
    if len({key.public_key for key in wanted.keys}) != len(names):
        raise Rejected(Reason.INVALID_VALUE, "governance keys: one is there twice")
    least = least_threshold(len(names))
    if not least <= wanted.threshold <= len(names):
        raise Rejected(
            Reason.INVALID_VALUE,
            f"threshold {wanted.threshold}, from {least} to {len(names)} are possible with {len(names)} keys",
        )
    institution, most = Counter(names).most_common(1)[0]
    if most > OF_ONE_INSTITUTION_MAX:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{institution} has {most} of them, at most {OF_ONE_INSTITUTION_MAX}")
    for key in wanted.keys:
        _check_key(context, key)


def _check_key(context: Context, key: GovernanceKey) -> None:
    context.institution(key.institution)
    check_public_key(key.algorithm, key.public_key)
    identity = key_id(key.algorithm, key.public_key)
    found = context.state.get(keys.key(key.institution, identity), InstitutionKey)
    if found is not None and found.purpose is not Purpose.GOVERNANCE:
        raise Rejected(Reason.ALREADY_USED, f"{identity.hex()} is or was a {found.purpose} key of {key.institution}")
    check_no_vote_of(context.state, key.public_key)


def replace_governance(context: Context, wanted: Governance) -> None:
    """Put governance keys into force, and note at each institution which came and went."""
    present = context.state.get(keys.GOVERNANCE_KEYS, Governance)
    assert present is not None
    for key in sorted(set(present.keys) - set(wanted.keys), key=_order):
        _end(context, key)
    for key in sorted(set(wanted.keys) - set(present.keys), key=_order):
        _begin(context, key)
    context.state.put(keys.GOVERNANCE_KEYS, wanted)


def _order(key: GovernanceKey) -> tuple[str, int, bytes]:
    return key.institution, key.algorithm, key.public_key


def _begin(context: Context, key: GovernanceKey) -> None:
    institution = context.institution(key.institution)
    identity = key_id(key.algorithm, key.public_key)
    act = Act(context.height, context.time_ms, key.institution, (), 0)
    record = InstitutionKey(key.institution, key.algorithm, key.public_key, Purpose.GOVERNANCE, act, None, None)
    context.state.put(keys.key(key.institution, identity), record)
    _list(context, institution, (*(item for item in institution.keys if item != identity), identity))


def _end(context: Context, key: GovernanceKey) -> None:
    institution = context.institution(key.institution)
    identity = key_id(key.algorithm, key.public_key)
    record = context.state.get(keys.key(key.institution, identity), InstitutionKey)
    assert record is not None
    act = Act(context.height, context.time_ms, key.institution, (), 0)
    context.state.put(keys.key(key.institution, identity), msgspec.structs.replace(record, retired=act))
    _list(context, institution, tuple(item for item in institution.keys if item != identity))


def _list(context: Context, institution: Institution, ids: tuple[bytes, ...]) -> None:
    context.state.put(keys.accreditation(institution.id), msgspec.structs.replace(institution, keys=ids))
