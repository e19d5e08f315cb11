"""A chain with a little of everything, a node that says what it is told, and one way to call a method.

Every result that a call gives is validated against its schema in the OpenRPC document.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jsonschema
import msgspec

from node.chain.answers import Committed, Submission
from node.chain.records.credential import (
    LEAF_VERSION,
    Batch,
    Leaf,
    Origin,
    ReasonCode,
    StatusListEntry,
    holder_commitment,
    status_key,
)
from node.chain.records.definition import Definition
from node.chain.rules.catalogue import DefinitionAuthorise, DefinitionPublish, PathwayPublish
from node.chain.rules.credentials import CredentialIssue, StatusChange, StatusEntry
from node.chain.rules.stacking import ComponentOpening, HolderConsent, StackPayload, consent_digest
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.crypto.signing import Ed25519Signer
from node.documents.answer import Answer, Light, LightName, Text
from node.primitives import Hash, InstitutionId
from node.rpc import jsonrpc
from node.rpc.catalogue import Catalogue
from node.rpc.jsonrpc import RpcError
from node.rpc.methods.registry import METHODS, OPENRPC
from node.rpc.rate import RateLimiter
from node.rpc.server import RpcServer
from node.rpc.services import ConsensusInfo, OwnTrouble, PeerInfo, Services, ValidatorState
from node.rpc.statistics import Statistics
from node.state import keys
from tests.unit.chain.kit import GENESIS_TIME_MS, SEG, UGTO, TestChain, definition
from tests.unit.chain.rules.harness import all_of, pathway_content

T = TypeVar("T")

PESPUNTE = f"{UGTO}/pespunte/1"
CORTE = f"{UGTO}/corte/1"
CALZADO = f"{UGTO}/calzado/1"
ROUTE = f"{UGTO}/ruta/1"
HOLDER = Ed25519Signer(sha256(b"holder"))
NODE_KEY = sha256(b"node key")
NOW_MS = GENESIS_TIME_MS + 3_600_000
BATCH_SIZE = 3


@dataclass
class NodeTwin:
    """A running node that is what a test says."""

    chain: TestChain
    institution: str = SEG
    node_key: bytes = NODE_KEY
    version: str = "0.1.0"
    syncing: bool = False
    contradiction: str | None = None
    is_ready: bool = True
    standing_peers: list[PeerInfo] = field(default_factory=list)
    info: ConsensusInfo | None = None
    states: dict[str, ValidatorState] = field(default_factory=dict)
    troubles: tuple[OwnTrouble, ...] = ()
    now: int = NOW_MS
    verified: list[tuple[bytes, bool]] = field(default_factory=list)
    """What was to be verified, and whether it was a file."""
    gate: asyncio.Event | None = None
    """`settled` waits for it."""

    def now_ms(self) -> int:
        return self.now

    def peers(self) -> Sequence[PeerInfo]:
        return self.standing_peers

    def consensus(self) -> ConsensusInfo | None:
        return self.info

    def validator_state(self, institution: InstitutionId) -> ValidatorState:
        unknown = ValidatorState(institution, is_connected=False, address=None, trouble=None)
        return self.states.get(institution, unknown)

    def own_troubles(self) -> tuple[OwnTrouble, ...]:
        return self.troubles

    def submit(self, data: bytes) -> Submission:
        return self.chain.ledger.submit(data)

    async def settled(self, tx_id: Hash, timeout_ms: int, answer: Callable[[], T]) -> T:
        if self.gate is not None:
            await asyncio.wait_for(self.gate.wait(), timeout_ms / 1_000)
        return answer()

    async def verify(self, bundle: bytes, *, is_file: bool) -> Answer:
        self.verified.append((bundle, is_file))
        light = Light(LightName.NETWORK, False, Text("Otra red.", "Another network."), "unknown_network: …")
        return Answer((light,), True, None)


@dataclass(frozen=True)
class Credential:
    """A credential as its holder has it."""

    leaf: Leaf
    salt: bytes
    index: int
    batch: Committed

    @property
    def id(self) -> str:
        return self.leaf.credential_id().hex()

    @property
    def status_key(self) -> str:
        return self.leaf.status_key.hex()


class Desk:
    """A chain with definitions, a pathway, a batch of three and methods that answer from it."""

    def __init__(self) -> None:
        self.chain = TestChain()
        self.node = NodeTwin(self.chain)
        ledger = self.chain.ledger
        self.services = Services(
            ledger,
            self.node,
            Catalogue(lambda: list(ledger.definitions()), lambda id_: ledger.read(keys.definition(id_), Definition)),
            Statistics(ledger, lambda plain_key: ledger.read(plain_key, Batch)),
            RateLimiter(400),
        )
        self.calls: list[tuple[str, int]] = []
        self.fatal: list[Exception] = []
        self.server = RpcServer(
            self.services, calls_per_second=100, connections_max=8, observer=self, on_fatal=self.fatal.append
        )
        ledger.on_commit(self._committed)

    def called(self, method: str, code: int, seconds: float) -> None:
        """Note a call, as metrics do."""
        self.calls.append((method, code))

    def _committed(self, committed: Committed) -> None:
        self.services.catalogue.changed(event.subject for event in committed.events)
        self.services.statistics.changed({event.topic for event in committed.events})

    # --- making ---

    def publish(self) -> None:
        """Publish three definitions, authorise one, and publish a pathway."""
        for definition_id in (PESPUNTE, CORTE, CALZADO):
            self.chain.do("definition.publish", DefinitionPublish(definition(definition_id)), signer=UGTO)
        self.chain.do("definition.authorise", DefinitionAuthorise(PESPUNTE), signer=SEG)
        pathway = pathway_content(ROUTE, awards=CALZADO, requirements=(all_of(PESPUNTE, CORTE),))
        self.chain.do("pathway.publish", PathwayPublish(pathway), signer=UGTO)

    def issue(self, definition_id: str = PESPUNTE) -> list[Credential]:
        """Issue three credentials in one batch, all to one holder."""
        leaves = [self._leaf(definition_id, f"{definition_id} {index}") for index in range(BATCH_SIZE)]
        ids = [leaf.credential_id() for leaf in leaves]
        payload = CredentialIssue(definition_id, merkle.root(ids), len(ids), b"".join(ids))
        committed = self.chain.do("credential.issue", payload, signer=UGTO)
        return [
            Credential(leaf, sha256(f"salt {definition_id} {index}".encode()), index, committed)
            for index, leaf in enumerate(leaves)
        ]

    def change(self, action: str, credential: Credential, reason: ReasonCode = ReasonCode.FRAUD) -> Committed:
        """Revoke, suspend, reinstate or supersede."""
        entry = StatusEntry(credential.leaf.status_key, reason, StatusListEntry(0, credential.index))
        return self.chain.do(f"credential.{action}", StatusChange(UGTO, (entry,)), signer=UGTO)

    def stack(self, *components: Credential) -> Credential:
        """Stack credentials along the pathway, with the holder's consent."""
        leaf = self._leaf(CALZADO, "stack", Origin.STACK)
        digest = consent_digest(
            self.chain.network,
            0,
            awarding=UGTO,
            pathway=ROUTE,
            component_ids=[item.leaf.credential_id() for item in components],
            holder_keys=[HOLDER.public_key],
            result_id=leaf.credential_id(),
            valid_until_height=self.chain.next_height + 500,
        )
        openings = []
        for item in components:
            path = self.chain.ledger.credential_path(item.leaf.credential_id())
            located = self.chain.ledger.find_credential(item.leaf.credential_id())
            assert path is not None
            assert located is not None
            openings.append(
                ComponentOpening(item.leaf, located.batch_id, path.leaf_index, path.path, HOLDER.public_key, item.salt)
            )
        payload = StackPayload(
            ROUTE,
            tuple(openings),
            (HolderConsent(HOLDER.public_key, False, HOLDER.sign(digest)),),
            False,
            leaf,
            HOLDER.public_key,
            sha256(b"salt stack"),
        )
        committed = self.chain.do("credential.stack", payload, signer=UGTO)
        return Credential(leaf, sha256(b"salt stack"), 0, committed)

    def _leaf(self, definition_id: str, seed: str, origin: Origin = Origin.ISSUE) -> Leaf:
        return Leaf(
            LEAF_VERSION,
            self.chain.network.genesis_hash,
            UGTO,
            definition_id,
            origin,
            holder_commitment(HOLDER.public_key, sha256(f"salt {seed}".encode())),
            sha256(f"document {seed}".encode()),
            12,
            status_key(sha256(f"secret {seed}".encode())),
            GENESIS_TIME_MS,
            GENESIS_TIME_MS + 10**10,
        )

    # --- asking ---

    def call(self, name: str, /, **params: object) -> Any:  # noqa: ANN401 – the result's shape is the method's
        """Call a method and return its result, validated against its schema. Raises: RpcError."""
        answer = self.answer(json.dumps({"jsonrpc": "2.0", "id": 7, "method": name, "params": params}).encode())
        assert answer["id"] == 7
        if "error" in answer:
            error = answer["error"]
            data = error["data"]
            raise RpcError(jsonrpc.ErrorCode(error["code"]), data["detail"], data.get("reason"))
        check_result(name, answer["result"])
        return answer["result"]

    def answer(self, body: bytes) -> Any:  # noqa: ANN401 – as above
        """Answer a body as the server does."""

        async def run() -> bytes | None:
            return await self.server._answer(jsonrpc.parse(body, METHODS))

        answered = asyncio.run(run())
        return None if answered is None else json.loads(answered)


_COMPONENTS = {"components": OPENRPC["components"]}
_VALIDATORS: dict[str, jsonschema.Draft202012Validator] = {}


def check_result(name: str, result: object) -> None:
    """Compare a result with its method's schema; no member may be missing from the schema."""
    if name not in _VALIDATORS:
        methods = OPENRPC["methods"]
        assert isinstance(methods, list)
        (method,) = (item for item in methods if item["name"] == name)
        _VALIDATORS[name] = jsonschema.Draft202012Validator({**method["result"]["schema"], **_COMPONENTS})
    _VALIDATORS[name].validate(result)


def awaited(value: Awaitable[T]) -> T:
    """Wait for one thing in a loop of its own."""

    async def run() -> T:
        return await value

    return asyncio.run(run())


def as_json(value: msgspec.Struct) -> object:
    """Return a struct as JSON shows it."""
    return json.loads(msgspec.json.encode(value))
