"""`pila key …`: keystores, and the keys an institution has on the chain."""

import secrets
from pathlib import Path
from typing import Any

import click
import msgspec

from node.chain.records.institution import Purpose
from node.chain.rules import keys as rules
from node.config import CONFIG_FILE, NODE_KEYSTORE_FILE, Config, load_config
from node.crypto.signing import SEED_BYTES, Algorithm, Signer, key_id, signer_from_seed
from node.errors import ConfigError
from node.keystore import ALGORITHM_NAMES, InstitutionSigner, Keystore, KeystoreKind, read_keystore_file
from node.primitives import InstitutionId, KeyId, PublicKey
from tools.console import (
    command,
    home_option,
    keystore_option,
    one_of,
    open_keystore,
    passphrase_option,
    read_passphrase,
    rpc_option,
    say,
)
from tools.node_client import NodeClient
from tools.signing import gather

KEYS_OF_KIND: dict[KeystoreKind, dict[str, tuple[Algorithm, ...]]] = {
    KeystoreKind.INSTITUTION: {Purpose.TRANSACTION: (Algorithm.P256,), Purpose.ASSERTION: (Algorithm.ED25519,)},
    KeystoreKind.RECOVERY: {Purpose.RECOVERY: (Algorithm.ED25519,)},
    KeystoreKind.GOVERNANCE: {Purpose.GOVERNANCE: (Algorithm.ED25519,)},
    KeystoreKind.NODE: {Purpose.CONSENSUS: (Algorithm.ED25519,), Purpose.NODE: (Algorithm.ED25519,)},
    KeystoreKind.HOLDER: {"holder": (Algorithm.ED25519,)},
}


def make_keystore(kind: KeystoreKind, institution: str, *, transaction_keys: int = 1) -> Keystore:
    """Make a keystore of a kind with fresh keys from the operating system's randomness."""
    keys = dict(KEYS_OF_KIND[kind])
    if kind is KeystoreKind.INSTITUTION:
        keys[Purpose.TRANSACTION] = (Algorithm.P256,) * transaction_keys
    seeds = sum(len(algorithms) for algorithms in keys.values()) + 2
    return Keystore.new(kind, institution, keys, entropy=secrets.token_bytes(SEED_BYTES * seeds))


def save_sealed(keystore: Keystore, path: Path, passphrase: bytes | None) -> None:
    """Save a keystore, sealed where there is a passphrase."""
    keystore.save(path, passphrase=passphrase, salt=secrets.token_bytes(16), nonce=secrets.token_bytes(24))


@click.group()
def key() -> None:
    """Keystores, and the keys an institution has on the chain."""


