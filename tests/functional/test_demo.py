"""What `make demo ONCE=1` runs, as the newcomer runs it: exit 0, and every step of the story in the answer."""

from pathlib import Path

import pytest

from tests.functional.harness import pila


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demonstration_holds(tmp_path: Path) -> None:
    """Accreditation, catalogue, issuing while a validator is killed, status, stacks, verification, agreement."""
    ended = pila("demo", "--once", "--dir", tmp_path / "demo", timeout_s=560)
    answer = ended.json
    assert answer["ok"] is True
    results = {step["step"]: step["result"] for step in answer["steps"]}
    assert list(results) == [
        "Accredit an institution",
        "Publish the catalogue",
        "Issue",
        "Revoke, suspend, reinstate",
        "Stack",
        "Verify",
        "Agree",
    ]
    assert "240 credentials" in results["Issue"]
    assert "killed" in results["Issue"]
    assert "242 verified offline" in results["Verify"]
    assert "4 nodes, same hash" in results["Agree"]
    assert len(list((tmp_path / "demo" / "work").rglob("*.pila.json"))) == 244
