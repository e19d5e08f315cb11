"""The verifier: each light on a real chain, what turns it red, and that nothing in a file is outside a check."""

import json
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from node.chain.records.common import Level
from node.chain.records.institution import UNLIMITED_SCOPE, Purpose, Role, Scope
from node.chain.records.pathway import Cascade
from node.chain.rules.catalogue import PathwayPublish
from node.chain.rules.institutions import Accredit, Withdraw
from node.chain.rules.keys import KeyCompromise, KeyRetire
from node.crypto.signing import key_id
from node.documents import credential as credential_module
from node.documents.answer import Answer, LightName
from node.documents.bundle import Bundle, present, read_bundle, refreshed, write_bundle
from node.documents.credential import PreparedCredential
from node.documents.disclosure import make_claims
from node.documents.jcs import Json, JsonObject, canonical
from node.documents.open_badges import open_badge
from node.documents.verifier import verify_bundle
from node.errors import Reason, Rejected
from node.limits import BUNDLE_BYTES_MAX
from tests.unit.documents.small_chain import (
    ITLEON,
    NOW_MS,
    SEG,
    UGTO,
    SmallChain,
    pathway_content,
    person,
    recovery_signer,
    signer,
    stack,
)

DEFINITION = f"{UGTO}/primer-empleo/1"
TITLE = "Habilidades clave para tu primer empleo"
PARTS = (DEFINITION, f"{UGTO}/pespunte/1", f"{ITLEON}/corte/1")


def issued(people: int = 3) -> tuple[SmallChain, list[PreparedCredential]]:
    """Return a chain with one batch."""
    chain = SmallChain()
    return chain, chain.issue(chain.publish(DEFINITION), [person(number) for number in range(people)])


def verify(chain: SmallChain, bundle: Bundle | bytes, *, now_ms: int = NOW_MS, max_age_ms: int | None = None) -> Answer:
    """Verify as somebody who trusts this chain."""
    data = bundle if isinstance(bundle, bytes) else write_bundle(bundle)
    return verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=now_ms, max_age_ms=max_age_ms)


def red(answer: Answer) -> list[str]:
    """Return the names of the lights that are not good."""
    return [light.name.value for light in answer.checks if not light.ok]


def detail(answer: Answer, name: LightName) -> str:
    """Return a light's detail."""
    light = answer.light(name)
    assert light is not None
    return light.detail


def test_issued_credential_verifies_in_all_lights() -> None:
    """Seven lights, all good, each with a sentence in both languages; no components light."""
    chain, credentials = issued()
    answer = verify(chain, chain.bundle(credentials[1]))
    assert answer.verified
    assert [light.name for light in answer.checks] == [name for name in LightName if name is not LightName.COMPONENTS]
    assert all(light.text.es and light.text.en for light in answer.checks)
    assert answer.summary is not None
    assert answer.summary.shown["/name"] == "María José Núñez 1"
    assert answer.to_json()["verified"] is True


def test_status_turns_red_and_back() -> None:
    """Suspended is red, reinstated is good, revoked is red for ever; a refreshed bundle tells."""
    chain, credentials = issued()
    held = chain.bundle(credentials[0])
    seen = []
    for kind in ("credential.suspend", "credential.reinstate", "credential.revoke"):
        chain.change_status(kind, credentials[0])
        answer = verify(chain, refreshed(held, chain.proof(credentials[0])))
        seen.append((red(answer), detail(answer, LightName.STATUS).split(",")[0].split(" as of")[0]))
    assert seen == [(["status"], "status suspended"), ([], "status active"), (["status"], "status revoked")]
    old = verify(chain, held)
    assert old.verified, "an old bundle stays evidence for its own date"


def test_suspension_by_an_authority_is_seen() -> None:
    """Who suspended is named."""
    chain, credentials = issued()
    chain.change_status("credential.suspend", credentials[0], by=SEG)
    answer = verify(chain, chain.bundle(credentials[0]))
    assert red(answer) == ["status"]
    assert f"by {SEG} at height 3" in detail(answer, LightName.STATUS)


