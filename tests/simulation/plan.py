"""What one seed decides: who, which network, which faults, when they end."""

from dataclasses import dataclass, replace
from random import Random

from tests.simulation.liars.repertoire import ATTACKS, COLLUSIONS

SIZES = (4, 4, 4, 4, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 13)
HOUR_MS = 3_600_000
HURT: tuple[tuple[int, ...], ...] = ((), (), (3,), (3,), (2,), (3, 7), (5,), (3, 5), (3, 8))
"""Numbers of messages that a network loses most."""


@dataclass(frozen=True)
class Partition:
    """Messages between different sides are lost for a while."""

    from_ms: int
    until_ms: int
    sides: tuple[int, ...]
    """Of each machine; those beyond the end are on every side."""
    is_one_way: bool = False
    """Only what a lower side says is lost on its way to a higher one: there are who hear and are not heard."""

    def parts(self, sender: int, receiver: int) -> bool:
        """Tell whether a message between two machines is lost."""
        if sender >= len(self.sides) or receiver >= len(self.sides):
            return False
        from_side, to_side = self.sides[sender], self.sides[receiver]
        return from_side < to_side if self.is_one_way else from_side != to_side


@dataclass(frozen=True)
class RoundFault:
    """A network fault that is bound to a place in the protocol and not to a time (ByzzFuzz): one kind of one view."""

    view: int
    kinds: tuple[int, ...]
    """Numbers of messages."""
    sides: tuple[int, ...]
    every: int
    """At heights that this divides."""


@dataclass(frozen=True)
class Plan:
    """Everything about a run that is drawn before it starts. Times are simulated milliseconds."""

    seed: int
    validators: int
    byzantine: tuple[int, ...]
    """Indexes of validators that lie; with those whose records are gone at most f at any time."""
    attacks: tuple[str, ...]
    real_signatures: bool
    real_ledger: bool
    """Machines run node.chain.ledger with real transactions; four validators, real signatures."""
    delay_ms: tuple[int, int]
    loss_percent: int
    loss_by_kind: tuple[tuple[int, int], ...]
    """(number of the message, percent): a network that knows what hurts, such as losing most Commits."""
    duplication_percent: int
    partitions: tuple[Partition, ...]
    round_faults: tuple[RoundFault, ...]
    slow_ms: tuple[int, ...]
    """How much later each machine hears everything."""
    skew_ms: tuple[int, ...]
    """How far each clock is off."""
    clock_steps: tuple[tuple[int, int, int], ...]
    """(time, machine, milliseconds): the clock jumps, back when the faults end."""
    crash_per_mille: int
    """Chance of a crash at each durable write while faults last."""
    kills: tuple[tuple[int, int], ...]
    """(time, validator): power cut between two inputs."""
    wipes: tuple[tuple[int, int], ...]
    """(time, validator): loses its journal and its signer's record, if fewer than f others lie or listen then."""
    rots: tuple[tuple[int, int, str], ...]
    """(time, validator, disk): a bit flips in the `journal`, the `signer` record or the `chain`; same condition."""
    wipes_voters: bool
    """Validators lose their records right after a vote that binds them: a Commit, or any vote where they are alone."""
    observer: bool
    """A node without a key follows."""
    transaction_every_ms: int
    heal_ms: int
    """From here on no loss, no crash, short delays; liars go on lying."""
    storm_ms: tuple[int, ...] = ()
    """When liars flood everybody."""
    standbys: int = 0
    """Machines with keys that are in no set at first."""
    churn: tuple[tuple[int, str], ...] = ()
    """(time, `join`, `leave` or `swap`): an operator wants to change the validators."""
    validators_min: int = 0
    """No set gets smaller than this; 0: than the first."""

    @property
    def max_faulty(self) -> int:
        """f of the smallest set of this network."""
        return ((self.validators_min or self.validators) - 1) // 3


