"""G1, G2: programs of others judge our Open Badges documents, good, tampered and expired."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from node.chain.records.credential import StatusListEntry
from node.documents.credential import prepare_credential
from node.documents.jcs import JsonObject
from node.documents.learners import Learner
from node.documents.pinned_contexts import OPEN_BADGES_3, pinned_contexts
from tests.interop.kit import HERE, digitalbazaar_verdicts, openbadgeslib_verdict, openvc_verdict, wallet_checks
from tests.unit.documents.small_chain import UGTO, SmallChain, counting_entropy, person

DAY_MS = 86_400_000


def document(*, awarded_on: str = "2026-06-30") -> JsonObject:
    """Return a signed document of a learner."""
    chain = SmallChain()
    content = chain.publish(f"{UGTO}/primer-empleo/1")
    someone = person(1)
    learner = Learner("María José", "Núñez «Ñandú»", "", "NUA1", None, awarded_on, "9.5", "https://e.mx/1?a=b&c")
    return prepare_credential(
        chain.issuer(content),
        learner,
        holder_key=someone.key.public_key,
        entry=StatusListEntry(3, 4711),
        now_ms=chain.time_ms,
        entropy=counting_entropy("interop"),
    ).document


GOOD = document()
EXPIRED = document(awarded_on="2020-01-31")


def tampered() -> list[JsonObject]:
    """Return documents that differ from what was signed, each in one place."""
    changes = []
    for path, value in (
        (("name",), "Otra"),
        (("validUntil",), "2099-01-01T00:00:00Z"),
        (("credentialSubject", "identifier", 0, "identityHash"), "Otra Persona"),
        (("credentialSubject", "achievement", "creditsAvailable"), 30),
        (("credentialSubject", "result", 0, "value"), "10"),
        (("credentialStatus", 0, "statusListIndex"), "1"),
        (("proof", "created"), "2020-01-01T00:00:00Z"),
    ):
        changed = copy.deepcopy(GOOD)
        inner = changed
        for step in path[:-1]:
            inner = inner[step]  # type: ignore[assignment,index] # the path is known to be there
        inner[path[-1]] = value  # type: ignore[index] # see above
        changes.append(changed)
    return changes


def test_digitalbazaar_accepts_ours_and_refuses_changes() -> None:
    """The JavaScript mainstream, with remote contexts off."""
    assert digitalbazaar_verdicts(GOOD, EXPIRED, *tampered()) == [True, False] + [False] * 7


def test_wallets_verifier_gives_the_right_lights() -> None:
    """Signature and expiry of the library that wallets use; the status list is not there to fetch."""
    good, expired, *changed = wallet_checks(GOOD, EXPIRED, *tampered())
    assert (good["valid_signature"], good["expiration"]) == (True, True)
    assert (expired["valid_signature"], expired["expiration"]) == (True, False)
    assert [checks.get("valid_signature", False) for checks in changed] == [False] * 7


def test_openbadgeslib_accepts_ours_and_refuses_changes() -> None:
    """The strictest on contexts."""
    pytest.importorskip("openbadgeslib")
    assert openbadgeslib_verdict(dict(GOOD))
    assert [openbadgeslib_verdict(dict(changed)) for changed in tampered()] == [False] * 7


def test_openvc_accepts_ours_and_refuses_changes() -> None:
    """An independent Python implementation, given the pinned Open Badges context."""
    pytest.importorskip("openvc")
    contexts = {OPEN_BADGES_3: pinned_contexts()[OPEN_BADGES_3]}
    assert openvc_verdict(dict(GOOD), contexts)
    assert [openvc_verdict(dict(changed), contexts) for changed in tampered()] == [False] * 7


def test_document_has_the_official_schema() -> None:
    """1EdTech's schema holds but for one place: it knows one credentialStatus, VC 2.0 (and verifiers) several."""
    schema = json.loads((HERE / "schemas" / "ob_v3p0_achievementcredential_schema.json").read_text())
    validator = jsonschema.Draft201909Validator(schema, format_checker=jsonschema.FormatChecker())
    assert [list(error.absolute_path) for error in validator.iter_errors(GOOD)] == [["credentialStatus"]]
    statuses = GOOD["credentialStatus"]
    assert isinstance(statuses, list)
    for status in statuses:
        assert list(validator.iter_errors({**GOOD, "credentialStatus": status})) == []


def test_schema_file_is_the_official_one() -> None:
    """The schema in this folder names itself."""
    schema = json.loads(Path(HERE / "schemas" / "ob_v3p0_achievementcredential_schema.json").read_text())
    assert schema["$id"].startswith("https://purl.imsglobal.org/spec/ob/v3p0/schema/json/")
