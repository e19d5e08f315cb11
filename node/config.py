"""A node's `config.toml`: every option with its default, read strictly.

A home holds `config.toml`, `genesis.json`, `keys/node.json` and `data/`. Whatever is wrong is a
`ConfigError` that names the file, the line and the field. Source: INTERFACE §2.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from node.errors import ConfigError
from node.limits import KEEP_BLOCKS_MIN
from node.primitives import UINT_MAX, InstitutionId

CONFIG_FILE: Final = "config.toml"
GENESIS_FILE: Final = "genesis.json"
NODE_KEYSTORE_FILE: Final = "keys/node.json"
FRESH_KEY_FILE: Final = "keys/node.fresh"
"""Beside a node's keys that have signed nothing yet; gone once they may have. A node that has neither it nor its
journal listens before it signs."""
DATA_FOLDER: Final = "data"
RESTORED_FILE: Final = "data/restored"
"""Says that data/ is a copy: a validator listens before it signs, then this goes."""
LOCK_FILE: Final = "node.lock"
CONFIG_BYTES_MAX: Final = 1024 * 1024

Address: TypeAlias = Annotated[str, Meta(min_length=3, max_length=262)]
"""`host:port`; an IPv6 host stands in brackets."""
_ADDRESS: Final = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})\Z")


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who runs this node."""

    institution: InstitutionId
    """Must be the one of `keys/node.json`."""
    validate: bool = True
    """Take part in consensus where the chain counts this node among the validators; false = follow only."""
    checkpoints: Annotated[str, Meta(max_length=1_000)] = ""
    """File with checkpoints besides those that the program brings; relative to the home."""
    protocol_version_max: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Stop before the first block that a newer version of the protocol judges; 0 = the newest this program knows."""


class RpcConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """JSON-RPC and web pages."""

    listen: Address = "127.0.0.1:8600"
    calls_per_second: Annotated[int, Meta(ge=0, le=1_000_000)] = 2_000
    """Calls that one address may make a second, with a burst of twice as many; 0 = no limit. The loopback
    address has none: who puts a reverse proxy in front limits there."""
    connections_max: Annotated[int, Meta(ge=1, le=65_536)] = 1_024
    base_url: Annotated[str, Meta(max_length=500)] = ""
    """Public address of the pages, for links; "" = as the browser asked."""


class PeerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a peer listens."""

    institution: InstitutionId
    address: Address


class ReaderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A read-only node that may connect although the chain does not know its key."""

    name: InstitutionId
    public_key: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]
    """Ed25519 node key in hex."""


class P2pConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node's own network."""

    listen: Address | None = "127.0.0.1:8601"
    """`""` = dial only."""
    peers: Annotated[tuple[PeerConfig, ...], Meta(max_length=1_024)] = ()
    readers: Annotated[tuple[ReaderConfig, ...], Meta(max_length=256)] = ()


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Prometheus endpoint."""

    listen: Address | None = "127.0.0.1:8602"
    """`""` = none."""


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written to standard error."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"


class StorageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The database under `data/`."""

    cache_mebibytes: Annotated[int, Meta(ge=1, le=65_536)] = 16
    disk_free_mebibytes_min: Annotated[int, Meta(ge=0, le=1_048_576)] = 256
    """Below it the node says so in its log and metrics; the disk's own end stops it."""
    keep_blocks: Annotated[int, Meta(ge=0, le=UINT_MAX)] = 0
    """Delete blocks that are older than so many, at least 2,000; 0 = keep all (an archive node)."""
    snapshot_interval: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_000
    """Make a snapshot of the state at every height that this divides; 0 = none. Best the same on every node."""
    restore_from_snapshot: bool = True
    """Where this node is more than 2,000 blocks behind, begin with a snapshot from peers; an archive node does not."""


class SignerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who holds the consensus key. Paths are relative to the home."""

    kind: Literal["local", "socket", "pkcs11"] = "local"
    """`local`: the node itself, from `keys/node.json`; `socket`: `pila signer run`; `pkcs11`: a token."""
    socket: Annotated[str, Meta(min_length=1, max_length=1_000)] = "signer.sock"
    """Where the signer's process listens."""
    module: Annotated[str, Meta(max_length=1_000)] = ""
    """PKCS#11 library of the token. In the signer's own home: `""` = its key lies in `keys/node.json`."""
    token: Annotated[str, Meta(max_length=32)] = ""
    """Label of the token."""
    key_label: Annotated[str, Meta(min_length=1, max_length=64)] = "pila-consensus"
    """Label of the key in the token; a key that is to follow it has the same one."""
    pin_file: Annotated[str, Meta(max_length=1_000)] = ""
    """File with the token's PIN; `""` = the environment's PILA_SIGNER_PIN."""


class DiagnosisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept for those who look for a fault."""

    record: bool = False
    """Write all that consensus is told into `data/recording`, for `pila replay`: a ring of files, 256 MiB at most."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file, one table a room."""

    node: NodeConfig
    rpc: RpcConfig = RpcConfig()
    p2p: P2pConfig = P2pConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
    storage: StorageConfig = StorageConfig()
    diagnosis: DiagnosisConfig = DiagnosisConfig()
    signer: SignerConfig = SignerConfig()


def load_config(home: Path) -> Config:
    """Read `home/config.toml`. Raises: ConfigError."""
    path = home / CONFIG_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; `pila init` and `pila testnet` make one") from None
    return parse_config(data, str(path))


def parse_config(data: bytes, name: str = CONFIG_FILE) -> Config:
    """Read the text of a configuration. Raises: ConfigError naming `name`, line and field."""
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{name}: {len(data)} bytes, at most {CONFIG_BYTES_MAX}")
    try:
        text = data.decode("utf-8")
        raw = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 at byte {error.start}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name}: {error}") from None
    try:
        config = msgspec.convert(_without_empty_listeners(raw), Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_sentence(name, text, str(error))) from None
    _check_addresses(config, name, text)
    _check_token(config.signer, name, text)
    if 0 < config.storage.keep_blocks < KEEP_BLOCKS_MIN:
        field = "storage.keep_blocks"
        raise ConfigError(
            f"{name}{_line(text, field)}: {field}: {config.storage.keep_blocks} blocks are too few for others to go on "
            f"from a snapshot; give at least {KEEP_BLOCKS_MIN}, or 0 to keep all"
        )
    return config


def _without_empty_listeners(raw: dict[str, object]) -> dict[str, object]:
    """Read `listen = ""` as "does not listen": TOML has no nil."""
    changed = dict(raw)
    for table in ("p2p", "metrics"):
        options = raw.get(table)
        if isinstance(options, dict) and options.get("listen") == "":
            changed[table] = {**options, "listen": None}
    return changed


