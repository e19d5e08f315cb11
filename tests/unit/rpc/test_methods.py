"""What the methods answer from a real chain; every result is also validated against its OpenRPC schema."""

import json

import pytest

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate
from node.chain.proof import verify_headers
from node.chain.proof_json import from_json as proof_from_json
from node.chain.rules.catalogue import DefinitionRetire
from node.chain.rules.institutions import Suspend
from node.chain.validator_set import ValidatorSet
from node.crypto import merkle
from node.crypto.hashing import Tag, sha256, tagged
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.rpc.services import ConsensusInfo, PeerInfo
from node.state.proof import verify_exist, verify_nonexist, verify_prefix
from node.state.proof_json import from_json, prefix_from_json
from tests.unit.chain.kit import GENESIS_TIME_MS, ITLEON, SDES, SEG, UGTO, VALIDATORS
from tests.unit.rpc.rpc_kit import (
    BATCH_SIZE,
    CALZADO,
    CORTE,
    NODE_KEY,
    NOW_MS,
    PESPUNTE,
    ROUTE,
    Credential,
    Desk,
)

UNKNOWN = "ab" * 32


@pytest.fixture(scope="module")
def desk() -> Desk:
    """A chain that the tests of this file only read."""
    made = Desk()
    made.publish()
    return made


@pytest.fixture(scope="module")
def issued(desk: Desk) -> list[Credential]:
    """Three credentials of one batch: one active, one revoked, one suspended."""
    made = desk.issue()
    desk.change("revoke", made[1])
    desk.change("suspend", made[2])
    return made


def refusal(desk: Desk, method: str, /, **params: object) -> tuple[ErrorCode, str, str | None]:
    """Return code, detail and reason of the error that a call leads to."""
    with pytest.raises(RpcError) as raised:
        desk.call(method, **params)
    return raised.value.code, raised.value.detail, raised.value.reason


# --- node ---


def test_node_status_tells_who_and_where_this_node_is(desk: Desk) -> None:
    """Identity, head and whether it takes part."""
    head = desk.chain.ledger.head
    status = desk.call("node_status")
    assert status == {
        "chain_id": "pila-test",
        "genesis_hash": desk.chain.network.genesis_hash.hex(),
        "node_id": NODE_KEY.hex(),
        "institution": SEG,
        "height": head.height,
        "epoch": 0,
        "block_hash": head.hash().hex(),
        "block_time": status["block_time"],
        "syncing": False,
        "ready": True,
        "peers": 0,
        "validator": True,
        "version": "0.1.0",
        "protocol_version": 2,
        "protocol_version_max": 2,
        "pruned_below": 0,
    }


def test_node_peers_lists_connections() -> None:
    """A connection shows who it is with, who dialled and what the peer claims to have."""
    desk = Desk()
    desk.node.standing_peers = [PeerInfo(SDES, "127.0.0.1:9", True, 1_500, 20, 4)]
    assert desk.call("node_peers") == {
        "items": [
            {
                "institution": SDES,
                "address": "127.0.0.1:9",
                "direction": "outbound",
                "connected_seconds": 1.5,
                "silence_seconds": 0.02,
                "height": 4,
            }
        ]
    }


def connected(*institutions: str) -> list[PeerInfo]:
    """Return connections with some institutions."""
    return [PeerInfo(name, "127.0.0.1:9", True, 0, 0, None) for name in institutions]


