"""The verifier's trust anchor: where it comes from, in which order, and what is none."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from tools.testnet import write_testnet
from tools.trust import parse_age, trust_anchor

ANCHOR = "ab" * 32


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No anchor of whoever runs the tests."""
    monkeypatch.delenv("PILA_GENESIS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_any_source_there_is_none() -> None:
    """Nothing is trusted by itself."""
    assert trust_anchor(None) is None


def test_the_option_comes_before_the_variable_before_the_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source counts only where the ones before it are silent."""
    own = tmp_path / ".config" / "pila" / "genesis"
    own.parent.mkdir(parents=True)
    own.write_text("01" * 32 + "\n", encoding="ascii")
    assert trust_anchor(None) == bytes.fromhex("01" * 32)
    monkeypatch.setenv("PILA_GENESIS", "02" * 32)
    assert trust_anchor(None) == bytes.fromhex("02" * 32)
    assert trust_anchor(ANCHOR) == bytes.fromhex(ANCHOR)


def test_a_genesis_document_is_an_anchor(tmp_path: Path) -> None:
    """A file that testnet wrote stands for its hash."""
    made = write_testnet(tmp_path / "net", validators=4, base_port=20_000)
    text = (made.output / "genesis.json").read_text(encoding="utf-8")
    found = trust_anchor(str(made.output / "genesis.json"))
    assert found is not None
    assert f'"genesis_hash": "{found.hex()}"' in text


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", ANCHOR.upper().encode(), ANCHOR.encode()[:-1]])
def test_any_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Neither a hash nor a genesis document: the sentence names the file."""
    file = tmp_path / "genesis"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        trust_anchor(str(file))
    assert str(refused.value).startswith(f"{file}: neither 64 hex digits nor a genesis document: ")


@pytest.mark.parametrize(
    "text, milliseconds", [(None, None), ("0s", 0), ("30m", 1_800_000), ("24h", 86_400_000), ("7d", 604_800_000)]
)
def test_ages_carry_a_unit(text: str | None, milliseconds: int | None) -> None:
    """Seconds, minutes, hours, days."""
    assert parse_age(text) == milliseconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w", "1000000s", "24 h"])
def test_other_ages_are_refused(text: str) -> None:
    """The sentence repeats what was given."""
    with pytest.raises(ConfigError) as refused:
        parse_age(text)
    assert str(refused.value) == f"--max-age {text!r}: expected a number with a unit, such as 30m, 24h or 7d"
