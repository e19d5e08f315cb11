"""`pila governance` and `pila validator`: what is refused before a node is asked, and how proposals read."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.errors import ConfigError
from node.keystore import KeystoreKind
from tools.commands.governance import _framework, describe
from tools.commands.keys import make_keystore
from tools.pila import main


def refused(*words: str) -> str:
    """Run a command that cannot be; return its sentence."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 2
    return done.stderr.strip()


@pytest.mark.parametrize("key", ["", "00", "zz" * 32])
def test_consensus_key_has_64_hex_digits(tmp_path: Path, key: str) -> None:
    """Said before anything is signed."""
    path = tmp_path / "k.json"
    make_keystore(KeystoreKind.INSTITUTION, "seg.example").save(path)
    words = ("governance", "propose", "add-validator", "ugto.mx", "--key", key, "--keystore", str(path))
    assert refused(*words) == f"--key {key!r}: 64 hex digits are needed, as `pila validator key` prints them"


@pytest.mark.parametrize("text", ["ECTS", "ECTS=x,https://example.org", "=25,https://example.org", "ECTS=0,"])
def test_framework_is_a_name_with_hours_and_an_address(text: str) -> None:
    """Anything else is no credit framework."""
    with pytest.raises(ConfigError) as error:
        _framework(text)
    assert str(error.value) == (f"--framework {text!r}: expected NAME=HOURS,URL such as ECTS=25,https://example.org")


def test_framework_keeps_hundredths_of_hours() -> None:
    """The chain knows no fractions."""
    found = _framework("SATCA=16.25,https://example.org")
    assert (found.name, found.hours_per_credit_hundredths, found.source) == ("SATCA", 1_625, "https://example.org")


@pytest.mark.parametrize(
    "action,text",
    [
        ({"kind": "add_validator", "institution": "a.mx", "public_key": "ab"}, "a.mx joins with ab"),
        ({"kind": "remove_validator", "institution": "a.mx"}, "a.mx is removed"),
        ({"kind": "leave", "institution": "a.mx"}, "a.mx leaves"),
        ({"kind": "rotate_key", "institution": "a.mx", "public_key": "ab"}, "a.mx votes with ab"),
        ({"kind": "set_parameters", "height": 9}, "other parameters from height 9 on"),
        ({"kind": "upgrade", "version": 2, "height": 9}, "protocol version 2 from height 9 on"),
        (
            {"kind": "set_governance_keys", "governance_keys": [1, 2, 3], "threshold": 2},
            "3 governance keys, 2 needed",
        ),
    ],
)
def test_every_action_reads_as_a_sentence(action: dict[str, object], text: str) -> None:
    """In lists and in answers."""
    assert describe(action) == text
