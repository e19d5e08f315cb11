"""Who gets a connection, and who loses it."""

import asyncio

import pytest

from node.limits import RPC_BLOCKED_MS_MAX
from node.rpc import connections
from node.rpc.connections import Gate, Visitor, caller_of


class Line(asyncio.Transport):
    """A transport whose other end takes what the test says."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host
        self.unsent = 0
        self.is_ended = False

    def get_extra_info(self, name: str, default: object = None) -> tuple[str, int]:
        return self.host, 40_000

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.is_ended = True


def come(gate: Gate, host: str) -> tuple[Visitor, Line]:
    """Let somebody connect."""
    visitor, line = gate.visitor(asyncio.Protocol), Line(host)
    visitor.connection_made(line)
    return visitor, line


@pytest.mark.parametrize(
    "remote,caller",
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_callers_are_told_apart(remote: str, caller: str | None) -> None:
    """By IPv4 address or IPv6 network: a subscriber has 2^64 addresses of those. This machine is nobody."""
    assert caller_of(remote) == caller


def test_one_caller_gets_an_eighth() -> None:
    """The others still come in; who leaves makes room."""
    gate = Gate(16)
    first = come(gate, "192.0.2.1")
    lines = [first[1], *(come(gate, "192.0.2.1")[1] for _ in range(2)), come(gate, "192.0.2.2")[1]]
    assert [line.is_ended for line in lines] == [False, False, True, False]
    first[0].connection_lost(None)
    assert [come(gate, "192.0.2.1")[1].is_ended for _ in range(2)] == [False, True]


def test_all_together_are_bounded_also_from_this_machine() -> None:
    """A proxy on this machine may use all places, and no more."""
    gate = Gate(8)
    assert [come(gate, "127.0.0.1")[1].is_ended for _ in range(9)] == [False] * 8 + [True]


def test_who_takes_nothing_is_dropped() -> None:
    """After a minute without progress; who takes a little, however slowly, stays."""
    gate = Gate(8)
    _, stuck = come(gate, "192.0.2.1")
    _, slow = come(gate, "192.0.2.2")
    stuck.unsent = slow.unsent = 1_000
    for second in range(RPC_BLOCKED_MS_MAX // 1_000 + 2):
        slow.unsent -= 1
        gate.check(float(second))
    assert (stuck.is_ended, slow.is_ended) == (True, False)


def test_answers_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fullest goes first."""
    monkeypatch.setattr(connections, "RPC_UNSENT_BYTES_MAX", 100)
    gate = Gate(32)
    lines = [come(gate, "127.0.0.1")[1] for _ in range(3)]
    for line, unsent in zip(lines, (60, 70, 30), strict=True):
        line.unsent = unsent
    gate.check(1.0)
    assert [line.is_ended for line in lines] == [False, True, False]
