"""`pila recovery …` on the homes of stopped nodes: each refusal is one sentence, each step says what it did."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node.chain.certificate import Certificate, Phase, VoteSignature, vote_digest
from node.chain.ledger import Ledger
from node.chain.records.institution import Purpose
from node.config import DATA_FOLDER, NODE_KEYSTORE_FILE
from node.home import locked
from node.keystore import Keystore, public_keys, read_keystore_file
from node.snapshots import CHAIN_FOLDER
from node.state.leveldb import open_leveldb
from tools.pila import main
from tools.testnet import Testnet as Network
from tools.testnet import write_testnet

HEAD = 3


@pytest.fixture
def testnet(tmp_path: Path) -> Network:
    """Return four validators, the first two of them stopped at height 3."""
    made = write_testnet(tmp_path / "T", validators=4, base_port=8_600)
    signers = {node.institution: Keystore.open(node.home / NODE_KEYSTORE_FILE) for node in made.nodes}
    for node in made.nodes[:2]:
        store = open_leveldb(node.home / DATA_FOLDER / CHAIN_FOLDER)
        ledger = Ledger.open(store, made.document)
        for number in range(1, HEAD + 1):
            validators = ledger.validators_at(number)
            block = ledger.build_block(
                proposer=validators.members[0].institution, timestamp_ms=made.document.time_ms + number
            )
            digest = vote_digest(ledger.network, Phase.COMMIT, 0, number, 0, block.hash())
            votes = tuple(
                VoteSignature(index, signers[member.institution].ed25519(Purpose.CONSENSUS).sign(digest))
                for index, member in enumerate(validators.members)
            )
            ledger.commit_block(block, Certificate(1, Phase.COMMIT, 0, number, 0, block.hash(), votes))
        store.close()
    return made


def pila(*words: object, code: int = 0) -> Any:  # noqa: ANN401 -- the command's own shape
    """Run a command; return what it printed as JSON."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def sentence(*words: object, code: int) -> str:
    """Run a command that must be refused; return why."""
    return str(pila(*words, code=code)["error"])


def names(testnet: Network) -> str:
    """Return the validators as an option's value."""
    return ",".join(node.institution for node in testnet.nodes)


def propose(testnet: Network, out: Path, *more: object) -> Any:  # noqa: ANN401 -- as above
    """Propose from the first node's home."""
    return pila(
        "recovery", "propose", "--home", testnet.nodes[0].home, "--validators", names(testnet), "--reason", "a drill",
        "--out", out, *more,
    )  # fmt: skip


def sign(testnet: Network, file: Path, count: int) -> None:
    """Sign with so many governance keys."""
    for keystore in sorted((testnet.output / "keys").glob("*.governance.json"))[:count]:
        pila("recovery", "sign", file, "--governance", keystore)


def test_from_proposal_to_the_next_epoch(testnet: Network, tmp_path: Path) -> None:
    """Proposed, signed, shown, applied on nodes that are there, that are not, and that were before."""
    file = tmp_path / "recovery.json"
    proposed = propose(testnet, file)
    needed = proposed["signatures_needed"]
    assert (proposed["epoch"], proposed["height"], proposed["signatures"]) == (1, HEAD, 0)
    assert proposed["validators"] == sorted(names(testnet).split(","))
    sign(testnet, file, needed)
    shown = pila("recovery", "show", file, "--home", testnet.nodes[1].home)
    assert (len(shown["signers"]), shown["threshold"], shown["block_found"]) == (needed, needed, True)
    homes = [node.home for node in testnet.nodes[:3]]
    found = [pila("recovery", "apply", file, "--home", home) for home in homes]
    assert [item["outcome"] for item in found] == ["in_force", "in_force", "kept"]
    assert found[0]["signers"] == shown["signers"]
    assert pila("recovery", "apply", file, "--home", homes[0])["outcome"] == "known"
    text = (
        CliRunner().invoke(main, ["recovery", "apply", str(file), "--home", str(homes[2])], obj={"json": False}).stdout
    )
    assert f"block {HEAD} (" in text
    assert text.endswith("This node follows the document already; nothing changed.\n")


