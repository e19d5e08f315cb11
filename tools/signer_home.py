"""A signer's home beside its node's: the consensus key and the record of what it signed, and nothing else.

Source: INTERFACE §2, additions; docs/operators.md, "Keys and signers".
"""

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from node.chain.certificate import Network
from node.chain.genesis import genesis_hash
from node.chain.records.institution import Purpose
from node.config import CONFIG_FILE, DATA_FOLDER, GENESIS_FILE, NODE_KEYSTORE_FILE, Config, config_text, parse_config
from node.control import CONTROL_SOCKET, AskPosition, Standing, decode_reply, encode_question
from node.errors import ConfigError, Rejected
from node.home import locked, read_genesis
from node.keystore import NONCE_BYTES, SALT_BYTES, Keystore, destroy_key, public_keys, read_keystore_file
from node.limits import CONTROL_FRAME_BYTES_MAX
from node.primitives import PublicKey
from node.signer.record import Position, SigningRecord
from node.signer.remote import SocketSigner
from node.state.leveldb import open_leveldb
from node.unix_socket import connect

SIGNER_LOCK: Final = "signer.lock"
_ANSWER_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class SignerStanding:
    """How far a consensus key has come."""

    held_by: str
    """Who told: the signer's process, the node, or the disk."""
    public_keys: tuple[PublicKey, ...]
    """As far as they can be told without a passphrase or a PIN."""
    last: Position | None


def read_standing(home: Path, config: Config) -> SignerStanding:
    """Ask whoever holds the record. Raises: ConfigError, StorageError."""
    genesis = read_genesis(home)
    try:
        remote = SocketSigner.open(home / config.signer.socket, Network(genesis.chain_id, genesis_hash(genesis)))
    except ConfigError:
        if config.signer.kind == "socket":
            raise
    else:
        standing = SignerStanding("the signer's process", remote.public_keys, remote.last_position)
        remote.close()
        return standing
    try:
        node = connect(home / CONTROL_SOCKET, _ANSWER_MS, CONTROL_FRAME_BYTES_MAX)
    except OSError:
        with open_leveldb(home / DATA_FOLDER / "signer") as store:
            return SignerStanding("data/signer, nobody runs", _public_keys(home, config), SigningRecord(store).last)
    try:
        node.send(encode_question(AskPosition()), _ANSWER_MS)
        reply = decode_reply(node.receive(_ANSWER_MS))
    except (OSError, Rejected) as error:
        raise ConfigError(f"the node of {home} does not answer: {error}") from None
    finally:
        node.close()
    assert isinstance(reply, Standing)
    last = reply.signed
    return SignerStanding(
        "the node", reply.public_keys, None if last is None else (last.epoch, last.height, last.view, last.step)
    )


def _public_keys(home: Path, config: Config) -> tuple[PublicKey, ...]:
    path = home / NODE_KEYSTORE_FILE
    if config.signer.module or not path.exists():
        return ()
    return tuple(key for _, key in public_keys(read_keystore_file(path), Purpose.CONSENSUS))


def move_key(
    home: Path, output: Path, config: Config, keystore: Keystore, passphrase: bytes | None
) -> tuple[PublicKey, ...]:
    """Move consensus keys and record into a signer's home; first it is whole there, then it goes here.

    Raises: ConfigError, StorageError.
    """
    if config.signer.kind != "local":
        raise ConfigError(f'{home / CONFIG_FILE}: signer.kind is "{config.signer.kind}"; only a local key can be moved')
    moved = tuple(signer.public_key for signer in keystore.signers(Purpose.CONSENSUS))
    if not moved:
        raise ConfigError(f"{home / NODE_KEYSTORE_FILE} holds no consensus key")
    with locked(home):
        (output / DATA_FOLDER).mkdir(parents=True)
        shutil.copyfile(home / GENESIS_FILE, output / GENESIS_FILE)
        (output / CONFIG_FILE).write_text(config_text(config), encoding="utf-8")
        if (home / DATA_FOLDER / "signer").exists():
            shutil.copytree(home / DATA_FOLDER / "signer", output / DATA_FOLDER / "signer")
            with open_leveldb(output / DATA_FOLDER / "signer") as store:
                SigningRecord(store)  # it can be read
        keystore.only(Purpose.CONSENSUS).save(
            output / NODE_KEYSTORE_FILE,
            passphrase=passphrase,
            salt=secrets.token_bytes(SALT_BYTES),
            nonce=secrets.token_bytes(NONCE_BYTES),
        )
        socket = str((output / config.signer.socket).resolve())
        set_options(home / CONFIG_FILE, "signer", {"kind": "socket", "socket": socket})
        for key in moved:
            destroy_key(home / NODE_KEYSTORE_FILE, key, passphrase)
        if (home / DATA_FOLDER / "signer").exists():
            shutil.rmtree(home / DATA_FOLDER / "signer")
    return moved


def set_options(path: Path, table: str, options: dict[str, str]) -> None:
    """Change text options of one table of a config.toml and leave every other line as it is. Raises: ConfigError."""
    lines = path.read_text(encoding="utf-8").splitlines()
    headers = [number for number, line in enumerate(lines) if re.match(r"\s*\[", line)]
    start = next((number for number in headers if lines[number].strip() == f"[{table}]"), None)
    if start is None:
        lines += ["", f"[{table}]"]
        start = len(lines) - 1
    end = next((number for number in headers if number > start), len(lines))
    for name, value in options.items():
        text = f"{name} = {msgspec.json.encode(value).decode()}"
        place = next((n for n in range(start, end) if re.match(rf"\s*{name}\s*=", lines[n])), None)
        if place is None:
            lines.insert(start + 1, text)
            end += 1
        else:
            lines[place] = text
    changed = "\n".join(lines) + "\n"
    parse_config(changed.encode(), str(path))
    path.write_text(changed, encoding="utf-8")