def test_too_old_a_proof_is_red_only_where_a_maximum_age_is_asked() -> None:
    """Any age passes without one."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    later = NOW_MS + 86_400_000
    assert verify(chain, bundle, now_ms=later).verified
    answer = verify(chain, bundle, now_ms=later, max_age_ms=86_400_000)
    assert red(answer) == ["status"]
    assert detail(answer, LightName.STATUS) == "the proof is 89880 s old, at most 86400 s are allowed"


def test_expired_and_not_yet_valid_are_red_dates() -> None:
    """The verifier's clock judges the dates."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    assert red(verify(chain, bundle, now_ms=NOW_MS + 3 * 365 * 86_400_000)) == ["dates"]
    assert red(verify(chain, bundle, now_ms=credentials[0].leaf.valid_from_ms - 1)) == ["dates", "network"]


def test_unknown_and_other_networks_are_red() -> None:
    """Without an anchor the network is unknown; with another one nothing of the chain part counts."""
    chain, credentials = issued()
    other = SmallChain(chain_id="pila-other")
    data = write_bundle(chain.bundle(credentials[0]))
    unknown = verify_bundle(data, genesis_hash=None, now_ms=NOW_MS)
    assert red(unknown) == ["network"]
    foreign = verify(other, data)
    assert red(foreign) == ["document", "issued", "issuer", "key", "status", "dates", "network"]
    assert detail(foreign, LightName.NETWORK).startswith("unknown_network: genesis hash ")


def test_issuer_withdrawn_later_stays_accredited_then() -> None:
    """Then and now are two answers: what was issued while accredited stays good, and the light says both."""
    chain, credentials = issued()
    chain.run(SEG, "institution.withdraw", Withdraw(UGTO, "closed"))
    answer = verify(chain, chain.bundle(credentials[0]))
    assert answer.verified
    assert "now: not accredited" in detail(answer, LightName.ISSUER)


def test_accreditation_by_a_stolen_key_covers_nothing() -> None:
    """An authority's key was stolen and widened a scope: what is outside the scope before was never accredited."""
    chain = SmallChain()
    content = chain.publish(DEFINITION)
    narrow = Scope((Level("MNC", 3),), 0, 0, (), (), "")
    for scope in (narrow, UNLIMITED_SCOPE):
        chain.run(SEG, "institution.accredit", Accredit(UGTO, (Role.ISSUER,), scope, 0))
    (credential,) = chain.issue(content, [person(1)])
    assert verify(chain, chain.bundle(credential)).verified
    key = signer(SEG, Purpose.TRANSACTION)
    stolen = KeyCompromise(SEG, key_id(key.algorithm, key.public_key), 3)
    chain.run(SEG, "key.compromise", stolen, recovery_signer(SEG))
    answer = verify(chain, chain.bundle(credential))
    assert red(answer) == ["issuer"]
    assert detail(answer, LightName.ISSUER) == f"{UGTO} at height 4"


def test_component_outside_its_issuers_scope_is_seen_in_the_stack() -> None:
    """Red where the pathway says `revoke`, as the chain would refuse to stack it."""
    chain, _, result = stacked(Cascade.REVOKE)
    assert verify(chain, chain.bundle(result)).verified
    chain, result = stacked_after_widening()
    assert red(verify(chain, chain.bundle(result))) == ["components"]


