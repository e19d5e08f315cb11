"""Checkpoints: their file, and what contradicts one – in a bundle's way, and in a node's own chain."""

from dataclasses import replace

import pytest

from node.chain import execution
from node.chain.block import Header
from node.chain.checkpoint import (
    Checkpoint,
    check_block,
    check_way,
    checkpoint_of,
    checkpoints_json,
    merged,
    parse_checkpoints,
)
from node.chain.frame import Frame
from node.chain.ledger import Ledger
from node.chain.rules.framework import Event
from node.crypto.hashing import sha256
from node.errors import ConfigError, Reason
from node.limits import CHECKPOINTS_BYTES_MAX
from node.primitives import Height
from node.release import known_checkpoints
from node.state import keys
from node.state.kv import MemoryStore
from node.state.world_state import WorldState
from tests.unit.chain.kit import COEPES, ITLEON, SDES, SEG, UGTO, TestChain, refusal
from tests.unit.chain.recovery_kit import SURVIVORS, draft, set_of, signed

FIVE = set_of(ITLEON, SDES, SEG, UGTO, COEPES)
OTHER = sha256(b"other")


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> TestChain:
    """Return a chain at height 6 whose set changes behind height 3."""
    settled = execution.end_block

    def end_block(state: WorldState, frame: Frame) -> tuple[Event, ...]:
        events = settled(state, frame)
        if frame.height == 3:
            state.put(keys.VALIDATOR_SET, FIVE)
        return events

    monkeypatch.setattr(execution, "end_block", end_block)
    chain = TestChain()
    chain.skip_to(6)
    return chain


def header(chain: TestChain, height: Height) -> Header:
    """Return a committed header."""
    found = chain.ledger.header_at(height)
    assert found is not None
    return found


def checkpoint(chain: TestChain, height: Height) -> Checkpoint:
    """Return the true checkpoint of a height."""
    return checkpoint_of(header(chain, height), chain.network.genesis_hash)


def way(chain: TestChain, *checkpoints: Checkpoint, to: Height = 6) -> Checkpoint | None:
    """Hold the way to a header against checkpoints."""
    ledger = chain.ledger
    return check_way(
        chain.network.genesis_hash, ledger.validators_at(1), ledger.hops_to(to), header(chain, to), checkpoints
    )


# --- the file ---


def test_release_ships_a_file_that_is_read() -> None:
    """The real network is not live, so there is none to ship yet."""
    assert known_checkpoints() == ()


def test_file_is_read_back(chain: TestChain) -> None:
    """Every member, to the millisecond; each checkpoint once, ascending."""
    made = (checkpoint(chain, 2), checkpoint(chain, 5))
    text = checkpoints_json(made)
    assert parse_checkpoints(text.encode()) == made
    assert merged((*made[::-1], *made)) == made
    assert '"date": "2026-01-01T00:00:02.000Z"' in text


@pytest.mark.parametrize(
    "data,sentence",
    [
        (b"", "no checkpoints: Input data was truncated"),
        (b"[]", "no checkpoints: Expected `object`, got `array`"),
        (b'{"format": "x", "checkpoints": []}', "no checkpoints: Invalid enum value 'x' - at `$.format`"),
        (b'{"format": "pila-checkpoints/1"}', "no checkpoints: Object missing required field `checkpoints`"),
        (bytes(CHECKPOINTS_BYTES_MAX + 1), "2097153 bytes, a file of checkpoints has at most 2097152"),
    ],
)
def test_what_is_no_such_file_is_named(data: bytes, sentence: str) -> None:
    """The operator's or verifier's own file: one sentence."""
    with pytest.raises(ConfigError) as caught:
        parse_checkpoints(data)
    assert str(caught.value) == sentence


def test_impossible_date_is_refused(chain: TestChain) -> None:
    """It has the shape of one."""
    text = checkpoints_json((checkpoint(chain, 2),)).replace("2026-01-01", "2026-02-30")
    with pytest.raises(ConfigError, match="no checkpoints: "):
        parse_checkpoints(text.encode())


def test_two_checkpoints_of_one_height_must_agree(chain: TestChain) -> None:
    """Of two networks they are not compared."""
    true = checkpoint(chain, 2)
    false = replace(true, block_hash=OTHER)
    with pytest.raises(ConfigError) as caught:
        merged((true, false))
    assert str(caught.value) == (f"two checkpoints of height 2 disagree: {true.block_hash.hex()} and {OTHER.hex()}")
    assert len(merged((true, replace(false, genesis_hash=OTHER)))) == 2


# --- light clients ---


def test_true_checkpoints_hold_and_the_newest_is_the_anchor(chain: TestChain) -> None:
    """Below, at and above a change of the set, at the header itself; one above it says nothing."""
    every = [checkpoint(chain, height) for height in range(1, 7)]
    assert way(chain, *every) == every[5]
    assert way(chain, *every, to=4) == every[3]
    assert way(chain, every[4], to=4) is None
    assert way(chain, replace(every[1], genesis_hash=OTHER)) is None