@pytest.mark.parametrize(
    "peers,waiting_ms,missing,stalled,explanation",
    [
        ((SDES, ITLEON, UGTO), None, (), False, "The network decides; no validator is missing."),
        ((SDES, ITLEON), None, (UGTO,), False, f"The network decides, though these are missing: {UGTO}."),
        ((SDES, ITLEON), 20_000, (UGTO,), False, f"The network decides, though these are missing: {UGTO}."),
        (
            (SDES, ITLEON),
            20_001,
            (UGTO,),
            True,
            f"The word of these is missing: {UGTO}; nothing has been decided since.",
        ),
        (
            (SDES,),
            20_001,
            (ITLEON, UGTO),
            True,
            f"2 of 4 validators are missing, the network can do without 1: {ITLEON}, {UGTO}.",
        ),
        (
            (SDES, ITLEON, UGTO),
            20_001,
            (),
            True,
            "All validators answer, but nothing has been decided: look at their clocks and logs.",
        ),
    ],
)
def test_node_whyStalled_names_who_is_missing(  # noqa: N802 – named as the method
    peers: tuple[str, ...], waiting_ms: int | None, missing: tuple[str, ...], stalled: bool, explanation: str
) -> None:
    """Waiting longer than two of the longest first timers is a stall; whoever is not connected is missing."""
    desk = Desk()
    desk.node.standing_peers = connected(*peers)
    since_ms = None if waiting_ms is None else NOW_MS - waiting_ms
    desk.node.info = ConsensusInfo(1, 2, "preparing", since_ms, ())
    answer = desk.call("node_whyStalled")
    assert (answer["stalled"], answer["missing_validators"], answer["explanation"]["en"]) == (
        stalled,
        list(missing),
        explanation,
    )
    assert (answer["height"], answer["view"], answer["step"]) == (1, 2, "preparing")


def test_node_whyStalled_says_that_a_decided_block_cannot_be_executed() -> None:  # noqa: N802 – as above
    """An old program or damaged state: that this node stands still is then no matter of who is missing."""
    desk = Desk()
    desk.node.standing_peers = connected(*VALIDATORS)
    desk.node.contradiction = "bad_block: state root differs"
    answer = desk.call("node_whyStalled")
    start = "A quorum has decided a block that this node cannot execute (bad_block: state root differs): "
    assert answer["stalled"]
    assert answer["explanation"]["en"].startswith(start)


def test_node_whyStalled_calls_votes_that_are_still_on_their_way_no_stall() -> None:  # noqa: N802 – as above
    """A moment after a proposal most votes are missing: that is every block, not a stall."""
    desk = Desk()
    desk.node.standing_peers = connected(*VALIDATORS)
    desk.node.info = ConsensusInfo(1, 0, "preparing", NOW_MS - 100, (SDES, ITLEON, UGTO))
    assert desk.call("node_whyStalled")["stalled"] is False


@pytest.mark.parametrize(
    "signs_from,age_ms,stalled,sentence",
    [
        (16, 80_000, False, "it only listens until height 16."),
        (16, 80_001, True, "it only listens until height 16."),
        (None, 80_001, True, "it only listens until 3 other validators have told it where they are."),
    ],
)
def test_node_whyStalled_of_a_validator_that_listens_says_so(  # noqa: N802 – named as the method
    signs_from: int | None, age_ms: int, stalled: bool, sentence: str
) -> None:
    """It takes no part, so it is an old head that tells it of a stall; its own reason stands first."""
    desk = Desk()
    desk.node.standing_peers = connected(*VALIDATORS)
    desk.node.now = GENESIS_TIME_MS + age_ms
    desk.node.info = ConsensusInfo(1, 0, "waiting", None, (), listens=True, signs_from=signs_from)
    answer = desk.call("node_whyStalled")
    assert (answer["stalled"], answer["since"] is not None) == (stalled, stalled)
    start = f"This validator has lost the record of what it signed: {sentence} If so many listen that"
    assert answer["explanation"]["en"].startswith(start)


def test_node_whyStalled_on_a_node_that_only_follows_goes_by_the_age_of_the_head() -> None:  # noqa: N802 – as above
    """Without a replica nothing is known of views; a head older than the heartbeat allows is a stall."""
    desk = Desk()
    desk.node.standing_peers = connected(*VALIDATORS)
    answer = desk.call("node_whyStalled")
    assert (answer["stalled"], answer["view"], answer["step"]) == (True, None, None)
    desk.node.now = GENESIS_TIME_MS + 80_000  # a heartbeat and two timers
    assert desk.call("node_whyStalled")["stalled"] is False


