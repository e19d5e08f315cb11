"""Keys that are not in the node, backups and old copies, under real processes that are killed at bad moments.

Four validators: 0 and 3 hold their key themselves, 1 has a signer's process, 2 a token of SoftHSM2. After
every test nobody was heard saying two things at one place.
"""

import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.consensus.recovery import SAFE_DISTANCE
from tests.functional import harness
from tests.functional.harness import Issuer
from tests.functional.signers import SignerProcess, move_into_token, separate_signer, soft_token
from tools.local_network import LocalNetwork

WITH_PROCESS = 1
WITH_TOKEN = 2
SPARE = 3


@pytest.fixture(scope="module")
def quartet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four validators; each logs the votes that it receives. The signer's process is started with them."""
    folder = tmp_path_factory.mktemp("signers")
    with soft_token(folder / "softhsm"):
        made = harness.make_network(folder / "network", verbose=True)
        move_into_token(made, WITH_TOKEN)
        process = separate_signer(made, WITH_PROCESS)
        SIGNERS[id(made)] = process
        process.start()
        try:
            with harness.watched(made):
                made.start()
                made.wait_ready(timeout_s=harness.PATIENCE_S)
                yield made
        finally:
            process.stop()


SIGNERS: dict[int, SignerProcess] = {}


@pytest.fixture
def signer(quartet: LocalNetwork) -> SignerProcess:
    """The process that signs for validator 1."""
    return SIGNERS[id(quartet)]


@pytest.fixture(scope="module")
def issuer(quartet: LocalNetwork) -> Issuer:
    """Who writes."""
    return harness.publish(quartet, "poligto.edu.mx", "firma")


@pytest.fixture(autouse=True)
def nobody_votes_twice(quartet: LocalNetwork) -> Iterator[None]:
    """After each test: all nodes on one chain, and no two statements at one place."""
    yield
    quartet.wait_ready(timeout_s=harness.PATIENCE_S)
    harness.wait_level(quartet)
    harness.assert_same_chain(quartet)
    harness.assert_no_double_votes(quartet)


def member_index(network: LocalNetwork, index: int) -> int:
    """Return a node's place in the validator set."""
    return next(
        int(item["index"])
        for item in network.client(0 if index else 1).call("chain_validators")["validators"]
        if item["institution"] == network.nodes[index].institution
    )


def is_ready(network: LocalNetwork, index: int) -> bool:
    """Ask a node whether it takes part."""
    try:
        with urllib.request.urlopen(network.nodes[index].rpc + "/ready", timeout=10) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


def wait_for_word(network: LocalNetwork, index: int, word: str) -> str:
    """Wait until why-stalled of a node says a word, and return what it says."""

    def says() -> bool:
        return word in network.client(index).call("node_whyStalled")["explanation"]["en"]

    network.wait_until(says, f"node {index} to say {word!r}", harness.PATIENCE_S, index)
    return str(network.client(index).call("node_whyStalled")["explanation"]["en"])


def test_a_process_and_a_token_vote(quartet: LocalNetwork, issuer: Issuer) -> None:
    """With the spare one away nothing is decided without both."""
    quartet.stop(SPARE)
    for index in (0, WITH_PROCESS, WITH_TOKEN):
        issuer.issue(quartet.client(index))
    shown = harness.pila("signer", "show", "--home", quartet.nodes[WITH_PROCESS].home).json
    assert shown["held_by"] == "the signer's process"
    assert shown["last"]["height"] == quartet.height(WITH_PROCESS)
    assert len(shown["public_keys"]) == 1
    quartet.start(SPARE)
    assert not (quartet.nodes[WITH_PROCESS].home / "data" / "signer").exists()
    assert "consensus" not in (quartet.nodes[WITH_PROCESS].home / "keys" / "node.json").read_text(encoding="utf-8")


def test_a_signer_that_is_killed_stops_only_the_signing(
    quartet: LocalNetwork, issuer: Issuer, signer: SignerProcess
) -> None:
    """Without it the node follows, says so and is not ready; with three left nothing is lost; back, it votes."""
    signer.kill()
    issuer.issue(quartet.client(0))
    harness.wait_level(quartet)
    sentence = wait_for_word(quartet, WITH_PROCESS, "nobody signs for it")
    assert str(signer.home / "signer.sock") in sentence
    assert not is_ready(quartet, WITH_PROCESS)
    assert harness.metric(quartet, WITH_PROCESS, "pila_signer_reachable") == 0
    quartet.stop(SPARE)  # now its vote is needed: this one waits for it
    waiting = quartet.client(0).submit(issuer.batch(quartet.client(0)))
    height = quartet.height(0)
    assert quartet.client(0).call("tx_wait", tx_id=waiting, timeout_ms=3_000)["status"] == "pending"
    assert quartet.height(0) == height
    signer.start()
    quartet.client(0).wait(waiting)
    quartet.wait_ready(WITH_PROCESS, timeout_s=harness.PATIENCE_S)
    assert harness.metric(quartet, WITH_PROCESS, "pila_signer_reachable") == 1
    quartet.start(SPARE)


