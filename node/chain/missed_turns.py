"""What a missed turn costs: its proposer is passed over for a while, the longer the more often it happens.

A dead proposer costs a view timeout at each of its turns. The certificate inside block k+1 says in which
view block k was decided, so every node reads the same missed turns from the chain: proposer(k, u) for
each u below that view. Whoever made the block that was decided has missed none, in whatever view others
decided it. Nobody is ever excluded from voting. Source: PROTOCOL §5, "Proposer"; node/consensus/README.md [L1]–[L4].
"""

from node.chain.block import Header
from node.chain.certificate import Certificate
from node.chain.demerits import NO_DEMERITS, Demerit, Demerits
from node.chain.frame import Frame
from node.chain.rotation import Rotation
from node.chain.validator_set import ValidatorSet
from node.limits import DEMERIT_HEIGHTS_PER_MEMBER, DEMERIT_MEMORY_HEIGHTS_PER_MEMBER, DEMERIT_MISSES_MAX
from node.primitives import Height, InstitutionId
from node.state import keys
from node.state.world_state import WorldState


def record_demerits(state: WorldState, frame: Frame) -> None:
    """Hold missed turns of the parent's height against their proposers; an ordinary block reads and writes nothing."""
    certificate = frame.parent_certificate
    if certificate is None or certificate.view == 0:
        return
    validators = state.get(keys.VALIDATOR_SET, ValidatorSet)
    assert validators is not None
    before = state.get(keys.DEMERITS, Demerits) or NO_DEMERITS
    after = demerits_after(before, validators, frame.parent, certificate)
    if after != before:
        state.put(keys.DEMERITS, after)


def demerits_after(before: Demerits, validators: ValidatorSet, parent: Header, certificate: Certificate) -> Demerits:
    """Return the record after the block that carries the certificate of its parent.

    `before` and `validators` are those of that block. At the one height before a new set comes into force
    nothing is counted: it was another set's turn.
    """
    if parent.validators_hash != parent.next_validators_hash:  # [L5]
        return before
    height = parent.height + 1
    missed = _missed(before, validators, parent, certificate)
    if not missed:
        return before
    held = {entry.institution: entry for entry in before.entries if validators.index_of(entry.institution) is not None}
    forgotten = [name for name, entry in held.items() if _is_forgotten(entry, validators, height)]
    for name in forgotten:
        del held[name]  # [L4]
    for name in missed:
        misses = min(held[name].misses + 1 if name in held else 1, DEMERIT_MISSES_MAX)  # [L2]
        heights = DEMERIT_HEIGHTS_PER_MEMBER * len(validators) * 2 ** (misses - 1)
        held[name] = Demerit(name, misses, parent.height + heights)
    passed_now = before.passed_over(validators, height)
    return Demerits(
        tuple(held[name] for name in sorted(held)),
        height,
        tuple(validators.members[index].institution for index in sorted(passed_now)),
    )


def _missed(
    before: Demerits, validators: ValidatorSet, parent: Header, certificate: Certificate
) -> frozenset[InstitutionId]:
    """Return whose turn at the parent's height went by."""
    rotation = Rotation(validators, parent.height, before)
    turns = min(certificate.view, len(validators))
    names = {validators.members[rotation.proposer(view)].institution for view in range(turns)}
    return frozenset(name for name in names if name != parent.proposer)  # [L3]


def _is_forgotten(entry: Demerit, validators: ValidatorSet, height: Height) -> bool:
    """Tell whether a member has had so many turns again that what lies before does not count any more."""
    return height > entry.passed_until + DEMERIT_MEMORY_HEIGHTS_PER_MEMBER * len(validators)