def stacked_after_widening() -> tuple[SmallChain, PreparedCredential]:
    """Return a stack of which one piece was issued within a scope that a stolen key had given."""
    chain = SmallChain()
    someone = person(7)
    contents = [chain.publish(name, f"Parte {number}") for number, name in enumerate(PARTS)]
    award = chain.publish(f"{UGTO}/empleabilidad/1", "Empleabilidad")
    pathway = pathway_content(f"{UGTO}/ruta/1", award.id, PARTS, Cascade.REVOKE)
    chain.run(UGTO, "pathway.publish", PathwayPublish(pathway))
    for scope in (Scope((Level("MNC", 3),), 0, 0, (), (), ""), UNLIMITED_SCOPE):
        chain.run(SEG, "institution.accredit", Accredit(ITLEON, (Role.ISSUER,), scope, 0))
    since = chain.ledger.head.height
    result = stack(chain, pathway.id, award, [chain.issue(content, [someone])[0] for content in contents], someone)
    key = signer(SEG, Purpose.TRANSACTION)
    stolen = KeyCompromise(SEG, key_id(key.algorithm, key.public_key), since)
    chain.run(SEG, "key.compromise", stolen, recovery_signer(SEG))
    return chain, result


def test_compromised_batch_key_is_judged_by_height() -> None:
    """Compromised since the batch's height: void. Since the one after: good."""
    for since, expected in ((2, ["key"]), (3, [])):
        chain, credentials = issued()
        key = signer(UGTO, Purpose.TRANSACTION)
        payload = KeyCompromise(UGTO, key_id(key.algorithm, key.public_key), since)
        chain.block()
        chain.run(UGTO, "key.compromise", payload, recovery_signer(UGTO))
        answer = verify(chain, chain.bundle(credentials[0]))
        assert red(answer) == expected, since


def test_assertion_key_retired_later_is_good_and_compromised_before_is_not() -> None:
    """The key that signed the document is judged at the batch's height too."""
    key = signer(UGTO, Purpose.ASSERTION)
    the_id = key_id(key.algorithm, key.public_key)
    chain, credentials = issued()
    chain.run(UGTO, "key.retire", KeyRetire(UGTO, the_id), recovery_signer(UGTO))
    assert verify(chain, chain.bundle(credentials[0])).verified
    chain, credentials = issued()
    chain.run(UGTO, "key.compromise", KeyCompromise(UGTO, the_id, 1), recovery_signer(UGTO))
    assert red(verify(chain, chain.bundle(credentials[0]))) == ["key"]


def stacked(cascade: Cascade) -> tuple[SmallChain, list[PreparedCredential], PreparedCredential]:
    """Return a chain with three components of one person stacked into one."""
    chain = SmallChain()
    someone = person(7)
    contents = [chain.publish(name, f"Parte {number}") for number, name in enumerate(PARTS)]
    award = chain.publish(f"{UGTO}/empleabilidad/1", "Empleabilidad")
    pathway = pathway_content(f"{UGTO}/ruta/1", award.id, PARTS, cascade)
    chain.run(UGTO, "pathway.publish", PathwayPublish(pathway))
    components = [chain.issue(content, [someone])[0] for content in contents]
    return chain, components, stack(chain, pathway.id, award, components, someone)


def test_stacked_credential_verifies_with_its_components() -> None:
    """The eighth light appears and says how the components were shown to be one person's."""
    chain, _, result = stacked(Cascade.REVOKE)
    answer = verify(chain, chain.bundle(result))
    assert answer.verified, answer
    light = answer.light(LightName.COMPONENTS)
    assert light is not None
    assert "one key consented" in light.text.en


@pytest.mark.parametrize(
    "cascade,kind,expected",
    [
        (Cascade.REVOKE, "credential.revoke", ["components"]),
        (Cascade.REVOKE, "credential.suspend", ["components"]),
        (Cascade.FLAG, "credential.revoke", []),
        (Cascade.NONE, "credential.revoke", []),
    ],
)
def test_component_revoked_later_acts_as_the_pathway_says(cascade: Cascade, kind: str, expected: list[str]) -> None:
    """revoke: red; flag: marked in words, and stands; none: nothing."""
    chain, components, result = stacked(cascade)
    chain.change_status(kind, components[1])
    answer = verify(chain, chain.bundle(result))
    assert red(answer) == expected
    light = answer.light(LightName.COMPONENTS)
    assert light is not None
    assert ("lets this credential stand" in light.text.en) == (cascade is Cascade.FLAG)


