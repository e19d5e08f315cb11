"""What a core was told is written down, read back and replayed to the very same effects."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node import recorder
from node.chain.certificate import Phase
from node.consensus.core import Core, CoreOptions
from node.consensus.effects import Effect, Replay
from node.consensus.inputs import HeightStarted, Input, MessageReceived, TimerKind
from node.errors import Rejected
from node.recorder import Recorder
from node.recording import HEAD_BYTES, Reader, RecordingDamaged, Replayed, replay
from tests.unit.consensus import desk as desk_module
from tests.unit.consensus.desk import NOW_MS, Desk


class RecordedCore(Core):
    """A core that is recorded as the replica does it."""

    def __init__(self, options: CoreOptions, written: Recorder) -> None:
        super().__init__(options)
        self.written = written
        written.begin(options)

    def step(self, event: Input) -> tuple[Effect, ...]:
        self.written.applying(event, self.carried)
        try:
            effects = super().step(event)
        except Rejected as rejection:
            self.written.refused(rejection)
            raise
        self.written.applied(effects)
        return effects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where recordings go."""
    return tmp_path / "recording"


@pytest.fixture
def failures() -> list[str]:
    """What the recorder says when it gives up."""
    return []


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, folder: Path, failures: list[str]) -> Callable[..., Desk]:
    """Return a function that makes a desk whose core is recorded."""

    def make(options: CoreOptions) -> Core:
        return RecordedCore(options, Recorder(folder, "test", failures.append))

    monkeypatch.setattr(desk_module, "Core", make)
    return Desk


def play(desk: Desk) -> None:
    """A refused and a good proposal, votes, a ViewChange, timers, an early message, a decision."""
    block = desk.block()
    desk.refused(desk.proposal(desk.block(1)))
    desk.receive(desk.proposal(block))
    for other in desk.others[:2]:
        desk.receive(desk.prepare(other, 0, block.hash()))
    desk.receive(desk.view_change(desk.others[2], 1))
    desk.fire(TimerKind.TICK, has_pending=True)
    for other in desk.others[:2]:
        desk.receive(desk.commit(other, 0, block.hash()))


def next_height(desk: Desk) -> list[Effect]:
    """Commit the decided block, and start the next height."""
    block = desk.block()
    certificate = desk.certificate(Phase.COMMIT, 0, block.hash())
    head = desk.chain.head.height
    if head == 0:
        desk.chain.commit_block(block, certificate)
    return desk.run(HeightStarted(NOW_MS, desk.chain.head, certificate, 0, desk.validators, False))


def files(folder: Path) -> list[Path]:
    """The ring, oldest first."""
    return sorted(folder.iterdir())


def replayed(path: Path, desk: Desk) -> tuple[list[Replayed], Reader]:
    """Read and replay a whole file."""
    reader = Reader(path.read_bytes(), desk.ring.verify)
    return list(replay(reader)), reader


def test_replay_gives_the_same_effects(recorded: Callable[..., Desk], folder: Path) -> None:
    """Every input, refusals too, in the order given; nothing is left over."""
    desk = recorded()
    play(desk)
    steps, reader = replayed(files(folder)[0], desk)
    assert [step.is_as_recorded for step in steps] == [True] * len(steps)
    assert len(steps) > 10
    assert all(step.recorded is not None for step in steps)
    assert sum(step.refusal is not None for step in steps) == 1
    assert type(steps[-1].effects[0]).__name__ == "CommitBlock"
    assert (reader.problem, reader.is_paused) == (None, False)


def test_replayed_inputs_are_the_recorded_ones(recorded: Callable[..., Desk], folder: Path) -> None:
    """A block stands once in the file, and the same object is handed out wherever it was the same."""
    desk = recorded()
    block = desk.block(0, b"t" * 1_000)
    desk.receive(desk.proposal(block))
    data = files(folder)[0].read_bytes()
    assert data.count(b"t" * 1_000) == 1
    steps, _ = replayed(files(folder)[0], desk)
    received, validated, *_ = (step.event for step in steps[1:])
    assert received == MessageReceived(NOW_MS, desk.name(desk.rotation.proposer(0)), desk.proposal(block))
    assert received.message.block is validated.block


def test_a_core_that_behaves_otherwise_is_found(recorded: Callable[..., Desk], folder: Path) -> None:
    """A replaying core with another rule does other things at the first input where the rule matters."""
    desk = recorded()
    play(desk)
    reader = Reader(files(folder)[0].read_bytes(), lambda *_: False)  # every signature is bad
    first = next(step for step in replay(reader) if not step.is_as_recorded)
    assert isinstance(first.event, MessageReceived)
    assert first.refusal is not None


