"""What a missed turn costs, and that every node reads the same cost from the chain."""

from itertools import pairwise
from random import Random

import msgspec
import pytest

from node.chain.certificate import Certificate, Phase
from node.chain.demerits import NO_DEMERITS, Demerit, Demerits
from node.chain.missed_turns import demerits_after
from node.chain.rotation import Rotation
from node.chain.validator_set import ValidatorSet
from node.limits import DEMERIT_MISSES_MAX
from node.state import keys
from tests.simulation.turns import Turns
from tests.simulation.twin_chain import genesis_header
from tests.unit.chain.kit import TestChain
from tests.unit.consensus.desk import NOW_MS, Desk


class Heights:
    """A chain reduced to what demerits depend on: who made each block, and in which view it was decided."""

    def __init__(self, n: int) -> None:
        desk = Desk(n)
        self.validators: ValidatorSet = desk.validators
        self.names = [member.institution for member in self.validators.members]
        self.parent = msgspec.structs.replace(genesis_header(self.validators, NOW_MS), height=1, proposer=self.names[0])
        self.demerits = NO_DEMERITS
        """As it holds for the height that is decided next."""
        self.unsaid = Certificate(1, Phase.COMMIT, 0, 1, 0, self.parent.hash(), ())
        """Of the parent: in no block yet."""

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.validators, self.parent.height + 1, self.demerits)

    def proposer(self, view: int = 0) -> str:
        """Who has the turn at the next height."""
        return self.names[self.rotation.proposer(view)]

    def decide(self, view: int = 0, maker: str | None = None) -> None:
        """Decide the next block; by default its maker is the proposer of the view."""
        height = self.parent.height + 1
        header = msgspec.structs.replace(self.parent, height=height, proposer=maker or self.proposer(view))
        self.demerits = demerits_after(self.demerits, self.validators, self.parent, self.unsaid)
        self.unsaid = Certificate(1, Phase.COMMIT, 0, height, view, header.hash(), ())
        self.parent = header

    def play(self, dead: set[str], heights: int) -> list[int]:
        """Decide heights with some validators dead; return the view of each."""
        views = []
        for _ in range(heights):
            view = next(view for view in range(2 * len(self.names)) if self.proposer(view) not in dead)
            self.decide(view)
            views.append(view)
        return views


def test_ordinary_blocks_leave_no_record() -> None:
    """View 0, whoever proposes."""
    heights = Heights(4)
    heights.play(set(), 50)
    assert heights.demerits == NO_DEMERITS


def test_missed_turn_is_held_against_its_proposer_from_the_second_block_on() -> None:
    """Height 2 is decided in view 1: block 3 says so, height 4 passes its proposer over for 32N = 128 heights."""
    heights = Heights(4)
    late = heights.proposer(0)
    heights.decide(view=1)
    assert heights.demerits == NO_DEMERITS
    heights.decide()
    assert heights.demerits == Demerits((Demerit(late, 1, 130),), 3, ())
    turns = []
    while heights.parent.height < 130:
        turns += [heights.proposer(view) for view in range(8)]
        heights.decide()
    assert late not in turns
    assert late in [heights.proposer(view) for view in range(4)]