# --- chain ---


def test_chain_header_can_be_recomputed(desk: Desk) -> None:
    """The raw bytes hash to the hash, by height and by hash alike."""
    by_height = desk.call("chain_header", height=2)
    assert desk.call("chain_header", hash=by_height["hash"]) == by_height
    raw = bytes.fromhex(by_height["raw"])
    assert tagged(Tag.HEADER, raw).hex() == by_height["hash"]
    header = codec.decode(raw, Header, bytes_max=10_000)
    assert (header.height, header.state_root.hex()) == (2, by_height["state_root"])
    assert (by_height["view"], by_height["proposer"]) == (0, SEG)


def test_chain_header_of_the_genesis_has_no_view_and_no_certificate(desk: Desk) -> None:
    """Nobody votes on block 0."""
    header = desk.call("chain_header", height=0)
    assert "view" not in header
    assert header["proposer"] is None
    assert refusal(desk, "chain_certificate", height=0)[0] == ErrorCode.NOT_FOUND


def test_chain_block_lists_its_transactions(desk: Desk) -> None:
    """A block shows the header's fields and what it holds, in order."""
    block = desk.call("chain_block", height=1)
    header = desk.call("chain_header", height=1)
    (transaction,) = block.pop("transactions")
    assert block == header
    assert (transaction["kind"], transaction["signer"]) == ("definition.publish", UGTO)
    assert desk.call("tx_get", tx_id=transaction["tx_id"])["height"] == 1


@pytest.mark.parametrize("method", ["chain_header", "chain_block"])
def test_a_block_is_asked_for_by_one_name(desk: Desk, method: str) -> None:
    """Exactly one of height and hash, and it must exist."""
    head = desk.chain.ledger.head.height
    assert refusal(desk, method) == (ErrorCode.INVALID_PARAMS, "exactly one of height and hash is needed", None)
    assert refusal(desk, method, height=1, hash=UNKNOWN)[0] == ErrorCode.INVALID_PARAMS
    assert refusal(desk, method, hash=UNKNOWN) == (ErrorCode.NOT_FOUND, f"no block has the hash {UNKNOWN}", None)
    above = refusal(desk, method, height=head + 1)
    assert above == (ErrorCode.NOT_FOUND, f"no block at height {head + 1}; the head is {head}", None)


def test_chain_certificate_verifies_against_the_validators(desk: Desk) -> None:
    """Both come with their canonical bytes, which check out together."""
    certificate = desk.call("chain_certificate", height=1)
    validators = desk.call("chain_validators", height=1)
    members = codec.decode(bytes.fromhex(validators["raw"]), ValidatorSet, bytes_max=10_000)
    votes = codec.decode(bytes.fromhex(certificate["raw"]), Certificate, bytes_max=10_000)
    votes.check(desk.chain.network, members)
    assert (members.hash.hex(), validators["quorum"], validators["max_faulty"]) == (validators["hash"], 3, 1)
    assert [item["institution"] for item in validators["validators"]] == list(VALIDATORS)
    assert [item["institution"] for item in certificate["signatures"]] == list(VALIDATORS[:3])


def test_chain_validators_are_known_up_to_the_next_height(desk: Desk) -> None:
    """The set of the next height is decided, the one after is not."""
    head = desk.chain.ledger.head.height
    assert desk.call("chain_validators")["height"] == head + 1
    code, detail, _ = refusal(desk, "chain_validators", height=head + 2)
    assert (code, detail) == (
        ErrorCode.NOT_FOUND,
        f"the validators of height {head + 2} are not decided; the head is {head}",
    )


def test_chain_genesis_and_params_are_what_the_network_started_from(desk: Desk) -> None:
    """The document comes with its hash; decimals are numbers."""
    document = desk.call("chain_genesis")
    assert document["genesis_hash"] == desk.chain.network.genesis_hash.hex()
    frameworks = desk.call("chain_params")["credit_frameworks"]
    assert [(item["name"], item["hours_per_credit"]) for item in frameworks] == [("SATCA", 16.0), ("ECTS", 25.0)]


