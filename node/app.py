"""Wires the rooms of one node together, once, and owns its task group and its orderly stop.

Everything of a node lives in one event loop. Consensus, gossip and sync are synchronous: what happens
to them comes as a callback, and a callback that fails stops the node. Source: ARCHITECTURE.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from aiohttp import web

from node import gossip, sync
from node.chain.answers import Committed
from node.chain.certificate import verify_consensus_signature
from node.chain.ledger import Ledger
from node.chain.records.credential import Batch
from node.chain.records.definition import Definition
from node.chain.records.institution import Purpose
from node.channels import Channel
from node.clock import monotonic_seconds
from node.config import DATA_FOLDER, Config, load_config, split_address
from node.control import Control, Surroundings
from node.crypto.signing import Signer
from node.crypto.verified import SignatureCache
from node.custody import Custody, KeyPlace, open_member
from node.disk_watch import DiskWatch
from node.environment import Callbacks, ReplicaEnvironment
from node.errors import ConfigError, Reason, Rejected, StorageError
from node.figures import Figures, Sources
from node.home import Home, locked, read_home
from node.intake import Intake
from node.limits import LOOKBACK_CHANGES_PER_SECOND_MAX
from node.log import configure, get_logger
from node.membership import Membership
from node.metrics import Metrics, serve
from node.observers import ChainObserver, ConsensusObserver, TransportObserver
from node.p2p.network import Network
from node.p2p.observer import PeerIdentity
from node.p2p.peer_book import PeerAddress, PeerBook
from node.primitives import InstitutionId
from node.recorder import RECORDING_FOLDER, Recorder
from node.release import checkpoints_of
from node.replica import Replica
from node.rpc.catalogue import Catalogue
from node.rpc.methods.registry import VERSION
from node.rpc.rate import RateLimiter
from node.rpc.server import RpcServer
from node.rpc.services import Services
from node.rpc.statistics import Statistics
from node.running import RunningNode, Senses, TimedChain, Waiters
from node.snapshot_file import SnapshotShelf
from node.snapshots import CHAIN_FOLDER, SNAPSHOTS_FOLDER, DiskRestorer, SnapshotKeeper, settle
from node.state import keys
from node.state.leveldb import LevelDbStore, open_leveldb
from node.version_watch import VersionWatch, version_max
from node.web.network import ServicesPageView
from node.web.pages import add_routes
from node.workers import Worker

TICK_SECONDS: Final = 0.2
"""How often gossip and sync are given the time."""
SLOW_TICKS: Final = 5
"""Every so many ticks: what is due about once a second."""
DISK_TICKS: Final = 25


def run(home: Path, passphrase: bytes | None = None) -> None:
    """Run the node of a home until SIGINT or SIGTERM.

    `passphrase` opens a sealed `keys/node.json`; else the environment's PILA_PASSPHRASE does.
    Raises: ConfigError: the home is not usable, or a node runs on it already; StorageError: the disk
    is full or the database damaged. Both carry the sentence to show.
    """
    config = load_config(home)
    configure(config.log.level)
    if passphrase is None and "PILA_PASSPHRASE" in os.environ:
        passphrase = os.environb[b"PILA_PASSPHRASE"]
    with locked(home):
        is_over = False
        while not is_over:
            # Each turn runs on one chain; a restored one is begun anew, with everything that stands on it.
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                is_over = runner.run(_run(home, config, passphrase))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where there is one: a third less CPU for a call."""
    try:
        import uvloop  # noqa: PLC0415 – optional: not everywhere there is one
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(folder: Path, config: Config, passphrase: bytes | None) -> bool:
    """Run the node, and say what to do where its disk failed; return whether it was to end."""
    home = read_home(folder, config, passphrase)
    data = folder / DATA_FOLDER
    try:
        data.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{data} cannot be made: {error.strerror}") from None
    try:
        settle(data)
        return await _run_on(data, home)
    except StorageError as error:
        raise StorageError(
            f"{error}. If the disk is full, make room and start again: nothing acknowledged is lost. If the data is "
            f"damaged, move {data} away: the node then fetches the chain from the others, and a validator listens "
            "before it signs; never start a validator on an older copy, it could vote twice"
        ) from error


