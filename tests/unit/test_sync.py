"""Catching up from honest peers, and in spite of peers that lie about heights, blocks and certificates."""

from collections.abc import Callable, Sequence
from functools import cache

import msgspec
import pytest

from node import codec
from node.block_server import BlockServer, EmptyShelf
from node.chain.answers import Committed
from node.chain.block import Block
from node.chain.certificate import Certificate, Phase
from node.chain.ledger import Ledger
from node.chain.rules.institutions import Reinstate, Suspend
from node.errors import Reason, Rejected
from node.limits import (
    SYNC_BACKOFF_MAX_MS,
    SYNC_BLOCKS_MAX,
    SYNC_PATIENCE_MS,
    SYNC_POLL_MS,
    SYNC_TIMEOUT_MS,
)
from node.primitives import Height, InstitutionId
from node.state.kv import MemoryStore
from node.sync import Surroundings, Sync
from node.sync_messages import (
    BlocksReply,
    BlocksRequest,
    CertifiedBlock,
    Head,
    SyncMessage,
    SyncParcel,
    decode_sync,
    encode_sync,
)
from tests.unit.chain.kit import ITLEON, SDES, SEG, UGTO, TestChain, certify
from tests.unit.chain.recovery_kit import draft, signed
from tests.unit.links import Links

US = "reader.example"
LENGTH = 150
"""Blocks that the others have; three requests' worth."""


@cache
def _long_store() -> MemoryStore:
    chain = TestChain()
    for height in range(1, LENGTH + 1):
        if height % 10 == 5:
            payload, kind = (Suspend(UGTO, "audit"), "institution.suspend")
            chain.do(kind, payload, signer=SEG)
        elif height % 10 == 7:
            chain.do("institution.reinstate", Reinstate(UGTO, "done"), signer=SEG)
        else:
            chain.commit()
    assert isinstance(chain.store, MemoryStore)
    return chain.store


def long_chain() -> TestChain:
    """Return a chain of its own with LENGTH blocks."""
    return TestChain(store=_long_store().copy())


def certified(chain: TestChain, height: Height) -> CertifiedBlock:
    """Return a committed block of a chain as it travels."""
    found = chain.ledger.block_at(height)
    assert found is not None
    return CertifiedBlock(*found)


class Node:
    """An honest node: a ledger and its sync."""

    def __init__(self, links: Links, name: InstitutionId, chain: TestChain, *, is_validator: bool = False) -> None:
        self.chain = chain
        self.moves: list[Height] = []
        """Height of the head whenever the replica was told."""
        self.rejections: list[tuple[InstitutionId, Reason]] = []
        self.sync = Sync(
            Surroundings(
                chain=chain.ledger,
                send=links.sender(name),
                call_later=links.call_later,
                now_ms=lambda: links.now_ms,
                moved=lambda: self.moves.append(chain.ledger.head.height),
                is_validator=lambda: is_validator,
                rejected=lambda peer, rejection: self.rejections.append((peer, rejection.reason)),
            )
        )
        chain.ledger.on_commit(lambda _: self.sync.committed())
        links.parts[name] = self.sync

    @property
    def height(self) -> Height:
        return self.chain.ledger.head.height


class Actor:
    """A peer that follows a script: answers to requests come from `answer`, everything else is said by the test."""

    def __init__(
        self, links: Links, name: InstitutionId, answer: Callable[[BlocksRequest], SyncMessage | None] = lambda _: None
    ) -> None:
        self.requests: list[BlocksRequest] = []
        self.heads: list[Height] = []
        self.replies: list[BlocksReply] = []
        self._send = links.sender(name)
        self._answer = answer
        links.parts[name] = self

    def connected(self, peer: InstitutionId) -> None:
        return

    def disconnected(self, peer: InstitutionId) -> None:
        return

    def tick(self) -> None:
        return

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        match decode_sync(payload):
            case BlocksRequest() as request:
                self.requests.append(request)
                answer = self._answer(request)
                if answer is not None:
                    self._send(sender, encode_sync(answer))
            case Head(height):
                self.heads.append(height)
            case BlocksReply() as reply:
                self.replies.append(reply)

    def say(self, message: SyncMessage, receiver: InstitutionId = US) -> None:
        self._send(receiver, encode_sync(message))