def test_a_later_file_replays_without_the_earlier_ones(
    recorded: Callable[..., Desk], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the core carried along – claims, its average, early messages – stands in each file's opening."""
    monkeypatch.setattr(recorder, "RECORDING_FILE_BYTES_MAX", 2_500)
    desk = recorded()
    early = desk.signed(desk_module.Prepare(0, 2, 0, b"e" * 32, desk.others[0], desk_module.UNSIGNED))
    desk.receive(early)
    play(desk)
    effects = next_height(desk)
    desk.fire(TimerKind.TICK)
    again = (desk.name(desk.others[0]), early)
    assert Replay((again,)) in effects
    assert len(files(folder)) == 2
    steps, reader = replayed(files(folder)[1], desk)
    assert reader.opening.carried.height == 1
    assert len(steps) == 2
    assert all(step.is_as_recorded for step in steps)


def test_the_ring_keeps_the_newest_files(
    recorded: Callable[..., Desk], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start of a process begins a file; with room for three the oldest two of five are gone."""
    monkeypatch.setattr(recorder, "RECORDING_FILES_MAX", 3)
    for _ in range(5):
        recorded()
    assert [path.name for path in files(folder)] == [f"{number:010d}.rec" for number in (3, 4, 5)]


def test_a_height_that_fills_a_file_is_recorded_no_further(
    recorded: Callable[..., Desk], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stall's beginning is kept, the file says that the rest is missing; the next height begins a new one."""
    monkeypatch.setattr(recorder, "RECORDING_FILE_BYTES_MAX", 2_000)
    desk = recorded()
    for _ in range(100):
        desk.fire(TimerKind.TICK)
    size = files(folder)[0].stat().st_size
    assert 4_000 < size < 5_000
    steps, reader = replayed(files(folder)[0], desk)
    assert reader.is_paused
    assert all(step.is_as_recorded for step in steps)
    play(desk)
    next_height(desk)
    assert files(folder)[0].stat().st_size == size
    assert len(files(folder)) == 2


def test_a_torn_tail_is_told_and_the_rest_replays(recorded: Callable[..., Desk], folder: Path) -> None:
    """Cut anywhere, a file gives whole inputs up to the cut, and says where it is torn unless it ends with a record."""
    desk = recorded()
    play(desk)
    path = files(folder)[0]
    whole = path.read_bytes()
    complete, _ = replayed(path, desk)
    opening_end = HEAD_BYTES + int.from_bytes(whole[:4], "big")
    for length in range(opening_end, len(whole), 97):
        reader = Reader(whole[:length], desk.ring.verify)
        steps = list(replay(reader))
        assert [step.event for step in steps] == [step.event for step in complete[: len(steps)]]
        assert all(step.is_as_recorded for step in steps)
        if reader.problem is not None:
            assert reader.problem.startswith("the last record is torn: it begins at byte ")
            assert reader.problem.endswith(f" of {length}")


def test_a_damaged_record_is_told_and_nothing_after_it_is_replayed(recorded: Callable[..., Desk], folder: Path) -> None:
    """A flipped bit in the middle is found by the checksum."""
    desk = recorded()
    play(desk)
    data = bytearray(files(folder)[0].read_bytes())
    data[len(data) // 2] ^= 1
    reader = Reader(bytes(data), desk.ring.verify)
    steps = list(replay(reader))
    assert reader.problem is not None
    assert reader.problem.startswith("the record at byte ")
    assert all(step.is_as_recorded for step in steps)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"anything at all", b"\xff" * 64])
def test_what_is_no_recording_is_refused(data: bytes) -> None:
    """Any bytes are read or refused with a sentence."""
    with pytest.raises(RecordingDamaged):
        Reader(data)


def test_an_input_on_which_the_core_failed_is_the_last_one(recorded: Callable[..., Desk], folder: Path) -> None:
    """It was written before it was applied; the replay fails at the same place and says where."""
    desk = recorded()
    with pytest.raises(AssertionError):
        desk.run(HeightStarted(NOW_MS, desk.chain.head, None, 0, desk.validators, False))
    steps, reader = replayed(files(folder)[0], desk)
    assert (reader.problem, steps[-1].recorded) == (None, None)
    assert steps[-1].failure is not None
    assert steps[-1].failure.startswith("AssertionError at ")
    assert "core.py" in steps[-1].failure


def test_a_full_disk_ends_the_recording_and_nothing_else(
    recorded: Callable[..., Desk], folder: Path, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record fits: the recorder says so once, the core goes on, what was written stays readable."""
    desk = recorded()
    real_write = recorder.os.write
    monkeypatch.setattr(recorder.os, "write", lambda file, data: real_write(file, data[: len(data) // 2]))
    play(desk)
    assert failures == [f"cannot write to {folder}: No space left on device; nothing more is recorded"]
    assert desk.state.is_decided
    steps, reader = replayed(files(folder)[0], desk)
    assert len(steps) == 1
    assert reader.problem is not None
    assert "torn" in reader.problem
