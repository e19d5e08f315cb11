"""docs/bundle.schema.json describes what we write, and refuses what the reader refuses by shape."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from node.documents.bundle import present, write_bundle
from node.documents.jcs import JsonObject
from tests.unit.documents.small_chain import UGTO, SmallChain, person


def validator() -> jsonschema.Draft202012Validator:
    """Return the shipped schema, itself checked."""
    schema = json.loads(Path("docs/bundle.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def written(fields: frozenset[str] | None = None) -> JsonObject:
    """Return a bundle, or a presentation of some fields, as JSON."""
    chain = SmallChain()
    credential = chain.issue(chain.publish(f"{UGTO}/primer-empleo/1"), [person(0), person(1)])[0]
    bundle = chain.bundle(credential)
    loaded: JsonObject = json.loads(write_bundle(bundle if fields is None else present(bundle, fields)))
    return loaded


def test_what_we_write_has_the_schema() -> None:
    """A holder's bundle and a presentation are valid."""
    assert list(validator().iter_errors(written())) == []
    assert list(validator().iter_errors(written(frozenset({"/name"})))) == []


def test_bundle_that_leads_over_a_recovery_has_the_schema() -> None:
    """The way is a list of two kinds of items; neither is taken for the other."""
    chain = SmallChain()
    credential = chain.issue(chain.publish(f"{UGTO}/primer-empleo/1"), [person(0)])[0]
    chain.recover("a drill")
    loaded: JsonObject = json.loads(write_bundle(chain.bundle(credential)))
    assert list(validator().iter_errors(loaded)) == []
    (hop,) = loaded["chain"]["hand_overs"]
    assert sorted(hop) == ["certificate", "governance", "header", "proof", "recovery"]
    hop["validators"] = "00"
    assert list(validator().iter_errors(loaded)) != []


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.update(surplus=1),
        lambda b: b.pop("holder"),
        lambda b: b.update(leaf=b["leaf"].upper()),
        lambda b: b["chain"].update(header="0"),
        lambda b: b["chain"]["records"][0].update(value=None),
        lambda b: b["claims"][0].update(leaf="00" * 32),
        lambda b: b["chain"]["batch"].update(index=-1),
    ],
)
def test_other_shapes_do_not(change: Callable[[JsonObject], None]) -> None:
    """Surplus and missing members, upper-case and odd hex, proofs of the other kind."""
    bundle = written()
    change(bundle)
    assert list(validator().iter_errors(bundle)) != []