async def _run_on(data: Path, home: Home) -> bool:
    """Open the stores, run everything, and close the stores whatever happens; return whether it was to end."""
    config = home.config
    log = get_logger("app")
    cache_bytes = config.storage.cache_mebibytes * 2**20
    with contextlib.ExitStack() as stack:

        def store(name: str, size: int) -> LevelDbStore:
            opened = open_leveldb(data / name, cache_bytes=size)
            stack.callback(opened.close)
            return opened

        chain_store = store(CHAIN_FOLDER, cache_bytes)
        signer_store = None if config.signer.kind == "socket" else store("signer", 2**20)
        node = Node(home, chain_store, store("journal", 2**20), signer_store)
        log.info(
            "started",
            institution=config.node.institution,
            height=node.ledger.head.height,
            genesis=node.ledger.network.genesis_hash.hex(),
        )
        try:
            await node.run()
        finally:
            log.info("stopped", height=node.ledger.head.height)
        return not node.is_restored


class Node:
    """All parts of one node. Made inside a running event loop, then `run` once."""

    def __init__(
        self, home: Home, chain_store: LevelDbStore, journal_store: LevelDbStore, signer_store: LevelDbStore | None
    ) -> None:
        config = home.config
        self._home = home
        self._config = config
        self._log = get_logger("app")
        self._main: asyncio.Task[None] | None = None
        self._fatal: BaseException | None = None
        self._is_stopping = False
        self.is_restored = False
        """A chain restored from a snapshot is to take the place of this one: start again."""
        self._callbacks = Callbacks(asyncio.get_running_loop(), self.fail)

        self._signatures = SignatureCache(verify_consensus_signature)
        self._checkpoints = checkpoints_of(home.folder, config)
        self.ledger = Ledger.open(
            chain_store,
            home.genesis,
            verify_digest=self._signatures,
            version_max=version_max(config),
            checkpoints=self._checkpoints,
        )
        self._versions = VersionWatch(self.ledger)
        self._versions.check()
        self.metrics = Metrics()
        self._intake = Intake(self.ledger, self._callbacks.call_later)
        self._waiters = Waiters()
        self._worker = Worker()
        self._membership = Membership(
            self.ledger, {bytes.fromhex(reader.public_key): reader.name for reader in config.p2p.readers}
        )
        self._chain_observer = ChainObserver(self.metrics, self.ledger.head.timestamp_ms)
        node_signer = home.keystore.ed25519(Purpose.NODE)
        self._view = RunningNode(
            ledger=self.ledger,
            institution=config.node.institution,
            node_key=node_signer.public_key,
            take=self._intake.take,
            waiters=self._waiters,
            worker=self._worker,
            checkpoints=self._checkpoints,
        )
        self._services = _services(self.ledger, self._view)
        self._environment = ReplicaEnvironment(self._callbacks)
        place = KeyPlace(home.folder, config, home.keystore, home.passphrase)
        member = open_member(place, self.ledger.network, journal_store, signer_store)
        self._recorder = self._make_recorder()
        self._consensus_observer = ConsensusObserver(self.metrics, is_verbose=config.log.level == "debug")
        self._replica = Replica(
            institution=config.node.institution,
            chain=TimedChain(self.ledger, self.metrics),
            environment=self._environment,
            member=member,
            observer=self._consensus_observer,
            recorder=self._recorder,
            verify_digest=self._signatures,
        )
        self._custody = None if member is None else Custody(home.folder, config.node.institution, self.ledger, member)
        signer = None if member is None else member.signer
        self._control = Control(Surroundings(home.folder, self.ledger, chain_store, signer))
        self._transport_observer = TransportObserver(self.metrics, [peer.address for peer in config.p2p.peers])
        self._network = self._make_network(node_signer)
        data = home.folder / DATA_FOLDER
        self._disk = DiskWatch(data, config.storage.disk_free_mebibytes_min * 2**20, self.metrics)
        self._shelf = SnapshotShelf(data / SNAPSHOTS_FOLDER)
        self._keeper = SnapshotKeeper(self.ledger, chain_store, self._shelf, data / SNAPSHOTS_FOLDER, self._callbacks)
        self._restorer = DiskRestorer(data, home.genesis, self._on_restored, self.ledger.recoveries, self._checkpoints)
        self._sync = self._make_sync()
        self._gossip = self._make_gossip()
        self._rpc = RpcServer(
            self._services,
            calls_per_second=config.rpc.calls_per_second,
            connections_max=config.rpc.connections_max,
            observer=self.metrics,
            on_fatal=self.fail,
        )
        self._consensus_observer.attach(self._replica.round)
        self._view.attach(self._network, self._replica, self._sync, self._senses())
        self._environment.attach(self._network, self._replica, self._sync)
        self._intake.attach(self._gossip, self._replica)
        self.ledger.on_commit(self._on_commit)
        self._figures = Figures(self.metrics, self._sources(chain_store))

    # --- making the parts ---

    def _senses(self) -> Senses:
        addresses = {peer.institution: peer.address for peer in self._config.p2p.peers}
        return Senses(
            self._consensus_observer.witness, self._transport_observer.trouble, addresses, lambda: self._disk.low_bytes
        )

    def _sources(self, chain_store: LevelDbStore) -> Sources:
        return Sources(
            ledger=self.ledger,
            chain_store=chain_store,
            replica=self._replica,
            gossip=self._gossip,
            sync=self._sync,
            network=self._network,
            rejected=self._intake.rejected,
            unreachable_count=lambda: len(self._view.unreachable()),
            backup_age_seconds=self._control.backup_age_seconds,
        )

    def _make_recorder(self) -> Recorder | None:
        if not self._config.diagnosis.record:
            return None
        folder = self._home.folder / DATA_FOLDER / RECORDING_FOLDER
        return Recorder(
            folder, f"pila {VERSION}", lambda sentence: self._log.warning("recording ends", detail=sentence)
        )

    def _make_network(self, node_signer: Signer) -> Network:
        config = self._config
        peers = (peer for peer in config.p2p.peers if peer.institution != config.node.institution)
        return Network(
            identity=node_signer,
            chain_id=self.ledger.network.chain_id,
            genesis_hash=self.ledger.network.genesis_hash,
            listen=None if config.p2p.listen is None else split_address(config.p2p.listen),
            book=PeerBook(PeerAddress(*split_address(peer.address), peer.institution) for peer in peers),
            authorise=self._membership.authorise,
            on_message=self._on_message,
            on_connect=self._on_connect,
            on_disconnect=self._on_disconnect,
            is_privileged=self._membership.is_privileged,
            observer=self._transport_observer,
        )

    def _make_sync(self) -> sync.Sync:
        return sync.Sync(
            sync.Surroundings(
                chain=self.ledger,
                send=lambda peer, payload: self._network.send(peer, Channel.SYNC, payload),
                call_later=self._callbacks.call_later,
                now_ms=_monotonic_ms,
                moved=self._replica.on_committed_by_sync,
                is_validator=lambda: self._membership.is_validator(self._config.node.institution),
                rejected=self._on_rejected_by_sync,
                shelf=self._shelf,
                restorer=self._restorer if self._config.storage.restore_from_snapshot else None,
                said=lambda sentence: self._log.info("catching up", detail=sentence),
                verify_digest=self._signatures,
            )
        )

    def _make_gossip(self) -> gossip.Gossip:
        ledger = self.ledger
        return gossip.Gossip(
            gossip.Surroundings(
                submit=ledger.submit,
                pending=ledger.pending_transaction,
                is_known=lambda tx_id: tx_id in ledger.mempool or ledger.find_transaction(tx_id) is not None,
                send=lambda peer, payload: self._network.send(peer, Channel.TRANSACTIONS, payload),
                call_later=self._callbacks.call_later,
                now_ms=_monotonic_ms,
                arrived=self._replica.on_transactions_pending,
                is_behind=lambda: self._sync.is_syncing,
            )
        )

    # --- life ---

    async def run(self) -> None:
        """Run until a signal or a failure. Raises: ConfigError, StorageError, or what was our own fault."""
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number.name)
        try:
            await self._run_parts()
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
        except BaseExceptionGroup as group:
            self._fatal = self._fatal or _cause(group)
        finally:
            self._environment.stop()
            if self._custody is not None:
                self._custody.close()
            if self._recorder is not None:
                self._recorder.close()
            await self._worker.stop()
            self._keeper.stop()
            self._restorer.close()
        if self._fatal is not None:
            raise self._fatal

    async def _run_parts(self) -> None:
        config = self._config
        self._replica.start()
        if self._custody is not None:
            self._custody.check_start(is_listening=not self._replica.view().may_sign)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._network.run(), name="p2p")
            group.create_task(self._rpc.run(split_address(config.rpc.listen), self._add_pages), name="rpc")
            if config.metrics.listen is not None:
                address = split_address(config.metrics.listen)
                group.create_task(serve(self.metrics, address, self._figures.refresh), name="metrics")
            group.create_task(self._control.run(), name="control")
            group.create_task(self._tick(), name="tick")
            group.create_task(self._figures.measure_lag(), name="lag")

    def fail(self, error: BaseException) -> None:
        """Stop the node because of an error that nobody can answer for; the first one counts."""
        if self._fatal is None:
            self._fatal = error
            if not isinstance(error, StorageError | ConfigError):
                self._log.error("failed", exc_info=error)
        self._cancel()

    def _on_restored(self) -> None:
        """A chain that others had is complete beside ours: end everything that stands on ours."""
        self.is_restored = True
        self._cancel()

    def _stop(self, signal_name: str) -> None:
        """Begin an orderly stop; a second signal changes nothing, for a stop takes bounded time."""
        self._log.info("stopping", signal=signal_name)
        self._cancel()

    def _cancel(self) -> None:
        """Cancel once: a second failure on the way out must not break off the clearing up."""
        if not self._is_stopping:
            self._is_stopping = True
            assert self._main is not None
            self._main.cancel()

    def _add_pages(self, application: web.Application) -> None:
        add_routes(application, ServicesPageView(self._services))

    async def _tick(self) -> None:
        """Give the time to who needs it."""
        turn = 0
        while True:
            self._sync.tick()
            self._gossip.tick()
            self._keeper.prune(self._config.storage.keep_blocks, self._services.statistics.height)
            if turn % SLOW_TICKS == 0:
                self._view.tick()
                if self._custody is not None:
                    self._custody.tick(self._replica.view())
                self._services.statistics.advance(self.ledger.head.height)
            if turn % DISK_TICKS == 0:
                self._disk.look()
            turn += 1
            await asyncio.sleep(TICK_SECONDS)

    # --- what happens ---

    def _on_message(self, peer: PeerIdentity, channel: int, payload: bytes) -> None:
        """Hand a frame to its room. Raises: Rejected: no honest node sends such a thing, the peer is disconnected."""
        match channel:
            case Channel.CONSENSUS | Channel.BODIES:
                self._replica.receive(peer.institution, payload)
            case Channel.TRANSACTIONS:
                self._gossip.receive(peer.institution, payload)
            case Channel.SYNC:
                self._sync.receive(peer.institution, payload)
            case _:
                raise Rejected(Reason.MALFORMED, f"channel {channel} carries nothing")

    def _on_connect(self, peer: PeerIdentity) -> None:
        self._sync.connected(peer.institution)
        self._gossip.connected(peer.institution)

    def _on_disconnect(self, peer: PeerIdentity) -> None:
        self._sync.disconnected(peer.institution)
        self._gossip.disconnected(peer.institution)

    def _on_rejected_by_sync(self, peer: InstitutionId, rejection: Rejected) -> None:
        self._log.info("rejected", peer=peer, reason=rejection.reason.value, detail=rejection.detail)

    def _on_commit(self, committed: Committed) -> None:
        """A block is durable: tell everybody in the house."""
        self._gossip.committed([receipt.transaction_id for receipt in committed.receipts])
        topics = {event.topic for event in committed.events}
        if "catalog" in topics:
            self._services.catalogue.changed(event.subject for event in committed.events)
        self._services.statistics.changed(topics)
        begins_epoch = self.ledger.epoch != committed.header.epoch
        has_changed = begins_epoch or committed.header.validators_hash != committed.header.next_validators_hash
        if has_changed or not topics.isdisjoint({"institution", "governance"}):
            self._membership.refresh()
            self._network.recheck()
        if has_changed:
            names = self._view.validators()
            self._log.info("validators change", height=committed.header.height + 1, validators=names)
        self._versions.warn()
        self._chain_observer.committed(committed)
        if self._custody is not None:
            self._custody.committed(committed, is_listening=not self._replica.view().may_sign)
        self._view.decided()
        self._sync.committed()
        self._keeper.committed(0 if self._sync.is_syncing else self._config.storage.snapshot_interval)
        self._waiters.committed(committed)
        self._versions.check()


def _services(ledger: Ledger, view: RunningNode) -> Services:
    """Return what methods and pages answer from."""
    catalogue = Catalogue(
        lambda: list(ledger.definitions()),
        lambda definition: ledger.read(keys.definition(definition), Definition),
    )
    statistics = Statistics(ledger, lambda plain_key: ledger.read(plain_key, Batch), ledger.pruned_below)
    return Services(ledger, view, catalogue, statistics, RateLimiter(LOOKBACK_CHANGES_PER_SECOND_MAX))


def _monotonic_ms() -> int:
    return int(monotonic_seconds() * 1_000)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a person should be told of several failures: the disk's or the operator's fault before ours."""
    leaves = list(_leaves(group))
    known = (error for error in leaves if isinstance(error, StorageError | ConfigError))
    return next(known, leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