def draw(seed: int, *, sizes: tuple[int, ...] = SIZES) -> Plan:
    """Return the plan of a seed."""
    random = Random(f"plan/{seed}")
    real_ledger = sizes is SIZES and random.random() < 0.05
    is_marathon = not real_ledger and random.random() < 0.015
    n = sizes[0] if real_ledger or is_marathon else random.choice(sizes)
    f = (n - 1) // 3
    wipes_voters = random.random() < 0.12
    hurt = tuple((kind, random.choice((40, 70, 95))) for kind in ((3, 8) if wipes_voters else random.choice(HURT)))
    heal_ms = random.randrange(8_000, 25_000) if hurt else random.randrange(4_000, 14_000)
    is_long = random.random() < 0.06
    if is_long:
        heal_ms = random.randrange(60_000, 180_000)
    order = random.sample(range(n), n)
    liars = tuple(sorted(order[: 0 if wipes_voters else random.choice((0, f, f, random.randint(0, f)))]))
    attacks = random.sample(ATTACKS, random.randint(1, 5))
    if len(liars) > 1 and random.random() < 0.5:
        attacks.append(random.choice(COLLUSIONS))
    calm = random.random() < 0.2
    plan = Plan(
        seed=seed,
        validators=n,
        byzantine=liars,
        attacks=tuple(attacks),
        real_signatures=random.random() < 0.04 or real_ledger,
        real_ledger=real_ledger,
        delay_ms=random.choice(((1, 20), (5, 80), (1, 400), (20, 1_200))),
        loss_percent=0 if calm else random.choice((0, 1, 5, 15, 30)),
        loss_by_kind=hurt,
        duplication_percent=random.choice((0, 2, 20)),
        partitions=() if calm else _partitions(random, n, heal_ms, is_long=is_long),
        round_faults=_round_faults(random, n),
        slow_ms=_slow(random, n),
        skew_ms=tuple(random.choice((0, random.randint(-900, 900))) for _ in range(n + 1)),
        clock_steps=_clock_steps(random, n, len(liars), heal_ms),
        crash_per_mille=0 if calm else random.choice((0, 2, 10, 40)),
        kills=_times(random, n, heal_ms, random.choice((0, 0, 1, 4))),
        wipes=_times(random, n, heal_ms, random.choice((0, 0, 0, 1, 1, 2))),
        rots=tuple(
            (time_ms, index, random.choice(("journal", "signer", "chain")))
            for time_ms, index in _times(random, n, heal_ms, random.choice((0, 0, 0, 1, 2)))
        ),
        wipes_voters=wipes_voters,
        observer=random.random() < 0.2,
        transaction_every_ms=random.choice((60, 250, 700, 3_000)) * (4 if is_long else 1),
        heal_ms=heal_ms,
        storm_ms=_storms(random, heal_ms) if liars and random.random() < 0.05 else (),
    )
    return _marathon(plan) if is_marathon else plan


def _marathon(plan: Plan) -> Plan:
    """Return the same plan with some hundred heights: what is remembered over many of them matters."""
    return replace(
        plan,
        delay_ms=(1, 20),
        loss_percent=min(plan.loss_percent, 1),
        loss_by_kind=(),
        partitions=(),
        round_faults=(),
        crash_per_mille=min(plan.crash_per_mille, 1),
        slow_ms=(0,) * len(plan.slow_ms),
        transaction_every_ms=15,
        heal_ms=30_000,
    )


def standby_names(validators: int, standbys: int) -> list[str]:
    """Return the names of the machines that are in no set at first."""
    return [f"v{index:02}.example" for index in range(validators, validators + standbys)]


def _times(random: Random, n: int, heal_ms: int, count: int) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((random.randrange(1_000, heal_ms), random.randrange(n)) for _ in range(count)))


def _partitions(random: Random, n: int, heal_ms: int, *, is_long: bool) -> tuple[Partition, ...]:
    found = []
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        start = random.randrange(0, heal_ms)
        sides = random.choice((2, 2, 3))
        length = random.randrange(200, heal_ms if is_long else 4_000)
        division = tuple(random.randrange(sides) for _ in range(n))
        found.append(Partition(start, min(heal_ms, start + length), division, is_one_way=random.random() < 0.3))
    return tuple(found)


def _round_faults(random: Random, n: int) -> tuple[RoundFault, ...]:
    return tuple(
        RoundFault(
            view=random.choice((0, 0, 1, 2)),
            kinds=tuple(random.sample((1, 2, 3, 4, 5), random.choice((1, 1, 2)))),
            sides=tuple(random.randrange(2) for _ in range(n)),
            every=random.choice((1, 2, 3)),
        )
        for _ in range(random.choice((0, 0, 0, 1, 3)))
    )


def _slow(random: Random, n: int) -> tuple[int, ...]:
    slowest_ms = random.choice((0, 0, 0, 0, 300, 1_500))
    return tuple(random.choice((0, 0, slowest_ms)) for _ in range(n + 1))


def _clock_steps(random: Random, n: int, liars: int, heal_ms: int) -> tuple[tuple[int, int, int], ...]:
    """A quorum with a wrong clock may move the chain's time; so fewer are wrong, liars counted as such."""
    f = (n - 1) // 3
    quorum = (n + f) // 2 + 1
    wrong = random.sample(range(n), min(quorum - 1 - liars, random.choice((0, 0, 0, 0, 1, 1, 2))))
    return tuple(
        (random.randrange(0, heal_ms), index, random.choice((-24, -1, 1, 24)) * random.choice((1_500, HOUR_MS)))
        for index in wrong
        for _ in range(random.choice((1, 1, 3)))
    )


def _storms(random: Random, heal_ms: int) -> tuple[int, ...]:
    return (random.randrange(1_000, heal_ms), heal_ms + random.randrange(1, 1_500))


def quiet(validators: int, *, machines: int | None = None, scripted_ms: int = 1, seed: int = 0) -> Plan:
    """Return a plan without faults, for runs whose faults are scripted within `scripted_ms`."""
    return Plan(
        seed=seed,
        validators=validators,
        byzantine=(),
        attacks=(),
        real_signatures=False,
        real_ledger=False,
        delay_ms=(5, 30),
        loss_percent=0,
        loss_by_kind=(),
        duplication_percent=0,
        partitions=(),
        round_faults=(),
        slow_ms=(0,) * (machines or validators),
        skew_ms=(0,) * (machines or validators),
        clock_steps=(),
        crash_per_mille=0,
        kills=(),
        wipes=(),
        rots=(),
        wipes_voters=False,
        observer=False,
        transaction_every_ms=1_000,
        heal_ms=scripted_ms,
    )
