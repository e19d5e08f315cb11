"""Whether this program knows the protocol that its chain follows, now and after the upgrade that comes."""

from msgspec import structs

from node.chain.block import PROTOCOL_VERSION
from node.chain.ledger import Ledger
from node.chain.records.governance import Upgrade
from node.config import Config
from node.errors import ConfigError
from node.log import get_logger


def version_max(config: Config) -> int:
    """Return the newest version of the protocol that may judge a block here. Raises: ConfigError."""
    wanted = config.node.protocol_version_max or PROTOCOL_VERSION
    if wanted > PROTOCOL_VERSION:
        raise ConfigError(
            f"node.protocol_version_max: {wanted}, this program knows protocol versions up to {PROTOCOL_VERSION}"
        )
    return wanted


class VersionWatch:
    """Looks at one ledger's version."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._warned_of: Upgrade | None = None
        self._log = get_logger("app")

    def check(self) -> None:
        """Stop before a block that this program cannot judge. Raises: ConfigError."""
        sentence = self._ledger.ignorance
        if sentence is not None:
            self._log.error("protocol version not known", height=self._ledger.head.height + 1, detail=sentence)
            raise ConfigError(sentence)

    def warn(self) -> None:
        """Say once, as soon as it is certain, that this program will have to be replaced."""
        upgrade = self._ledger.coming_upgrade
        if upgrade is not None and upgrade.version > self._ledger.version_max and upgrade != self._warned_of:
            self._warned_of = upgrade
            self._log.warning("an upgrade is coming that this node does not know", **structs.asdict(upgrade))
