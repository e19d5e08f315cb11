"""A node's options are read strictly, and what is wrong is named by file, line and field."""

from pathlib import Path

import pytest

from node.config import (
    Config,
    LogConfig,
    MetricsConfig,
    NodeConfig,
    P2pConfig,
    PeerConfig,
    ReaderConfig,
    RpcConfig,
    SignerConfig,
    StorageConfig,
    config_text,
    load_config,
    parse_config,
    render_config,
    split_address,
)
from node.errors import ConfigError

FULL = Config(
    NodeConfig("ugto.mx", validate=False),
    rpc=RpcConfig("0.0.0.0:80", 0, 7, "https://pila.example/\u00e1\"'"),
    p2p=P2pConfig(
        listen=None,
        peers=(PeerConfig("seg.mx", "[::1]:9"), PeerConfig("sdes.mx", "node.example:9")),
        readers=(ReaderConfig("archive.mx", "ab" * 32),),
    ),
    metrics=MetricsConfig(listen=None),
    log=LogConfig("debug"),
    storage=StorageConfig(1, 0),
    signer=SignerConfig("pkcs11", "run/s.sock", "/usr/lib/x.so", "tok", "key", "keys/pin"),
)
LEAST = Config(NodeConfig("ugto.mx"))


@pytest.mark.parametrize("config", [FULL, LEAST])
def test_what_is_written_is_read_back(config: Config) -> None:
    """Every option survives, a listener that is off and odd characters too."""
    assert parse_config(config_text(config).encode()) == config


def test_only_the_institution_must_be_said() -> None:
    """Everything else has a default."""
    assert parse_config(b'[node]\ninstitution = "ugto.mx"\n') == LEAST


def test_addresses_make_a_configuration() -> None:
    """What `pila init` and `pila testnet` write: peers by institution, in order."""
    text = render_config(
        institution="ugto.mx",
        rpc_listen="127.0.0.1:1",
        p2p_listen="127.0.0.1:2",
        metrics_listen="",
        peers={"b.mx": "127.0.0.1:4", "a.mx": "127.0.0.1:3"},
    )
    assert parse_config(text.encode()) == Config(
        NodeConfig("ugto.mx"),
        rpc=RpcConfig("127.0.0.1:1"),
        p2p=P2pConfig("127.0.0.1:2", (PeerConfig("a.mx", "127.0.0.1:3"), PeerConfig("b.mx", "127.0.0.1:4"))),
        metrics=MetricsConfig(None),
    )


NODE = '[node]\ninstitution = "ugto.mx"\n'
PEER = '[[p2p.peers]]\ninstitution = "a.mx"\naddress = "a:1"\n[[p2p.peers]]\n'
"""Of a second peer the next lines tell."""


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("[node\n", "config.toml: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        ("x = " + "[" * 10_000, "config.toml: maximum recursion depth exceeded"),
        ("", "config.toml: node: is missing"),
        ("[node]\n", "config.toml, line 1: node.institution: is missing"),
        ('[node]\ninstitution = "UGTO"\n', "config.toml, line 2: node.institution: expected `str` matching regex"),
        (NODE + "speed = 3\n", "config.toml, line 3: node.speed: no such option"),
        (NODE + "[rcp]\n", "config.toml, line 3: rcp: no such option"),
        (NODE + "\n[rpc]\nlisten = 8600\n", "config.toml, line 5: rpc.listen: expected `str`, got `int`"),
        (
            NODE + '[rpc]\nlisten = "8600"\n',
            "config.toml, line 4: rpc.listen: '8600' is no address; it should look like",
        ),
        (
            NODE + '[rpc]\nlisten = "localhost:65536"\n',
            "config.toml, line 4: rpc.listen: 'localhost:65536' is no address",
        ),
        (NODE + "[rpc]\nconnections_max = 0\n", "config.toml, line 4: rpc.connections_max: expected `int` >= 1"),
        (
            NODE + '[metrics]\nlisten = "127.0.0.1:8601"\n',
            "config.toml, line 4: metrics.listen: 127.0.0.1:8601 is p2p.listen too",
        ),
        (NODE + '[log]\nlevel = "loud"\n', "config.toml, line 4: log.level: expected `str` matching regex"),
        (
            NODE + PEER + 'institution = "b.mx"\n',
            "config.toml, line 6: p2p.peers[1].address: is missing",
        ),
        (
            NODE + PEER + 'institution = "b.mx"\naddress = "b:x"\n',
            "config.toml, line 8: p2p.peers[1].address: 'b:x' is no address",
        ),
        (
            NODE + PEER + 'institution = "a.mx"\naddress = "a:2"\n',
            "config.toml, line 7: p2p.peers[1].institution: a.mx is listed twice",
        ),
    ],
)
def test_what_is_wrong_is_named_with_line_and_field(text: str, sentence: str) -> None:
    """An operator finds the place without counting."""
    with pytest.raises(ConfigError) as refused:
        parse_config(text.encode())
    assert str(refused.value).startswith(sentence)


def test_text_that_is_not_utf_8_is_refused() -> None:
    """With the byte at which it goes wrong."""
    with pytest.raises(ConfigError) as refused:
        parse_config(b"# \xff")
    assert str(refused.value) == "config.toml: not UTF-8 at byte 2"


def test_home_without_configuration_says_how_to_get_one(tmp_path: Path) -> None:
    """The sentence names the file and the commands that make it."""
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}/config.toml cannot be read: No such file or directory; `pila init` and `pila testnet` make one"
    )


@pytest.mark.parametrize(
    "address,expected",
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65_535)),
        ("node-1.example:80", ("node-1.example", 80)),
    ],
)
def test_address_is_taken_apart(address: str, expected: tuple[str, int]) -> None:
    """IPv6 hosts lose their brackets."""
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", ":80", "host", "host:", "host:-1", "::1:80", "ho st:80", "host:80\n"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """Neither half may be missing."""
    with pytest.raises(ConfigError):
        split_address(address)


@pytest.mark.parametrize(
    "table,sentence",
    [
        ('kind = "pkcs11"\n', "config.toml, line 3: signer.module: needed for a PKCS#11 key"),
        ('kind = "pkcs11"\nmodule = "/x.so"\n', "config.toml, line 3: signer.token: needed for a PKCS#11 key"),
        ('module = "/x.so"\ntoken = ""\n', "config.toml, line 5: signer.token: needed for a PKCS#11 key"),
        ('kind = "hsm"\n', "config.toml, line 4: signer.kind: invalid enum value 'hsm'"),
        ('pin = "1234"\n', "config.toml, line 4: signer.pin: no such option"),
    ],
    ids=["no module", "no token", "signer's process without token", "unknown kind", "a PIN in the file"],
)
def test_a_signer_that_is_only_half_described_is_refused(table: str, sentence: str) -> None:
    """Line and field are named; the PIN itself has no place in the file."""
    with pytest.raises(ConfigError) as error:
        parse_config(f'[node]\ninstitution = "ugto.mx"\n[signer]\n{table}'.encode())
    assert str(error.value) == sentence
