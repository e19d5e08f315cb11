"""G5: @confio/ics23 (TendermintSpec) judges our state proofs, present and absent, and forged ones."""

import copy

from node.state.proof_json import to_json
from tests.interop.kit import ics23_verdicts
from tests.unit.documents.small_chain import SEG, UGTO, SmallChain

Answer = dict[str, object]


def answers() -> tuple[list[Answer], list[Answer]]:
    """Return proofs of records that are there and of ones that are not, as `state_proof` answers."""
    chain = SmallChain()
    chain.publish(f"{UGTO}/primer-empleo/1")

    def answer(plain_key: str) -> Answer:
        proven = chain.ledger.prove(plain_key)
        value = None if proven.value is None else proven.value.hex()
        return {"value": value, "state_root": proven.state_root.hex(), "proof": to_json(proven.proof)}

    present = [answer(key) for key in (f"acc/{SEG}", f"acc/{UGTO}", f"def/{UGTO}/primer-empleo/1", "par/network")]
    absent = [answer(f"acc/nobody{number}.mx") for number in range(40)]
    return present, absent


def test_presence_and_absence_verify() -> None:
    """Records that are there and forty that are not, between, below and above the present keys."""
    present, absent = answers()
    assert all(answer["value"] is not None for answer in present)
    assert ics23_verdicts(*present, *absent) == [True] * 44


def test_forged_proofs_are_refused() -> None:
    """Another value, another root, a gap that is none, a path with a step changed."""
    present, _ = answers()
    other_value = {**present[0], "value": present[1]["value"]}
    other_root = {**present[0], "state_root": "00" * 32}
    # A present key passed off as absent, between neighbours that enclose it but are not neighbours.
    by_key = sorted((answer["proof"]["exist"] for answer in present), key=lambda exist: str(exist["key"]))  # type: ignore[index] # ours
    gap = {
        "value": None,
        "state_root": present[0]["state_root"],
        "proof": {"nonexist": {"key": by_key[1]["key"], "left": by_key[0], "right": by_key[2]}},
    }
    changed = copy.deepcopy(present[0])
    path = changed["proof"]["exist"]["path"]  # type: ignore[index] # ours
    path[0]["prefix"], path[0]["suffix"] = path[0]["prefix"][:-2] + "00", path[0]["suffix"]
    assert ics23_verdicts(other_value, other_root, gap, changed) == [False] * 4
