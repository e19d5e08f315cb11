"""What is done to a running network, one function per fault; leaving its context mends it.

A fault says whom it hit and who must go on acknowledging transactions meanwhile. Where no quorum is left nobody must.
After Jepsen's nemeses and CometBFT's end-to-end perturbations.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from node.config import parse_config
from tests.functional import harness
from tests.functional.arena import OLD_VERSION, Arena, set_version
from tests.functional.wire import between, one_way
from tests.functional.wire_process import Link

HOUR_S = 3_600
STORM_PAUSE_MAX_S = 0.6
BALLAST_BYTES = 16 * 1024 * 1024
"""The disk is filled by files of this size, then by what is left."""


@dataclass(frozen=True)
class Blow:
    """Whom a fault has hit."""

    victims: tuple[int, ...]
    witnesses: tuple[int, ...] = ()
    """Who must go on acknowledging while it lasts; empty: nothing need be decided."""


Fault = Callable[[Arena], contextlib.AbstractContextManager[Blow]]


def _survivors(arena: Arena, victims: tuple[int, ...]) -> tuple[int, ...]:
    """Return who must go on without these: all others, if they are a quorum."""
    return arena.others(*victims) if len(victims) <= arena.max_faulty else ()


# --- processes ---


@contextlib.contextmanager
def _killed(arena: Arena, number: int) -> Iterator[Blow]:
    victims = arena.chosen(number)
    for victim in victims:
        arena.network.kill(victim)
    yield Blow(victims, _survivors(arena, victims))
    arena.network.start(*victims)


def kill_one(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """`kill -9` of one node."""
    return _killed(arena, 1)


def kill_f(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """`kill -9` of as many as the network can spare."""
    return _killed(arena, arena.max_faulty)


def kill_too_many(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """`kill -9` of one more: nothing is decided until one is back."""
    return _killed(arena, arena.max_faulty + 1)


def kill_all(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """Power fails everywhere."""
    return _killed(arena, arena.size)


@contextlib.contextmanager
def _paused(arena: Arena, number: int) -> Iterator[Blow]:
    victims = arena.chosen(number)
    processes = [arena.network.pid(victim) for victim in victims]
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield Blow(victims, _survivors(arena, victims))
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def pause_one(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """SIGSTOP of one node: it is not gone, it does not answer, and wakes in a world that has moved."""
    return _paused(arena, 1)


def pause_f(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """SIGSTOP of as many as the network can spare."""
    return _paused(arena, arena.max_faulty)


def pause_too_many(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """SIGSTOP of one more than the network can spare."""
    return _paused(arena, arena.max_faulty + 1)


@contextlib.contextmanager
def restart_storm(arena: Arena) -> Iterator[Blow]:
    """`kill -9` and start again, one node after the other, without waiting for any to be ready."""
    for _ in range(3 * arena.size):
        (victim,) = arena.chosen(1)
        arena.network.kill(victim)
        arena.network.start(victim)
        time.sleep(arena.rng.uniform(0.0, STORM_PAUSE_MAX_S))
    yield Blow(arena.everybody)


@contextlib.contextmanager
def rolling_restart(arena: Arena) -> Iterator[Blow]:
    """Orderly stop and start of one node after the other, as for an update: the others go on all the time."""
    for victim in arena.everybody:
        assert arena.network.stop(victim) == {victim: 0}
        arena.clients.wait(*arena.others(victim))
        arena.network.start(victim)
        arena.network.wait_ready(victim, timeout_s=harness.PATIENCE_S)
    yield Blow(arena.everybody, arena.everybody)


@contextlib.contextmanager
def other_programs(arena: Arena) -> Iterator[Blow]:
    """Two nodes, one after the other, are stopped and started as an older or a newer program than before."""
    victims = arena.chosen(2)
    for victim in victims:
        home = arena.network.nodes[victim].home
        knows = parse_config((home / "config.toml").read_bytes()).node.protocol_version_max
        arena.network.stop(victim)
        set_version(home, 0 if knows else OLD_VERSION)
        arena.clients.wait(*arena.others(victim))
        arena.network.start(victim)
        arena.network.wait_ready(victim, timeout_s=harness.PATIENCE_S)
    yield Blow(victims, arena.everybody)


# --- the wire ---


@contextlib.contextmanager
def partition_minority(arena: Arena) -> Iterator[Blow]:
    """As many as the network can spare, together on the other side."""
    victims = arena.chosen(arena.max_faulty)
    rest = arena.others(*victims)
    with arena.wire.shaped(between(victims, rest)):
        yield Blow(victims, rest)


@contextlib.contextmanager
def partition_halves(arena: Arena) -> Iterator[Blow]:
    """Two sides of which neither is a quorum."""
    victims = arena.chosen(arena.size // 2)
    with arena.wire.shaped(between(victims, arena.others(*victims))):
        yield Blow(victims)


@contextlib.contextmanager
def isolate_all(arena: Arena) -> Iterator[Blow]:
    """Nobody hears anybody."""
    with arena.wire.shaped(arena.wire.all_pairs(Link(is_cut=True))):
        yield Blow(arena.everybody)


@contextlib.contextmanager
def deaf(arena: Arena) -> Iterator[Blow]:
    """One node is heard but hears nobody."""
    victims = arena.chosen(1)
    rest = arena.others(*victims)
    with arena.wire.shaped(one_way(rest, victims)):
        yield Blow(victims, rest)


@contextlib.contextmanager
def mute(arena: Arena) -> Iterator[Blow]:
    """One node hears everybody but is heard by nobody."""
    victims = arena.chosen(1)
    rest = arena.others(*victims)
    with arena.wire.shaped(one_way(victims, rest)):
        yield Blow(victims, rest)


@contextlib.contextmanager
def bridge(arena: Arena) -> Iterator[Blow]:
    """Two sides that only one node connects."""
    (middle,) = arena.chosen(1)
    rest = list(arena.others(middle))
    arena.rng.shuffle(rest)
    one, other = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    with arena.wire.shaped(between(one, other)):
        side = (*other, middle)
        yield Blow(tuple(one), side if len(side) >= arena.size - arena.max_faulty else ())


@contextlib.contextmanager
def ring(arena: Arena) -> Iterator[Blow]:
    """Everybody sees a quorum, nobody the same one."""
    order = list(arena.everybody)
    arena.rng.shuffle(order)
    reach = (arena.size - arena.max_faulty) // 2
    cut = {}
    for place, node in enumerate(order):
        for step in range(reach + 1, arena.size - reach):
            cut[node, order[(place + step) % arena.size]] = Link(is_cut=True)
    with arena.wire.shaped(cut):
        yield Blow(arena.everybody)


@contextlib.contextmanager
def flapping(arena: Arena) -> Iterator[Blow]:
    """Other halves every second, three times."""
    for _ in range(3):
        with partition_halves(arena):
            time.sleep(1.0)
    yield Blow(arena.everybody)


@contextlib.contextmanager
def _all_links(arena: Arena, link: Link) -> Iterator[Blow]:
    with arena.wire.shaped(arena.wire.all_pairs(link)):
        yield Blow((), arena.everybody)


def loss(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """5 to 10 % of all packets are lost."""
    return _all_links(arena, Link(loss=arena.rng.uniform(0.05, 0.10)))


def delay(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """200 ms ± 50 ms one way, everywhere."""
    return _all_links(arena, Link(delay_ms=200, jitter_ms=50))


def narrow(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """64 kB a second from each to each."""
    return _all_links(arena, Link(bytes_per_second=64_000))


def bad_weather(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """Loss, delay and little bandwidth together."""
    return _all_links(arena, Link(loss=0.05, delay_ms=100, jitter_ms=80, bytes_per_second=64_000))


@contextlib.contextmanager
def far_away(arena: Arena) -> Iterator[Blow]:
    """What f nodes send and get takes 1.5 seconds, longer than a view may last."""
    victims = arena.chosen(arena.max_faulty)
    rest = arena.others(*victims)
    with arena.wire.shaped(between(victims, rest, Link(delay_ms=1_500, jitter_ms=300))):
        yield Blow(victims, rest)


# --- clocks ---


@contextlib.contextmanager
def _wrong_clock(arena: Arena, number: int, offset: str) -> Iterator[Blow]:
    assert arena.clocks is not None
    victims = arena.chosen(number)
    try:
        for victim in victims:
            arena.clocks.set(victim, offset)
        yield Blow(victims, arena.others(*victims))
    finally:
        for victim in victims:
            arena.clocks.set(victim, "+0")


def clock_ahead(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """One clock steps 5 s forwards and later back."""
    return _wrong_clock(arena, 1, "+5")


def clock_behind(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """One clock steps 5 s backwards and later forwards."""
    return _wrong_clock(arena, 1, "-5")


def clocks_hour_ahead(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """f clocks step an hour forwards and later back."""
    return _wrong_clock(arena, arena.max_faulty, f"+{HOUR_S}")


def clocks_hour_behind(arena: Arena) -> contextlib.AbstractContextManager[Blow]:
    """f clocks step an hour backwards and later forwards."""
    return _wrong_clock(arena, arena.max_faulty, f"-{HOUR_S}")


@contextlib.contextmanager
def clocks_drift(arena: Arena) -> Iterator[Blow]:
    """f clocks run fast or slow by a fifth."""
    assert arena.clocks is not None
    victims = arena.chosen(arena.max_faulty)
    with arena.clocks.drifting(victims, arena.rng.choice((0.2, -0.2))):
        yield Blow(victims, arena.others(*victims))


@contextlib.contextmanager
def clock_strobe(arena: Arena) -> Iterator[Blow]:
    """One clock jumps back and forth."""
    assert arena.clocks is not None
    (victim,) = arena.chosen(1)
    try:
        for offset in ("+5", "-5", f"+{HOUR_S}", "-5", f"-{HOUR_S}", "+5"):
            arena.clocks.set(victim, offset)
            time.sleep(1.1)
        yield Blow((victim,), arena.others(victim))
    finally:
        arena.clocks.set(victim, "+0")


# --- disks ---


@contextlib.contextmanager
def disk_full(arena: Arena) -> Iterator[Blow]:
    """One disk is full until the node has stopped by itself; with room again it is started."""
    (victim, disk), *_ = arena.disks.items()
    ballast = disk.folder / "ballast"
    fill = 'i=0; while head -c "$2" /dev/zero > "$1.$i"; do i=$((i+1)); done 2>/dev/null; true'
    disk.run("sh", "-c", fill, "sh", ballast, BALLAST_BYTES)
    try:
        assert arena.network.wait_exit(victim, harness.PATIENCE_S) == 2, arena.network.log_tail(victim)
        yield Blow((victim,), arena.others(victim))
    finally:
        disk.run("sh", "-c", 'rm -f "$1".*', "sh", ballast)
    arena.network.start(victim)


@contextlib.contextmanager
def wiped(arena: Arena) -> Iterator[Blow]:
    """One node is killed and loses its data: it fetches the chain and listens before it signs."""
    victim = arena.rng.choice([index for index in arena.everybody if index not in arena.disks])
    arena.network.kill(victim)
    shutil.rmtree(arena.network.nodes[victim].home / "data")
    yield Blow((victim,), arena.others(victim))
    arena.network.start(victim)


PROCESS_FAULTS: tuple[Fault, ...] = (
    kill_one, kill_f, kill_too_many, kill_all, pause_one, pause_f, pause_too_many, restart_storm, rolling_restart,
    other_programs,
)  # fmt: skip
WIRE_FAULTS: tuple[Fault, ...] = (
    partition_minority, partition_halves, isolate_all, deaf, mute, bridge, ring, flapping,
    loss, delay, narrow, bad_weather, far_away,
)  # fmt: skip
CLOCK_FAULTS: tuple[Fault, ...] = (
    clock_ahead, clock_behind, clocks_hour_ahead, clocks_hour_behind, clocks_drift, clock_strobe,
)  # fmt: skip
DISK_FAULTS: tuple[Fault, ...] = (disk_full, wiped)


@dataclass(frozen=True)
class Outcome:
    """What a fault did, and how long the network took to be whole again."""

    fault: str
    victims: tuple[int, ...]
    lasted_s: float
    acknowledged_meanwhile: int
    next_block_s: float
    """From the end of the fault to the first acknowledgement by any node."""
    whole_s: float
    """From the end of the fault until every node was ready and had acknowledged something new."""
    heard_equivocations: int


def name_of(fault: Fault) -> str:
    """Return a fault's name."""
    return str(getattr(fault, "__name__", fault))


