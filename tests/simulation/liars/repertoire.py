"""All ways of lying, by name; a plan draws some of them."""

from tests.simulation.liars.attack import Attack
from tests.simulation.liars.collusion import Chorus, TwoFaced
from tests.simulation.liars.mutations import Mutation
from tests.simulation.liars.proposals import (
    FalseDecision,
    FalseEvidence,
    FalseJustification,
    FalseTime,
    TwoProposals,
    Usurpation,
)
from tests.simulation.liars.replays import ForeignEvidence, OldEpoch, OtherNetwork, Replay, Transplant
from tests.simulation.liars.speech import (
    BadBody,
    Delay,
    Echo,
    Equivocation,
    FalseStatus,
    Favouritism,
    Silence,
    Withholding,
)
from tests.simulation.liars.view_changes import FalseClaim, Haste

REPERTOIRE: dict[str, type[Attack]] = {
    "silent": Silence,
    "withhold": Withholding,
    "favourites": Favouritism,
    "mutate": Mutation,
    "equivocate": Equivocation,
    "false-claim": FalseClaim,
    "false-justification": FalseJustification,
    "false-status": FalseStatus,
    "false-time": FalseTime,
    "false-evidence": FalseEvidence,
    "bad-body": BadBody,
    "delay": Delay,
    "replay": Replay,
    "transplant": Transplant,
    "other-network": OtherNetwork,
    "old-epoch": OldEpoch,
    "foreign-evidence": ForeignEvidence,
    "two-proposals": TwoProposals,
    "usurp": Usurpation,
    "false-decision": FalseDecision,
    "haste": Haste,
    "echo": Echo,
    "false-sync": Attack,
    "two-faced": TwoFaced,
    "chorus": Chorus,
}
"""In the order in which they are asked what becomes of a message. `false-sync` acts on another channel."""
COLLUSIONS = ("two-faced", "chorus")
"""Need a second liar."""
ATTACKS = tuple(name for name in REPERTOIRE if name not in COLLUSIONS)
