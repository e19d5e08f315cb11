"""One plain sentence for each missing validator, in Spanish and English, with the reason as far as it can be seen."""

from dataclasses import replace

import pytest

from node.rpc.services import ConsensusInfo, OwnTrouble, PeerInfo, Trouble, ValidatorState
from node.rpc.stalling import Missing, own_troubles, why_missing
from tests.unit.chain.kit import VALIDATORS
from tests.unit.rpc.rpc_kit import Desk

NAME = "ugto.mx"
HEIGHT = 7
EVERYBODY = [PeerInfo(name, "127.0.0.1:9", True, 0, 0, None) for name in VALIDATORS]
GONE = ValidatorState(NAME, is_connected=False, address="10.0.0.2:8601", trouble=None)
HERE = ValidatorState(
    NAME, is_connected=True, address="10.0.0.2:8601", trouble=None, status_ms_ago=900, height=HEIGHT, view=2
)


def refused(reason: str, detail: str) -> ValidatorState:
    """A validator that is here, and whose last message was refused a second ago."""
    return replace(HERE, refused_ms_ago=1_000, refusal=Trouble(reason, detail))


CASES = [
    (
        replace(GONE, trouble=Trouble("unreachable", "ConnectionRefusedError: [Errno 111]")),
        Missing.UNREACHABLE,
        (
            "ugto.mx (10.0.0.2:8601) cannot be reached: it is down, or the network does not lead there: "
            "ConnectionRefusedError: [Errno 111]."
        ),
    ),
    (
        replace(GONE, address=None),
        Missing.UNREACHABLE,
        "ugto.mx is not connected, and its address is not in this node's configuration.",
    ),
    (
        replace(GONE, trouble=Trouble("wrong_chain", "the peer follows a, we follow b")),
        Missing.OTHER_NETWORK,
        "ugto.mx (10.0.0.2:8601) follows another network, with another genesis: the peer follows a, we follow b.",
    ),
    (
        replace(GONE, trouble=Trouble("unknown_version", "the peer speaks version 2 of the protocol, we speak 1")),
        Missing.OTHER_VERSION,
        (
            "ugto.mx (10.0.0.2:8601) runs another version of the program: "
            "the peer speaks version 2 of the protocol, we speak 1."
        ),
    ),
    (
        replace(GONE, trouble=Trouble("peer_says", "not_a_peer: ab is the node key of no institution")),
        Missing.NOT_ADMITTED,
        (
            "ugto.mx (10.0.0.2:8601) and this node do not let each other in; look at the node keys and the address: "
            "not_a_peer: ab is the node key of no institution."
        ),
    ),
    (
        refused("wrong_epoch", "epoch 0 instead of 1"),
        Missing.OTHER_EPOCH,
        "ugto.mx is in another epoch (epoch 0 instead of 1): one of the two lacks the recovery document.",
    ),
    (
        refused("bad_timestamp", "9000 ms is ahead of our 5000 ms"),
        Missing.CLOCK,
        "The clock of ugto.mx and ours disagree (9000 ms is ahead of our 5000 ms); look at NTP on both.",
    ),
    (
        refused("bad_signature", "signature of ugto.mx on Prepare is bad"),
        Missing.REFUSED,
        "ugto.mx sends what this node refuses (bad_signature: signature of ugto.mx on Prepare is bad).",
    ),
    (
        replace(HERE, status_ms_ago=5_001),
        Missing.SILENT,
        (
            "ugto.mx is connected but silent: its process takes no part in consensus; look at its log, its disk, and "
            "whether its signer answers."
        ),
    ),
    (replace(HERE, listens=True), Missing.LISTENING, "ugto.mx only listens: it has lost the record of what it signed."),
    (replace(HERE, height=6), Missing.BEHIND, "ugto.mx is at height 6, behind 7; it is catching up."),
    (
        replace(HERE, height=9),
        Missing.AHEAD,
        "ugto.mx is at height 9 already: it is this node that is left at 7.",
    ),
    (HERE, Missing.NO_VOTE, "ugto.mx answers at height 7, view 2, but its vote has not come."),
    # A refusal of more than a minute ago is no reason any more.
    (replace(refused("wrong_epoch", "x"), refused_ms_ago=60_000), Missing.NO_VOTE, None),
]


@pytest.mark.parametrize("state,reason,sentence", CASES)
def test_why_a_validator_is_missing(state: ValidatorState, reason: Missing, sentence: str | None) -> None:
    """The reason is a word that scripts may rely on; both sentences name the validator."""
    found = why_missing(state, HEIGHT)
    assert found.reason is reason
    assert sentence in (None, found.text["en"])
    assert set(found.text) == {"es", "en"}
    assert all(NAME in text and text.endswith(".") for text in found.text.values())


def test_every_reason_has_a_case() -> None:
    """The list above leaves none out."""
    assert {reason for _, reason, _ in CASES} == set(Missing)


def test_own_troubles_are_told_in_one_go() -> None:
    """A clock that is behind, and a disk with three mebibytes left."""
    found = own_troubles((OwnTrouble("clock", -4_200), OwnTrouble("disk", 3 * 2**20)))
    assert found["en"] == (
        "This node's clock seems to be 4.2 s behind the others': look at NTP. "
        "This node's disk has 3 MiB left: make room, or it will stop."
    )
    assert own_troubles(()) == {"es": "", "en": ""}


def test_node_that_lacks_a_recovery_document_is_told_which() -> None:
    """Peers are in a later epoch: what to load, and how."""
    assert own_troubles((OwnTrouble("epoch", 2),))["en"] == (
        "Peers are in a later epoch: governance has recovered the network. Stop this node, load the recovery document "
        "of epoch 2 with `pila recovery apply`, and start it again."
    )


def test_validators_that_hang_stall_the_network_like_those_that_are_gone() -> None:
    """Two of four are connected and have said nothing for six seconds; nothing waits for a decision yet."""
    desk = Desk()
    desk.node.standing_peers = EVERYBODY
    desk.node.info = ConsensusInfo(1, 0, "waiting", None, ())
    silent = sorted(name for name in VALIDATORS if name != desk.node.institution)[:2]
    for name in silent:
        state = ValidatorState(name, is_connected=True, address=None, trouble=None, status_ms_ago=6_000, height=1)
        desk.node.states[name] = state
    answer = desk.call("node_whyStalled")
    assert (answer["stalled"], answer["missing_validators"]) == (True, silent)
    assert [one["reason"] for one in answer["missing"]] == ["silent", "silent"]
    assert answer["explanation"]["en"].startswith("2 of 4 validators are missing, the network can do without 1: ")


def test_own_troubles_stand_behind_the_explanation() -> None:
    """A clock that is ahead of the others' is told whoever is missing."""
    desk = Desk()
    desk.node.standing_peers = EVERYBODY
    desk.node.troubles = (OwnTrouble("clock", 3_000),)
    text = desk.call("node_whyStalled")["explanation"]["en"]
    assert text.endswith("This node's clock seems to be 3.0 s ahead of the others': look at NTP.")
