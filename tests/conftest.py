"""What every test of the project may rely on: marks by folder, one profile of hypothesis, and `require`.

Environment: REQUIRE_ALL=1 turns "cannot run here" from a skip into a failure, so that CI never passes
on tests that it left out.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).resolve().parent
MARK_OF_FOLDER = {"functional", "interop", "browser", "simulation"}

# No deadline: no test of ours depends on wall time. `too_slow` measures the machine, not the test.
settings.register_profile("pila", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pila")


def require(condition: object, what_is_missing: str) -> None:
    """Go on only if `condition` holds; else skip, or fail when REQUIRE_ALL=1, with the sentence `what_is_missing`."""
    if condition:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1, but this machine lacks {what_is_missing}", pytrace=False)
    pytest.skip(f"this machine lacks {what_is_missing}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the first folder it lies in, so that nobody can forget to."""
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in MARK_OF_FOLDER:
            item.add_marker(folder)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return TESTS.parent
