"""Transactions between nodes: each peer gets each once, nothing that is pending is lost, floods are cut off."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from node import codec
from node.chain.answers import Submission
from node.chain.rules.institutions import Suspend
from node.errors import Reason, Rejected
from node.gossip import Gossip, GossipMessage, GossipParcel, Have, Surroundings, Transactions, Want
from node.limits import (
    FRAME_BYTES_MAX,
    GOSSIP_ANNOUNCE_MS,
    GOSSIP_ANSWER_BYTES_PER_SECOND_MAX,
    GOSSIP_BUNDLE_BYTES_MAX,
    GOSSIP_DELAY_MS,
    GOSSIP_FAULTS_MAX,
    GOSSIP_IDS_MAX,
    GOSSIP_INBOX_TRANSACTIONS_MAX,
    GOSSIP_INVALID_FAULT,
    GOSSIP_RELAY_MS,
    GOSSIP_SLICE_TRANSACTIONS,
)
from node.primitives import Hash, InstitutionId
from tests.unit.chain.kit import COEPES, CONOCER, ITLEON, SDES, SEG, UGTO, TestChain
from tests.unit.links import Links

FLOODER = "flooder.example"


def read(payload: bytes) -> GossipMessage:
    """Return the message in a payload."""
    return codec.decode(payload, GossipParcel, bytes_max=FRAME_BYTES_MAX).message


class Node:
    """A ledger and its gossip."""

    def __init__(self, links: Links, name: InstitutionId) -> None:
        self.chain = TestChain()
        self.arrivals = 0
        self.is_behind = False
        ledger = self.chain.ledger
        self.gossip = Gossip(
            Surroundings(
                submit=ledger.submit,
                pending=ledger.pending_transaction,
                is_known=lambda tx_id: tx_id in ledger.mempool or ledger.find_transaction(tx_id) is not None,
                send=links.sender(name),
                call_later=links.call_later,
                now_ms=lambda: links.now_ms,
                arrived=self._arrived,
                is_behind=lambda: self.is_behind,
            )
        )
        ledger.on_commit(lambda committed: self.gossip.committed([parsed.id for parsed in committed.transactions]))
        links.parts[name] = self.gossip

    def _arrived(self) -> None:
        self.arrivals += 1

    def submit(self, institution: InstitutionId = UGTO, reason: str = "audit") -> Hash:
        """Do what a client does: submit a good transaction."""
        data = suspension(self.chain, institution, reason)
        taken = self.chain.ledger.submit(data)
        assert taken.is_new
        self.gossip.submitted(taken.tx_id, data)
        return taken.tx_id

    @property
    def pending(self) -> set[Hash]:
        return {parsed.id for parsed in self.chain.ledger.mempool.transactions()}


class Actor:
    """A peer that keeps what it is sent and says what the test wants."""

    def __init__(self, links: Links, name: InstitutionId) -> None:
        self.heard: list[GossipMessage] = []
        self._links = links
        self._name = name
        links.parts[name] = self

    def connected(self, peer: InstitutionId) -> None:
        return

    def disconnected(self, peer: InstitutionId) -> None:
        return

    def tick(self) -> None:
        return

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        self.heard.append(read(payload))

    def say(self, message: GossipMessage, receiver: InstitutionId = SEG) -> None:
        self._links.sender(self._name)(receiver, codec.encode(GossipParcel(message)))


def suspension(chain: TestChain, institution: InstitutionId = UGTO, reason: str = "audit") -> bytes:
    """Return a good transaction; another reason makes another one."""
    return chain.transaction("institution.suspend", Suspend(institution, reason), signer=SEG)


def bad_signatures(chain: TestChain, count: int) -> tuple[bytes, ...]:
    """Return transactions with one wrong bit in their signatures."""
    made = (suspension(chain, reason=f"r{number}") for number in range(count))
    return tuple(data[:-1] + bytes([data[-1] ^ 1]) for data in made)


def carried(links: Links, kind: type[GossipMessage]) -> list[tuple[InstitutionId, InstitutionId]]:
    """Return who sent messages of a kind to whom."""
    return [(sender, receiver) for sender, receiver, payload in links.carried if isinstance(read(payload), kind)]


# --- everybody gets everything ---


def test_transaction_reaches_every_peer_once() -> None:
    """In a full mesh the bytes travel once to each peer, and consensus of each is told once."""
    links = Links()
    nodes = {name: Node(links, name) for name in (SEG, SDES, UGTO, ITLEON)}
    links.connect_all()
    tx_id = nodes[SEG].submit()
    links.run(GOSSIP_RELAY_MS - 50)
    assert [node.pending for node in nodes.values()] == [{tx_id}] * 4
    assert sorted(carried(links, Transactions)) == [(SEG, ITLEON), (SEG, SDES), (SEG, UGTO)]
    assert [nodes[name].arrivals for name in (SDES, UGTO, ITLEON)] == [1, 1, 1]
    links.run(10_000)
    assert len(carried(links, Transactions)) == 3
    assert carried(links, Want) == []


def test_committed_transaction_is_not_spoken_of_again() -> None:
    """What is in a block before its relay is due costs not even an announcement."""
    links = Links()
    nodes = [Node(links, name) for name in (SEG, SDES, UGTO)]
    links.connect_all()
    nodes[0].submit()
    links.run(GOSSIP_RELAY_MS // 2)
    for node in nodes:
        node.chain.commit()
    links.run(10_000)
    assert carried(links, Have) == []


def test_transaction_travels_along_a_chain_of_peers() -> None:
    """Four nodes in a row: what the first takes reaches the last, and nobody is sent it twice."""
    links = Links()
    names = [SEG, SDES, UGTO, ITLEON]
    nodes = [Node(links, name) for name in names]
    for one, other in pairwise(names):
        links.connect(one, other)
    tx_id = nodes[0].submit()
    links.run(3 * GOSSIP_RELAY_MS)
    assert [node.pending for node in nodes] == [{tx_id}] * 4
    assert carried(links, Transactions) == [(SEG, SDES), (SDES, UGTO), (UGTO, ITLEON)]


def test_relay_is_not_announced_to_whom_it_came_from() -> None:
    """The peer that sent a transaction, and one that announced it, need not hear of it at once."""
    links = Links()
    node = Node(links, SEG)
    actors = {name: Actor(links, name) for name in (SDES, UGTO, ITLEON)}
    links.connect_all()
    data = suspension(node.chain)
    tx_id = node.chain.ledger.submit(data).tx_id
    node.chain.ledger.mempool.remove(tx_id)
    actors[SDES].say(Transactions((data,)))
    links.run(10)
    actors[UGTO].say(Have((tx_id,)))
    links.run(GOSSIP_RELAY_MS + 10)
    assert {name: actor.heard for name, actor in actors.items()} == {SDES: [], UGTO: [], ITLEON: [Have((tx_id,))]}


def test_transaction_of_a_partitioned_node_arrives_after_it_reconnects() -> None:
    """Submitted where nobody hears it, a transaction is offered to the first peer that comes."""
    links = Links()
    alone, other = Node(links, SEG), Node(links, SDES)
    tx_id = alone.submit()
    links.run(60_000)
    links.connect(SEG, SDES)
    links.run(50)
    assert other.pending == {tx_id}
    assert (other.arrivals, links.ended) == (1, [])


def test_lost_transaction_is_announced_until_it_arrives() -> None:
    """A peer that dropped a transaction asks for it when it hears that it is still pending."""
    links = Links()
    first, second = Node(links, SEG), Node(links, SDES)
    links.connect_all()
    tx_id = first.submit()
    links.run(50)
    second.chain.ledger.mempool.remove(tx_id)
    links.run(GOSSIP_ANNOUNCE_MS * 3)
    assert second.pending == {tx_id}


def test_transactions_are_sent_together_under_load() -> None:
    """The first goes out at once; those that follow within milliseconds share a frame."""
    links = Links()
    node, peer = Node(links, SEG), Actor(links, SDES)
    links.connect_all()
    node.submit(UGTO)
    links.run(1)
    for institution in (ITLEON, COEPES, CONOCER):
        node.submit(institution)
    links.run(GOSSIP_DELAY_MS + 2)
    assert [len(message.items) for message in peer.heard if isinstance(message, Transactions)] == [1, 3]


# --- bounds ---


def fake(links: Links, sizes: dict[Hash, int]) -> Gossip:
    """Return a gossip over a mempool of zeros, named SEG."""
    gossip = Gossip(
        Surroundings(
            submit=lambda data: Submission(bytes(32 - len(data)) + data, is_new=False),
            pending=lambda tx_id: bytes(sizes[tx_id]) if tx_id in sizes else None,
            is_known=lambda tx_id: tx_id in sizes,
            send=links.sender(SEG),
            call_later=links.call_later,
            now_ms=lambda: links.now_ms,
            arrived=lambda: None,
        )
    )
    links.parts[SEG] = gossip
    return gossip


def number(value: int) -> Hash:
    """Return an id."""
    return value.to_bytes(32, "big")


def test_frames_are_bounded() -> None:
    """Clients' transactions leave as soon as they fill a bundle, whatever the delay."""
    links = Links()
    gossip, peer = fake(links, {}), Actor(links, SDES)
    links.connect_all()
    for value in range(9):
        gossip.submitted(number(value), bytes(GOSSIP_BUNDLE_BYTES_MAX // 4))
    links.run(50)
    assert [len(message.items) for message in peer.heard if isinstance(message, Transactions)] == [4, 4, 1]


def test_answers_are_bounded() -> None:
    """One answer fills a bundle, and a peer gets so many bytes in a second and no more."""
    links = Links()
    ids = tuple(number(value) for value in range(8))
    fake(links, dict.fromkeys(ids, 250_000))
    peer = Actor(links, SDES)
    links.connect_all()
    for _ in range(20):
        peer.say(Want(ids))
    links.run(50)
    answers = [message for message in peer.heard if isinstance(message, Transactions)]
    assert {len(message.items) for message in answers} == {4, 1}
    total = sum(len(data) for message in answers for data in message.items)
    assert GOSSIP_ANSWER_BYTES_PER_SECOND_MAX - 250_000 < total <= GOSSIP_ANSWER_BYTES_PER_SECOND_MAX


def test_each_id_is_asked_of_one_peer_at_a_time() -> None:
    """A second peer is asked for the same transaction only when the first has not sent it for a while."""
    links = Links()
    fake(links, {})
    actors = [Actor(links, SDES), Actor(links, UGTO)]
    links.connect_all()
    for _ in range(2):
        for actor in actors:
            actor.say(Have((number(1),)))
        links.run(GOSSIP_ANNOUNCE_MS + 500)
    assert [actor.heard for actor in actors] == [[Want((number(1),))] * 2, []]
    links.disconnect(SEG, SDES)
    actors[1].say(Have((number(1),)))
    links.run(50)
    assert actors[1].heard == [Want((number(1),))]


def test_invented_ids_do_not_use_up_what_others_may_announce() -> None:
    """A peer that announces what it does not have blocks its own announcements only."""
    links = Links()
    fake(links, {})
    liar, honest = Actor(links, FLOODER), Actor(links, SDES)
    links.connect_all()
    for start in range(0, 30 * GOSSIP_IDS_MAX, GOSSIP_IDS_MAX):
        liar.say(Have(tuple(number(value) for value in range(start, start + GOSSIP_IDS_MAX))))
    links.run(10)
    honest.say(Have((number(10**9),)))
    links.run(10)
    assert sum(len(message.ids) for message in liar.heard if isinstance(message, Want)) == GOSSIP_IDS_MAX
    assert honest.heard == [Want((number(10**9),))]


def test_who_announces_without_end_is_heard_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up an id costs; a second later the peer is heard again, and the others all the time."""
    monkeypatch.setattr("node.gossip.GOSSIP_IDS_PER_SECOND_MAX", 25)
    links = Links()
    gossip = fake(links, {})
    looked_up: list[Hash] = []

    def look_up(tx_id: Hash) -> bool:
        looked_up.append(tx_id)
        return True

    monkeypatch.setattr(gossip, "_node", replace(gossip._node, is_known=look_up))
    flooder, honest = Actor(links, FLOODER), Actor(links, SDES)
    links.connect_all()
    for _ in range(10):
        flooder.say(Have(tuple(number(value) for value in range(10))))
    honest.say(Have((number(99),)))
    links.run(10)
    assert (len(looked_up), looked_up[-1]) == (26, number(99))
    links.run(1_000)
    flooder.say(Have((number(1),)))
    links.run(10)
    assert len(looked_up) == 27


def test_flood_of_messages_is_not_read_and_ends_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty announcements cost little each; beyond the allowance not even that, and nobody is disconnected."""
    monkeypatch.setattr("node.gossip.GOSSIP_MESSAGES_PER_PEER_PER_SECOND_MAX", 20)
    links = Links()
    gossip = fake(links, {})
    flooder, honest = Actor(links, FLOODER), Actor(links, SDES)
    links.connect_all()
    for _ in range(30):
        flooder.say(Have(()))
    flooder.say(Have((number(1),)))
    honest.say(Have((number(2),)))
    links.run(10)
    assert (flooder.heard, honest.heard) == ([], [Want((number(2),))])
    assert gossip.rejected == {Reason.QUOTA_EXCEEDED: 11}
    links.run(1_000)
    flooder.say(Have((number(1),)))
    links.run(10)
    assert flooder.heard == [Want((number(1),))]
    assert links.ended == []


def test_new_peer_is_offered_a_bounded_number() -> None:
    """One announcement on connecting; the rest has its turn later."""
    links = Links()
    sizes = {number(value): 10 for value in range(GOSSIP_IDS_MAX + 500)}
    gossip, peer = fake(links, sizes), Actor(links, SDES)
    for tx_id in sizes:
        gossip.submitted(tx_id, b"")
    links.run(50)
    links.connect(SEG, SDES)
    links.run(50)
    assert [len(message.ids) for message in peer.heard if isinstance(message, Have)] == [GOSSIP_IDS_MAX]
    links.run(GOSSIP_ANNOUNCE_MS * 2)
    assert {tx_id for message in peer.heard if isinstance(message, Have) for tx_id in message.ids} == set(sizes)


def test_inbox_is_bounded_and_peers_have_turns() -> None:
    """A flood fills the flooder's own inbox; a quiet peer's transaction is checked in the next slice."""
    links = Links()
    node = Node(links, SEG)
    flooder, quiet = Actor(links, FLOODER), Actor(links, SDES)
    links.connect_all()
    data = suspension(node.chain)
    links.latency_ms = 0
    flooder.say(Transactions((data,) * (GOSSIP_INBOX_TRANSACTIONS_MAX + 100)))
    other = suspension(node.chain, ITLEON)
    quiet.say(Transactions((other,)))
    links.run(1)
    assert node.gossip.rejected == {Reason.QUOTA_EXCEEDED: 100}
    assert len(node.pending) == 2


def test_slices_leave_time_for_others() -> None:
    """One turn of the loop checks a few transactions, and fewer where they take long."""
    links = Links()
    taken: list[int] = []
    turns: list[Callable[[], None]] = []
    cost_ms = 0

    def submit(data: bytes) -> Submission:
        taken.append(links.now_ms)
        links.now_ms += cost_ms
        return Submission(number(len(taken)), is_new=False)

    gossip = Gossip(
        Surroundings(
            submit=submit,
            pending=lambda _: None,
            is_known=lambda _: False,
            send=links.sender(SEG),
            call_later=lambda _delay_ms, callback: turns.append(callback),
            now_ms=lambda: links.now_ms,
            arrived=lambda: None,
        )
    )
    gossip.connected(SDES)
    gossip.receive(SDES, codec.encode(GossipParcel(Transactions(tuple(bytes([value]) for value in range(30))))))
    assert taken == []
    turns.pop()()
    assert (len(taken), len(turns)) == (GOSSIP_SLICE_TRANSACTIONS, 1)
    cost_ms = 3
    turns.pop()()
    assert (len(taken), len(turns)) == (GOSSIP_SLICE_TRANSACTIONS + 2, 1)


# --- who is to blame ---


def test_flood_of_invalid_transactions_disconnects() -> None:
    """Bad signatures are counted, and the peer that sends many is cut off with its next message."""
    links = Links()
    node = Node(links, SEG)
    flooder = Actor(links, FLOODER)
    links.connect_all()
    count = GOSSIP_FAULTS_MAX // GOSSIP_INVALID_FAULT + 1
    flooder.say(Transactions(bad_signatures(node.chain, count)))
    links.run(100)
    assert node.gossip.rejected == {Reason.BAD_SIGNATURE: count}
    assert links.ended == []
    flooder.say(Have(()))
    links.run(10)
    [(by, whom, rejection)] = links.ended
    assert (by, whom, rejection.reason) == (SEG, FLOODER, Reason.QUOTA_EXCEEDED)
    assert rejection.detail == f"{count * GOSSIP_INVALID_FAULT} points for invalid transactions"


def test_few_invalid_transactions_are_forgiven() -> None:
    """A peer that sends a bad one now and then stays."""
    links = Links()
    node = Node(links, SEG)
    peer = Actor(links, SDES)
    links.connect_all()
    for data in bad_signatures(node.chain, 60):
        peer.say(Transactions((data,)))
        links.run(1_000)
    assert node.gossip.rejected == {Reason.BAD_SIGNATURE: 60}
    assert links.ended == []


@pytest.mark.parametrize("is_behind", [False, True])
def test_refusals_of_an_old_state_blame_nobody(is_behind: bool) -> None:
    """What the state refuses costs little, and nothing while our own state is old."""
    links = Links()
    node = Node(links, SEG)
    node.is_behind = is_behind
    peer = Actor(links, SDES)
    links.connect_all()
    unknown = suspension(node.chain, "nobody.example")
    for _ in range(GOSSIP_FAULTS_MAX + 200):
        peer.say(Transactions((unknown,)))
    links.run(900)
    peer.say(Have(()))
    links.run(50)
    assert bool(links.ended) is not is_behind


def test_repeated_and_expired_transactions_blame_nobody() -> None:
    """Duplicates and what expired on the way are normal between nodes at different heights."""
    links = Links()
    node = Node(links, SEG)
    peer = Actor(links, SDES)
    links.connect_all()
    good = suspension(node.chain)
    expired = node.chain.transaction(
        "institution.suspend", Suspend(ITLEON, "audit"), signer=SEG, valid_until=node.chain.ledger.head.height
    )
    for _ in range(20):
        peer.say(Transactions((good, expired) * 100))
    links.run(5_000)
    peer.say(Have(()))
    links.run(50)
    assert node.gossip.rejected == {Reason.EXPIRED: 2_000}
    assert links.ended == []
    assert len(node.pending) == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        codec.encode(GossipParcel(Have((b"short",)))),
        codec.encode(GossipParcel(Have((bytes(32),) * 1_001))),
    ],
)
def test_garbage_disconnects(payload: bytes) -> None:
    """Bytes that are no message of gossip are refused at once."""
    links = Links()
    Node(links, SEG)
    Actor(links, SDES)
    links.connect_all()
    links.sender(SDES)(SEG, payload)
    links.run(10)
    assert [(by, whom, rejection.reason) for by, whom, rejection in links.ended] == [(SEG, SDES, Reason.MALFORMED)]


def test_peer_that_leaves_takes_its_inbox_with_it() -> None:
    """What a peer sent and nobody has looked at is forgotten; its successor starts clean."""
    links = Links()
    node = Node(links, SEG)
    flooder = Actor(links, FLOODER)
    links.connect_all()
    node.gossip.receive(FLOODER, codec.encode(GossipParcel(Transactions(bad_signatures(node.chain, 60)))))
    links.disconnect(SEG, FLOODER)
    links.run(100)
    assert node.gossip.rejected == {}
    links.connect(SEG, FLOODER)
    flooder.say(Have(()))
    links.run(100)
    assert links.ended == []


def test_rejected_is_raised_only_for_messages() -> None:
    """A transaction that is refused inside a slice is counted and never fatal."""
    links = Links()
    node = Node(links, SEG)
    peer = Actor(links, SDES)
    links.connect_all()
    with pytest.raises(Rejected):
        node.chain.ledger.submit(b"\xc1")
    peer.say(Transactions((b"\xc1", suspension(node.chain))))
    links.run(100)
    assert node.gossip.rejected == {Reason.MALFORMED: 1}
    assert len(node.pending) == 1