def test_every_further_miss_doubles_the_distance_up_to_256_n() -> None:
    """A dead validator of four costs a view at heights about 128, 256, 512 apart, then every 1,024."""
    heights = Heights(4)
    (dead,) = {heights.proposer(0)}
    views = heights.play({dead}, 6_000)
    missed = [height for height, view in enumerate(views) if view]
    gaps = [later - earlier for earlier, later in pairwise(missed)]
    assert [gap // 8 * 8 for gap in gaps] == [128, 256, 512, 1_024, 1_024, 1_024, 1_024]
    assert max(views) == 1


@pytest.mark.parametrize("n", [4, 7, 10])
def test_f_dead_proposers_are_all_passed_over(n: int) -> None:
    """Of the last 1,000 of 1,500 heights at most one in a hundred needs a second view."""
    heights = Heights(n)
    dead = set(heights.names[: heights.validators.max_faulty])
    views = heights.play(dead, 1_500)
    assert sum(1 for view in views[500:] if view) <= 10


def test_more_than_f_with_demerits_leave_n_minus_f_in_turn() -> None:
    """Those with most misses are passed over, ties in order of the set, and nobody twice in N − f turns."""
    validators = Heights(7).validators
    names = [member.institution for member in validators.members]
    held = tuple(Demerit(names[index], misses, 50) for index, misses in ((0, 1), (2, 3), (3, 1), (6, 1)))
    demerits = Demerits(held, 2, ())
    assert demerits.passed_over(validators, 50) == {2, 0}
    rotation = Rotation(validators, 50, demerits)
    assert sorted(rotation.proposer(view) for view in range(5)) == [1, 3, 4, 5, 6]
    assert [rotation.proposed_before(index, 2**32 - 1) for index in range(7)] == [
        index not in (0, 2) for index in range(7)
    ]
    assert demerits.passed_over(validators, 51) == set()


def test_f_passed_over_and_f_more_dead_still_reach_a_living_proposer_within_f_views() -> None:
    """Two of seven are passed over for good reasons or bad, two others are dead: view 2 at the latest."""
    validators = Heights(7).validators
    names = [member.institution for member in validators.members]
    demerits = Demerits(tuple(Demerit(name, 4, 1_000) for name in names[:2]), 1, ())
    for height in range(2, 100):
        rotation = Rotation(validators, height, demerits)
        assert any(names[rotation.proposer(view)] not in names[2:4] for view in range(3))


def test_maker_of_the_decided_block_has_missed_no_turn() -> None:
    """Proposed in view 0, decided in view 2: only the proposer of view 1 let its turn go by."""
    heights = Heights(4)
    maker, other = heights.proposer(0), heights.proposer(1)
    heights.decide(view=2, maker=maker)
    heights.decide()
    assert [entry.institution for entry in heights.demerits.entries] == [other]


def test_view_that_no_honest_validator_reaches_blames_everybody_once() -> None:
    """After 2³² views all but the maker had their turn; the work is bounded by N."""
    heights = Heights(4)
    maker = heights.proposer(1)
    heights.decide(view=2**32 - 1, maker=maker)
    heights.decide()
    assert heights.demerits.entries == tuple(Demerit(name, 1, 130) for name in heights.names if name != maker)


def test_misses_are_forgotten_after_32_n_heights_of_usual_turns() -> None:
    """The second miss counts as the second up to passed_until + 128 with N = 4, and as the first after that."""
    entry = Demerit("v0.example", 1, 10)
    heights = Heights(4)
    for height, misses in ((10 + 128, 2), (11 + 128, 1)):
        parent = msgspec.structs.replace(heights.parent, height=height - 1, proposer="v1.example")
        before = Demerits((entry,), 2, ())
        certificate = Certificate(1, Phase.COMMIT, 0, height - 1, 4, parent.hash(), ())
        after = demerits_after(before, heights.validators, parent, certificate)
        assert after.entries[0] == Demerit("v0.example", misses, height - 1 + 128 * misses)


def test_misses_are_bounded() -> None:
    """A fifth is as bad as the fourth."""
    heights = Heights(4)
    before = Demerits((Demerit("v0.example", DEMERIT_MISSES_MAX, 0),), 0, ())
    parent = msgspec.structs.replace(heights.parent, proposer="v1.example")
    after = demerits_after(before, heights.validators, parent, Certificate(1, 2, 0, 1, 4, parent.hash(), ()))
    assert after.entries[0] == Demerit("v0.example", DEMERIT_MISSES_MAX, 1 + 256 * 4)


def test_last_height_of_a_set_blames_nobody() -> None:
    """Its turns were another set's."""
    heights = Heights(4)
    parent = msgspec.structs.replace(heights.parent, next_validators_hash=b"n" * 32)
    certificate = Certificate(1, Phase.COMMIT, 0, 1, 3, parent.hash(), ())
    assert demerits_after(NO_DEMERITS, heights.validators, parent, certificate) is NO_DEMERITS


def test_members_that_left_are_passed_over_nowhere_and_dropped() -> None:
    """Names, not indexes, tell whose misses they are."""
    heights = Heights(4)
    gone = Demerit("a-gone.example", 4, 2_000)
    before = Demerits((gone,), 0, ())
    assert before.passed_over(heights.validators, 5) == set()
    parent = msgspec.structs.replace(heights.parent, proposer=heights.names[0])
    certificate = Certificate(1, Phase.COMMIT, 0, 1, 4, parent.hash(), ())
    after = demerits_after(before, heights.validators, parent, certificate)
    assert [entry.institution for entry in after.entries] == heights.names[1:]


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_a_slow_telling_of_the_same_rule(seed: int) -> None:
    """Random views and makers over 700 heights, N of 4 … 13; the twin knows only the decided blocks."""
    random = Random(seed)
    heights = Heights(random.randint(4, 13))
    twin = Turns(lambda _: heights.validators)
    block = Desk(4).block()
    often = random.choice((3, 20, 100))
    for _ in range(700):
        view = random.choice((1, 1, 2, 5, 40)) if random.randrange(often) == 0 else 0
        maker = heights.proposer(random.randint(0, view)) if random.random() < 0.5 else heights.proposer(view)
        certificate = heights.unsaid
        heights.decide(view, maker)
        carried = msgspec.structs.replace(block, header=heights.parent, parent_certificate=certificate)
        twin.on_decided(carried)
        following = heights.parent.height + 1
        assert [heights.rotation.proposer(u) for u in range(13)] == [twin.proposer(following, u) for u in range(13)]


def test_ledger_reads_it_from_the_certificate_inside_the_block() -> None:
    """Block 2 carries a certificate of view 1; a node whose own is of another view says the same after a restart."""
    chain = TestChain()
    validators = chain.ledger.validators_at(1)
    first = chain.build(proposer=validators.members[Rotation(validators, 1).proposer(1)].institution)
    missed = validators.members[Rotation(validators, 1).proposer(0)].institution
    chain.ledger.commit_block(first, chain.certificate(first, view=1))
    assert chain.ledger.demerits == NO_DEMERITS
    other = TestChain()
    other.ledger.commit_block(first, other.certificate(first, view=0))
    second = chain.build()
    for one in (chain, other):
        one.ledger.commit_block(second, one.certificate(second))
        assert one.ledger.demerits == Demerits((Demerit(missed, 1, 129),), 2, ())
    again = TestChain(chain.document, chain.store)
    assert again.ledger.demerits == chain.ledger.demerits
    assert again.ledger.read(keys.DEMERITS, Demerits) == chain.ledger.demerits
