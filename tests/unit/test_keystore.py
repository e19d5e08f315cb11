"""Keystores: sealed and open, shown without secrets, refused with a sentence."""

import json
import re
import stat
from pathlib import Path

import pytest

from node.crypto.signing import Algorithm, verify
from node.errors import ConfigError
from node.keystore import Keystore, KeystoreKind, destroy_key, public_keys, read_keystore_file

ENTROPY = b"".join(bytes([i]) * 32 for i in range(5))
PURPOSES = {"transaction": (Algorithm.P256, Algorithm.ED25519), "assertion": (Algorithm.ED25519,)}


def make() -> Keystore:
    """An institution's keystore from fixed entropy."""
    return Keystore.new(KeystoreKind.INSTITUTION, "ugto.mx", PURPOSES, entropy=ENTROPY)


def test_open_keystore_round_trips_with_private_mode(tmp_path: Path) -> None:
    """What is saved is what is opened, and only the owner may read the file."""
    path = tmp_path / "ugto.mx.json"
    made = make()
    made.save(path)
    opened = Keystore.open(path)
    assert opened.public_parts() == made.public_parts()
    assert opened.custody_root == made.custody_root
    assert opened.register_key != opened.custody_root
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sealed_keystore_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    """A sealed file holds no seed in the clear and refuses a wrong passphrase by a sentence."""
    path = tmp_path / "sealed.json"
    made = make()
    made.save(path, passphrase=b"palabra larga", salt=bytes(16), nonce=bytes(24))
    assert ENTROPY[:32].hex() not in path.read_text()
    assert Keystore.open(path, b"palabra larga").public_parts() == made.public_parts()
    with pytest.raises(ConfigError, match=re.escape(f"{path}: the passphrase does not open it")):
        Keystore.open(path, b"otra")
    with pytest.raises(ConfigError, match="sealed; give its passphrase"):
        Keystore.open(path)


def test_public_part_is_read_without_the_passphrase(tmp_path: Path) -> None:
    """`key show` needs no secret."""
    path = tmp_path / "sealed.json"
    made = make()
    made.save(path, passphrase=b"x", salt=bytes(16), nonce=bytes(24))
    expected = [(signer.algorithm, signer.public_key) for signer in made.signers("transaction")]
    assert public_keys(read_keystore_file(path), "transaction") == expected


def test_signers_sign_in_the_institutions_name() -> None:
    """Each transaction key signs digests that verify under its public key."""
    for signer in make().institution_signers():
        signature = signer.sign(b"d" * 32)
        assert signer.institution == "ugto.mx"
        assert verify(signer.signer.algorithm, signer.signer.public_key, b"d" * 32, signature)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "not a keystore"),
        ("{}", "missing required field `format`"),
        (
            json.dumps({"format": "other/1", "kind": "node", "institution": "", "keys": [], "kdf": None}),
            "format 'other/1'",
        ),
        (
            json.dumps(
                {"format": "pila-keystore/1", "kind": "node", "institution": "", "keys": [], "kdf": None, "x": 1}
            ),
            "unknown field `x`",
        ),
    ],
)
def test_unusable_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    """The sentence names the file and what is wrong with it."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        Keystore.open(path)
    assert sentence in str(caught.value)


def test_only_an_institution_keeps_holders() -> None:
    """A node's keystore has no custody root to give."""
    node = Keystore.new(KeystoreKind.NODE, "ugto.mx", {"node": (Algorithm.ED25519,)}, entropy=bytes(32))
    with pytest.raises(ConfigError, match="a keystore of kind node keeps no holders"):
        _ = node.custody_root


def test_leftover_file_lends_its_mode_to_no_secret(tmp_path: Path) -> None:
    """What an earlier run or somebody else left under the name that is renamed is replaced, never filled."""
    path, leftover = tmp_path / "ugto.mx.json", tmp_path / "ugto.mx.json.new"
    leftover.write_text("left")
    leftover.chmod(0o644)
    make().save(path)
    assert (stat.S_IMODE(path.stat().st_mode), leftover.exists()) == (0o600, False)
    other = tmp_path / "other"
    other.write_text("precious")
    leftover.symlink_to(other)
    make().save(path)
    assert (other.read_text(), path.is_symlink()) == ("precious", False)


@pytest.mark.parametrize("passphrase", [None, b"palabra larga"], ids=["open", "sealed"])
def test_a_destroyed_key_is_in_no_byte_of_the_file_nor_of_what_it_was(tmp_path: Path, passphrase: bytes | None) -> None:
    """The file keeps its seal and its other keys; the bytes that were there before are overwritten."""
    path = tmp_path / "node.json"
    purposes = {"consensus": (Algorithm.ED25519, Algorithm.ED25519), "node": (Algorithm.ED25519,)}
    made = Keystore.new(KeystoreKind.NODE, "ugto.mx", purposes, entropy=ENTROPY[: 3 * 32])
    made.save(path, passphrase=passphrase, salt=bytes(16), nonce=bytes(24))
    old, new = (signer.public_key for signer in made.signers("consensus"))
    with path.open("rb") as before:
        destroy_key(path, old, passphrase)
        assert set(before.read()) == {0}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (read_keystore_file(path).kdf is None) == (passphrase is None)
    left = Keystore.open(path, passphrase)
    assert [signer.public_key for signer in left.signers("consensus")] == [new]
    assert left.signers("node")[0].public_key == made.signers("node")[0].public_key
    assert old.hex() not in path.read_text()


def test_keys_of_one_purpose_can_be_taken_apart() -> None:
    """For a signer's home: the consensus key and nothing else."""
    made = make()
    assert [part.purpose for part in made.only("assertion").public_parts()] == ["assertion"]
