"""What people hand to the command line: files that are not what they should be, nodes that are not there.

Exit 0 done, 1 the answer is no, 2 unusable input or unreachable node; one sentence on stderr that names
the file, the same as JSON with `--json`; never a traceback (the harness looks at every command's output).
"""

import json
import os
import random
import shutil
import time
from pathlib import Path

import openpyxl
import pytest

from node.chain.genesis import genesis_hash
from node.documents.verifier import verify_bundle
from tests.functional import harness
from tests.functional.harness import Issuer, pila, refused
from tools.local_network import LocalNetwork, free_base_port

OWNER = "ulsab.edu.mx"
HEADER = "nombre,apellidos,matricula\n"


@pytest.fixture(scope="module")
def issuer(network: LocalNetwork) -> Issuer:
    """A university with a definition."""
    return harness.publish(network, OWNER, "archivos")


def issuing(network: LocalNetwork, issuer: Issuer, learners: Path, *more: object) -> list[object]:
    """Return the arguments of `pila issue`."""
    return [
        "issue", "--definition", issuer.definition, "--learners", learners, "--out", learners.parent / "out",
        "--keystore", network.testnet.keystore(OWNER), "--rpc", network.nodes[0].rpc, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def bundle(network: LocalNetwork, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good bundle."""
    learners = tmp_path_factory.mktemp("good") / "alumnos.csv"
    learners.write_text(HEADER + "Íñigo,Muñoz,B-1\n", encoding="utf-8")
    pila(*issuing(network, issuer, learners))
    (found,) = (learners.parent / "out").glob("*.pila.json")
    return found


# --- learners' files ---


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("latin1.csv", (HEADER + "Íñigo,Muñoz,C-1\n").encode("latin-1"), "UTF-8"),
        ("utf16.csv", (HEADER + "Ana,Paz,C-1\n").encode("utf-16"), "UTF-8"),
        ("empty.csv", b"", "empty"),
        ("header-only.csv", HEADER.encode(), ""),
        ("missing.csv", b"nombre,matricula\nAna,C-1\n", "family_name"),
        ("unknown.csv", b"nombre,apellidos,color\nAna,Paz,rojo\n", "color"),
        ("twice.csv", b"nombre,apellidos,nombre\nAna,Paz,Eva\n", ""),
        ("bad-row.csv", (HEADER + "Ana,Paz,C-1\n,Paz,C-2\nEva,,C-3\n").encode(), "row 3"),
        ("same-person.csv", (HEADER + "Ana,Paz,C-1\nEva,Sol,C-1\n").encode(), "row 3"),
        ("binary.csv", bytes(range(256)) * 4, ""),
        ("broken.xlsx", b"PK\x03\x04" + b"\x00" * 100, ""),
        ("long-cell.csv", (HEADER + "A" * 5_000 + ",Paz,C-1\n").encode(), "row 2"),
        ("control.csv", (HEADER + "An\x07a,Paz,C-1\n").encode(), "row 2"),
    ],
)
def test_a_bad_learners_file_sends_nothing(
    network: LocalNetwork, issuer: Issuer, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """Exit 2, one sentence that names the file and what is wrong with it; no block, no bundle."""
    learners, before = tmp_path / name, network.height()
    learners.write_bytes(content)
    sentence = refused(*issuing(network, issuer, learners))
    assert str(learners) in sentence
    assert says in sentence
    assert network.height() == before
    assert not list(tmp_path.glob("out/*.pila.json"))


def test_a_learners_file_that_is_not_there(network: LocalNetwork, issuer: Issuer, tmp_path: Path) -> None:
    """Exit 2 for a missing file and for a folder."""
    assert "No such file" in refused(*issuing(network, issuer, tmp_path / "nada.csv"))


def test_xlsx_is_read_like_csv(network: LocalNetwork, issuer: Issuer, tmp_path: Path) -> None:
    """A workbook with Spanish headers and accents; a dry run first, which sends nothing; then for good."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (("nombre", "apellidos", "matricula"), ("Ñandú", "Güemes", "X-1"), ("Ana", "Peña", 17)):
        sheet.append(row)
    learners = tmp_path / "alumnos.xlsx"
    book.save(learners)
    book.close()
    before = network.height()
    dry = pila(*issuing(network, issuer, learners, "--dry-run")).json
    assert (dry["issued"], dry["dry_run"]) == (2, True)
    heights = range(before + 1, network.height() + 1)  # a heartbeat may have come
    assert [network.client().call("chain_block", height=height)["transactions"] for height in heights] == [[]] * len(
        heights
    )
    done = pila(*issuing(network, issuer, learners)).json
    assert (done["issued"], done["already_issued"], done["bad_rows"]) == (2, 0, [])
    again = pila(*issuing(network, issuer, learners)).json
    assert (again["issued"], again["already_issued"]) == (0, 2)
    report = (tmp_path / "out" / "report.csv").read_text(encoding="utf-8-sig")
    assert report.count("already issued") == 2


def test_bad_rows_are_left_out_on_request(network: LocalNetwork, issuer: Issuer, tmp_path: Path) -> None:
    """`--skip-bad` issues the good rows and names the bad ones by number."""
    learners = tmp_path / "alumnos.csv"
    learners.write_text(HEADER + "Ana,Paz,D-1\n,Paz,D-2\nEva,Sol,D-3\n", encoding="utf-8")
    done = pila(*issuing(network, issuer, learners, "--skip-bad")).json
    assert (done["issued"], [item["row"] for item in done["bad_rows"]]) == (2, [3])
    assert len(list((tmp_path / "out").glob("*.pila.json"))) == 2


# --- definitions and other input of the chain's ---


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("broken.toml", b"id = \n", "line 1"),
        ("empty.toml", b"", ""),
        ("latin1.toml", "título = 'ñ'\n".encode("latin-1"), "UTF-8"),
        ("list.json", b"[1, 2]", "list"),
        ("deep.json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, ""),
        ("cut.json", b'{"id": "ulsab.edu.mx/x/1"', ""),
    ],
)
def test_a_bad_definition_file_is_refused(
    network: LocalNetwork, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """Exit 2 and a sentence that names the file or the field; nothing is sent."""
    file, before = tmp_path / name, network.height()
    file.write_bytes(content)
    keystore = network.testnet.keystore(OWNER)
    assert says in refused("definition", "publish", file, "--keystore", keystore, "--rpc", network.nodes[0].rpc)
    assert network.height() == before


def test_each_missing_element_of_a_definition_is_named(tmp_path: Path) -> None:
    """`definition check` exits 1 and names what is missing; the whole file exits 0."""
    whole = harness.DEFINITIONS / "pespunte.toml"
    assert pila("definition", "check", whole).json == {"file": str(whole), "ok": True, "findings": []}
    text = whole.read_text(encoding="utf-8")
    less = tmp_path / "menos.toml"
    less.write_text(text.replace("hours = 80\n", "").replace('assessment = "', 'assesment = "'), encoding="utf-8")
    findings = " ".join(pila("definition", "check", less, expect=1).json["findings"])
    assert "hours" in findings
    assert "assessment" in findings


def test_a_definition_of_another_institution_is_rejected(network: LocalNetwork, tmp_path: Path) -> None:
    """Exit 1: the answer is no, with the reason of the closed list."""
    ended = pila(
        "definition", "publish", harness.DEFINITIONS / "pespunte.toml", "--keystore", network.testnet.keystore(OWNER),
        "--rpc", network.nodes[0].rpc, expect=1,
    )  # fmt: skip
    assert (ended.json["ok"], ended.json["reason"]) == (False, "not_permitted")
    assert len(ended.err.strip().splitlines()) == 1


# --- bundles ---


def test_a_damaged_bundle_is_not_verified(bundle: Path, tmp_path: Path, anchor: tuple[str, str]) -> None:
    """Cut, empty, something else: exit 2, for it is no bundle; tampered: exit 1 with the light `document`."""
    data = bundle.read_bytes()
    for number, content in enumerate((data[: len(data) // 2], data[:-1], data + b"\n", b"", b"{}", b"\xff" * 50)):
        file = tmp_path / f"dañado-{number}.pila.json"
        file.write_bytes(content)
        answer = pila("verify", file, *anchor, expect=2).json
        assert answer["verified"] is False
        assert not any(light["ok"] for light in answer["checks"])
    tampered = tmp_path / "alterado.pila.json"
    tampered.write_bytes(data.replace("Íñigo".encode(), "Iñigo".encode()))
    answer = pila("verify", tampered, *anchor, expect=1).json
    assert "document" in [light["name"] for light in answer["checks"] if not light["ok"]]
    many = pila("verify", bundle, tampered, *anchor, expect=1).json
    assert [item["verified"] for item in many["files"]] == [True, False]
    assert "No such file" in refused("verify", tmp_path / "nada.pila.json", *anchor)


def test_a_bundle_of_another_network_is_not_verified(bundle: Path, tmp_path: Path) -> None:
    """Against another genesis only `network` can be judged, and says no: exit 1."""
    pila("testnet", "--output", tmp_path / "other", "--base-port", 20_000)
    answer = pila("verify", bundle, "--genesis", tmp_path / "other" / "genesis.json", expect=1).json
    assert "network" in [light["name"] for light in answer["checks"] if not light["ok"]]
    for wrong in ("no-such-file", "00" * 31, str(bundle)):
        assert wrong in refused("verify", bundle, "--genesis", wrong)
    assert "--max-age" in refused("verify", bundle, "--max-age", "soon")


def test_no_flipped_bit_is_ever_verified(
    network: LocalNetwork, bundle: Path, tmp_path: Path, rng: random.Random
) -> None:
    """Four hundred single bits of a real bundle, anywhere in it: each one refused, none by an exception."""
    data = bundle.read_bytes()
    anchor = genesis_hash(network.testnet.document)
    now_ms = int(time.time() * 1000)
    assert verify_bundle(data, genesis_hash=anchor, now_ms=now_ms).verified
    for place in rng.sample(range(8 * len(data)), 400):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        answer = verify_bundle(bytes(changed), genesis_hash=anchor, now_ms=now_ms)
        assert not answer.verified, f"bit {place} of {bundle}"


def test_a_presentation_shows_only_what_was_chosen(bundle: Path, tmp_path: Path, anchor: tuple[str, str]) -> None:
    """`disclose` lists and hides claims; what it writes is verified; an unknown claim is exit 2."""
    fields = pila("disclose", bundle, "--fields", "?").json["fields"]
    name = next(field for field in fields if field.endswith("/name"))
    shown = tmp_path / "presentación.pila.json"
    assert pila("disclose", bundle, "--fields", name, "--out", shown).json["fields"] == [name]
    text = shown.read_text(encoding="utf-8")
    assert "B-1" not in text
    assert pila("verify", shown, *anchor).json["verified"]
    assert "nonsense" in refused("disclose", bundle, "--fields", "nonsense", "--out", shown)


# --- keystores ---


def test_keystores_that_do_not_open(network: LocalNetwork, issuer: Issuer, learners: Path, tmp_path: Path) -> None:
    """Missing, no keystore, sealed without or with a wrong passphrase, of the wrong kind: exit 2 naming the file."""
    passphrase, wrong = tmp_path / "frase", tmp_path / "otra"
    passphrase.write_text("una frase larga\n", encoding="utf-8")
    wrong.write_text("otra frase\n", encoding="utf-8")
    own = network.testnet.keystore(OWNER)
    sealed, broken = tmp_path / "sellada.json", tmp_path / "rota.json"
    pila("key", "export", own, "--output", sealed, "--new-passphrase-file", passphrase)
    assert pila("key", "show", sealed).json["sealed"] is True
    broken.write_text("{", encoding="utf-8")

    arguments = issuing(network, issuer, learners)
    place = arguments.index("--keystore") + 1

    def with_keystore(path: Path) -> list[object]:
        return [*arguments[:place], path, *arguments[place + 1 :]]

    environment = {name: value for name, value in os.environ.items() if name != "PILA_PASSPHRASE"}
    for path, more in (
        (tmp_path / "nada.json", []),
        (broken, []),
        (sealed, ["--passphrase-file", wrong]),
        (sealed, ["--passphrase-file", tmp_path / "nada"]),
        (network.testnet.keystore(OWNER, ".recovery"), []),
    ):
        sentence = refused(*with_keystore(path), *more)
        assert str(tmp_path) in sentence or ".recovery" in sentence or "recovery" in sentence
    ended = pila(*with_keystore(sealed), expect=2, environment=environment)
    assert "passphrase" in ended.err
    assert "exists" in refused("key", "new", "--kind", "holder", "--output", sealed, "--no-passphrase")
    done = pila(*with_keystore(sealed), expect=0, environment={**environment, "PILA_PASSPHRASE": "una frase larga"})
    assert done.json["issued"] == 3


def test_a_sealed_node_keystore_stays_sealed(network: LocalNetwork, tmp_path: Path) -> None:
    """`init` copies it as it is, without taking its keys for unused; `start` wants the right passphrase."""
    passphrase, wrong = tmp_path / "frase", tmp_path / "otra"
    passphrase.write_text("una frase larga\n", encoding="utf-8")
    wrong.write_text("otra frase\n", encoding="utf-8")
    sealed, home = tmp_path / "nodo.json", tmp_path / "hogar"
    made = ["key", "new", "--kind", "node", "--institution", "ugto.mx", "--output", sealed]
    pila(*made, "--passphrase-file", passphrase)
    init = ["init", "--home", home, "--genesis", network.testnet.output / "genesis.json", "--node-keystore", sealed]
    assert "ugto.mx" in refused(*init, "--institution", "itc.mx")
    pila(*init, "--institution", "ugto.mx")
    kept = home / "keys" / "node.json"
    assert kept.read_bytes() == sealed.read_bytes()
    assert sorted(file.name for file in kept.parent.iterdir()) == ["node.json"]
    environment = {name: value for name, value in os.environ.items() if name != "PILA_PASSPHRASE"}
    asked = pila("start", "--home", home, as_json=False, expect=2, environment=environment)
    assert str(kept) in asked.err
    assert str(kept) in refused("start", "--home", home, "--passphrase-file", wrong)


# --- nodes ---


def test_a_node_that_is_not_there(network: LocalNetwork, issuer: Issuer, learners: Path, bundle: Path) -> None:
    """Exit 2 with one sentence that says what to try, for every command that talks to a node."""
    url = f"http://127.0.0.1:{free_base_port(1)}"
    keystore = network.testnet.keystore(OWNER)
    arguments = issuing(network, issuer, learners)[:-1]
    for command in (
        ["status", "--rpc"],
        ["institution", "list", "--rpc"],
        ["definition", "publish", harness.DEFINITIONS / "pespunte.toml", "--keystore", keystore, "--rpc"],
        ["revoke", bundle, "--reason", "other", "--keystore", keystore, "--rpc"],
        [*arguments],
    ):
        sentence = refused(*command, url)
        assert url in sentence
        assert "pila start" in sentence
    assert "no address" in refused("status", "--rpc", "ftp://nowhere")
    metrics = network.nodes[0].metrics.removesuffix("/metrics")
    assert metrics in refused("status", "--rpc", metrics)


def test_a_second_start_on_one_home_is_refused(network: LocalNetwork) -> None:
    """Exit 2, naming the home; the first one goes on."""
    home = network.nodes[1].home
    ended = pila("start", "--home", home, as_json=False, expect=2)
    assert str(home) in ended.err.splitlines()[-1]
    assert "already" in ended.err
    assert network.is_running(1)


def test_homes_that_cannot_be_started(network: LocalNetwork, tmp_path: Path) -> None:
    """Not there, no genesis, a wrong genesis hash, wrong options, a port in use: exit 2 and a sentence."""
    assert "config.toml" in refused("start", "--home", tmp_path / "nada")
    home = tmp_path / "copia"
    source = network.nodes[2].home

    def fresh() -> None:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(source, home, ignore=shutil.ignore_patterns("data", "node.log", "node.lock", "node.sock"))
        (home / "data").mkdir()

    fresh()
    (home / "genesis.json").unlink()
    assert "genesis.json" in refused("start", "--home", home)
    fresh()
    genesis = json.loads((home / "genesis.json").read_text(encoding="utf-8"))
    (home / "genesis.json").write_text(json.dumps({**genesis, "chain_id": "other"}), encoding="utf-8")
    assert "genesis_hash" in refused("start", "--home", home)
    assert "genesis_hash" in refused("genesis", "check", home / "genesis.json")
    fresh()
    config = home / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("calls_per_second = 2000", 'calls_per_second = "many"'), encoding="utf-8")
    sentence = refused("config", "check", "--home", home)
    assert "rpc.calls_per_second" in sentence
    assert ", line " in sentence
    assert refused("start", "--home", home) == sentence
    config.write_text(text + "\n[nonsense]\n", encoding="utf-8")
    assert "nonsense" in refused("start", "--home", home)
    fresh()
    ended = pila("start", "--home", home, as_json=False, expect=2)  # the ports of a node that runs
    assert "cannot listen" in ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["testnet", "--validators", "3", "--output", "{}/a"], "3"),
        (["testnet", "--validators", "101", "--output", "{}/b"], "101"),
        (["testnet", "--base-port", "65530", "--output", "{}/c"], "65530"),
        (["testnet", "--institutions", "{}/nada.json", "--output", "{}/d"], "nada.json"),
        (["genesis", "check", "{}/nada.json"], "nada.json"),
    ],
)
def test_networks_that_cannot_be(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Exit 2 and nothing half written."""
    assert says in refused(*(argument.format(tmp_path) for argument in arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """`testnet` and `init` write into new folders only."""
    (tmp_path / "kept").write_text("mine", encoding="utf-8")
    assert str(tmp_path) in refused("testnet", "--output", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_mistyped_command_names_the_nearest(tmp_path: Path) -> None:
    """Usage errors are exit 2 as well."""
    ended = pila("verif", as_json=False, expect=2)
    assert "'verify'" in ended.err
    assert "--definition" in pila("issue", as_json=False, expect=2).err


def test_every_answer_is_json_on_request(network: LocalNetwork, issuer: Issuer) -> None:
    """`--json` prints one JSON object for whatever asks a node."""
    rpc = ["--rpc", network.nodes[3].rpc]
    status = pila("status", *rpc).json
    assert status["institution"] == network.nodes[3].institution
    assert len(pila("validators", *rpc).json["validators"]) == 4
    assert pila("why-stalled", *rpc).json["stalled"] is False
    assert len(pila("institution", "list", *rpc).json["items"]) == 22
    assert pila("institution", "show", OWNER, *rpc).json["standing"] == "accredited"
    assert pila("definition", "show", issuer.definition, *rpc).json["id"] == issuer.definition
    assert [item["id"] for item in pila("catalog", "search", "--issuer", OWNER, *rpc).json["items"]] == [
        issuer.definition
    ]
    assert pila("catalog", "search", "nadaqueexista", *rpc, expect=1).json["ok"] is False
    assert pila("institution", "show", "nobody.example", *rpc, expect=1).json["ok"] is False
    assert pila("key", "show", network.testnet.keystore(OWNER)).json["institution"] == OWNER