# --- state ---


@pytest.mark.parametrize("as_hex", [False, True])
def test_state_proof_of_a_record_verifies(desk: Desk, as_hex: bool) -> None:
    """A key may be given as text or in hex; the proof leads to the state root."""
    plain_key = f"acc/{UGTO}"
    found = desk.call("state_proof", key=plain_key.encode().hex() if as_hex else plain_key)
    assert (found["key"], found["key_hash"]) == (plain_key, sha256(plain_key.encode()).hex())
    proof = from_json(found["proof"])
    assert "exist" in found["proof"]
    verify_exist(bytes.fromhex(found["state_root"]), plain_key, bytes.fromhex(found["value"]), proof)  # type: ignore[arg-type]  # presence, as just seen


def test_state_proof_of_an_absence_verifies_at_an_earlier_height(desk: Desk) -> None:
    """Before it was published a definition was provably not there."""
    plain_key = f"def/{CORTE}"
    found = desk.call("state_proof", key=plain_key, height=1)
    assert (found["value"], found["height"]) == (None, 1)
    assert found["state_root"] == desk.call("chain_header", height=1)["state_root"]
    verify_nonexist(bytes.fromhex(found["state_root"]), plain_key, from_json(found["proof"]))  # type: ignore[arg-type]  # absence, as just seen


@pytest.mark.parametrize(
    "params,code",
    [
        ({"key": "nothing"}, ErrorCode.INVALID_PARAMS),
        ({"key": "zz"}, ErrorCode.INVALID_PARAMS),
        ({"key": "acc/ñ"}, ErrorCode.INVALID_PARAMS),
        ({"key": "acc/ugto.example", "height": 10_000}, ErrorCode.NOT_FOUND),
    ],
)
def test_state_proof_refuses_what_is_no_key_or_no_height(
    desk: Desk, params: dict[str, object], code: ErrorCode
) -> None:
    """A key is printable ASCII with a slash; a height is one whose root can still be proven against."""
    desk.node.now += 10_000
    assert refusal(desk, "state_proof", **params)[0] == code


def test_proofs_under_earlier_roots_are_rationed() -> None:
    """Undoing blocks costs what they changed, at least 100, for all callers together; the head's are free."""
    desk = Desk()
    desk.publish()
    for _ in range(8):  # two seconds' worth
        desk.call("state_proof", key="par/network", height=1)
    assert refusal(desk, "state_proof", key="par/network", height=1)[:2] == (
        ErrorCode.LIMIT_EXCEEDED,
        "height 1 lies 0 changes back; proofs may undo 400 a second, 800 at once",
    )
    desk.call("state_proof", key="par/network")
    desk.node.now -= 3_600_000  # a clock that is set back costs nobody the hour
    refusal(desk, "state_proof", key="par/network", height=1)
    desk.node.now += 1_000
    desk.call("state_proof", key="par/network", height=1)