def test_blocks_are_taken_back_only_when_that_is_said(testnet: Network, tmp_path: Path) -> None:
    """The first time it is said how many."""
    file, home = tmp_path / "recovery.json", testnet.nodes[0].home
    sign(testnet, file, propose(testnet, file, "--height", 1)["signatures_needed"])
    assert "2 blocks that were decided would be taken back" in sentence(
        "recovery", "apply", file, "--home", home, code=1
    )
    applied = pila("recovery", "apply", file, "--home", home, "--discard-above")
    assert (applied["outcome"], applied["discarded_blocks"]) == ("in_force", 2)


def test_refusals_are_one_sentence(testnet: Network, tmp_path: Path) -> None:
    """What an operator mistypes, and what must not be."""
    home, file = testnet.nodes[0].home, tmp_path / "recovery.json"
    base = ("recovery", "propose", "--reason", "x", "--out", file)
    assert sentence(*base, "--validators", "a", code=2) == (
        "give either --home DIR of a stopped node or --rpc URL of a running one"
    )
    at_home = (*base, "--home", home)
    assert sentence(*at_home, "--validators", "itson.mx", code=2) == (
        "--validators 'itson.mx': itson.mx is no validator now; give its key: itson.mx=KEY"
    )
    assert sentence(*at_home, "--validators", "itson.mx=zz", code=2) == (
        "--validators 'itson.mx=zz': the key is no hex"
    )
    first = testnet.nodes[0].institution
    assert sentence(*at_home, "--validators", f"{first},{first}", code=2) == f"--validators: {first} stands twice"
    assert sentence(*at_home, "--validators", first, code=1) == (
        "Rejected: 1 validators, 4 to 100 are possible (invalid_value)"
    )
    assert sentence(*at_home, "--validators", names(testnet), "--height", 9, code=2) == (
        f"{home}: no block at height 9; the head is {HEAD}"
    )
    propose(testnet, file)
    assert sentence(*at_home, "--validators", names(testnet), code=2) == (
        f"{file} exists; a recovery document is never overwritten"
    )
    daily = testnet.keystore(first)
    assert sentence("recovery", "sign", file, "--governance", daily, code=2) == (
        f"{daily}: institution keystore; a governance keystore is needed"
    )
    sign(testnet, file, 1)
    assert sentence("recovery", "apply", file, "--home", home, code=1).startswith(f"Rejected: {home}: 1 of ")
    with locked(home):
        assert sentence("recovery", "apply", file, "--home", home, code=2) == (
            f"a node runs on {home} already; stop it first, or give another --home"
        )
    broken = tmp_path / "broken.json"
    broken.write_text("{}", encoding="utf-8")
    assert sentence("recovery", "show", broken, code=2).startswith(f"{broken}: no recovery document: ")


def test_new_key_is_taken_from_the_option(testnet: Network, tmp_path: Path) -> None:
    """A survivor may get a fresh consensus key in the document."""
    fresh = tmp_path / "fresh.json"
    pila("key", "new", "--kind", "node", "--institution", "x.mx", "--output", fresh, "--no-passphrase")
    _, key = public_keys(read_keystore_file(fresh), Purpose.CONSENSUS)[0]
    first, *others = names(testnet).split(",")
    file = tmp_path / "recovery.json"
    pila(
        "recovery", "propose", "--home", testnet.nodes[0].home, "--reason", "x", "--out", file,
        "--validators", f"{first}={key.hex()}", "--validators", ",".join(others),
    )  # fmt: skip
    members = {item["institution"]: item["public_key"] for item in json.loads(file.read_text())["validators"]}
    assert members[first] == key.hex()
    assert len(members) == 4