@pytest.mark.parametrize("prefix,lights", [("stk/", ["components"]), ("sta/", ["status", "components"])])
def test_missing_proof_is_red_never_absent(prefix: str, lights: list[str]) -> None:
    """A record that was not proven is not taken for one that does not exist."""
    chain, _, result = stacked(Cascade.REVOKE)
    bundle = chain.bundle(result)
    kept = tuple(record for record in bundle.chain.records if not record.key.startswith(prefix))
    answer = verify(chain, replace(bundle, chain=replace(bundle.chain, records=kept)))
    assert red(answer) == lights


def test_every_record_left_out_is_missed() -> None:
    """The bundle carries nothing that the verifier would not miss."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    records = bundle.chain.records
    assert [record.key.split("/")[0] for record in records] == ["acc", "bat", "def", "key", "key", "sta"]
    for index, left_out in enumerate(records):
        kept = records[:index] + records[index + 1 :]
        answer = verify(chain, replace(bundle, chain=replace(bundle.chain, records=kept)))
        assert not answer.verified, left_out.key
        assert any(left_out.key in light.detail for light in answer.checks)


def test_absence_proof_beside_a_record_is_refused() -> None:
    """A proof of the other kind proves neither presence nor absence."""
    chain, credentials = issued()
    data = json.loads(write_bundle(chain.bundle(credentials[0])))
    for item in data["chain"]["records"]:
        if item["value"] is None:
            item["value"] = "94c0c0c0c0"
    assert not verify(chain, canonical(data)).readable


def test_presentation_shows_only_chosen_fields() -> None:
    """Document and holder key are left out; the light says so; status and dates cannot be hidden."""
    chain, credentials = issued()
    shown = present(chain.bundle(credentials[0]), frozenset({"/name", "/grade"}))
    data = write_bundle(shown)
    answer = verify(chain, data)
    assert answer.verified
    assert answer.summary is not None
    assert answer.summary.shown == {"/name": "María José Núñez 0", "/grade": "9.5"}
    light = answer.light(LightName.DOCUMENT)
    assert light is not None
    assert light.text.en.startswith("Partial presentation: only the fields that the holder chose")
    assert b"NUA0" not in data
    assert b"m0@x.mx" not in data
    chain.change_status("credential.revoke", credentials[0])
    assert red(verify(chain, refreshed(shown, chain.proof(credentials[0])))) == ["status"]


def test_changed_claim_in_a_presentation_is_red() -> None:
    """A holder cannot show another grade."""
    chain, credentials = issued()
    shown = present(chain.bundle(credentials[0]), frozenset({"/grade"}))
    claims = tuple(replace(claim, value="10") if hasattr(claim, "value") else claim for claim in shown.claims)
    assert red(verify(chain, replace(shown, claims=claims))) == ["document"]


def test_content_that_the_chain_contradicts_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that signs more credits, another award date or title than is recorded: also in a presentation."""

    def generous(*arguments: object, **options: object) -> JsonObject:
        document = open_badge(*arguments, **options)  # type: ignore[arg-type]  # as it was called
        document["credentialSubject"]["creditsEarned"] = 400  # type: ignore[index, call-overload]  # an object
        return document

    with monkeypatch.context() as patched:
        patched.setattr(credential_module, "open_badge", generous)
        chain, credentials = issued()
    answer = verify(chain, chain.bundle(credentials[0]))
    assert red(answer) == ["document"]
    assert detail(answer, LightName.DOCUMENT) == (
        "bad_document: credentialSubject/creditsEarned is 400, recorded is 3.75"
    )
    for path, said, recorded in (("/awarded_on", "2020-01-01", "2026-06-30"), ("/title", "Doctorado", TITLE)):

        def lying(values: dict[str, Json], entropy: Callable[[int], bytes], new: Json = said, at: str = path) -> object:
            return make_claims(values | {at: new}, entropy)

        with monkeypatch.context() as patched:
            patched.setattr(credential_module, "make_claims", lying)
            chain, credentials = issued()
        for bundle in (chain.bundle(credentials[0]), present(chain.bundle(credentials[0]), frozenset({path}))):
            answer = verify(chain, bundle)
            assert red(answer) == ["document"]
            assert detail(answer, LightName.DOCUMENT) == f"bad_document: {path} is {said!r}, recorded is {recorded!r}"