@command(key, "new")
@click.option("--institution", default="", help="Whose keys; not needed for a holder's.")
@click.option("--kind", type=one_of(KeystoreKind), default=KeystoreKind.INSTITUTION.value, show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@click.option(
    "--keys", "transaction_keys", type=click.IntRange(1, 8), default=1, show_default=True, help="Transaction keys."
)
@click.option("--no-passphrase", is_flag=True, help="Leave the file unsealed (test networks only).")
@passphrase_option
def new(
    institution: str, kind: str, output: Path, transaction_keys: int, no_passphrase: bool, passphrase_file: Path | None
) -> None:
    """Make a keystore with fresh keys."""
    if output.exists():
        raise ConfigError(f"{output} exists; a keystore is never overwritten")
    if kind != KeystoreKind.HOLDER and not institution:
        raise ConfigError(f"--institution is needed for a keystore of kind {kind}")
    made = make_keystore(KeystoreKind(kind), institution, transaction_keys=transaction_keys)
    passphrase = None if no_passphrase else read_passphrase(output, passphrase_file, confirm=True)
    save_sealed(made, output, passphrase)
    _show(output, f"Written to {output}" + (" (unsealed)" if passphrase is None else ""))


@command(key, "show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def show(file: Path) -> None:
    """Show a keystore's public part; needs no passphrase."""
    _show(file, str(file))


def _show(path: Path, title: str) -> None:
    found = read_keystore_file(path)
    parts = [
        {"purpose": part.purpose, "algorithm": part.algorithm, "public_key": part.public_key, "key_id": part.key_id}
        for part in found.keys
    ]
    lines = [title, f"  {found.kind} of {found.institution or 'a holder'}, {'sealed' if found.kdf else 'not sealed'}"]
    lines += [
        f"  {part['purpose']:<12} {part['algorithm']:<8} {part['key_id']}  {part['public_key']}" for part in parts
    ]
    say(
        {"kind": found.kind, "institution": found.institution, "sealed": found.kdf is not None, "keys": parts},
        "\n".join(lines),
    )


@command(key, "export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@click.option("--new-passphrase-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@passphrase_option
def export(file: Path, output: Path, new_passphrase_file: Path | None, passphrase_file: Path | None) -> None:
    """Write a copy sealed under another passphrase."""
    if output.exists():
        raise ConfigError(f"{output} exists; a keystore is never overwritten")
    opened = open_keystore(file, passphrase_file)
    save_sealed(opened, output, read_passphrase(output, new_passphrase_file, confirm=True))
    _show(output, f"Written to {output}")


@command(key, "import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--seed-file", type=click.Path(path_type=Path, dir_okay=False), required=True, help="32 bytes in hex.")
@click.option("--purpose", type=one_of(Purpose), default=Purpose.TRANSACTION.value, show_default=True)
@click.option("--algorithm", type=click.Choice(list(ALGORITHM_NAMES)), default="p256", show_default=True)
@passphrase_option
def import_seed(file: Path, seed_file: Path, purpose: str, algorithm: str, passphrase_file: Path | None) -> None:
    """Add a key made elsewhere to a keystore."""
    try:
        seed = bytes.fromhex(seed_file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{seed_file}: {error}") from None
    if len(seed) != SEED_BYTES:
        raise ConfigError(f"{seed_file}: {len(seed)} bytes; a seed has {SEED_BYTES}")
    _add(file, passphrase_file, purpose, ALGORITHM_NAMES[algorithm], seed)
    _show(file, f"Added to {file}")


def _add(file: Path, passphrase_file: Path | None, purpose: str, algorithm: Algorithm, seed: bytes) -> None:
    """Put one more key into a keystore file, under the seal that it has."""
    sealed = read_keystore_file(file).kdf is not None
    passphrase = read_passphrase(file, passphrase_file) if sealed else None
    save_sealed(Keystore.open(file, passphrase).with_key(purpose, algorithm, seed), file, passphrase)


@command(key, "rotate")
@keystore_option(help_text="The institution's keystore, which gets the new key.")
@keystore_option(name="--recovery", help_text="Its recovery keystore, which signs the change.")
@click.option("--algorithm", type=click.Choice(list(ALGORITHM_NAMES)), default="p256", show_default=True)
@click.option(
    "--compromised-since", type=click.IntRange(0), help="Declare the old key compromised from this height on."
)
@passphrase_option
@rpc_option
def rotate(
    keystore: Path,
    recovery: Path,
    algorithm: str,
    compromised_since: int | None,
    passphrase_file: Path | None,
    rpc: str,
) -> None:
    """Add as many new transaction keys as there were, then retire the old ones (or declare them compromised).

    The new keys are in the keystore before the chain hears of them: a crash in between loses nothing. Each
    signs its own adding.
    """
    client, apart = NodeClient(rpc), open_keystore(recovery)
    institution = apart.institution
    old = open_keystore(keystore, passphrase_file).institution_signers()
    known = client.call("institution_get", id=institution)
    good = {item["key_id"] for item in known["keys"] if item["state"] == "good"}
    ending = [signer for signer in old if signer.key_id.hex() in good]
    count = max(1, len(ending), *known["required_signatures"].values())
    made = [_add_fresh(keystore, passphrase_file, ALGORITHM_NAMES[algorithm]) for _ in range(count)]
    for signer in made:
        added = rules.NewKey(int(signer.algorithm), signer.public_key, Purpose.TRANSACTION)
        _send(client, apart, "key.add", rules.KeyAdd(institution, added), InstitutionSigner(institution, signer))
    for old_signer in ending:
        _send(client, apart, *_ending(institution, old_signer.key_id, compromised_since))
    ids = [key_id(signer.algorithm, signer.public_key).hex() for signer in made]
    say(
        {"institution": institution, "key_id": ids[0], "key_ids": ids},
        f"{institution} now signs with {', '.join(ids)}.",
    )


def _add_fresh(keystore: Path, passphrase_file: Path | None, algorithm: Algorithm) -> Signer:
    """Put a fresh transaction key into a keystore file and return it."""
    seed = secrets.token_bytes(SEED_BYTES)
    _add(keystore, passphrase_file, Purpose.TRANSACTION, algorithm, seed)
    return signer_from_seed(algorithm, seed)


def _send(
    client: NodeClient, apart: Keystore, kind: str, payload: msgspec.Struct, *added: InstitutionSigner
) -> dict[str, Any]:
    """Send a change of an institution's keys, signed by as many recovery keys as it asks for and by a key added."""
    signers = [*_recovery_signers(client, apart, kind), *added]
    return client.transact(signer=apart.institution, kind=kind, payload=payload, signers=signers)


def _recovery_signers(client: NodeClient, apart: Keystore, kind: str) -> list[InstitutionSigner]:
    """Return the recovery keys that sign. Raises: ConfigError when the keystore holds too few."""
    needed = client.required_signatures(apart.institution, kind)
    held = apart.institution_signers(Purpose.RECOVERY)
    if len(held) < needed:
        raise ConfigError(f"{apart.institution} signs {kind} with {needed} recovery keys, the keystore has {len(held)}")
    return list(held[:needed])


@command(key, "retire")
@click.argument("key_id_hex")
@keystore_option(name="--recovery", help_text="The institution's recovery keystore.")
@rpc_option
def retire(key_id_hex: str, recovery: Path, rpc: str) -> None:
    """Retire a key: what it signed stays good."""
    _end(key_id_hex, recovery, rpc, None)


@command(key, "compromise")
@click.argument("key_id_hex")
@click.option("--since-height", type=click.IntRange(0), required=True, help="What came at or after it is void.")
@keystore_option(name="--recovery", help_text="The institution's recovery keystore.")
@click.option(
    "--authority", type=click.Path(path_type=Path, dir_okay=False), help="Keystore of an authority that co-signs."
)
@rpc_option
def compromise(key_id_hex: str, since_height: int, recovery: Path, authority: Path | None, rpc: str) -> None:
    """Declare a key compromised from a height on."""
    _end(key_id_hex, recovery, rpc, since_height, authority)


def _end(key_id_hex: str, recovery: Path, rpc: str, since_height: int | None, authority: Path | None = None) -> None:
    try:
        identity = bytes.fromhex(key_id_hex)
    except ValueError:
        raise ConfigError(f"{key_id_hex!r} is no key id: 32 hex digits") from None
    client, apart = NodeClient(rpc), open_keystore(recovery)
    kind, payload = _ending(apart.institution, identity, since_height)
    signers = _recovery_signers(client, apart, kind)
    if authority is not None:
        signers += gather(client, kind, open_keystore(authority))
    result = client.transact(signer=apart.institution, kind=kind, payload=payload, signers=signers)
    say({**result, "key_id": key_id_hex}, f"Key {key_id_hex} ended (block {result['height']}).")


def _ending(
    institution: InstitutionId, identity: KeyId, since_height: int | None
) -> tuple[str, rules.KeyRetire | rules.KeyCompromise]:
    """Return kind and payload that end a key: retired, or compromised since a height."""
    if since_height is None:
        return "key.retire", rules.KeyRetire(institution, identity)
    return "key.compromise", rules.KeyCompromise(institution, identity, since_height)


@command(key, "hsm-new")
@home_option
def hsm_new(home: Path) -> None:
    """Make a consensus key in the token that signer.module, token and key_label of a home's config.toml name.

    It never leaves the token. The PIN comes from signer.pin_file, else from PILA_SIGNER_PIN.
    """
    config = load_config(home)
    made = _make_in_token(home, config)
    say(
        {"institution": config.node.institution, "token": config.signer.token, "public_key": made.hex()},
        f"The token {config.signer.token} holds a new consensus key of {config.node.institution}: {made.hex()}",
    )


@command(key, "stage")
@home_option
@passphrase_option
def stage(home: Path, passphrase_file: Path | None) -> None:
    """Put the consensus key that is to follow beside the present one, in the keystore or in the token.

    The node (or the signer's process) holds both once it is started again; from the height at which the
    validator set names the new key it signs with that, and then the old one is wiped.
    """
    config = load_config(home)
    if config.signer.module:
        made = _make_in_token(home, config)
    else:
        seed = secrets.token_bytes(SEED_BYTES)
        _add(home / NODE_KEYSTORE_FILE, passphrase_file, Purpose.CONSENSUS, Algorithm.ED25519, seed)
        made = signer_from_seed(Algorithm.ED25519, seed).public_key
    say(
        {"institution": config.node.institution, "public_key": made.hex()},
        f"{config.node.institution} holds the consensus key that is to follow: {made.hex()}",
    )


def _make_in_token(home: Path, config: Config) -> PublicKey:
    """Make a key in the token that a home's configuration names. Raises: ConfigError."""
    from node.signer.opening import read_pin, token_address
    from node.signer.token import make_token_key

    if not config.signer.module:
        raise ConfigError(f"{home / CONFIG_FILE}: signer.module names no PKCS#11 library")
    return make_token_key(token_address(home, config.signer), read_pin(home, config.signer))
