"""`node_…`: how this node is."""

from msgspec import Struct
from msgspec.structs import replace

from node.chain.records.governance import Upgrade
from node.limits import HEARTBEAT_MS, VIEW_TIMEOUT_START_MAX_MS
from node.rpc.services import ConsensusInfo, Services
from node.rpc.shapes import Hex32, Institution, Texts, Time, time_text
from node.rpc.stalling import Missing, is_silent, own_troubles, why_missing

STALLED_AFTER_MS = 2 * VIEW_TIMEOUT_START_MAX_MS
"""Something has waited for a decision this long: two of the longest first timers."""


class NodeStatus(Struct, frozen=True):
    """This node and its head."""

    chain_id: str
    genesis_hash: Hex32
    node_id: Hex32
    """Ed25519 node key."""
    institution: Institution
    height: int
    epoch: int
    block_hash: Hex32
    block_time: Time
    syncing: bool
    """Blocks are known to exist that this node does not have."""
    ready: bool
    """In sync and, for a validator, taking part."""
    peers: int
    validator: bool
    """Votes on the next height."""
    version: str
    protocol_version: int
    """Of the protocol that judges the next block."""
    protocol_version_max: int
    """The newest that this node knows; it stops before a block that a newer one judges."""
    pruned_below: int
    """Lowest height, besides 0, whose block this node has; 0 on an archive node, which has all."""


class Peer(Struct, frozen=True):
    """One connection."""

    institution: Institution
    address: str
    direction: str
    """`outbound` (we dialled) or `inbound`."""
    connected_seconds: float
    silence_seconds: float
    height: int | None
    """Height of its head as it claims; nil until it has said so."""


class Peers(Struct, frozen=True):
    """All connections."""

    items: list[Peer]


class MissingValidator(Struct, frozen=True):
    """A validator whose word is missing, and why as far as this node can see."""

    institution: Institution
    reason: Missing
    text: Texts
    """One sentence."""


class WhyStalled(Struct, frozen=True):
    """Whether the network decides, and who is missing if it does not."""

    stalled: bool
    since: Time | None
    """Since when something has waited for a decision; nil when nothing waits."""
    height: int
    """The height being agreed on."""
    view: int | None
    """Nil on a node that only follows, as is `step`."""
    step: str | None
    missing_validators: list[Institution]
    """Not heard from lately."""
    explanation: Texts
    missing: list[MissingValidator] = []
    """The same validators, each with the reason."""


def node_status(services: Services) -> NodeStatus:
    """Say who this node is, where its head is and whether it is in sync."""
    ledger, node = services.ledger, services.node
    head = ledger.head
    return NodeStatus(
        ledger.network.chain_id,
        ledger.network.genesis_hash.hex(),
        node.node_key.hex(),
        node.institution,
        head.height,
        ledger.epoch,
        head.hash().hex(),
        time_text(head.timestamp_ms),
        node.syncing,
        node.is_ready,
        len(node.peers()),
        ledger.validators_at(head.height + 1).index_of(node.institution) is not None,
        node.version,
        ledger.next_version,
        ledger.version_max,
        ledger.pruned_below,
    )


def node_peers(services: Services) -> Peers:
    """List the peers this node is connected with."""
    return Peers(
        [
            Peer(
                peer.institution,
                peer.address,
                "outbound" if peer.is_dialled else "inbound",
                peer.connected_ms / 1_000,
                peer.silence_ms / 1_000,
                peer.height,
            )
            for peer in services.node.peers()
        ]
    )


def node_whyStalled(services: Services) -> WhyStalled:
    """Say whether the network decides, and if it does not, which validators are missing.

    As this node sees it: who cannot reach this node counts as missing.
    """
    found = _with_reasons(_as_consensus_sees_it(services), services)
    contradiction = services.node.contradiction
    if contradiction is None:
        return found
    own = {
        "es": f"Un cuórum decidió un bloque que este nodo no puede ejecutar ({contradiction}): el programa es de "
        "otra versión o sus datos están dañados; vea «Corrupt database» en docs/operators.md.",
        "en": f"A quorum has decided a block that this node cannot execute ({contradiction}): its program is of "
        "another version or its data are damaged; see “Corrupt database” in docs/operators.md.",
    }
    return replace(found, stalled=True, explanation=own)


def _with_reasons(found: WhyStalled, services: Services) -> WhyStalled:
    """Add why each of the missing is missing, and what is wrong with this node itself."""
    node = services.node
    missing = []
    for institution in found.missing_validators:
        if institution != node.institution:
            why = why_missing(node.validator_state(institution), found.height)
            missing.append(MissingValidator(institution, why.reason, why.text))
    own = own_troubles(node.own_troubles())
    coming = services.ledger.coming_upgrade
    if coming is not None and coming.version > services.ledger.version_max:
        ahead = _explain_upgrade(coming, services.ledger.version_max)
        own = {language: f"{text} {ahead[language]}".lstrip() for language, text in own.items()}
    explanation = {language: f"{text} {own[language]}".rstrip() for language, text in found.explanation.items()}
    return replace(found, missing=missing, explanation=explanation)