def serve(
    chain: TestChain, change: Callable[[CertifiedBlock], CertifiedBlock] = lambda item: item
) -> Callable[[BlocksRequest], BlocksReply]:
    """Return how a peer answers that changes each block before it sends it."""

    def answer(request: BlocksRequest) -> BlocksReply:
        last = min(request.from_height + request.count - 1, chain.ledger.head.height)
        items = [codec.encode(change(certified(chain, height))) for height in range(request.from_height, last + 1)]
        return BlocksReply(request.from_height, tuple(items))

    return answer


def with_certificate(item: CertifiedBlock, **changes: object) -> CertifiedBlock:
    """Return the block with a changed certificate."""
    return CertifiedBlock(item.block, msgspec.structs.replace(item.certificate, **changes))


# --- peers of another epoch ---


def recovered_chain() -> TestChain:
    """Return a chain that was recovered above height 4 and has gone on to 6."""
    chain = TestChain()
    chain.skip_to(4)
    chain.ledger.load_recovery(signed(draft(chain)))
    chain.skip_to(6)
    return chain


def test_honest_peer_of_a_later_epoch_is_spared() -> None:
    """Without the document the node stops below the recovery, says what it lacks, and disconnects nobody."""
    links = Links()
    source = Node(links, SEG, recovered_chain())
    reader = Node(links, US, TestChain())
    links.connect_all()
    links.run(5_000)
    assert (reader.height, source.height) == (4, 6)
    assert set(reader.rejections) == {(SEG, Reason.WRONG_EPOCH)}
    assert links.ended == []
    assert reader.sync.contradiction is None


def test_honest_peer_of_an_older_epoch_is_spared() -> None:
    """A validator that comes back brings blocks that were decided by the old set: none of them counts."""
    links = Links()
    old = TestChain()
    old.skip_to(9)
    Node(links, SEG, old)
    chain = TestChain()
    chain.skip_to(4)
    chain.ledger.load_recovery(signed(draft(chain)))
    reader = Node(links, US, chain)
    links.connect_all()
    links.run(5_000)
    assert reader.height == 4
    assert set(reader.rejections) == {(SEG, Reason.WRONG_EPOCH)}
    assert links.ended == []


def test_new_node_with_the_document_gets_all_blocks() -> None:
    """It was loaded before the start, at height 0."""
    links = Links()
    source = Node(links, SEG, recovered_chain())
    chain = TestChain()
    (document,) = source.chain.ledger.recoveries()
    chain.ledger.load_recovery(document)
    reader = Node(links, US, chain)
    links.connect_all()
    links.run(5_000)
    assert reader.chain.ledger.head == source.chain.ledger.head
    assert (reader.rejections, links.ended) == ([], [])


# --- honest peers ---


def test_node_without_blocks_gets_them_all() -> None:
    """A new node ends at the same block and state as its peer, and the replica is told of it."""
    links = Links()
    source = Node(links, SEG, long_chain())
    reader = Node(links, US, TestChain())
    links.connect_all()
    links.run(3_000)
    assert reader.chain.ledger.head == source.chain.ledger.head
    assert reader.chain.ledger.state.root == source.chain.ledger.state.root
    assert reader.moves[-1] == LENGTH
    assert reader.sync.blocks_committed == LENGTH
    assert links.ended == []


def test_requests_go_to_peers_in_turn() -> None:
    """With two peers that have the blocks, both are asked."""
    links = Links()
    chain = long_chain()
    first, second = Actor(links, SEG, serve(chain)), Actor(links, SDES, serve(chain))
    reader = Node(links, US, TestChain())
    links.connect_all()
    first.say(Head(LENGTH))
    second.say(Head(LENGTH))
    links.run(3_000)
    assert reader.height == LENGTH
    assert sorted(request.from_height for request in first.requests + second.requests) == [1, 65, 129]
    assert first.requests
    assert second.requests