def test_kills_of_signer_node_and_token_node_under_load(
    quartet: LocalNetwork, issuer: Issuer, signer: SignerProcess
) -> None:
    """-9 at whatever moment, again and again: what was acknowledged is there, and nobody contradicts itself."""
    with harness.Load(quartet, issuer, 0, SPARE) as load:
        for _ in range(2):
            load.wait_acknowledged(3)
            signer.kill()
            load.wait_acknowledged(3)
            signer.start()
            load.wait_acknowledged(2)
            quartet.kill(WITH_PROCESS)
            quartet.start(WITH_PROCESS)
            quartet.wait_ready(WITH_PROCESS, timeout_s=harness.PATIENCE_S)
            quartet.kill(WITH_TOKEN)
            quartet.start(WITH_TOKEN)
            quartet.wait_ready(WITH_TOKEN, timeout_s=harness.PATIENCE_S)
    harness.wait_level(quartet)
    for index in range(4):
        harness.assert_committed(quartet.client(index), load.acknowledged)


def test_a_signer_that_hangs_does_not_hang_the_node(
    quartet: LocalNetwork, issuer: Issuer, signer: SignerProcess
) -> None:
    """It is stopped, not dead: the node answers and follows; awake again, it signs."""
    signer.signal(signal.SIGSTOP)
    try:
        issuer.issue(quartet.client(0))
        harness.wait_level(quartet)
        wait_for_word(quartet, WITH_PROCESS, "nobody signs for it")
        issuer.issue(quartet.client(WITH_PROCESS))
    finally:
        signer.signal(signal.SIGCONT)
    quartet.wait_ready(WITH_PROCESS, timeout_s=harness.PATIENCE_S)


def test_a_node_without_its_signer_is_not_started(quartet: LocalNetwork, signer: SignerProcess) -> None:
    """One sentence that says what to start first."""
    quartet.stop(WITH_PROCESS)
    assert signer.stop() == 0
    home = quartet.nodes[WITH_PROCESS].home
    ended = harness.pila("start", "--home", home, as_json=False, expect=2)
    socket = signer.home / "signer.sock"
    assert ended.err.splitlines()[-1] == (
        f"the signer at {socket} does not answer (No such file or directory); start it first "
        "(pila signer run --home DIR), or mend signer.socket in config.toml"
    )
    signer.start()
    refused = harness.pila("signer", "run", "--home", signer.home, as_json=False, expect=2)
    assert refused.err.splitlines()[-1] == (
        f"a signer runs on {signer.home} already; stop it first, or give another --home"
    )
    quartet.start(WITH_PROCESS)


def test_a_backup_is_restored_and_the_validator_listens_before_it_signs(
    quartet: LocalNetwork, issuer: Issuer, tmp_path: Path
) -> None:
    """Taken while the node runs; the chain goes on; the home is lost; restored, it listens, catches up and votes."""
    index, home = SPARE, quartet.nodes[SPARE].home
    member = member_index(quartet, index)
    assert harness.metric(quartet, index, "pila_backup_age_seconds") == float("inf")
    issuer.issue(quartet.client(index))
    archive = tmp_path / "backup.tar"
    made = harness.pila("backup", "--home", home, "--out", archive).json
    assert made["node_was_running"] is True
    assert archive.stat().st_mode & 0o777 == 0o600
    assert 0 <= harness.metric(quartet, index, "pila_backup_age_seconds") < harness.PATIENCE_S
    assert harness.refused("backup", "--home", home, "--out", archive) == (
        f"{archive} exists; a backup is never overwritten"
    )

    acknowledged = [issuer.issue(quartet.client(i)) for i in (0, 1, index)]
    harness.wait_level(quartet)
    quartet.kill(index)
    lost_at = quartet.height(0)
    assert lost_at > made["height"]
    shutil.move(home, tmp_path / "lost")
    heard = {i: (quartet.nodes[i].home / "node.log").stat().st_size for i in range(3)}

    restored = harness.pila("restore", archive, "--home", home).json
    assert (restored["height"], restored["block_hash"]) == (made["height"], made["block_hash"])
    assert (home / "data" / "restored").exists()
    assert not (home / "data" / "journal").exists()
    assert not (home / "keys" / "node.fresh").exists()
    quartet.start(index)
    quartet.wait_height(lost_at, index, timeout_s=harness.PATIENCE_S)
    acknowledged += [issuer.issue(quartet.client(0)) for _ in range(SAFE_DISTANCE + 2)]
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    quartet.wait_until(lambda: not (home / "data" / "restored").exists(), "the mark to go", harness.PATIENCE_S, index)
    quartet.stop(0)  # now nothing is decided without it
    acknowledged += [issuer.issue(quartet.client(1)) for _ in range(2)]
    quartet.start(0)
    quartet.wait_ready(timeout_s=harness.PATIENCE_S)
    harness.assert_committed(quartet.client(index), acknowledged)

    said = [place.height for place in harness.votes_since(quartet, heard) if place.validator == member]
    assert said, "it never voted again"
    assert min(said) >= lost_at + SAFE_DISTANCE


