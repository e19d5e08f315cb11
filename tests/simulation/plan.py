"""What one seed decides: who, which network, which faults, when they end."""

from dataclasses import dataclass
from random import Random

SIZES = (4, 4, 4, 5, 6, 7, 10)


@dataclass(frozen=True)
class Plan:
    """Everything about a run that is drawn before it starts. Times are simulated milliseconds."""

    seed: int
    validators: int
    byzantine: tuple[int, ...]
    """Indexes of validators that lie; at most f together with `amnesiac`."""
    attacks: tuple[str, ...]
    real_signatures: bool
    real_ledger: bool
    """Machines run node.chain.ledger with real transactions; four validators, real signatures."""
    delay_ms: tuple[int, int]
    loss_percent: int
    loss_by_kind: tuple[tuple[int, int], ...]
    """(number of the message, percent): a network that knows what hurts, such as losing most Commits."""
    duplication_percent: int
    partitions: tuple[tuple[int, int, tuple[int, ...]], ...]
    """(from, until, side of each validator)."""
    skew_ms: tuple[int, ...]
    """How far each clock is off."""
    crash_per_mille: int
    """Chance of a crash at each durable write while faults last."""
    kills: tuple[tuple[int, int], ...]
    """(time, validator): power cut between two inputs."""
    amnesiac: tuple[int, int] | None
    """(time, validator): loses its journal and its signer's record."""
    observer: bool
    """A node without a key follows."""
    transaction_every_ms: int
    heal_ms: int
    """From here on no loss, no crash, short delays; liars go on lying."""


ATTACKS = (
    "withhold",
    "delay",
    "replay",
    "mutate",
    "equivocate",
    "two-proposals",
    "lie-in-view-change",
    "lie-in-new-view",
    "hasty-view-change",
    "echo",
    "false-status",
    "silent",
    "bad-body",
)


def draw(seed: int, *, sizes: tuple[int, ...] = SIZES) -> Plan:
    """Return the plan of a seed."""
    random = Random(f"plan/{seed}")
    real_ledger = sizes is SIZES and random.random() < 0.06
    n = 4 if real_ledger else random.choice(sizes)
    f = (n - 1) // 3
    hurt = tuple(
        (kind, random.choice((40, 70, 95))) for kind in random.choice(((), (), (3,), (3,), (2,), (3, 7), (5,), (3, 5)))
    )
    heal_ms = random.randrange(8_000, 25_000) if hurt else random.randrange(4_000, 14_000)
    order = random.sample(range(n), n)
    liars = tuple(sorted(order[: random.choice((0, f, f, random.randint(0, f)))]))
    attacks = tuple(random.sample(ATTACKS, random.randint(1, 5)))
    amnesiac = None
    if len(liars) < f and random.random() < 0.3:
        amnesiac = (random.randrange(1_000, heal_ms), order[-1])
    partitions = []
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        start = random.randrange(0, heal_ms)
        sides = random.choice((2, 2, 3))
        end = min(heal_ms, start + random.randrange(200, 4_000))
        partitions.append((start, end, tuple(random.randrange(sides) for _ in range(n))))
    calm = random.random() < 0.2
    return Plan(
        seed=seed,
        validators=n,
        byzantine=liars,
        attacks=attacks,
        real_signatures=random.random() < 0.05 or real_ledger,
        real_ledger=real_ledger,
        delay_ms=random.choice(((1, 20), (5, 80), (1, 400), (20, 1_200))),
        loss_percent=0 if calm else random.choice((0, 1, 5, 15, 30)),
        loss_by_kind=hurt,
        duplication_percent=random.choice((0, 2, 20)),
        partitions=() if calm else tuple(partitions),
        skew_ms=tuple(random.choice((0, random.randint(-900, 900))) for _ in range(n + 1)),
        crash_per_mille=0 if calm else random.choice((0, 2, 10, 40)),
        kills=tuple(
            sorted((random.randrange(0, heal_ms), random.randrange(n)) for _ in range(random.choice((0, 0, 1, 4))))
        ),
        amnesiac=amnesiac,
        observer=random.random() < 0.2,
        transaction_every_ms=random.choice((60, 250, 700, 3_000)),
        heal_ms=heal_ms,
    )


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
        skew_ms=(0,) * (machines or validators),
        crash_per_mille=0,
        kills=(),
        amnesiac=None,
        observer=False,
        transaction_every_ms=1_000,
        heal_ms=scripted_ms,
    )