def test_follower_hears_of_new_blocks() -> None:
    """A node without vote follows a chain that grows."""
    links = Links()
    source = Node(links, SEG, TestChain())
    reader = Node(links, US, TestChain())
    links.connect_all()
    for _ in range(5):
        source.chain.commit()
        links.run(1_500)
        assert reader.height == source.height
    assert not reader.sync.is_syncing


def test_follower_asks_without_news() -> None:
    """Where no peer ever says that it has more, a node without vote asks by itself."""
    links = Links()
    peer = Actor(links, SEG, serve(long_chain()))
    reader = Node(links, US, TestChain())
    links.connect_all()
    links.run(SYNC_POLL_MS + 1_000)
    assert peer.requests[0] == BlocksRequest(1, SYNC_BLOCKS_MAX)
    assert reader.height == SYNC_BLOCKS_MAX


def test_validator_leaves_small_lags_to_consensus() -> None:
    """A validator asks only when its head has not moved for a while, or when consensus wants it."""
    links = Links()
    peer = Actor(links, SEG, serve(long_chain()))
    reader = Node(links, US, TestChain(), is_validator=True)
    links.connect_all()
    peer.say(Head(1))
    links.run(SYNC_PATIENCE_MS - 300)
    assert peer.requests == []
    links.run(1_000)
    assert reader.height == SYNC_BLOCKS_MAX


def test_request_of_consensus_is_urgent() -> None:
    """What consensus asks for is fetched without delay from the peers that it names."""
    links = Links()
    peer = Actor(links, SEG, serve(long_chain()))
    reader = Node(links, US, TestChain(), is_validator=True)
    links.connect_all()
    reader.sync.request(60, [SEG, "nobody.example"])
    links.run(100)
    assert peer.requests[0] == BlocksRequest(1, SYNC_BLOCKS_MAX)
    assert reader.height == SYNC_BLOCKS_MAX


def test_blocks_that_consensus_has_committed_meanwhile_are_skipped() -> None:
    """Consensus moves the head while an answer is under way: sync continues above it."""
    links = Links()
    links.latency_ms = 50
    source = long_chain()
    Node(links, SEG, source)
    reader = Node(links, US, TestChain())
    links.connect_all()
    links.run(120)
    for height in (1, 2, 3):
        item = certified(source, height)
        reader.chain.ledger.commit_block(item.block, item.certificate)
    links.run(5_000)
    assert reader.height == LENGTH
    assert reader.sync.blocks_committed == LENGTH - 3


def test_answers_are_bounded_in_bytes() -> None:
    """An answer holds fewer blocks than it was asked for where they are large, and always one."""
    item = certified(long_chain(), 1)
    sizes = {1: 400_000, 2: 400_000, 3: 400_000, 4: 2_000_000, 5: 1_000}

    def block_at(height: Height) -> tuple[Block, Certificate] | None:
        if height not in sizes:
            return None
        return msgspec.structs.replace(item.block, transactions=(bytes(sizes[height]),)), item.certificate

    links = Links()
    replies: list[SyncMessage] = []

    def keep(_receiver: InstitutionId, payload: bytes) -> bool:
        replies.append(decode_sync(payload))
        return True

    server = BlockServer(
        block_at=block_at, shelf=EmptyShelf(), send=keep, call_later=links.call_later, now_ms=lambda: links.now_ms
    )
    for from_height in (1, 3, 4, 6):
        server.take(SEG, BlocksRequest(from_height, SYNC_BLOCKS_MAX))
        links.run(100)
    counts = [(reply.from_height, len(reply.items)) for reply in replies if isinstance(reply, BlocksReply)]
    assert counts == [(1, 2), (3, 1), (4, 1), (6, 0)]


def test_requests_are_served_in_turns() -> None:
    """A peer that asks a thousand times has one request waiting, so another's is answered next."""
    links = Links()
    Node(links, SEG, long_chain())
    greedy, modest = Actor(links, UGTO), Actor(links, SDES)
    links.connect_all()
    for _ in range(1_000):
        greedy.say(BlocksRequest(1, SYNC_BLOCKS_MAX), SEG)
    modest.say(BlocksRequest(1, 1), SEG)
    links.run(1_000)
    receivers = [receiver for _, receiver, payload in links.carried if isinstance(decode_sync(payload), BlocksReply)]
    assert receivers == [UGTO, SDES]
    assert [len(reply.items) for reply in greedy.replies + modest.replies] == [SYNC_BLOCKS_MAX, 1]


