"""Which ledger the simulated machines run: the small twin in most seeds, the real one in some."""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import msgspec

from node import codec
from node.chain.answers import Committed
from node.chain.block import Block, Header
from node.chain.certificate import Certificate, Network
from node.chain.demerits import Demerits
from node.chain.genesis import genesis_block
from node.chain.ledger import Ledger
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.transaction import make_transaction
from node.chain.validator_set import Validator, ValidatorSet
from node.errors import Rejected
from node.primitives import Hash
from tests.simulation.disk import SimulatedDisk
from tests.simulation.parts import KeyRing
from tests.simulation.twin_chain import Archive, TwinChain, genesis_header
from tests.unit.chain import kit

TWIN_START_MS = 1_700_000_000_000


class SimulatedChain(Protocol):
    """The replica's `Chain`, and what the checkers and the liars ask of it."""

    on_new_head: Callable[[Block, Certificate], object]
    """Told of each new head."""

    @property
    def network(self) -> Network: ...
    @property
    def head(self) -> Header: ...
    @property
    def epoch(self) -> int: ...
    @property
    def demerits(self) -> Demerits: ...
    @property
    def head_certificate(self) -> Certificate | None: ...
    def validators_at(self, height: int) -> ValidatorSet: ...
    @property
    def pruned_below(self) -> int: ...
    def has_pending(self) -> bool: ...
    def submit_evidence(self, data: bytes) -> bool: ...
    def build_block(self, *, proposer: str, timestamp_ms: int) -> Block: ...
    def validate_block(self, block: Block) -> None: ...
    def commit_block(self, block: Block, certificate: Certificate) -> object: ...
    def block_at(self, height: int) -> tuple[Block, Certificate] | None: ...
    def take(self, transaction: bytes) -> bool:
        """Tell whether the mempool got something new."""
        ...

    def other_block(self, *, proposer: str, timestamp_ms: int) -> Block:
        """A valid block that an attacker makes."""
        ...

    def executed_root(self) -> Hash:
        """The root of the state that this chain really has."""
        ...

    def included(self) -> dict[bytes, int]:
        """The height of each transaction."""
        ...


class Backend(Protocol):
    """Makes disks and chains for one network."""

    validators: ValidatorSet
    network: Network
    genesis_ms: int
    start_ms: int

    def disk(self) -> SimulatedDisk: ...
    def open(self, disk: SimulatedDisk) -> SimulatedChain: ...
    def transaction(self, number: int) -> bytes: ...


class TwinBackend:
    """Everybody runs the small deterministic twin."""

    start_ms = TWIN_START_MS
    genesis_ms = TWIN_START_MS - 1_000

    def __init__(self, ring: KeyRing, count: int) -> None:
        """`count` of the ring's keys are in the first set."""
        self._ring = ring
        self.validators = ValidatorSet(
            tuple(Validator(f"v{i:02}.example", signer.public_key) for i, signer in enumerate(ring.signers[:count]))
        )
        self._genesis = genesis_header(self.validators, self.genesis_ms)
        self.network = self.open(Archive()).network

    def disk(self) -> Archive:
        return Archive()

    def open(self, disk: SimulatedDisk) -> TwinChain:
        assert isinstance(disk, Archive)
        return TwinChain(self._genesis, self.validators, disk, self._ring.verify)

    def transaction(self, number: int) -> bytes:
        return b"transaction %d" % number


class LedgerBackend:
    """Everybody runs node.chain.ledger over a store that can lose its tail; transactions are real."""

    start_ms = kit.GENESIS_TIME_MS + 1_000
    genesis_ms = kit.GENESIS_TIME_MS

    def __init__(self, ring: KeyRing) -> None:
        document = kit.genesis()
        voters = tuple(Validator(name, ring.signers[i].public_key) for i, name in enumerate(kit.VALIDATORS))
        self._document = msgspec.structs.replace(document, validators=voters)
        self._ring = ring
        self.validators = self._document.validator_set()
        self.network = Network(self._document.chain_id, genesis_block(self._document).hash())

    def disk(self) -> SimulatedDisk:
        return SimulatedDisk()

    def open(self, disk: SimulatedDisk) -> "LedgerChain":
        return LedgerChain.open(disk, self._document, verify_digest=self._ring.verify)

    def transaction(self, number: int) -> bytes:
        return _definition(self.network, number)


class LedgerChain(Ledger):
    """The real ledger, with what the simulation asks beside it."""

    on_new_head: Callable[[Block, Certificate], object]

    def commit_block(self, block: Block, certificate: Certificate) -> Committed:
        is_new = block.header.height > self.head.height
        done = super().commit_block(block, certificate)
        if is_new:
            self.on_new_head(block, certificate)
        return done

    def take(self, transaction: bytes) -> bool:
        try:
            return self.submit(transaction).is_new
        except Rejected:
            return False

    def other_block(self, *, proposer: str, timestamp_ms: int) -> Block:
        return self.build_block(proposer=proposer, timestamp_ms=timestamp_ms)

    def executed_root(self) -> Hash:
        return self.state.root

    def included(self) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for height in range(1, self.head.height + 1):
            block = self.block_at(height)
            assert block is not None
            found.update(dict.fromkeys(block[0].transactions, height))
        return found


@lru_cache(maxsize=1_000)
def _definition(network: Network, number: int) -> bytes:
    """A definition published by one of two universities."""
    signer = (kit.UGTO, kit.ITLEON)[number % 2]
    content = DefinitionPublish(kit.definition(f"{signer}/definition-{number}/1"))
    made = make_transaction(
        network,
        0,
        signer=signer,
        kind="definition.publish",
        valid_until_height=500,
        payload=content,
        signers=[kit.transaction_key(signer, 1)],
    )
    return codec.encode(made)
