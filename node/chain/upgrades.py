"""Which version of the protocol judges a block, and when the next one is certain.

A network is upgraded at a height. A hundred blocks before, N - f validators must have said that their nodes
know the version; else it lapses, so that no upgrade stops a network. Source: PROTOCOL §5, "Upgrades".
"""

from node.chain.block import Header
from node.chain.reading import Records
from node.chain.records.governance import Upgrade
from node.primitives import Height
from node.state import keys


def version_at(records: Records, head: Header) -> int:
    """Return the version that judges the block above a head; `records` are the state after the head."""
    upgrade = records.get(keys.UPGRADE, Upgrade)
    if upgrade is not None and head.height + 1 >= upgrade.height:
        return max(head.version, upgrade.version)
    return head.version


def coming_upgrade(records: Records, head_height: Height) -> Upgrade | None:
    """Return the upgrade that is certain and whose first block is not there yet."""
    upgrade = records.get(keys.UPGRADE, Upgrade)
    return upgrade if upgrade is not None and upgrade.height > head_height else None


def ignorance(version: int, height: Height, known: int) -> str | None:
    """Say why a program that knows versions up to `known` cannot judge a height of `version`; None where it can."""
    if version <= known:
        return None
    return (
        f"height {height} is judged by version {version} of the protocol, this node knows versions up to {known}: "
        "install a newer program and start again; nothing is lost"
    )