# --- lies about heights ---


def test_false_claimed_height_does_not_stall_sync() -> None:
    """A peer claims a billion, then little, then a billion again: the node reaches the true head and says so.

    The class of CometBFT's advisory ASA-2025-001: a peer whose claimed height falls kept nodes in block sync
    for ever.
    """
    links = Links()
    source = Node(links, SEG, long_chain())
    Node(links, SDES, long_chain())
    liar = Actor(links, UGTO)
    reader = Node(links, US, TestChain())
    links.connect_all()
    for claim in (10**9, 5, 10**9, 0, 2**53 - 1):
        liar.say(Head(claim))
        links.run(700)
    assert reader.height == LENGTH
    assert not reader.sync.is_syncing
    assert reader.sync.target_height == LENGTH
    source.chain.commit()
    links.run(2_000)
    assert reader.height == LENGTH + 1


def test_one_false_height_does_not_make_a_node_look_behind() -> None:
    """The target is what f+1 validators claim: one of four that claims too much, or too little, changes nothing."""
    links = Links()
    actors = {name: Actor(links, name) for name in (ITLEON, SDES, SEG, UGTO)}
    reader = Node(links, US, TestChain())
    links.connect_all()
    for name, claim in zip(actors, (10**9, 0, 0, 0), strict=True):
        actors[name].say(Head(claim))
    links.run(SYNC_PATIENCE_MS * 2)
    assert (reader.sync.target_height, reader.sync.is_syncing) == (0, False)
    for name, claim in zip(actors, (10**9, 70, 70, 3), strict=True):
        actors[name].say(Head(claim))
    links.run(100)
    assert (reader.sync.target_height, reader.sync.is_syncing) == (70, True)


