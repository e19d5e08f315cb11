"""Seven validators, made and started by the commands a person types, killed with -9 to below a quorum, and back.

Seven tolerate two: with two gone the network goes on, with three it stops and says who is missing, with one
of the three back it goes on, and in the end all seven have the same hash at every height.
"""

from pathlib import Path

import pytest

from tests.functional import harness
from tests.functional.harness import pila
from tools.local_network import free_base_port


@pytest.mark.timeout(420)
def test_seven_validators(tmp_path: Path) -> None:
    """The whole story of «Done when» 2."""
    output, base = tmp_path / "T", free_base_port(7)
    made = pila("testnet", "--validators", 7, "--output", output, "--base-port", base).json
    homes = {node["institution"]: Path(node["home"]) for node in made["nodes"]}
    assert [home.name for home in homes.values()] == [f"node{i}" for i in range(7)]
    checked = pila("genesis", "check", output / "genesis.json").json
    assert (checked["genesis_hash"], checked["validators"]) == (made["genesis_hash"], 7)

    with harness.watched(harness.network_of(output, output / "genesis.json", base, homes)) as network:
        network.start()
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        issuer = harness.publish(network, "enes.unam.mx", "siete")
        acknowledged = [issuer.issue(network.client(i)) for i in range(7)]
        members = pila("validators", "--rpc", network.nodes[4].rpc).json
        assert (members["quorum"], len(members["validators"])) == (5, 7)

        network.kill(5)
        network.kill(6)
        acknowledged += [issuer.issue(network.client(i)) for i in range(5)]

        network.kill(4)
        pending = network.client(0).submit(issuer.batch(network.client(0)))
        height = harness.settled_height(network, 0, 1, 2, 3)

        def says_why() -> bool:
            return bool(network.client(0).call("node_whyStalled")["stalled"])

        network.wait_until(says_why, "node 0 to say that the network is stalled", harness.PATIENCE_S)
        why = network.client(0).call("node_whyStalled")
        institutions = list(homes)
        assert sorted(why["missing_validators"]) == sorted(institutions[4:])
        for name in institutions[4:]:
            assert name in why["explanation"]["es"]
        assert [network.height(i) for i in range(4)] == [height] * 4
        assert network.client(0).call("tx_get", tx_id=pending)["status"] == "pending"
        answer = pila("why-stalled", "--rpc", network.nodes[1].rpc, expect=1).json
        assert sorted(answer["missing_validators"]) == sorted(institutions[4:])

        network.start(4)
        assert network.client(0).wait(pending)["height"] > height
        acknowledged += [pending, *(issuer.issue(network.client(i)) for i in range(5))]
        assert not network.client(0).call("node_whyStalled")["stalled"]

        network.start(5, 6)
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        acknowledged.append(issuer.issue(network.client(6)))
        height = harness.wait_level(network)
        assert harness.assert_same_chain(network) >= height
        for index in range(7):
            harness.assert_committed(network.client(index), acknowledged)
        assert network.stop() == dict.fromkeys(range(7), 0)
