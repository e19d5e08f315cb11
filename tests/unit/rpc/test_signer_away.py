"""`node_whyStalled` of a validator for which nobody signs."""

from node.rpc.services import ConsensusInfo, PeerInfo
from tests.unit.chain.kit import GENESIS_TIME_MS, VALIDATORS
from tests.unit.rpc.rpc_kit import Desk


def test_a_signer_that_does_not_answer_is_named_first() -> None:
    """In both languages, with its cause; the network may decide all the same."""
    desk = Desk()
    desk.node.standing_peers = [PeerInfo(name, "", True, 0, 0, 0) for name in VALIDATORS]
    desk.node.now = GENESIS_TIME_MS
    desk.node.info = ConsensusInfo(1, 0, "waiting", None, (), signer_problem="the signer at S does not answer (gone)")
    answer = desk.call("node_whyStalled")
    assert answer["stalled"] is False
    assert answer["explanation"] == {
        "es": "Este validador solo sigue la cadena, sin votar, porque no tiene quien firme: the signer at S does not "
        "answer (gone). La red decide; ningún validador falta.",
        "en": "This validator follows the chain and votes on nothing, for nobody signs for it: the signer at S does "
        "not answer (gone). The network decides; no validator is missing.",
    }