def endure(arena: Arena, fault: Fault, hold_s: float) -> Outcome:
    """Let a fault happen for a while, see that those go on who must, and that all is well afterwards."""
    before, started = len(_acknowledged(arena)), time.monotonic()
    with fault(arena) as blow:
        time.sleep(hold_s)
        if blow.witnesses:
            arena.clients.wait(*blow.witnesses)
        heard = arena.heard_equivocations()
        lasted_s, meanwhile = time.monotonic() - started, len(_acknowledged(arena)) - before
    healed = time.monotonic()
    next_block_s = _first_acknowledgement(arena, healed)
    arena.wait_whole()
    whole_s = time.monotonic() - healed
    heard += arena.heard_equivocations()
    assert heard == 0, f"{heard} equivocations were heard during {name_of(fault)}"
    return Outcome(
        name_of(fault), blow.victims, round(lasted_s, 2), meanwhile, round(next_block_s, 3), round(whole_s, 3), heard
    )


def _acknowledged(arena: Arena) -> list[float]:
    return [one.answered_s for one in list(arena.clients.told) if one.answered_s is not None]


def _first_acknowledgement(arena: Arena, since_s: float) -> float:
    """Wait until something submitted at any time was acknowledged after a moment; return the seconds from there."""
    deadline = time.monotonic() + harness.PATIENCE_S
    while time.monotonic() < deadline:
        later = [answered_s for answered_s in _acknowledged(arena)[-200:] if answered_s > since_s]
        if later:
            return min(later) - since_s
        time.sleep(0.01)
    raise AssertionError(f"nothing was acknowledged for {harness.PATIENCE_S:.0f} s after the fault had ended")
