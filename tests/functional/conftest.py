"""One network for the tests that do it no harm; seeds that are printed; logs that are shown when a test fails."""

import json
import random
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.functional import harness
from tools.local_network import LocalNetwork

TWO_SIGNATURES = "ugto.mx"
"""An institution of the shared network that asks for two signatures on every `credential.issue`."""
TWO_SIGNATURES_ROTATED = "universidaddeleon.edu.mx"
"""Another one, whose keys are rotated."""


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four running validators that no test stops or harms."""
    folder = tmp_path_factory.mktemp("shared")
    description = json.loads((harness.REPOSITORY / "genesis" / "guanajuato.json").read_text(encoding="utf-8"))
    for item in description["institutions"]:
        if item["id"] in (TWO_SIGNATURES, TWO_SIGNATURES_ROTATED):
            item["required_signatures"] = {"credential.issue": 2}
    described = folder / "network.json"
    described.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
    made = harness.make_network(folder / "network", institutions=described)
    with harness.watched(made):
        made.start()
        made.wait_ready(timeout_s=harness.PATIENCE_S)
        yield made


@pytest.fixture(scope="session")
def anchor(network: LocalNetwork) -> tuple[str, str]:
    """The option that names the shared network as the one to trust."""
    return ("--genesis", str(network.testnet.output / "genesis.json"))


@pytest.fixture
def rng() -> random.Random:
    """Chance that can be had again: PILA_TEST_SEED=n."""
    return random.Random(harness.seed_of_run())


@pytest.fixture
def learners(tmp_path: Path) -> Path:
    """A learners' file of three good rows."""
    path = tmp_path / "alumnos.csv"
    path.write_text("nombre,apellidos,matricula\nAna,Ñandú,A-1\nLuis,Peña,A-2\nZoë,Muñoz Ávila,A-3\n", encoding="utf-8")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the nodes' logs beside a failure; whole logs stay in pytest's temporary folder."""
    report = yield
    if report.failed:
        for running in harness.networks_in_use:
            for index, node in enumerate(running.nodes):
                if (node.home / "node.log").exists():
                    report.sections.append((f"{node.home / 'node.log'} (end)", tail(running, index)))
    return report


def tail(network: LocalNetwork, index: int) -> str:
    """Return the last lines of a node's log, none of them longer than a screen."""
    return "\n".join(line[:500] for line in network.log_tail(index, 25).splitlines())
