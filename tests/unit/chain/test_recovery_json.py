"""The file that operators pass around: in plain sight, read strictly."""

import json

import pytest

from node.chain.recovery_json import parse_recovery, recovery_json
from node.errors import ConfigError
from node.limits import RECOVERY_FILE_BYTES_MAX
from tests.unit.chain.kit import SEG, TestChain
from tests.unit.chain.recovery_kit import draft, signed

CHAIN = TestChain()
CHAIN.skip_to(1)
DOCUMENT = signed(draft(CHAIN, reason="Dos máquinas se quemaron"))


def changed(**members: object) -> bytes:
    """Return the file with other members."""
    return json.dumps({**json.loads(recovery_json(DOCUMENT)), **members}).encode()


def test_file_is_read_back_as_it_was() -> None:
    """With its signatures, and with letters that are not ASCII as they are."""
    text = recovery_json(DOCUMENT)
    assert parse_recovery(text.encode()) == DOCUMENT
    assert '"reason": "Dos máquinas se quemaron"' in text
    assert [member["institution"] for member in json.loads(text)["validators"]][-1] == SEG


@pytest.mark.parametrize(
    "data,sentence",
    [
        (b"", "no recovery document: Input data was truncated"),
        (
            changed(format="pila-recovery/2"),
            "no recovery document: Invalid enum value 'pila-recovery/2' - at `$.format`",
        ),
        (changed(surplus=1), "no recovery document: Object contains unknown field `surplus`"),
        (
            changed(block_hash="AB" * 32),
            "no recovery document: Expected `str` matching regex '^[0-9a-f]{64}\\\\Z' - at `$.block_hash`",
        ),
        (changed(height=0), "no recovery document: Expected `int` >= 1 - at `$.height`"),
        (changed(epoch=2**40), "no recovery document: Expected `int` <= 4294967295 - at `$.epoch`"),
        (changed(height=2**70), "no recovery document: "),
        (changed(reason="\ud800"), "no recovery document: "),
        (
            changed(reason="a\nb"),
            "no recovery document: malformed: text is not NFC or holds control characters",
        ),
        (
            bytes(RECOVERY_FILE_BYTES_MAX + 1),
            "262145 bytes, a recovery document has at most 262144",
        ),
    ],
)
def test_what_is_no_document_is_named(data: bytes, sentence: str) -> None:
    """One sentence for the operator; integers and text are judged as the network judges them."""
    with pytest.raises(ConfigError) as caught:
        parse_recovery(data)
    assert str(caught.value).startswith(sentence)