def test_flood_of_heads_is_not_read_and_ends_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes us sort claims; beyond the allowance it is dropped until the next second; nobody is cut off."""
    monkeypatch.setattr("node.sync.SYNC_MESSAGES_PER_PEER_PER_SECOND_MAX", 20)
    links = Links()
    node, flooder = Node(links, US, TestChain()), Actor(links, SEG)
    links.connect_all()
    links.run(10)
    for height in range(30):
        flooder.say(Head(height))
    links.run(10)
    assert node.sync.claimed_height(SEG) == 19
    assert node.sync.rejected == {Reason.QUOTA_EXCEEDED: 10}
    links.run(1_000)
    flooder.say(Head(50))
    links.run(10)
    assert node.sync.claimed_height(SEG) == 50
    assert links.ended == []


def test_node_is_syncing_until_it_reaches_what_f_plus_one_claim() -> None:
    """A lag counts when it is large or lasts; claims that fall to our head end it."""
    links = Links()
    actors = [Actor(links, name) for name in (SDES, SEG)]
    reader = Node(links, US, TestChain())
    links.connect_all()
    found = []
    for claim, milliseconds in ((1, 100), (1, SYNC_PATIENCE_MS + 100), (0, 100)):
        actors[0].say(Head(claim))
        actors[1].say(Head(1))
        links.run(milliseconds)
        found.append(reader.sync.is_syncing)
    assert found == [False, True, False]


def test_strangers_do_not_count_towards_the_target() -> None:
    """Peers that are no validators choose no target, however many they are."""
    links = Links()
    actors = [Actor(links, f"stranger{number}.example") for number in range(5)]
    reader = Node(links, US, TestChain())
    links.connect_all()
    for actor in actors:
        actor.say(Head(10**6))
    links.run(SYNC_PATIENCE_MS * 2)
    assert (reader.sync.target_height, reader.sync.is_syncing) == (0, False)


def test_silent_peer_costs_a_moment() -> None:
    """While one peer keeps us waiting another is asked for the same blocks."""
    links = Links()
    silent = Actor(links, "aaa.example")
    honest = Actor(links, SEG, serve(long_chain()))
    reader = Node(links, US, TestChain())
    links.connect_all()
    silent.say(Head(LENGTH))
    links.run(50)
    honest.say(Head(LENGTH))
    links.run(SYNC_TIMEOUT_MS - 2_000)
    assert silent.requests == [BlocksRequest(1, SYNC_BLOCKS_MAX)]
    assert reader.height == LENGTH


def test_silent_peer_is_asked_ever_more_rarely() -> None:
    """The pause doubles with each failure, so a liar without blocks costs next to nothing."""
    links = Links()
    silent = Actor(links, SEG)
    Node(links, US, TestChain())
    links.connect_all()
    for _ in range(200):
        silent.say(Head(10**6))
        links.run(1_000)
    assert 5 <= len(silent.requests) <= 8
    assert links.ended == []


def test_late_answer_is_no_fault() -> None:
    """A peer that answers after we gave up is slow, not hostile; it is asked again later."""
    links = Links()
    chain = long_chain()
    slow = Actor(links, SEG)
    reader = Node(links, US, TestChain())
    links.connect_all()
    slow.say(Head(LENGTH))
    links.run(SYNC_TIMEOUT_MS + 500)
    slow.say(serve(chain)(slow.requests[0]))
    links.run(100)
    assert (links.ended, reader.height) == ([], 0)
    links.run(5_000)
    slow.say(serve(chain)(slow.requests[1]))
    links.run(100)
    assert reader.height == SYNC_BLOCKS_MAX


def test_empty_answer_lowers_the_claim() -> None:
    """Who says it has blocks and gives none is not believed until it says so again, after a pause."""
    links = Links()
    empty = Actor(links, SEG, lambda request: BlocksReply(request.from_height, ()))
    reader = Node(links, US, TestChain())
    links.connect_all()
    empty.say(Head(500))
    links.run(1_000)
    assert len(empty.requests) == 1
    assert reader.sync.claimed_height(SEG) == 0
    assert links.ended == []


# --- lies about blocks ---


def other_chain() -> TestChain:
    """Return a chain with the same genesis and another block 1."""
    chain = TestChain()
    chain.do("institution.suspend", Suspend(ITLEON, "audit"), signer=SEG)
    chain.skip_to(LENGTH)
    return chain


def with_other_body(item: CertifiedBlock) -> CertifiedBlock:
    """Return the header with a transaction that it does not commit to."""
    chain = TestChain()
    data = chain.transaction("institution.suspend", Suspend(SDES, "audit"), signer=SEG)
    return CertifiedBlock(msgspec.structs.replace(item.block, transactions=(data,)), item.certificate)


def with_other_header(item: CertifiedBlock) -> CertifiedBlock:
    """Return a header that the certificate does not name."""
    header = msgspec.structs.replace(item.block.header, state_root=bytes(32))
    return CertifiedBlock(msgspec.structs.replace(item.block, header=header), item.certificate)


def with_few_signatures(item: CertifiedBlock) -> CertifiedBlock:
    """Return a certificate of less than a quorum."""
    return with_certificate(item, signatures=item.certificate.signatures[:2])


def with_bad_signature(item: CertifiedBlock) -> CertifiedBlock:
    """Return a certificate in which one signature of Q is bad."""
    first, *others = item.certificate.signatures
    return with_certificate(item, signatures=(msgspec.structs.replace(first, signature=bytes(64)), *others))


def with_prepares(item: CertifiedBlock) -> CertifiedBlock:
    """Return a certificate of Prepares, which decide nothing."""
    chain = TestChain()
    validators = chain.ledger.validators_at(1)
    height, block_hash = item.block.header.height, item.block.hash()
    return CertifiedBlock(item.block, certify(chain.network, validators, block_hash, height, phase=Phase.PREPARE))


def with_other_view(item: CertifiedBlock) -> CertifiedBlock:
    """Return signatures of one view as if they were of another."""
    return with_certificate(item, view=item.certificate.view + 1)


def forged(item: CertifiedBlock) -> CertifiedBlock:
    """Return a block of our own making, signed by validators that are not those of this chain."""
    header = msgspec.structs.replace(item.block.header, state_root=bytes(32))
    block = msgspec.structs.replace(item.block, header=header)
    signatures = tuple(
        msgspec.structs.replace(vote, signature=bytes(reversed(vote.signature))) for vote in item.certificate.signatures
    )
    return CertifiedBlock(
        block, msgspec.structs.replace(item.certificate, block_hash=block.hash(), signatures=signatures)
    )


def next_block(item: CertifiedBlock) -> CertifiedBlock:
    """Return the block above, with its good certificate."""
    return certified(long_chain(), min(item.block.header.height + 1, LENGTH))


LIES = [
    (with_other_body, Reason.BAD_BLOCK),
    (with_other_header, Reason.BAD_CERTIFICATE),
    (with_few_signatures, Reason.BAD_CERTIFICATE),
    (with_bad_signature, Reason.BAD_CERTIFICATE),
    (with_prepares, Reason.BAD_CERTIFICATE),
    (with_other_view, Reason.BAD_CERTIFICATE),
    (forged, Reason.BAD_CERTIFICATE),
    (next_block, Reason.WRONG_HEIGHT),
]


@pytest.mark.parametrize("lie, reason", LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_liar_is_disconnected_and_the_chain_comes_from_another(
    lie: Callable[[CertifiedBlock], CertifiedBlock], reason: Reason
) -> None:
    """A wrong block or certificate moves nothing, costs the liar its connection, and an honest peer is asked."""
    links = Links()
    chain = long_chain()
    liar = Actor(links, "aaa.example", serve(chain, lie))
    honest = Actor(links, SEG, serve(chain))
    reader = Node(links, US, TestChain())
    links.connect_all()
    liar.say(Head(LENGTH))
    links.run(20)
    assert reader.height == 0
    honest.say(Head(LENGTH))
    liar.say(Head(LENGTH))
    links.run(3_000)
    assert reader.rejections == [("aaa.example", reason)]
    assert reader.sync.rejected == {reason: 1}
    assert [(by, whom, rejection.reason) for by, whom, rejection in links.ended] == [(US, "aaa.example", reason)]
    assert reader.chain.ledger.head == chain.ledger.head
    assert reader.sync.contradiction is None


def test_good_blocks_before_a_bad_one_are_kept() -> None:
    """A liar whose tenth block is wrong has helped with nine."""
    links = Links()
    chain = long_chain()
    liar = Actor(links, SEG, serve(chain, lambda item: forged(item) if item.block.header.height == 10 else item))
    reader = Node(links, US, TestChain())
    links.connect_all()
    liar.say(Head(LENGTH))
    links.run(100)
    assert (reader.height, reader.moves) == (9, [9])


def test_garbage_instead_of_a_block_is_refused() -> None:
    """Bytes that are no certified block count as malformed."""
    links = Links()
    liar = Actor(links, SEG, lambda request: BlocksReply(request.from_height, (b"\xc1garbage",)))
    reader = Node(links, US, TestChain())
    links.connect_all()
    liar.say(Head(LENGTH))
    links.run(100)
    assert (reader.height, reader.rejections) == (0, [(SEG, Reason.MALFORMED)])


def test_garbage_instead_of_a_message_disconnects() -> None:
    """Bytes that are no message of sync are refused at once."""
    links = Links()
    Actor(links, SEG)
    Node(links, US, TestChain())
    links.connect_all()
    links.sender(SEG)(US, b"\xc1")
    links.run(100)
    assert [(by, whom, rejection.reason) for by, whom, rejection in links.ended] == [(US, SEG, Reason.MALFORMED)]


def test_answer_that_nobody_asked_for_disconnects() -> None:
    """Blocks without a request are refused before they are looked at."""
    links = Links()
    chain = long_chain()
    pushy = Actor(links, SEG)
    reader = Node(links, US, TestChain())
    links.connect_all()
    pushy.say(serve(chain)(BlocksRequest(1, 3)))
    links.run(100)
    [(_, _, rejection)] = links.ended
    found = (rejection.reason, rejection.detail)
    assert found == (Reason.QUOTA_EXCEEDED, "blocks from 1, nobody asked for them")
    assert reader.height == 0


def test_answer_for_another_height_disconnects() -> None:
    """Asked for block 1, a peer sends block 2."""
    links = Links()
    chain = long_chain()
    wrong = Actor(links, SEG, lambda _: serve(chain)(BlocksRequest(2, 3)))
    reader = Node(links, US, TestChain())
    links.connect_all()
    wrong.say(Head(LENGTH))
    links.run(100)
    [(_, _, rejection)] = links.ended
    found = (rejection.reason, rejection.detail)
    assert found == (Reason.QUOTA_EXCEEDED, "blocks from 2, nobody asked for them")
    assert reader.height == 0


@pytest.mark.parametrize("count", [0, SYNC_BLOCKS_MAX + 1, 10**9])
def test_oversize_counts_disconnect(count: int) -> None:
    """A request for no block or for more than there may be in an answer has no canonical form."""
    links = Links()
    Node(links, SEG, long_chain())
    Actor(links, UGTO)
    links.connect_all()
    payload = codec.encode(SyncParcel(BlocksRequest(1, count)))
    links.sender(UGTO)(SEG, payload)
    links.run(100)
    assert [(by, whom, rejection.reason) for by, whom, rejection in links.ended] == [(SEG, UGTO, Reason.MALFORMED)]


def test_more_blocks_than_may_be_in_an_answer_disconnect() -> None:
    """An answer of more than SYNC_BLOCKS_MAX items is refused whole."""
    links = Links()
    chain = long_chain()
    liar = Actor(links, SEG)
    reader = Node(links, US, TestChain())
    links.connect_all()
    liar.say(Head(LENGTH))
    links.run(50)
    items = tuple(codec.encode(certified(chain, height)) for height in range(1, SYNC_BLOCKS_MAX + 2))
    liar.say(BlocksReply(1, items))
    links.run(50)
    assert [(by, whom, rejection.reason) for by, whom, rejection in links.ended] == [(US, SEG, Reason.MALFORMED)]
    assert reader.height == 0


def test_forked_chain_is_refused_at_its_first_block() -> None:
    """Two chains that a quorum has signed: whichever came first stays, the other's peer is not followed."""
    links = Links()
    fork = Actor(links, SEG, serve(other_chain()))
    reader = Node(links, US, TestChain())
    for height in range(1, 4):
        item = certified(long_chain(), height)
        reader.chain.ledger.commit_block(item.block, item.certificate)
    head = reader.chain.ledger.head
    links.connect_all()
    fork.say(Head(LENGTH))
    links.run(1_000)
    assert reader.chain.ledger.head == head
    assert reader.rejections == [(SEG, Reason.WRONG_PARENT)]


