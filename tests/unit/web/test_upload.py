"""What an upload costs the event loop before it goes to the verifying process."""

import pytest

from node.limits import BUNDLE_BYTES_MAX
from node.web.upload import Fault, UploadFault, check_json


def test_large_json_is_left_to_the_verifying_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking through 4 MiB of brackets would stop everything else for a second; a small file gets its sentence."""
    parsed: list[int] = []
    monkeypatch.setattr("node.web.upload.check_depth", lambda data: parsed.append(len(data)))
    check_json(b'{"a":[' + b"[]," * (BUNDLE_BYTES_MAX // 3 - 10) + b"[]]}")
    assert parsed == []
    with pytest.raises(UploadFault) as caught:
        check_json(b"[1,2]")
    assert (caught.value.fault, parsed) == (Fault.NOT_A_BUNDLE, [5])