def test_proof_that_would_put_back_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the event loop, and with it the votes, for as long as it takes."""
    desk = Desk()
    desk.publish()
    monkeypatch.setattr(desk.chain.ledger.state, "changes_above", lambda height: 1_000 - height)
    assert refusal(desk, "state_proof", key="par/network", height=1)[:2] == (
        ErrorCode.LIMIT_EXCEEDED,
        "height 1 lies 999 changes back; proofs may undo 400 a second, 800 at once",
    )


# --- transactions ---


def test_tx_submit_is_idempotent_and_tx_get_follows_it() -> None:
    """The same bytes give the same id; pending becomes committed with height, index and what it did."""
    desk = Desk()
    desk.publish()
    data = desk.chain.transaction("definition.retire", DefinitionRetire(CORTE), signer=UGTO).hex()
    tx_id = desk.call("tx_submit", tx=data)["tx_id"]
    assert desk.call("tx_submit", tx=data)["tx_id"] == tx_id
    assert desk.call("tx_get", tx_id=tx_id) == {"tx_id": tx_id, "status": "pending"}
    height = desk.chain.commit().header.height
    event = {"topic": "catalog", "action": "retire", "subject": f"def/{CORTE}", "count": 1}
    expected = {
        "tx_id": tx_id,
        "status": "committed",
        "height": height,
        "index": 0,
        "result": {"kind": "definition.retire", "signer": UGTO, "events": [event]},
    }
    assert desk.call("tx_get", tx_id=tx_id) == expected
    assert desk.call("tx_wait", tx_id=tx_id, timeout_ms=0) == expected
    assert desk.call("tx_submit", tx=data)["tx_id"] == tx_id


def test_tx_get_of_an_unknown_id_says_so(desk: Desk) -> None:
    """Unknown is an answer, not an error: it may be on its way."""
    assert desk.call("tx_get", tx_id=UNKNOWN) == {"tx_id": UNKNOWN, "status": "unknown"}


def test_tx_submit_carries_reason_and_detail_of_a_refusal(desk: Desk) -> None:
    """A refused transaction is the error of its own, with the closed list's reason."""
    data = desk.chain.transaction("definition.retire", DefinitionRetire(f"{UGTO}/none/1"), signer=UGTO).hex()
    code, detail, reason = refusal(desk, "tx_submit", tx=data)
    assert (code, reason) == (ErrorCode.REJECTED, "not_found")
    assert f"{UGTO}/none/1" in detail
    assert refusal(desk, "tx_submit", tx="00")[2] == "malformed"


@pytest.mark.parametrize("data", ["", "0", "AB", "zz", "00 00", "ab\n"])
def test_tx_submit_takes_lower_case_hex_only(desk: Desk, data: str) -> None:
    """What is no hex is the caller's mistake in the parameters, not a refused transaction."""
    assert refusal(desk, "tx_submit", tx=data)[0] == ErrorCode.INVALID_PARAMS


def test_tx_submit_waits_until_the_node_is_in_sync() -> None:
    """A node that is behind would judge by an old state."""
    desk = Desk()
    desk.node.syncing = True
    assert refusal(desk, "tx_submit", tx="00")[0] == ErrorCode.NOT_IN_SYNC


# --- institutions ---


def test_institution_get_shows_standing_keys_and_counters(desk: Desk, issued: list[Credential]) -> None:
    """Everything that a client needs before it signs."""
    found = desk.call("institution_get", id=UGTO)
    assert (found["standing"], found["accredited"], found["roles"]) == ("accredited", True, ["issuer"])
    assert found["counters"]["credentials"] == BATCH_SIZE
    purposes = sorted(key["purpose"] for key in found["keys"])
    assert purposes == ["assertion", "consensus", "governance", "node", "recovery", "recovery", *["transaction"] * 2]
    assert {key["state"] for key in found["keys"]} == {"good"}
    assert refusal(desk, "institution_get", id="nobody.example")[:2] == (
        ErrorCode.NOT_FOUND,
        "nobody.example is not on the chain",
    )


def test_institution_get_can_look_back() -> None:
    """How it stood at a height comes from the record's own history; the present one is another."""
    desk = Desk()
    desk.chain.skip_to(2)
    desk.chain.do("institution.suspend", Suspend(ITLEON, "other"), signer=SEG)
    assert desk.call("institution_get", id=ITLEON)["standing"] == "suspended"
    assert desk.call("institution_get", id=ITLEON, height=2)["standing"] == "accredited"
    steps = desk.call("institution_history", id=ITLEON)["items"]
    assert [(step["kind"], step["actor"], step["height"], step["void"]) for step in steps] == [
        ("genesis", ITLEON, 0, False),
        ("suspend", SEG, 3, False),
    ]