class Outdated(Ledger):
    """A ledger that cannot execute block 5, as an old program could not."""

    def commit_block(self, block: Block, certificate: Certificate) -> Committed:
        if block.header.height == 5:
            raise Rejected(Reason.BAD_BLOCK, "state root: another one")
        return super().commit_block(block, certificate)


def test_block_that_only_we_refuse_blames_nobody() -> None:
    """A quorum decided a whole block that this node cannot execute: it says so and keeps its peers."""
    links = Links()
    chain = TestChain()
    chain.ledger = Outdated.open(MemoryStore(), chain.document)
    peers = [Actor(links, name, serve(long_chain())) for name in (SDES, SEG)]
    reader = Node(links, US, chain)
    links.connect_all()
    for peer in peers:
        peer.say(Head(LENGTH))
    links.run(1_000)
    asked = sum(len(peer.requests) for peer in peers)
    links.run(SYNC_BACKOFF_MAX_MS // 2)
    assert reader.height == 4
    assert links.ended == []
    assert reader.sync.contradiction is not None
    assert reader.sync.contradiction.detail == "state root: another one"
    assert sum(len(peer.requests) for peer in peers) == asked


def test_messages_keep_their_form() -> None:
    """Each message comes back as it was sent."""
    item = codec.encode(certified(long_chain(), 5))
    messages: Sequence[SyncMessage] = (Head(7), BlocksRequest(1, SYNC_BLOCKS_MAX), BlocksReply(5, (item,)))
    assert [decode_sync(encode_sync(message)) for message in messages] == list(messages)