def _as_consensus_sees_it(services: Services) -> WhyStalled:
    ledger, node = services.ledger, services.node
    info = node.consensus()
    height = ledger.head.height + 1
    validators = ledger.validators_at(height)
    connected = {peer.institution: peer.connected_ms for peer in node.peers()}
    # A process that hangs keeps its sockets for a while, and decides as little as one that is gone.
    unreachable = [
        name
        for name in (member.institution for member in validators.members)
        if name != node.institution
        and (name not in connected or is_silent(node.validator_state(name), connected[name]))
    ]
    is_head_old = node.now_ms() - ledger.head.timestamp_ms > HEARTBEAT_MS + STALLED_AFTER_MS
    overdue_since = time_text(ledger.head.timestamp_ms + HEARTBEAT_MS) if is_head_old else None
    if info is None:
        stalled, since = is_head_old, overdue_since
        return WhyStalled(
            stalled, since, height, None, None, unreachable, _explain(stalled, unreachable, len(validators))
        )
    missing = [
        name for name in (member.institution for member in validators.members) if name in {*unreachable, *info.missing}
    ]
    spare = len(validators) - validators.quorum
    # Without a quorum nothing can be decided, also where nothing waits for a decision yet. A vote that is still on its
    # way is no such lack.
    stalled = len(unreachable) > spare or _is_stalled(info, node.now_ms()) or (info.listens and is_head_old)
    since = overdue_since if info.waiting_since_ms is None else time_text(info.waiting_since_ms)
    explanation = _explain(stalled, missing, len(validators), spare)
    if info.listens:
        own = _explain_listening(info, validators.quorum)
        explanation = {language: f"{own[language]} {text}" for language, text in explanation.items()}
    if info.signer_problem is not None:
        own = _explain_signer(info.signer_problem)
        explanation = {language: f"{own[language]} {text}" for language, text in explanation.items()}
    return WhyStalled(stalled, since, info.height, info.view, info.step, missing, explanation)


def _explain_upgrade(upgrade: Upgrade, known: int) -> Texts:
    """Say that this node will stop, while there is time to do something about it."""
    return {
        "es": f"La versión {upgrade.version} del protocolo empieza en la altura {upgrade.height} y este nodo conoce "
        f"hasta la {known}: se detendrá antes. Actualice el programa.",
        "en": f"Version {upgrade.version} of the protocol begins at height {upgrade.height} and this node knows "
        f"versions up to {known}: it will stop before. Install a newer program.",
    }


def _is_stalled(info: ConsensusInfo, now_ms: int) -> bool:
    return info.waiting_since_ms is not None and now_ms - info.waiting_since_ms > STALLED_AFTER_MS


def _explain_listening(info: ConsensusInfo, quorum: int) -> Texts:
    """Say why this validator signs nothing, and what if it is not the only one."""
    if info.signs_from is None:
        until = {
            "es": f"hasta que otros {quorum} validadores le digan en qué altura están",
            "en": f"until {quorum} other validators have told it where they are",
        }
    else:
        until = {"es": f"hasta la altura {info.signs_from}", "en": f"until height {info.signs_from}"}
    return {
        "es": f"Este validador perdió el registro de lo que firmó: solo escucha {until['es']}. Si escuchan tantos que "
        "los demás no forman cuórum, la red no sigue por sí sola: vea «A network of listeners» en docs/operators.md.",
        "en": f"This validator has lost the record of what it signed: it only listens {until['en']}. If so many listen "
        "that the others are no quorum, the network does not go on by itself: see “A network of listeners” in "
        "docs/operators.md.",
    }


def _explain_signer(problem: str) -> Texts:
    """Say that this validator follows and votes on nothing, and why."""
    return {
        "es": f"Este validador solo sigue la cadena, sin votar, porque no tiene quien firme: {problem}.",
        "en": f"This validator follows the chain and votes on nothing, for nobody signs for it: {problem}.",
    }


def _explain(stalled: bool, missing: list[str], size: int, spare: int | None = None) -> Texts:
    """Say it in a sentence; `spare` is how many validators the network can do without."""
    names = ", ".join(missing)
    if not stalled:
        if not missing:
            return {
                "es": "La red decide; ningún validador falta.",
                "en": "The network decides; no validator is missing.",
            }
        return {
            "es": f"La red decide, aunque falten: {names}.",
            "en": f"The network decides, though these are missing: {names}.",
        }
    if spare is not None and len(missing) > spare:
        return {
            "es": f"Faltan {len(missing)} de {size} validadores y la red solo puede prescindir de {spare}: {names}.",
            "en": f"{len(missing)} of {size} validators are missing, the network can do without {spare}: {names}.",
        }
    if missing:
        return {
            "es": f"Falta la palabra de: {names}; la red no ha decidido desde entonces.",
            "en": f"The word of these is missing: {names}; nothing has been decided since.",
        }
    return {
        "es": "Todos los validadores responden, pero no se ha decidido: revise sus relojes y bitácoras.",
        "en": "All validators answer, but nothing has been decided: look at their clocks and logs.",
    }