def test_lists_are_paged_without_gap_or_repeat(desk: Desk) -> None:
    """Following the cursors gives every item once, in order; the last page has none."""
    everything = [item["id"] for item in desk.call("institution_list", limit=1_000)["items"]]
    collected: list[str] = []
    cursor = None
    while True:
        page = desk.call("institution_list", limit=4, **({} if cursor is None else {"cursor": cursor}))
        collected += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert collected == everything == sorted(everything)
    assert len(everything) == 6


@pytest.mark.parametrize("limit", [0, 1_001, -1])
def test_page_size_is_bounded(desk: Desk, limit: int) -> None:
    """From 1 to 1,000 items."""
    assert refusal(desk, "institution_list", limit=limit)[0] == ErrorCode.INVALID_PARAMS


@pytest.mark.parametrize("institution", ["", "no", "UGTO.mx", "ugto..mx", "ugto.mx\n", "x" * 64, "ugto.mx/a", "ñ.mx"])
def test_institution_is_named_by_its_id(desk: Desk, institution: str) -> None:
    """What cannot be an id is the caller's mistake, not something that is not there."""
    assert refusal(desk, "institution_get", id=institution)[0] == ErrorCode.INVALID_PARAMS


# --- catalogue ---


def test_catalog_get_derives_state_and_label(desk: Desk) -> None:
    """The protected label comes from an authority's act, not from the text."""
    authorised = desk.call("catalog_get", id=PESPUNTE)
    assert (authorised["state"], authorised["label"], authorised["authorised"]["actor"]) == (
        "authorised",
        "autorizada",
        SEG,
    )
    published = desk.call("catalog_get", id=CORTE)
    assert (published["state"], published["label"], published["authorised"]) == ("published", "registrada", None)
    assert published["credits"] == {"framework": "SATCA", "value": 2.5}
    assert refusal(desk, "catalog_get", id=f"{UGTO}/none/1")[0] == ErrorCode.NOT_FOUND


def test_label_falls_with_the_accreditation_of_its_issuer() -> None:
    """Who is not accredited now speaks for itself alone."""
    desk = Desk()
    desk.publish()
    desk.chain.do("institution.suspend", Suspend(UGTO, "other"), signer=SEG)
    assert desk.call("catalog_get", id=PESPUNTE)["label"] == "propia"


@pytest.mark.parametrize(
    "filters,found",
    [
        ({}, [CALZADO, CORTE, PESPUNTE]),
        ({"text": "LEON manufáctura"}, [CALZADO, CORTE, PESPUNTE]),
        ({"text": "corte/1"}, [CORTE]),
        ({"text": "león astronomía"}, []),
        ({"level": "MNC:3", "credits_min": 2.5, "credits_max": 2.5}, [CALZADO, CORTE, PESPUNTE]),
        ({"level": "MNC:4"}, []),
        ({"credits_min": 2.51}, []),
        ({"credits_max": 2.49}, []),
        ({"participation": "online"}, []),
        ({"municipality": "LEON", "field": "Manufactura", "issuer": UGTO}, [CALZADO, CORTE, PESPUNTE]),
        ({"issuer": ITLEON}, []),
        ({"standard": "EC0001"}, [CALZADO, CORTE, PESPUNTE]),
        ({"standard": "EC0002"}, []),
        ({"label": "autorizada"}, [PESPUNTE]),
        ({"label": "propia"}, []),
    ],
)
def test_catalog_search_combines_filters(desk: Desk, filters: dict[str, object], found: list[str]) -> None:
    """Every filter must hold; accents and case do not matter in text."""
    assert [item["id"] for item in desk.call("catalog_search", **filters)["items"]] == found


def test_catalog_search_sees_what_was_published_after_the_first_search() -> None:
    """The catalogue in memory follows the chain."""
    desk = Desk()
    assert desk.call("catalog_search")["items"] == []
    desk.publish()
    states = [(item["id"], item["state"]) for item in desk.call("catalog_search")["items"]]
    assert states == [(CALZADO, "published"), (CORTE, "published"), (PESPUNTE, "authorised")]


