"""Revoking and superseding can be repeated, also after `pila supersede` was killed with -9 before the register knew."""

from pathlib import Path

from tests.functional import harness
from tests.functional.harness import pila, start_pila
from tests.functional.test_issuing_is_safe_to_repeat import INSTITUTION, Trap, proxy_to
from tools.local_network import LocalNetwork


def test_successor_can_be_issued_after_a_crash(network: LocalNetwork, learners: Path, tmp_path: Path) -> None:
    """The person is released by the second run, which sends nothing again; then each gets exactly one successor."""
    definition = harness.publish(network, INSTITUTION, "corregir").definition
    keystore = ("--keystore", network.testnet.keystore(INSTITUTION))
    issue = ["issue", "--definition", definition, "--learners", learners, "--out", tmp_path / "out", *keystore]
    rpc = ("--rpc", network.nodes[0].rpc)
    pila(*issue, *rpc)
    files = sorted((tmp_path / "out").glob("*.pila.json"))
    supersede = ["supersede", *files, "--reason", "issued_in_error", *keystore]
    with proxy_to(network, Trap("tx_wait", 1, passes_on=True)) as proxy:
        proxy.victim = start_pila(*supersede, "--rpc", proxy.url, log=tmp_path / "first.log")
        assert proxy.victim.wait(harness.COMMAND_TIMEOUT_S) == -9, (tmp_path / "first.log").read_text("utf-8")
    assert pila(*supersede, *rpc).json["credentials"] == len(files)
    assert pila(*issue, *rpc).json["issued"] == len(files)
    assert pila(*issue, *rpc).json["already_issued"] == len(files)


def test_a_list_that_was_half_revoked_can_be_given_again(network: LocalNetwork, learners: Path, tmp_path: Path) -> None:
    """Those that are revoked are left as they are; the others are revoked; nothing is refused."""
    definition = harness.publish(network, INSTITUTION, "revocar").definition
    common = ("--keystore", network.testnet.keystore(INSTITUTION), "--rpc", network.nodes[0].rpc)
    pila("issue", "--definition", definition, "--learners", learners, "--out", tmp_path / "out", *common)
    files = sorted((tmp_path / "out").glob("*.pila.json"))
    assert len(files) > 1
    assert pila("revoke", files[0], "--reason", "fraud", *common).json["changed"] == 1
    assert pila("revoke", *files, "--reason", "fraud", *common).json["changed"] == len(files) - 1
    assert pila("revoke", *files, "--reason", "fraud", *common).json["changed"] == 0