def _sentence(name: str, text: str, problem: str) -> str:
    """Turn `Expected `int`, got `str` - at `$.rpc.x`` into a sentence with file, line and field."""
    message, _, where = problem.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `([^`]+)`", message)
    missing = re.search(r"missing required field `([^`]+)`", message)
    if unknown is not None:
        field = ".".join(filter(None, (field, unknown[1])))
        message = "no such option"
    elif missing is not None:
        field = ".".join(filter(None, (field, missing[1])))
        message = "is missing"
    else:
        message = message[:1].lower() + message[1:]
    return f"{name}{_line(text, field)}: {field or 'file'}: {message}"


def _line(text: str, field: str) -> str:
    """Return `, line n` of the field `table.option` or `table.list[i].option`, or "" where it cannot be told."""
    parts = re.findall(r"[^.\[\]]+|\[\d+\]", field)
    names = [part for part in parts if not part.startswith("[")]
    if not names:
        return ""
    item = next((int(part[1:-1]) for part in parts if part.startswith("[") and part[1:-1].isdigit()), None)
    table, repeated, found = "", 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([\w.-]+)\s*\]+", line)
        if header is not None:
            table = header[1]
            is_wanted = names[: len(table.split("."))] == table.split(".")
            repeated += is_wanted and line.lstrip().startswith("[[")
            if is_wanted and (item is None or repeated in (0, item + 1)):
                found = f", line {number}"
            continue
        option = re.match(r"\s*([\w-]+)\s*=", line)
        path = [*filter(None, table.split(".")), option[1]] if option is not None else []
        if path and path == names[: len(path)] and (item is None or repeated in (0, item + 1)):
            return f", line {number}"
    return found


def _check_addresses(config: Config, name: str, text: str) -> None:
    """Refuse addresses that no socket takes, and two rooms on one port."""
    listeners = [("rpc.listen", config.rpc.listen), ("p2p.listen", config.p2p.listen)]
    listeners.append(("metrics.listen", config.metrics.listen))
    peers = [(f"p2p.peers[{i}].address", peer.address) for i, peer in enumerate(config.p2p.peers)]
    taken: dict[tuple[str, int], str] = {}
    for field, address in (*listeners, *peers):
        if address is None:
            continue
        try:
            host_port = split_address(address)
        except ConfigError as error:
            raise ConfigError(f"{name}{_line(text, field)}: {field}: {error}") from None
        if not field.endswith("listen") or host_port[1] == 0:
            continue
        if host_port in taken:
            raise ConfigError(f"{name}{_line(text, field)}: {field}: {address} is {taken[host_port]} too")
        taken[host_port] = field
    names = [peer.institution for peer in config.p2p.peers]
    for i, institution in enumerate(names):
        if institution in names[:i]:
            field = f"p2p.peers[{i}].institution"
            raise ConfigError(f"{name}{_line(text, field)}: {field}: {institution} is listed twice")


def _check_token(signer: SignerConfig, name: str, text: str) -> None:
    """Refuse a token that is only half described. Raises: ConfigError."""
    if signer.kind != "pkcs11" and not signer.module:
        return
    for field in ("module", "token"):
        if not getattr(signer, field):
            where = f"signer.{field}"
            raise ConfigError(f"{name}{_line(text, where) or _line(text, 'signer')}: {where}: needed for a PKCS#11 key")


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`. Raises: ConfigError."""
    match = _ADDRESS.match(address)
    if match is None or int(match[2]) > 65_535:
        raise ConfigError(f"{address!r} is no address; it should look like 127.0.0.1:8600")
    return match[1].strip("[]"), int(match[2])


def render_config(
    *,
    institution: InstitutionId,
    rpc_listen: Address,
    p2p_listen: Address,
    metrics_listen: Address,
    peers: Mapping[str, str],
) -> str:
    """Return the text of a `config.toml` for a node with these addresses; `peers`: institution → `host:port`."""
    return config_text(
        Config(
            NodeConfig(institution),
            rpc=RpcConfig(listen=rpc_listen),
            p2p=P2pConfig(
                listen=p2p_listen or None,
                peers=tuple(PeerConfig(peer, address) for peer, address in sorted(peers.items())),
            ),
            metrics=MetricsConfig(listen=metrics_listen or None),
        )
    )


def config_text(config: Config) -> str:
    """Return the text of a `config.toml` with every option written out; `parse_config` reads it back."""
    lines = [
        f"# Options of the node of {config.node.institution}; `pila config check` reads them without starting anything."
    ]
    for table in config.__struct_fields__:
        options = getattr(config, table)
        scalars = [name for name in options.__struct_fields__ if not isinstance(getattr(options, name), tuple)]
        lines += ["", f"[{table}]", *(f"{name} = {_toml(getattr(options, name))}" for name in scalars)]
    lines += _tables("p2p.peers", config.p2p.peers) + _tables("p2p.readers", config.p2p.readers)
    return "\n".join(lines) + "\n"


def _tables(name: str, items: Iterable[msgspec.Struct]) -> list[str]:
    lines: list[str] = []
    for item in items:
        lines += ["", f"[[{name}]]"]
        lines += [f"{field} = {_toml(getattr(item, field))}" for field in item.__struct_fields__]
    return lines


def _toml(value: str | int | bool | None) -> str:
    """Write one value; "" is how a listener that is off is written."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return msgspec.json.encode(value).decode("utf-8")