# --- pathways ---


def test_pathway_get_shows_requirements_and_limits(desk: Desk) -> None:
    """What must be there, and what is awarded."""
    found = desk.call("pathway_get", id=ROUTE)
    assert (found["awards"], found["state"], found["age_months_max"]) == (CALZADO, "published", None)
    (requirement,) = found["requirements"]
    assert [selector["definition"] for selector in requirement["selectors"]] == [PESPUNTE, CORTE]
    assert [item["id"] for item in desk.call("pathway_list")["items"]] == [ROUTE]
    assert refusal(desk, "pathway_get", id=f"{UGTO}/none/1")[0] == ErrorCode.NOT_FOUND


def test_pathway_evaluate_says_what_is_missing(desk: Desk, issued: list[Credential]) -> None:
    """Each demand has its answer in two languages; an unknown credential is an error."""
    found = desk.call("pathway_evaluate", pathway=ROUTE, credentials=[issued[0].id])
    assert found["holds"] is False
    assert found["requirements"][0] == {
        "subject": "requirements[0]",
        "holds": False,
        "text": {"es": f"Falta: {CORTE}.", "en": f"Missing: {CORTE}."},
    }
    unknown = refusal(desk, "pathway_evaluate", pathway=ROUTE, credentials=[UNKNOWN])
    assert unknown == (ErrorCode.NOT_FOUND, f"no credential {UNKNOWN}", None)


# --- credentials ---


def test_credential_get_gives_the_path_to_the_batch_root(desk: Desk, issued: list[Credential]) -> None:
    """Place and path let anybody recompute the root that the batch record holds."""
    for credential in issued:
        found = desk.call("credential_get", credential_id=credential.id)
        path = [bytes.fromhex(step) for step in found["path"]]
        root = merkle.root_from_path(bytes.fromhex(credential.id), found["index"], found["count"], path)
        assert root is not None
        assert (root.hex(), found["index"], found["count"]) == (found["root"], credential.index, BATCH_SIZE)
        assert (found["issuer"], found["definition"], found["origin"]) == (UGTO, PESPUNTE, "issue")
        assert found["height"] == credential.batch.header.height
        assert found["tx_id"] == credential.batch.receipts[0].transaction_id.hex()
    assert refusal(desk, "credential_get", credential_id=UNKNOWN)[0] == ErrorCode.NOT_FOUND


def test_credential_status_tells_what_is_posted(desk: Desk, issued: list[Credential]) -> None:
    """Nothing posted is active; a mark comes with reason, height, time and who set it."""
    answers = [desk.call("credential_status", issuer=UGTO, status_key=item.status_key) for item in issued]
    assert [(item["status"], item["reason"], item["by"]) for item in answers] == [
        ("active", None, None),
        ("revoked", "fraud", UGTO),
        ("suspended", "fraud", UGTO),
    ]
    assert answers[1]["since"] == desk.call("chain_header", height=answers[1]["since_height"])["time"]


def test_credential_statusPrefix_hides_which_one_is_asked(desk: Desk, issued: list[Credential]) -> None:  # noqa: N802 – named as the method
    """The sub-tree proves the record that is there, and that there is no other."""
    plain_key = f"sta/{UGTO}/{issued[1].status_key}"
    prefix = sha256(plain_key.encode()).hex()[:4]
    found = desk.call("credential_statusPrefix", issuer=UGTO, prefix=prefix)
    records = verify_prefix(bytes.fromhex(found["state_root"]), prefix, prefix_from_json(found["proof"]))
    assert plain_key in records
    assert refusal(desk, "credential_statusPrefix", issuer="nobody.example", prefix=prefix)[0] == ErrorCode.NOT_FOUND


def test_credential_history_is_unknown_without_the_status_key(desk: Desk, issued: list[Credential]) -> None:
    """Never active: who has no status key cannot know."""
    found = desk.call("credential_history", credential_id=issued[1].id)
    assert (found["status"], [event["action"] for event in found["events"]]) == ("unknown", ["issue"])
    known = desk.call("credential_history", credential_id=issued[1].id, status_key=issued[1].status_key)
    assert (known["status"], [event["action"] for event in known["events"]]) == ("revoked", ["issue", "revoke"])