def test_a_backup_of_a_stopped_node_and_damaged_ones(quartet: LocalNetwork, tmp_path: Path) -> None:
    """Made without the node too; every damage is found before anything is written."""
    index, home = SPARE, quartet.nodes[SPARE].home
    quartet.stop(index)
    archive = tmp_path / "backup.tar"
    made = harness.pila("backup", "--home", home, "--out", archive).json
    assert made["node_was_running"] is False
    whole = archive.read_bytes()
    target = tmp_path / "restored"
    for name, damaged in {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
        "empty": b"",
    }.items():
        archive.write_bytes(damaged)
        sentence = harness.refused("restore", archive, "--home", target)
        assert str(archive) in sentence, name
        assert not target.exists(), name
    archive.write_bytes(whole)
    assert harness.refused("restore", archive, "--home", home) == f"{home} is not empty; choose a new folder"
    assert harness.pila("restore", archive, "--home", target).json["height"] == made["height"]
    quartet.start(index)


def test_an_old_copy_of_a_home_is_recognised(quartet: LocalNetwork, issuer: Issuer, tmp_path: Path) -> None:
    """Put back by hand, it meets a block with a Commit of its own that it does not know: it stops, then listens."""
    index, home = 0, quartet.nodes[0].home
    member = member_index(quartet, index)
    harness.wait_level(quartet)
    quartet.stop(index)
    copy = tmp_path / "copy"
    shutil.copytree(home / "data", copy)
    quartet.start(index)
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    quartet.stop(SPARE)  # so that every certificate carries a signature of node 0
    for _ in range(3):
        issuer.issue(quartet.client(1))
    quartet.start(SPARE)
    quartet.wait_ready(SPARE, timeout_s=harness.PATIENCE_S)
    harness.wait_level(quartet)
    quartet.kill(index)
    lost_at = quartet.height(1)
    shutil.rmtree(home / "data")
    shutil.copytree(copy, home / "data")
    heard = {i: (quartet.nodes[i].home / "node.log").stat().st_size for i in (1, 2, 3)}

    quartet.start(index)
    assert quartet.wait_exit(index, harness.PATIENCE_S) == 2
    sentence = (home / "node.log").read_text(encoding="utf-8").splitlines()[-1]
    assert "carries a Commit of this validator that its signer's record does not know" in sentence
    assert (home / "data" / "restored").exists()
    quartet.start(index)
    quartet.wait_height(lost_at, index, timeout_s=harness.PATIENCE_S)
    for _ in range(SAFE_DISTANCE + 2):
        issuer.issue(quartet.client(1))
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    said = [place.height for place in harness.votes_since(quartet, heard) if place.validator == member]
    assert not [height for height in said if height < lost_at + SAFE_DISTANCE]


def rotate(network: LocalNetwork, index: int, holder: Path, issuer: Issuer) -> tuple[str, str]:
    """Have a validator's key replaced by the one staged in `holder`; return both once the set names the new one."""
    institution = network.nodes[index].institution

    def in_force() -> str:
        members = network.client(0).call("chain_validators")["validators"]
        return next(str(item["public_key"]) for item in members if item["institution"] == institution)

    before = in_force()
    keystore = network.testnet.keystore(institution)
    rpc = ("--rpc", network.nodes[0].rpc)
    harness.pila("governance", "propose", "rotate-key", "--home", holder, "--keystore", keystore, *rpc)
    while in_force() == before:
        issuer.issue(network.client(0))
    return before, in_force()


@pytest.mark.parametrize("index", [WITH_PROCESS, WITH_TOKEN], ids=["process", "token"])
def test_a_key_is_replaced_and_the_old_one_is_destroyed(
    quartet: LocalNetwork, issuer: Issuer, signer: SignerProcess, index: int
) -> None:
    """Staged beside the present one, signed for by both, taken up at its height; then the old one is gone."""
    home = quartet.nodes[index].home
    holder = signer.home if index == WITH_PROCESS else home
    staged = harness.pila("key", "stage", "--home", holder).json["public_key"]
    if index == WITH_PROCESS:
        signer.stop()
        signer.start()
    quartet.stop(index)
    quartet.start(index)
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    old, new = rotate(quartet, index, holder, issuer)
    assert new == staged
    quartet.stop(SPARE)  # so that the new key must sign
    issuer.issue(quartet.client(0))
    issuer.issue(quartet.client(0))

    def is_alone() -> bool:
        return bool(harness.pila("signer", "show", "--home", home).json["public_keys"] == [new])

    quartet.wait_until(is_alone, "the old key to go", harness.PATIENCE_S, index)
    if index == WITH_PROCESS:
        assert old not in (signer.home / "keys" / "node.json").read_text(encoding="utf-8")
    quartet.start(SPARE)
