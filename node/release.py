"""What a release brings beside the program: the checkpoints that its makers saw. Source: PROTOCOL §8."""

from importlib import resources
from pathlib import Path
from typing import Final

from node.chain.checkpoint import Checkpoint, merged, parse_checkpoints
from node.config import Config
from node.errors import ConfigError

CHECKPOINTS_FILE: Final = "checkpoints.json"


def known_checkpoints(more: Path | None = None) -> tuple[Checkpoint, ...]:
    """Return the release's checkpoints and those of a file. Raises: ConfigError naming the file."""
    shipped = parse_checkpoints(resources.files("genesis").joinpath(CHECKPOINTS_FILE).read_bytes())
    if more is None:
        return shipped
    try:
        return merged((*shipped, *parse_checkpoints(more.read_bytes())))
    except OSError as error:
        raise ConfigError(f"{more}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{more}: {error}") from None


def checkpoints_of(home: Path, config: Config) -> tuple[Checkpoint, ...]:
    """Return what a node of this home knows: the release's checkpoints and its own file's. Raises: ConfigError."""
    return known_checkpoints(home / config.node.checkpoints if config.node.checkpoints else None)