def test_status_key_is_judged_under_the_credentials_own_issuer(desk: Desk, issued: list[Credential]) -> None:
    """Under another issuer any key would look active."""
    wrong = refusal(
        desk, "credential_history", credential_id=issued[1].id, issuer=ITLEON, status_key=issued[1].status_key
    )
    assert wrong == (ErrorCode.INVALID_PARAMS, f"the issuer of this credential is {UGTO}, not {ITLEON}", None)


def test_credential_proof_is_the_chain_part_of_a_bundle(desk: Desk, issued: list[Credential]) -> None:
    """It leads from the genesis to the head's state root."""
    found = desk.call("credential_proof", credential_id=issued[0].id, status_key=issued[0].status_key)
    trusted = verify_headers(proof_from_json(found), desk.chain.network.genesis_hash)
    assert trusted.header == desk.chain.ledger.head
    assert refusal(desk, "credential_proof", credential_id=UNKNOWN)[0] == ErrorCode.NOT_FOUND


def test_credential_verify_takes_a_file_or_an_object() -> None:
    """A string is exactly the file; an object may be written in any way."""
    desk = Desk()
    assert desk.call("credential_verify", bundle='{"a": 1}') == {
        "verified": False,
        "checks": [
            {
                "name": "network",
                "ok": False,
                "text": {"es": "Otra red.", "en": "Another network."},
                "detail": "unknown_network: …",
            }
        ],
    }
    desk.call("credential_verify", bundle={"a": "ñ"})
    assert desk.node.verified == [(b'{"a": 1}', True), (json.dumps({"a": "ñ"}).encode(), False)]


# --- stacks and statistics ---


def test_stack_get_derives_what_its_components_do_to_it() -> None:
    """Revoking a component revokes the stack, as the pathway says; nothing is written for it."""
    desk = Desk()
    desk.publish()
    first, second = desk.issue(PESPUNTE)[0], desk.issue(CORTE)[0]
    stacked = desk.stack(first, second)
    found = desk.call("stack_get", credential_id=stacked.id)
    assert (found["pathway"], found["consent"], found["impairment"], found["findings"]) == (
        ROUTE,
        "one_key",
        "none",
        [],
    )
    assert [item["credential_id"] for item in found["components"]] == [first.id, second.id]
    desk.change("suspend", first)
    assert desk.call("stack_get", credential_id=stacked.id)["impairment"] == "impaired"
    desk.change("revoke", first)
    found = desk.call("stack_get", credential_id=stacked.id)
    assert (found["impairment"], found["findings"]) == (
        "revoked",
        [{"credential_id": first.id, "status": "revoked", "batch_void": False}],
    )
    assert refusal(desk, "stack_get", credential_id=first.id)[0] == ErrorCode.NOT_FOUND


def test_stats_summary_counts_what_is_on_the_chain() -> None:
    """By kind, institution, definition and month; after a block it counts on."""
    desk = Desk()
    desk.publish()
    issued = desk.issue()
    desk.change("revoke", issued[0])
    found = desk.call("stats_summary")
    assert (found["complete"], found["height"]) == (True, desk.chain.ledger.head.height)
    assert (found["institutions"], found["definitions"], found["pathways"]) == (6, 3, 1)
    assert (found["credentials"], found["status_changes"]) == (BATCH_SIZE, {"revoke": 1})
    assert found["credentials_by_institution"] == {UGTO: BATCH_SIZE}
    assert found["credentials_by_definition"] == {PESPUNTE: BATCH_SIZE}
    assert found["credentials_by_month"] == {"2026-01": BATCH_SIZE}
    desk.issue(CORTE)
    assert desk.call("stats_summary")["credentials"] == 2 * BATCH_SIZE
