"""What `node_equivocations` tells of validators that contradicted themselves."""

from node.chain.evidence import OffenceKind
from node.crypto.hashing import sha256
from node.rpc.shapes import time_text
from tests.unit.chain.kit import ITLEON, SDES
from tests.unit.chain.test_evidence import two_votes
from tests.unit.rpc.rpc_kit import Desk

KIND = OffenceKind.PREPARE.name.lower()


def test_offences_are_listed_with_where_their_proof_stands() -> None:
    """Waiting first, then on record; in the order recorded, page by page."""
    desk = Desk()
    ledger = desk.chain.ledger
    assert desk.call("node_equivocations") == {"items": [], "next_cursor": None, "waiting": []}
    height = ledger.head.height + 1
    first, second = two_votes(desk.chain, height=height, validator=1), two_votes(desk.chain, height=height, view=2)
    expected = []
    for data, name, view in ((first, SDES, 0), (second, ITLEON, 2)):
        ledger.submit_evidence(data)
        offence = {"institution": name, "epoch": 0, "height": height, "view": view, "kind": KIND}
        assert desk.call("node_equivocations")["waiting"] == [offence]
        header = desk.chain.commit().header
        where = {"recorded_at": header.height, "time": time_text(header.timestamp_ms)}
        expected.append({**offence, "evidence_hash": sha256(data).hex(), **where})
    assert desk.call("node_equivocations") == {"items": expected, "next_cursor": None, "waiting": []}
    page = desk.call("node_equivocations", limit=1)
    assert page["items"] == expected[:1]
    rest = desk.call("node_equivocations", limit=1, cursor=page["next_cursor"])
    assert (rest["items"], rest["next_cursor"]) == (expected[1:], None)
