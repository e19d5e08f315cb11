"""A program that will not know its chain's protocol says so in time, and stops where it does not."""

import pytest
from structlog.testing import capture_logs

from node.chain.block import PROTOCOL_VERSION
from node.chain.ledger import Ledger
from node.config import Config, NodeConfig
from node.errors import ConfigError
from node.version_watch import VersionWatch, version_max
from tests.unit.chain.rules.council import VOTERS, council
from tests.unit.chain.test_upgrades import HEIGHT, upgrade


@pytest.mark.parametrize("configured,expected", [(0, PROTOCOL_VERSION), (1, 1), (PROTOCOL_VERSION, PROTOCOL_VERSION)])
def test_the_newest_version_is_ours_or_what_the_operator_says(configured: int, expected: int) -> None:
    """0 = not said."""
    assert version_max(Config(NodeConfig("ugto.mx", protocol_version_max=configured))) == expected


def test_a_version_that_this_program_does_not_know_cannot_be_asked_for() -> None:
    """The sentence names the option and what there is."""
    with pytest.raises(ConfigError) as refused:
        version_max(Config(NodeConfig("ugto.mx", protocol_version_max=PROTOCOL_VERSION + 1)))
    assert str(refused.value) == (
        f"node.protocol_version_max: {PROTOCOL_VERSION + 1}, "
        f"this program knows protocol versions up to {PROTOCOL_VERSION}"
    )


def test_an_upgrade_is_warned_of_once_and_stops_an_old_program_at_its_height() -> None:
    """Certain at height 20; a program that knows it says nothing."""
    chain = council(protocol_version=1)
    number = upgrade(chain, *VOTERS)
    chain.skip_to(20)
    old = VersionWatch(Ledger.open(chain.store, chain.document, version_max=1))
    with capture_logs() as lines:
        old.check()
        old.warn()
        old.warn()
        VersionWatch(chain.ledger).warn()
    fields = {"version": 2, "height": HEIGHT, "proposal": number, "room": "app", "log_level": "warning"}
    assert lines == [{"event": "an upgrade is coming that this node does not know", **fields}]
    chain.skip_to(HEIGHT - 1)
    late = Ledger.open(chain.store, chain.document, version_max=1)
    with capture_logs() as lines, pytest.raises(ConfigError) as stopped:
        VersionWatch(late).check()
    assert str(stopped.value) == late.ignorance
    assert [(line["event"], line["height"]) for line in lines] == [("protocol version not known", HEIGHT)]
    VersionWatch(chain.ledger).check()