def test_document_of_another_credential_is_red() -> None:
    """A genuine document in the wrong bundle is refused."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    answer = verify(chain, replace(bundle, document=credentials[1].document))
    assert red(answer) == ["document"]
    assert "the document is not the one that the leaf commits to" in detail(answer, LightName.DOCUMENT)


def test_leaf_with_other_dates_is_not_issued() -> None:
    """A leaf that says something else has another id, which lies in no batch."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    leaf = msgspec.structs.replace(bundle.leaf, valid_until_ms=bundle.leaf.valid_until_ms + 1000)
    assert red(verify(chain, replace(bundle, leaf=leaf))) == ["document", "issued"]


def test_more_signatures_than_a_quorum_are_refused() -> None:
    """Exactly Q: the fourth genuine signature of four is one too many."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    full = chain.ledger.certificate_at(chain.ledger.head.height)
    assert full is not None
    answer = verify(chain, replace(bundle, chain=replace(bundle.chain, certificate=full)))
    assert detail(answer, LightName.NETWORK) == "bad_certificate: 4 signatures, exactly 3 are carried"
    assert not answer.verified


def test_surplus_path_step_is_refused() -> None:
    """A path has exactly the steps that index and count ask for."""
    chain, credentials = issued()
    bundle = chain.bundle(credentials[0])
    longer = replace(bundle.chain.batch, path=(*bundle.chain.batch.path, bytes(32)))
    assert red(verify(chain, replace(bundle, chain=replace(bundle.chain, batch=longer)))) == ["issued"]


def test_file_that_is_no_bundle_is_unreadable_never_a_traceback() -> None:
    """Empty, truncated, spaced, duplicated, deep, huge, upper-case and foreign files: all lights red, one sentence."""
    chain, credentials = issued()
    data = write_bundle(chain.bundle(credentials[0]))
    leaf = json.loads(data)["leaf"].encode()
    broken = {
        "empty": b"",
        "truncated": data[:-1],
        "newline": data + b"\n",
        "space": b" " + data,
        "duplicate": data[:-1] + b',"leaf":"00"}',
        "unknown": data.replace(b'"claims"', b'"aaaa":1,"claims"', 1),
        "missing": data.replace(b'"format":"pila-bundle/1",', b"", 1),
        "upper case": data.replace(leaf, leaf.upper(), 1),
        "newline in hex": data.replace(leaf, leaf + b"\\n", 1),
        "deep": b"[" * 100_000,
        "huge": b" " * (BUNDLE_BYTES_MAX + 1),
        "not UTF-8": b"\xff" + data,
        "number": b"1e999",
        "null": b"null",
    }
    for name, file in broken.items():
        answer = verify(chain, file)
        assert (answer.readable, answer.verified, len(answer.checks)) == (False, False, 7), name
        with pytest.raises(Rejected) as caught:
            read_bundle(file)
        assert caught.value.reason in (Reason.MALFORMED, Reason.TOO_LARGE), name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_flipped_bit_verifies() -> None:
    """One bit of every byte, another in each, and all eight of every 97th: never verified, never a traceback."""
    chain, credentials = issued(2)
    data = write_bundle(chain.bundle(credentials[0]))
    assert verify(chain, data).verified
    for position in range(len(data)):
        for bit in range(8) if position % 97 == 0 else (position * 5 % 8,):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            assert not verify(chain, bytes(flipped)).verified, (position, bit)
