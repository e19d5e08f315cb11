"""Four real nodes: what they prove over RPC and what a university issues through them, judged by others' programs.

Learners are invented. The documents carry a status list address that no list is served at yet, so the verifiers
judge signature, form and dates.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.kit import digitalbazaar_verdicts, ics23_verdicts, openbadgeslib_verdict
from tools.commands.demo import DEMO_FOLDER, GROUPS, SECOND, run_pila
from tools.local_network import LocalNetwork, running

GROUP = GROUPS[1]
LEARNERS = "nombre,apellidos,matricula\nÁrbol,Inventado,INV-1\nPiedra,Inventada,INV-2\nNube,Inventada,INV-3\n"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """A network on which one university has published a definition."""
    with running(tmp_path_factory.mktemp("interop") / "network") as made:
        file = DEMO_FOLDER / "definitions" / f"{GROUP.definition.split('/')[1]}.toml"
        own = ("--keystore", str(made.testnet.keystore(SECOND)), "--rpc", made.nodes[3].rpc)
        assert run_pila("definition", "publish", str(file), *own)[0] == 0
        yield made


@pytest.fixture(scope="module")
def documents(network: LocalNetwork, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The Open Badges documents of three bundles, as the command line wrote them."""
    folder = tmp_path_factory.mktemp("issued")
    (folder / "learners.csv").write_text(LEARNERS, encoding="utf-8")
    code, out, err = run_pila(
        "issue", "--definition", GROUP.definition, "--learners", str(folder / "learners.csv"), "--out",
        str(folder / "out"), "--keystore", str(network.testnet.keystore(SECOND)), "--rpc", network.nodes[3].rpc,
    )  # fmt: skip
    assert code == 0, out + err
    return [json.loads(file.read_bytes())["document"] for file in sorted(Path(folder / "out").glob("*.pila.json"))]


def test_ics23_verifies_presence_and_absence_over_rpc(network: LocalNetwork) -> None:
    """@confio/ics23 takes what `state_proof` answers, and refuses it for another root."""
    client = network.client(0)
    present = [client.call("state_proof", key=key) for key in (f"acc/{SECOND}", f"def/{GROUP.definition}", "val/set")]
    absent = [client.call("state_proof", key=f"acc/nobody{number}.mx") for number in range(20)]
    assert all(answer["value"] for answer in present)
    assert all(answer["value"] is None for answer in absent)
    header = client.call("chain_header", height=present[0]["height"])
    assert header["state_root"] == present[0]["state_root"]
    forged = [{**answer, "state_root": "11" * 32} for answer in (present[0], absent[0])]
    assert ics23_verdicts(*present, *absent, *forged) == [True] * 23 + [False] * 2


def test_others_verify_the_documents_of_bundles(documents: list[dict[str, object]]) -> None:
    """@digitalbazaar/vc and openbadgeslib take the documents as they are, and refuse them changed."""
    assert len(documents) == 3
    changed = [{**document, "name": "Otra cosa"} for document in documents]
    assert digitalbazaar_verdicts(*documents, *changed) == [True] * 3 + [False] * 3
    pytest.importorskip("openbadgeslib")
    assert [openbadgeslib_verdict(document) for document in (*documents, *changed)] == [True] * 3 + [False] * 3
