"""What `pila testnet` writes: who validates, which keys there are, which ports, and what is refused."""

import json
import tomllib
from pathlib import Path

import pytest

from node.chain import genesis
from node.errors import ConfigError
from node.keystore import Keystore
from tools.testnet import read_network_description, validator_order, with_seeded_institutions, write_testnet


def test_validators_are_the_authorities_then_the_issuers_in_file_order() -> None:
    """Of the state's own description."""
    order = validator_order(read_network_description(None).institutions)
    assert order[:4] == ["seg.guanajuato.gob.mx", "sdes.guanajuato.gob.mx", "anahuac.mx", "bajio.delasalle.edu.mx"]
    assert "coepes.guanajuato.gob.mx" not in order


def test_missing_validators_are_seeded() -> None:
    """More validators than the file has: testNN.example are added at its end, and only then."""
    description = read_network_description(None)
    there = len(validator_order(description.institutions))
    assert with_seeded_institutions(description, there) == description
    more = with_seeded_institutions(description, there + 2)
    assert [item.id for item in more.institutions[-2:]] == ["test01.example", "test02.example"]


def test_the_files_of_a_network(tmp_path: Path) -> None:
    """Genesis, homes, keystores, targets: each says the same of keys and ports."""
    made = write_testnet(tmp_path / "net", validators=5, base_port=20_000)
    text = (made.output / "genesis.json").read_text(encoding="utf-8")
    document = genesis.parse_genesis(text.encode())
    assert document == made.document
    assert json.loads(text)["genesis_hash"] == genesis.genesis_hash(document).hex()
    assert len(document.validators) == 5
    for index, node in enumerate(made.nodes):
        config = tomllib.loads((node.home / "config.toml").read_text(encoding="utf-8"))
        assert config["rpc"]["listen"] == f"127.0.0.1:{20_000 + 10 * index}"
        assert config["p2p"]["listen"] == f"127.0.0.1:{20_001 + 10 * index}"
        assert config["metrics"]["listen"] == f"127.0.0.1:{20_002 + 10 * index}"
        assert len(config["p2p"]["peers"]) == 4
        assert (node.home / "genesis.json").read_text(encoding="utf-8") == text
        assert (node.home / "keys" / "node.fresh").exists()
        key = Keystore.open(node.home / "keys" / "node.json").ed25519("consensus").public_key
        assert key in [validator.public_key for validator in document.validators]
    for item in read_network_description(None).institutions:
        assert made.keystore(item.id).stat().st_mode & 0o077 == 0
        assert Keystore.open(made.keystore(item.id, ".recovery")).institution == item.id
    targets = (made.output / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    assert [line.strip("- \n") for line in targets.splitlines() if "127.0.0.1" in line] == [
        f"127.0.0.1:{20_002 + 10 * index}" for index in range(5)
    ]


@pytest.mark.parametrize(
    "validators, base_port, says",
    [
        (3, 20_000, "--validators 3: between 4 and 100"),
        (101, 20_000, "--validators 101: between 4 and 100"),
        (4, 1_000, "--base-port 1000: ports 1000 to 1032 must lie within 1024 … 65535"),
        (4, 65_510, "--base-port 65510: ports 65510 to 65542 must lie within 1024 … 65535"),
    ],
)
def test_numbers_that_do_not_fit_write_nothing(tmp_path: Path, validators: int, base_port: int, says: str) -> None:
    """Refused before the first file."""
    with pytest.raises(ConfigError) as refused:
        write_testnet(tmp_path / "net", validators=validators, base_port=base_port)
    assert str(refused.value) == says
    assert not (tmp_path / "net").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Nothing of somebody else's is overwritten."""
    (tmp_path / "mine").touch()
    with pytest.raises(ConfigError) as refused:
        write_testnet(tmp_path, validators=4, base_port=20_000)
    assert str(refused.value) == f"{tmp_path} is not empty; choose a new folder"
