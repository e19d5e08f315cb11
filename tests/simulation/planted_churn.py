"""Planted bugs in what a change of the validators touches, and the plan in which they can show themselves."""

from dataclasses import replace

from tests.simulation.plan import Plan, quiet
from tests.simulation.plants import Edit, Plant


def hand_overs(seed: int) -> Plan:
    """Return a plan in which nothing happens but changes of the validators, on a slow network that loses proposals."""
    kinds = ("swap", "join", "swap", "leave")
    return replace(
        quiet(4, machines=6, scripted_ms=20_000, seed=seed),
        delay_ms=(1, 900),
        loss_percent=20,
        loss_by_kind=((1, 60),),
        transaction_every_ms=150,
        standbys=2,
        churn=tuple((1_000 + 700 * number, kinds[number % 4]) for number in range(26)),
        validators_min=4,
    )


CHURN = {
    "one-set-for-all": Plant(
        "what is said of the head's height is judged by the set of the next height",
        (
            Edit(
                "node.consensus.height:HeightContext.validators_of",
                "return self.head_validators if height < self.height else self.validators",
                "return self.validators",
            ),
        ),
        hand_overs,
    ),
    "newest-key": Plant(
        "a staged key signs before the set names it",
        (Edit("node.replica:Replica._choose_key", "signer.choose(validators.members[index].public_key)", "pass"),),
        hand_overs,
    ),
    "turns-of-another-set": Plant(
        "a turn that went by at the last height of a set is held against a member of the next",
        (
            Edit(
                "node.chain.missed_turns:demerits_after",
                "if parent.validators_hash != parent.next_validators_hash:",
                "if False:",
            ),
        ),
        hand_overs,
    ),
}