def test_other_block_at_a_checkpoints_height_is_refused(chain: TestChain) -> None:
    """The proven header's, and that of a hand-over."""
    for height in (3, 6):
        false = replace(checkpoint(chain, height), block_hash=OTHER)
        assert refusal(lambda false=false: way(chain, false)) == (  # type: ignore[misc]  # bound now
            Reason.CONTRADICTS_CHECKPOINT,
            (
                f"block {height} is {header(chain, height).hash().hex()}, the checkpoint of "
                f"2026-01-01T00:00:0{height}.000Z says {OTHER.hex()}"
            ),
        )


@pytest.mark.parametrize("height", [1, 2, 4, 5])
def test_other_voters_above_a_checkpoint_are_refused(chain: TestChain, height: Height) -> None:
    """A history that retired keys have signed names other voters, whatever its headers in between."""
    false = replace(checkpoint(chain, height), next_validators_hash=OTHER)
    before = chain.ledger.validators_at(height + 1).hash.hex()
    assert refusal(lambda: way(chain, false)) == (
        Reason.CONTRADICTS_CHECKPOINT,
        (
            f"validator set {before} above height {height}, the checkpoint of 2026-01-01T00:00:0{height}.000Z says "
            f"{OTHER.hex()}"
        ),
    )


def test_recovery_replaces_the_voters_that_its_last_block_names(chain: TestChain) -> None:
    """The block is the checkpoint's; who votes above it is the document's. Above, checkpoints are as ever."""
    chain.ledger.load_recovery(signed(draft(chain, validators=SURVIVORS)))
    chain.skip_to(9)
    every = [checkpoint(chain, height) for height in range(1, 9)]
    assert way(chain, *every, to=9) == every[7]
    false = replace(every[6], next_validators_hash=OTHER)
    assert refusal(lambda: way(chain, false, to=9))[0] is Reason.CONTRADICTS_CHECKPOINT


# --- a node's own chain ---


def test_node_refuses_a_block_that_contradicts_a_checkpoint(chain: TestChain) -> None:
    """Certified or not: sync says so, and nobody is followed past it."""
    false = replace(checkpoint(chain, 4), block_hash=OTHER)
    node = Ledger.open(MemoryStore(), chain.document, checkpoints=[checkpoint(chain, 3), false])
    for height in range(1, 4):
        found = chain.ledger.block_at(height)
        assert found is not None
        node.commit_block(*found)
    found = chain.ledger.block_at(4)
    assert found is not None
    assert refusal(lambda: node.commit_block(*found)) == (
        Reason.CONTRADICTS_CHECKPOINT,
        (f"block 4 is {found[0].hash().hex()}, a checkpoint or recovery document of this node says {OTHER.hex()}"),
    )


def test_node_with_another_chain_does_not_start(chain: TestChain) -> None:
    """A release that knows better than the data."""
    assert isinstance(chain.store, MemoryStore)
    true, false = checkpoint(chain, 5), replace(checkpoint(chain, 5), block_hash=OTHER)
    elsewhere = replace(false, genesis_hash=OTHER)
    Ledger.open(chain.store.copy(), chain.document, checkpoints=[true, elsewhere])
    with pytest.raises(ConfigError) as caught:
        Ledger.open(chain.store.copy(), chain.document, checkpoints=[false])
    assert str(caught.value) == (
        f"this node's chain is not the network's: block 5 is {true.block_hash.hex()}, the checkpoint of "
        f"2026-01-01T00:00:05.000Z says {OTHER.hex()}; move the data away and fetch the chain anew, or, if governance "
        "has taken that block back, use a release that knows"
    )


def test_recovery_document_may_not_contradict_a_checkpoint(chain: TestChain) -> None:
    """Whoever signed it: what the release knows was decided."""
    true = checkpoint(chain, 5)
    node = Ledger.open(MemoryStore(), chain.document, checkpoints=[replace(true, block_hash=OTHER)])
    document = signed(draft(chain, height=5, epoch=1))
    assert refusal(lambda: node.load_recovery(document)) == (
        Reason.CONTRADICTS_CHECKPOINT,
        (f"the document keeps block {true.block_hash.hex()} at height 5, a checkpoint of this node says {OTHER.hex()}"),
    )


def test_check_block_names_date_and_both_hashes(chain: TestChain) -> None:
    """The two values that disagree."""
    check_block(checkpoint(chain, 2), header(chain, 2).hash())
    assert refusal(lambda: check_block(checkpoint(chain, 2), OTHER))[1] == (
        f"block 2 is {OTHER.hex()}, the checkpoint of 2026-01-01T00:00:02.000Z says {header(chain, 2).hash().hex()}"
    )
