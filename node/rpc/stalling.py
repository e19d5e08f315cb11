"""Why a validator's word is missing, and what is wrong with this node itself: a sentence each, in two languages.

What this node can see decides, in the order of how sure it is: no connection, another network or version, messages
that are refused, silence, listening, another height; last, that nothing is wrong and the vote just has not come.
"""

from dataclasses import dataclass
from enum import StrEnum

from node.errors import Reason
from node.primitives import Height
from node.rpc.services import OwnTrouble, Trouble, ValidatorState
from node.rpc.shapes import Texts

SILENT_AFTER_MS = 5_000
"""A validator says where it is once a second."""
RECENT_MS = 60_000
"""How long a refusal counts as the reason."""


class Missing(StrEnum):
    """The closed list of reasons; scripts may rely on the values."""

    UNREACHABLE = "unreachable"
    OTHER_NETWORK = "other_network"
    OTHER_VERSION = "other_version"
    NOT_ADMITTED = "not_admitted"
    OTHER_EPOCH = "other_epoch"
    CLOCK = "clock"
    REFUSED = "refused"
    SILENT = "silent"
    LISTENING = "listening"
    BEHIND = "behind"
    AHEAD = "ahead"
    NO_VOTE = "no_vote"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one validator is missing."""

    reason: Missing
    text: Texts


def is_silent(state: ValidatorState, connected_ms: int) -> bool:
    """Tell whether a validator has stopped saying where it is, or has not begun although it is here for long."""
    quiet_ms = connected_ms if state.status_ms_ago is None else state.status_ms_ago
    return quiet_ms > SILENT_AFTER_MS


def why_missing(state: ValidatorState, height: Height) -> Explanation:
    """Explain one missing validator; `height` is the one that we are agreeing on."""
    if not state.is_connected:
        return _why_not_connected(state)
    name = state.institution
    if state.refusal is not None and state.refused_ms_ago is not None and state.refused_ms_ago < RECENT_MS:
        found = _why_refused(name, state.refusal)
        if found is not None:
            return found
    if state.status_ms_ago is None or state.status_ms_ago > SILENT_AFTER_MS:
        return Explanation(
            Missing.SILENT,
            {
                "es": f"{name} está conectado pero calla: su proceso no toma parte en el consenso; vea su bitácora, su "
                "disco y si su firmante responde.",
                "en": f"{name} is connected but silent: its process takes no part in consensus; look at its log, its "
                "disk, and whether its signer answers.",
            },
        )
    if state.listens:
        return Explanation(
            Missing.LISTENING,
            {
                "es": f"{name} solo escucha: perdió el registro de lo que firmó.",
                "en": f"{name} only listens: it has lost the record of what it signed.",
            },
        )
    return _why_elsewhere(state, height)


def _why_not_connected(state: ValidatorState) -> Explanation:
    name, trouble = state.institution, state.trouble
    where = f" ({state.address})" if state.address else ""
    said = "" if trouble is None else f": {trouble.detail}"
    match None if trouble is None else trouble.cause:
        case Reason.WRONG_CHAIN:
            return Explanation(
                Missing.OTHER_NETWORK,
                {
                    "es": f"{name}{where} sigue otra red, con otro génesis{said}.",
                    "en": f"{name}{where} follows another network, with another genesis{said}.",
                },
            )
        case Reason.UNKNOWN_VERSION:
            return Explanation(
                Missing.OTHER_VERSION,
                {
                    "es": f"{name}{where} usa otra versión del programa{said}.",
                    "en": f"{name}{where} runs another version of the program{said}.",
                },
            )
        case Reason.NOT_A_PEER | "peer_says":
            return Explanation(
                Missing.NOT_ADMITTED,
                {
                    "es": f"{name}{where} y este nodo no se admiten; revise las llaves de nodo y la dirección{said}.",
                    "en": f"{name}{where} and this node do not let each other in; look at the node keys and the "
                    f"address{said}.",
                },
            )
        case _ if trouble is None and not state.address:
            return Explanation(
                Missing.UNREACHABLE,
                {
                    "es": f"{name} no está conectado, y su dirección no está en la configuración de este nodo.",
                    "en": f"{name} is not connected, and its address is not in this node's configuration.",
                },
            )
        case _:
            return Explanation(
                Missing.UNREACHABLE,
                {
                    "es": f"No se alcanza a {name}{where}: está apagado o la red no llega{said}.",
                    "en": f"{name}{where} cannot be reached: it is down, or the network does not lead there{said}.",
                },
            )


def _why_refused(name: str, refusal: Trouble) -> Explanation | None:
    match refusal.cause:
        case Reason.WRONG_EPOCH:
            return Explanation(
                Missing.OTHER_EPOCH,
                {
                    "es": f"{name} está en otra época ({refusal.detail}): a uno de los dos le falta el documento de "
                    "recuperación.",
                    "en": f"{name} is in another epoch ({refusal.detail}): one of the two lacks the recovery document.",
                },
            )
        case Reason.BAD_TIMESTAMP:
            return Explanation(
                Missing.CLOCK,
                {
                    "es": f"El reloj de {name} no coincide con el nuestro ({refusal.detail}); revise NTP en ambos.",
                    "en": f"The clock of {name} and ours disagree ({refusal.detail}); look at NTP on both.",
                },
            )
        case Reason.BAD_SIGNATURE | Reason.MALFORMED | Reason.BAD_BLOCK | Reason.NOT_A_VALIDATOR:
            return Explanation(
                Missing.REFUSED,
                {
                    "es": f"{name} envía lo que este nodo rechaza ({refusal.cause}: {refusal.detail}).",
                    "en": f"{name} sends what this node refuses ({refusal.cause}: {refusal.detail}).",
                },
            )
        case _:
            return None


def _why_elsewhere(state: ValidatorState, height: Height) -> Explanation:
    name = state.institution
    if state.height is not None and state.height < height:
        return Explanation(
            Missing.BEHIND,
            {
                "es": f"{name} está en la altura {state.height}, atrás de la {height}; se está poniendo al día.",
                "en": f"{name} is at height {state.height}, behind {height}; it is catching up.",
            },
        )
    if state.height is not None and state.height > height:
        return Explanation(
            Missing.AHEAD,
            {
                "es": f"{name} ya está en la altura {state.height}: es este nodo el que se quedó en la {height}.",
                "en": f"{name} is at height {state.height} already: it is this node that is left at {height}.",
            },
        )
    return Explanation(
        Missing.NO_VOTE,
        {
            "es": f"{name} responde en la altura {height}, vista {state.view}, pero su voto no ha llegado.",
            "en": f"{name} answers at height {height}, view {state.view}, but its vote has not come.",
        },
    )


def own_troubles(troubles: tuple[OwnTrouble, ...]) -> Texts:
    """Say what is wrong with this node itself, a sentence each; empty texts where nothing is."""
    found = [_own_trouble(trouble) for trouble in troubles]
    return {language: " ".join(text[language] for text in found) for language in ("es", "en")}


def _own_trouble(trouble: OwnTrouble) -> Texts:
    match trouble.cause:
        case "clock":
            direction = ("adelantado", "ahead of") if trouble.amount > 0 else ("atrasado", "behind")
            seconds = abs(trouble.amount) / 1_000
            return {
                "es": f"El reloj de este nodo parece {direction[0]} {seconds:.1f} s respecto de los demás: revise NTP.",
                "en": f"This node's clock seems to be {seconds:.1f} s {direction[1]} the others': look at NTP.",
            }
        case "epoch":
            return {
                "es": "Hay nodos en una época posterior: la gobernanza recuperó la red. Detenga este nodo, cargue con "
                f"`pila recovery apply` el documento de recuperación de la época {trouble.amount} e inícielo otra vez.",
                "en": "Peers are in a later epoch: governance has recovered the network. Stop this node, load the "
                f"recovery document of epoch {trouble.amount} with `pila recovery apply`, and start it again.",
            }
        case "disk":
            mebibytes = trouble.amount // 2**20
            return {
                "es": f"Al disco de este nodo le quedan {mebibytes} MiB: haga espacio, o se detendrá.",
                "en": f"This node's disk has {mebibytes} MiB left: make room, or it will stop.",
            }
