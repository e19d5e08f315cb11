"""Planted bugs in what is durable, in starting again, and in catching up."""

from dataclasses import replace

from tests.simulation.plan import Plan, draw
from tests.simulation.plants import Edit, Plant, Setting


def _crashing(seed: int) -> Plan:
    return replace(draw(seed), crash_per_mille=40)


_SYNCED = "self._store.write(batch, sync=True)"
_UNSYNCED = "self._store.write(batch, sync=False)"

RECORDS = {
    "vote-before-persist": Plant(
        "votes leave before they are on the disk, and nothing is synced",
        (
            Edit(
                "node.replica:Replica._perform",
                "        self._persist(pending)\n        self._perform_one(effect)\n",
                "        self._perform_one(effect)\n",
            ),
            Edit("node.journal:Journal.append", _SYNCED, _UNSYNCED),
            Edit("node.signer.record:SigningRecord.append", _SYNCED, _UNSYNCED),
        ),
        _crashing,
    ),
    "journal-unsynced": Plant(
        "the journal is written without sync",
        (Edit("node.journal:Journal.append", _SYNCED, _UNSYNCED),),
        _crashing,
    ),
    "body-not-kept": Plant(
        "a block is voted for without keeping its body",
        (Edit("node.consensus.proposal:_accept", "yield Persist(KeptBlock(judged))", "pass"),),
    ),
    "restart-forgets-view-change": Plant(
        "after a restart a ViewChange that was sent binds no more",
        (
            Edit(
                "node.consensus.recovery:_take_up",
                "            state.view, state.step, state.accepted_hash = head.view, Step.VIEW_CHANGING, None\n"
                "        case SignsFrom():",
                "            return\n        case SignsFrom():",
            ),
        ),
        _crashing,
    ),
    "restart-forgets-prepared": Plant(
        "after a restart the prepared certificate is not taken up",
        (Edit("node.consensus.recovery:_take_up", "state.prepared = certificate", "pass"),),
        _crashing,
    ),
    "safe-start-early": Plant(
        "a validator without journal signs one height too early: at G + 2",
        (Setting("node.consensus.recovery", "SAFE_DISTANCE", 2),),
    ),
    "safe-start-at-once": Plant(
        "a validator without journal signs from its next height on",
        (Setting("node.consensus.recovery", "SAFE_DISTANCE", 1),),
    ),
    "sync-unchecked": Plant(
        "catching up takes blocks without checking their certificates",
        (
            Edit(
                "node.sync:Sync._read",
                "certificate.check(self._chain.network, self._chain.validators_at(height), self._node.verify_digest)",
                "pass",
            ),
        ),
    ),
}
