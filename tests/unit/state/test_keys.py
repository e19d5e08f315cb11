"""Names in the state and in the database: fixed for ever, none twice."""

import pytest

from node.limits import STATE_KEY_CHARS_MAX
from node.state import keys
from node.state.keys import Column

ID = bytes(range(32))
HEX = ID.hex()


@pytest.mark.parametrize(
    "made, expected",
    [
        (keys.accreditation("ugto.mx"), "acc/ugto.mx"),
        (keys.key("ugto.mx", ID[:16]), f"key/ugto.mx/{HEX[:32]}"),
        (keys.counters("ugto.mx"), "cnt/ugto.mx"),
        (keys.definition("ugto.mx/pespunte/1"), "def/ugto.mx/pespunte/1"),
        (keys.pathway("ugto.mx/costura/2"), "path/ugto.mx/costura/2"),
        (keys.batch(ID), f"bat/{HEX}"),
        (keys.status("ugto.mx", ID), f"sta/ugto.mx/{HEX}"),
        (keys.status_list_entry("ugto.mx", 3, 70_000), "lst/ugto.mx/3/70000"),
        (keys.stack(ID), f"stk/{HEX}"),
        (keys.use(ID), f"use/{HEX}"),
        (keys.recognition("a", "b"), "rec/a/b"),
        (keys.endorsement("a"), "end/a"),
        (keys.account("a"), "acct/a"),
        (keys.governance("keys"), "gov/keys"),
        (keys.validators("set"), "val/set"),
        (keys.parameters("network"), "par/network"),
    ],
)
def test_plain_keys_are_as_the_protocol_says(made: str, expected: str) -> None:
    """Each kind of record has its one name."""
    assert made == expected
    assert keys.is_plain_key(made)


def test_columns_are_one_byte_and_none_twice() -> None:
    """A database key's first byte says whose it is."""
    values = [column.value for column in Column.__members__.values()]
    assert [len(value) for value in values] == [1] * len(Column)
    assert len(set(values)) == len(Column.__members__)


def test_heights_sort_as_numbers() -> None:
    """Eight bytes, big endian."""
    assert Column.BLOCK.at(258, b"x") == b"b\x00\x00\x00\x00\x00\x00\x01\x02x"
    assert sorted(Column.BLOCK.at(height) for height in (256, 1, 255)) == [
        Column.BLOCK.at(1),
        Column.BLOCK.at(255),
        Column.BLOCK.at(256),
    ]


@pytest.mark.parametrize(
    "text, is_good",
    [
        ("a", True),
        ("a" * STATE_KEY_CHARS_MAX, True),
        ("a" * (STATE_KEY_CHARS_MAX + 1), False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("ñ", False),
    ],
)
def test_plain_key_is_short_printable_ascii(text: str, is_good: bool) -> None:
    """Boundaries of what may name a record."""
    assert keys.is_plain_key(text) is is_good
