"""`governance_…` over JSON-RPC: what is proposed, how the votes stand, what is about to change."""

import pytest

from node import codec
from node.chain.membership import leave_digest
from node.chain.records.governance import (
    Action,
    AddValidator,
    Leave,
    RemoveValidator,
    SetGovernanceKeys,
    SetParameters,
    UpgradeProtocol,
    action_hash,
)
from node.chain.records.network import Governance, GovernanceKey, Parameters
from node.chain.rules.governance import GovernancePropose, GovernanceVote, VoteKind
from node.limits import TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.rpc.jsonrpc import ErrorCode, RpcError
from tests.unit.chain.kit import CONOCER, ITLEON, SDES, SEG, UGTO
from tests.unit.chain.rules.council import consensus
from tests.unit.rpc.rpc_kit import Desk

JOIN = AddValidator(CONOCER, consensus(CONOCER).public_key)
GOVERNANCE = Governance(1, (GovernanceKey(SEG, 1, consensus(SEG, 5).public_key),))


@pytest.fixture
def desk() -> Desk:
    """Return a desk over a fresh chain."""
    return Desk()


def propose(desk: Desk, action: Action, by: str = SEG) -> None:
    """Open a proposal."""
    desk.chain.do("governance.propose", GovernancePropose(action), signer=by)


def vote(desk: Desk, number: int, action: Action, by: str, kind: VoteKind = VoteKind.APPROVE) -> None:
    """Vote."""
    desk.chain.do("governance.vote", GovernanceVote(number, action_hash(action), kind), signer=by)


def test_proposal_is_shown_with_its_votes_and_its_own_bytes(desk: Desk) -> None:
    """Whole; `raw` is what a voter hashes for itself."""
    propose(desk, JOIN)
    vote(desk, 1, JOIN, UGTO)
    found = desk.call("governance_get", number=1)
    assert found["action"] == {
        "kind": "add_validator",
        "institution": CONOCER,
        "public_key": JOIN.public_key.hex(),
        "version": None,
        "height": None,
        "parameters": None,
        "threshold": None,
        "governance_keys": None,
    }
    assert (found["number"], found["proposer"], found["state"], found["due_height"]) == (1, SEG, "open", 1_001)
    assert found["action_hash"] == action_hash(JOIN).hex()
    raw = codec.decode(bytes.fromhex(found["raw"]), GovernancePropose, bytes_max=10_000)
    assert raw.action == JOIN
    assert [(item["institution"], item["height"], item["void"]) for item in found["votes"]] == [
        (SEG, 1, False),
        (UGTO, 2, False),
    ]
    assert found["tally"] == {
        "authorities": 1,
        "authorities_needed": 2,
        "validators": 2,
        "validators_needed": 3,
        "ready": 0,
        "ready_needed": 0,
    }
    assert (found["approved_height"], found["activated"], found["effective_height"], found["ended_height"]) == (
        None,
        None,
        None,
        None,
    )


def test_every_kind_of_action_has_its_view(desk: Desk) -> None:
    """Each one validates against the schema, in one list; pages go on by number."""
    wanted = [
        (SEG, JOIN, "add_validator"),
        (SEG, RemoveValidator(UGTO), "remove_validator"),
        (SEG, SetParameters(Parameters("", (), 7, 7), 900), "set_parameters"),
        (SEG, UpgradeProtocol(3, 900), "upgrade"),
        (SDES, SetGovernanceKeys(GOVERNANCE), "set_governance_keys"),
    ]
    for by, action, _ in wanted:
        propose(desk, action, by)
    until = desk.chain.next_height + TRANSACTION_VALIDITY_HEIGHTS_MAX // 2
    digest = leave_digest(desk.chain.network, 0, ITLEON, consensus(ITLEON).public_key, until)
    propose(desk, Leave(consensus(ITLEON).sign(digest)), ITLEON)
    first = desk.call("governance_list", limit=4)
    assert first["next_cursor"] == "4"
    second = desk.call("governance_list", cursor="4")
    assert second["next_cursor"] is None
    kinds = [item["action"]["kind"] for item in (*first["items"], *second["items"])]
    assert kinds == [*(kind for _, _, kind in wanted), "leave"]
    only = desk.call("governance_list", state="approved")
    assert [item["number"] for item in only["items"]] == [6]
    assert desk.call("governance_list", state="lapsed") == {"items": [], "next_cursor": None}


def test_schedule_says_what_is_about_to_change(desk: Desk) -> None:
    """Who waits, what is planned, and the version that is coming."""
    assert desk.call("governance_schedule") == {
        "height": 0,
        "last_effective_height": 0,
        "scheduled": None,
        "waiting": [],
        "protocol_version": 2,
        "upgrade": None,
    }
    until = desk.chain.next_height + TRANSACTION_VALIDITY_HEIGHTS_MAX // 2
    digest = leave_digest(desk.chain.network, 0, ITLEON, consensus(ITLEON).public_key, until)
    propose(desk, Leave(consensus(ITLEON).sign(digest)), ITLEON)
    assert desk.call("governance_schedule")["waiting"] == [
        {"proposal": 1, "institution": ITLEON, "change": "leave", "public_key": None, "lapses_height": 1_001}
    ]
    upgrade = UpgradeProtocol(3, 130)
    propose(desk, upgrade)
    for institution in (SDES, UGTO):
        vote(desk, 2, upgrade, institution)
    for institution in (SEG, SDES, UGTO):
        vote(desk, 2, upgrade, institution, VoteKind.READY)
    assert desk.call("governance_get", number=2)["tally"]["ready"] == 3
    desk.chain.skip_to(30)
    found = desk.call("governance_schedule")
    assert (found["protocol_version"], found["upgrade"]) == (
        2,
        {"version": 3, "height": 130, "proposal": 2, "known": False},
    )


@pytest.mark.parametrize(
    "method,params,code,detail",
    [
        ("governance_get", {"number": 1}, ErrorCode.NOT_FOUND, "there is no proposal 1"),
        (
            "governance_list",
            {"state": "done"},
            ErrorCode.INVALID_PARAMS,
            "state done: none of open, approved, scheduled, effective, lapsed",
        ),
        ("governance_list", {"cursor": "x"}, ErrorCode.INVALID_PARAMS, "cursor 'x' is none of ours"),
    ],
)
def test_question_that_has_no_answer_is_refused(
    desk: Desk, method: str, params: dict[str, object], code: ErrorCode, detail: str
) -> None:
    """By code and sentence."""
    with pytest.raises(RpcError) as refused:
        desk.call(method, **params)
    assert (refused.value.code, refused.value.detail) == (code, detail)


def test_why_stalled_warns_of_an_upgrade_that_this_node_does_not_know(desk: Desk) -> None:
    """A hundred blocks before it stops, in both languages."""
    upgrade = UpgradeProtocol(3, 130)
    propose(desk, upgrade)
    for institution in (SDES, UGTO):
        vote(desk, 1, upgrade, institution)
    for institution in (SEG, SDES, UGTO):
        vote(desk, 1, upgrade, institution, VoteKind.READY)
    desk.chain.skip_to(29)
    assert "version" not in desk.call("node_whyStalled")["explanation"]["en"].lower()
    desk.chain.commit()
    texts = desk.call("node_whyStalled")["explanation"]
    assert texts["en"].endswith(
        "Version 3 of the protocol begins at height 130 and this node knows versions up to 2: it will stop before. "
        "Install a newer program."
    )
    assert texts["es"].endswith(
        "La versión 3 del protocolo empieza en la altura 130 y este nodo conoce hasta la 2: se detendrá antes. "
        "Actualice el programa."
    )
