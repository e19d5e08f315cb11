"""The validators change under a running core: whose word counts at which height. [M1]-[M3]"""

import msgspec
import pytest

from node.chain.certificate import Phase
from node.chain.validator_set import ValidatorSet
from node.consensus.core import Core, CoreOptions
from node.consensus.effects import SignAndBroadcast, SignAndSend
from node.consensus.inputs import HeightStarted, MessageReceived, TimerKind
from node.consensus.messages import Status
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from tests.unit.consensus.desk import NOW_MS, Desk
from tests.unit.consensus.test_protocol import answered, status


def changed_set(desk: Desk) -> ValidatorSet:
    """The first member of the set has left; everybody else has another index."""
    return ValidatorSet(desk.validators.members[1:])


def test_m1_a_status_of_the_height_of_my_head_is_judged_by_the_set_that_decided_it() -> None:
    """[M1] A laggard of the old set is answered; under the new set's indexes it would be somebody else."""
    desk = Desk(n=5, me=2)
    head = desk.block().header
    certificate = desk.certificate(Phase.COMMIT, 0, head.hash())
    new = changed_set(desk)
    started = HeightStarted(NOW_MS, head, certificate, 0, new, has_pending=False, head_validators=desk.validators)
    desk.core.step(started)
    asked = status(desk, 4, height=1, probe=b"nonce")
    effects = desk.core.step(MessageReceived(NOW_MS, desk.name(4), asked))
    assert [type(effect) for effect in effects][:1] == [SignAndSend]
    with pytest.raises(Rejected) as refused:
        desk.core.step(MessageReceived(NOW_MS, desk.name(4), status(desk, 4, height=2, probe=b"nonce")))
    assert (refused.value.reason, refused.value.detail) == (
        Reason.NOT_A_VALIDATOR,
        "signer 4 of 4 validators",
    )


def test_m2_a_listener_asks_again_when_the_set_changes_before_it_signs() -> None:
    """[M2] Q answers of the old set made it 3; at height 2 another set votes, so nothing is known again."""
    desk = Desk(n=5, me=2, nonce=b"nonce")
    answered(desk, 0, 0, 0, 0)
    assert desk.core.signs_from == 3
    head = desk.block().header
    started = HeightStarted(
        NOW_MS, head, None, 0, changed_set(desk), has_pending=False, head_validators=desk.validators
    )
    desk.core.step(started)
    assert desk.core.signs_from is None
    (probe,) = [e.message for e in desk.fire(TimerKind.TICK) if isinstance(e, SignAndBroadcast)]
    assert isinstance(probe, Status) and probe.probe == b"nonce"


@pytest.mark.parametrize("held,may_sign", [(1, True), (0, False)])
def test_m3_the_key_that_the_set_names_signs(held: int, may_sign: bool) -> None:
    """[M3] A staged key takes over at its height; a validator that does not hold it only follows."""
    desk = Desk(n=4, me=1)
    staged = sha256(b"staged")
    member = msgspec.structs.replace(desk.validators.members[1], public_key=staged)
    new = ValidatorSet((desk.validators.members[0], member, *desk.validators.members[2:]))
    keys = (desk.validators.members[1].public_key, staged)[: 1 + held]
    core = Core(CoreOptions(desk.network, desk.name(1), keys, verify_digest=desk.ring.verify))
    core.step(HeightStarted(NOW_MS, desk.chain.head, None, 0, desk.validators, has_pending=False))
    assert core.state.may_sign
    head = desk.block().header
    core.step(HeightStarted(NOW_MS, head, None, 0, new, has_pending=False, head_validators=desk.validators))
    assert core.state.may_sign == may_sign
