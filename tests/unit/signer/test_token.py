"""The key in a PKCS#11 token, with Debian's SoftHSM2: the real module, a token of our own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.crypto.signing import Algorithm, verify
from node.errors import ConfigError
from node.signer.contract import SignerUnreachable
from node.signer.local import LocalSigner
from node.signer.token import TokenAddress, TokenKeys, make_token_key
from node.state.kv import MemoryStore
from tests.conftest import require
from tests.unit.signer.test_local import DESK, in_order

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "5678"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenAddress]:
    """Return a fresh token's address; the module reads its configuration once a process."""
    require(MODULE.exists() and shutil.which("softhsm2-util"), "SoftHSM2 (package softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    words = ["softhsm2-util", "--init-token", "--free", "--label", "pila", "--so-pin", "1234", "--pin", PIN]
    subprocess.run(words, check=True, capture_output=True)
    yield TokenAddress(str(MODULE), "pila", "pila-consensus")
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(scope="module")
def first(address: TokenAddress) -> bytes:
    """The public half of the token's first key."""
    return make_token_key(address, PIN)


def test_signs_all_of_the_protocol_as_a_signer(address: TokenAddress, first: bytes) -> None:
    """The record is ours, the signatures are the token's: they verify by the network's one rule, and repeat."""
    keys = TokenKeys(address, PIN)
    assert keys.public_keys == (first,)
    store = MemoryStore()
    made = [LocalSigner(keys, DESK.network, store).sign(message) for message in in_order()]
    assert [LocalSigner(keys, DESK.network, store).sign(message) for message in in_order()] == made
    digest = bytes(range(32))
    assert verify(Algorithm.ED25519, first, digest, keys.sign_with(first, digest))
    keys.close()


def test_a_closed_session_is_opened_again(address: TokenAddress, first: bytes) -> None:
    """Whoever logged us out: the next signature logs in."""
    keys = TokenKeys(address, PIN)
    keys.close()
    assert verify(Algorithm.ED25519, first, bytes(32), keys.sign_with(first, bytes(32)))
    keys.close()


def test_a_token_that_fails_is_not_reachable_then_is_asked_again_after_a_pause(
    address: TokenAddress, first: bytes
) -> None:
    """A session that was broken off: a sentence, a pause without a call, then a signature."""
    clock = [0.0]
    keys = TokenKeys(address, PIN, now_seconds=lambda: clock[0])
    session = keys._session
    assert session is not None
    session.close()
    with pytest.raises(SignerUnreachable) as error:
        keys.sign_with(first, bytes(32))
    cause = str(error.value)
    assert cause.startswith("the token pila does not sign (")
    clock[0] = 9.0
    with pytest.raises(SignerUnreachable) as error:
        keys.sign_with(first, bytes(32))
    assert str(error.value) == cause
    clock[0] = 11.0
    assert verify(Algorithm.ED25519, first, bytes(32), keys.sign_with(first, bytes(32)))
    keys.close()


@pytest.mark.parametrize(
    "change,pin,sentence",
    [
        ({"token": "other"}, PIN, "the token other does not answer (No token matching"),
        ({}, "0000", "the token pila does not answer (PinIncorrect); look at [signer] in config.toml and at the PIN"),
        ({"key_label": "other"}, PIN, "the token pila holds no Ed25519 key labelled other; pila key hsm-new makes one"),
        ({"module": "/nowhere.so"}, PIN, "the token pila does not answer ("),
    ],
    ids=["no token", "wrong PIN", "no key", "no module"],
)
def test_what_cannot_be_opened_is_said(
    address: TokenAddress, first: bytes, change: dict[str, str], pin: str, sentence: str
) -> None:
    """Before the node starts, in a sentence."""
    fields = {"module": address.module, "token": address.token, "key_label": address.key_label, **change}
    with pytest.raises(ConfigError) as error:
        TokenKeys(TokenAddress(**fields), pin)
    assert str(error.value).startswith(sentence)


def test_a_key_never_leaves_the_token(address: TokenAddress, first: bytes) -> None:
    """It is sensitive and not extractable."""
    import pkcs11

    keys = TokenKeys(address, PIN)
    key = keys._keys[first]
    assert key[pkcs11.Attribute.SENSITIVE] is True
    assert key[pkcs11.Attribute.EXTRACTABLE] is False
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        key[pkcs11.Attribute.VALUE]
    keys.close()


def test_the_key_that_follows_stands_beside_the_old_one_until_that_is_destroyed(address: TokenAddress) -> None:
    """One label, two keys, oldest first; destroying takes both halves of one."""
    label = TokenAddress(address.module, address.token, "rotating")
    old = make_token_key(label, PIN)
    new = make_token_key(label, PIN)
    keys = TokenKeys(label, PIN)
    assert keys.public_keys == (old, new)
    keys.destroy(old)
    assert keys.public_keys == (new,)
    keys.close()
    again = TokenKeys(label, PIN)
    assert again.public_keys == (new,)
    again.close()
