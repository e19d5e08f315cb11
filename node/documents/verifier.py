"""Checks a bundle with nothing but a trust anchor, a clock reading and, if wanted, a maximum age.

Each light is found by itself and never throws: what the bundle fails to prove makes that light red
with the reason. Chain facts are read by the same functions that the node uses, over records that were
proven under the certified state root. Source: DOMAIN §6; PROTOCOL §8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.chain.checkpoint import Checkpoint
from node.chain.proof import (
    ProvenRecords,
    TrustedHeader,
    verify_batch_path,
    verify_headers,
    verify_records,
)
from node.chain.records.credential import LEAF_VERSION, Batch, Origin
from node.documents import chain_lights, content_light, network_light
from node.documents.answer import NOT_PROVEN, UNREADABLE, Answer, Light, LightName, Summary, Text
from node.documents.bundle import Bundle, read_bundle
from node.documents.data_integrity import Canonicaliser, pinned_canonicaliser
from node.documents.disclosure import opened
from node.documents.times import to_text
from node.errors import Reason, Rejected
from node.primitives import Hash, TimestampMs
from node.state import keys


@dataclass(frozen=True, slots=True)
class _Chain:
    """What of the chain part holds: each step needs the one before."""

    trusted: TrustedHeader | None
    records: ProvenRecords | None
    problem: Rejected | None
    """Why the next step does not hold."""

    def proven(self) -> ProvenRecords:
        """Return the records. Raises: Rejected, the reason why there are none."""
        if self.records is None:
            assert self.problem is not None
            raise self.problem
        return self.records


def verify_bundle(
    data: bytes,
    *,
    genesis_hash: Hash | None,
    now_ms: TimestampMs,
    max_age_ms: int | None = None,
    canonicaliser: Canonicaliser | None = None,
    checkpoints: Sequence[Checkpoint] = (),
) -> Answer:
    """Return the lights of a bundle's bytes. Never raises for what stands in them.

    `genesis_hash` is the verifier's own trust anchor; None makes `network` red. `max_age_ms` bounds
    how old the proof of the status may be; None takes any age. `checkpoints`: blocks that the verifier
    knows besides; what contradicts one is red.
    """
    try:
        bundle = read_bundle(data)
    except Rejected as refusal:
        return _unreadable(refusal)
    return verify_parsed(
        bundle,
        genesis_hash=genesis_hash,
        now_ms=now_ms,
        max_age_ms=max_age_ms,
        canonicaliser=canonicaliser,
        checkpoints=checkpoints,
    )


def verify_parsed(
    bundle: Bundle,
    *,
    genesis_hash: Hash | None,
    now_ms: TimestampMs,
    max_age_ms: int | None = None,
    canonicaliser: Canonicaliser | None = None,
    checkpoints: Sequence[Checkpoint] = (),
) -> Answer:
    """Return the lights of a bundle that was read."""
    chain = _check_chain(bundle, genesis_hash, checkpoints)
    as_of_ms = bundle.chain.header.timestamp_ms
    engine = canonicaliser or pinned_canonicaliser()
    checks = [
        _guarded(LightName.DOCUMENT, lambda: content_light.document(bundle, chain.proven(), engine)),
        _guarded(LightName.ISSUED, lambda: _issued(bundle, chain)),
        _guarded(LightName.ISSUER, lambda: chain_lights.issuer(chain.proven(), _batch(bundle, chain), as_of_ms)),
        _guarded(LightName.KEY, lambda: chain_lights.key(chain.proven(), _batch(bundle, chain), bundle.document)),
        _guarded(LightName.STATUS, lambda: _status(bundle, chain, now_ms, max_age_ms)),
        _guarded(LightName.DATES, lambda: chain_lights.dates(bundle.leaf, _batch(bundle, chain), now_ms)),
    ]
    if bundle.leaf.origin is Origin.STACK:
        credential_id = bundle.leaf.credential_id()
        checks.append(
            _guarded(LightName.COMPONENTS, lambda: chain_lights.components(chain.proven(), credential_id, as_of_ms))
        )
    checks.append(network_light.network(bundle.chain, chain.trusted, chain.problem, genesis_hash, now_ms))
    return Answer(tuple(checks), readable=True, summary=_summary(bundle))


def _guarded(name: LightName, judge: Callable[[], Light]) -> Light:
    """Return a light, red where what it needs is not proven."""
    try:
        return judge()
    except Rejected as refusal:
        return Light(name, False, NOT_PROVEN, str(refusal))


def _check_chain(bundle: Bundle, genesis_hash: Hash | None, checkpoints: Sequence[Checkpoint]) -> _Chain:
    try:
        trusted = verify_headers(bundle.chain, genesis_hash, checkpoints=checkpoints)
    except Rejected as refusal:
        return _Chain(None, None, refusal)
    try:
        records = verify_records(bundle.chain, trusted.header.state_root)
    except Rejected as refusal:
        return _Chain(trusted, None, refusal)
    return _Chain(trusted, records, None)


def _batch(bundle: Bundle, chain: _Chain) -> Batch:
    """Return the proven batch record, which must be one that the leaf can lie in.

    Raises: Rejected(BAD_PROOF).
    """
    batch = chain.proven().get(keys.batch(bundle.chain.batch.batch_id), Batch)
    if batch is None:
        raise Rejected(Reason.BAD_PROOF, f"the chain has no batch {bundle.chain.batch.batch_id.hex()}")
    leaf = bundle.leaf
    found = (batch.issuer, batch.definition, batch.origin)
    wanted = (leaf.issuer, leaf.definition, leaf.origin)
    if found != wanted:
        raise Rejected(Reason.BAD_PROOF, f"the batch is {' '.join(found)}, the leaf {' '.join(wanted)}")
    return batch


def _issued(bundle: Bundle, chain: _Chain) -> Light:
    batch = _batch(bundle, chain)
    assert chain.trusted is not None
    if bundle.leaf.genesis_hash != chain.trusted.network.genesis_hash:
        raise Rejected(Reason.UNKNOWN_NETWORK, f"the leaf is of network {bundle.leaf.genesis_hash.hex()}")
    if bundle.leaf.version != LEAF_VERSION:
        raise Rejected(Reason.UNKNOWN_VERSION, f"leaf version {bundle.leaf.version}, known is {LEAF_VERSION}")
    if batch.act.height > chain.trusted.header.height:
        raise Rejected(Reason.BAD_PROOF, f"issued at height {batch.act.height}, above the proven header")
    credential_id = bundle.leaf.credential_id()
    verify_batch_path(bundle.chain.batch, credential_id, batch.count, batch.root)
    when = to_text(batch.act.time_ms)
    return Light(
        LightName.ISSUED,
        True,
        Text(
            f"Quedó registrada en la cadena el {when} (bloque {batch.act.height}).",
            f"It was recorded on the chain on {when} (block {batch.act.height}).",
        ),
        f"credential {credential_id.hex()}, leaf {bundle.chain.batch.index} of {batch.count}",
    )


def _status(bundle: Bundle, chain: _Chain, now_ms: TimestampMs, max_age_ms: int | None) -> Light:
    as_of_ms = bundle.chain.header.timestamp_ms
    light = chain_lights.status(chain.proven(), bundle.leaf.issuer, bundle.leaf.status_key, as_of_ms)
    if not light.ok or max_age_ms is None or now_ms - as_of_ms <= max_age_ms:
        return light
    age_s = (now_ms - as_of_ms) // 1000
    when = to_text(as_of_ms)
    return Light(
        LightName.STATUS,
        False,
        Text(
            f"Estaba vigente el {when}, pero la prueba es más antigua de lo que pide quien verifica; "
            "hay que actualizar el archivo.",
            f"It was active on {when}, but the proof is older than the verifier allows; refresh the file.",
        ),
        f"the proof is {age_s} s old, at most {max_age_ms // 1000} s are allowed",
    )


def _summary(bundle: Bundle) -> Summary:
    return Summary(
        credential_id=bundle.leaf.credential_id().hex(),
        issuer=bundle.leaf.issuer,
        definition=bundle.leaf.definition,
        as_of=to_text(bundle.chain.header.timestamp_ms),
        shown=opened(bundle.claims),
    )


def _unreadable(refusal: Rejected) -> Answer:
    """Return the answer for what is no bundle: every light red, one sentence."""
    names = [name for name in LightName if name is not LightName.COMPONENTS]
    return Answer(tuple(Light(name, False, UNREADABLE, str(refusal)) for name in names), readable=False, summary=None)
