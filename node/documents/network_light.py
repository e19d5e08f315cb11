"""The light that the headers answer: is this the network that the verifier trusts, since when, and by whose word.

It names the anchor and its age: genesis alone says only that some past quorum signed; a checkpoint says
that this history was the one when it was made. Source: PROTOCOL §8; DOMAIN §6.
"""

from collections.abc import Sequence
from typing import Final

from node.chain.hops import Recovery
from node.chain.proof import ChainProof, TrustedHeader
from node.documents.answer import Light, LightName, Text
from node.documents.times import to_date_text, to_text
from node.errors import Reason, Rejected
from node.limits import VERIFIER_CLOCK_BEHIND_MAX_MS
from node.primitives import Hash, TimestampMs

HOUR_MS: Final = 3_600_000
DAYS_FROM_HOURS: Final = 48
"""From two days on an age is told in days."""


def network(
    proof: ChainProof,
    trusted: TrustedHeader | None,
    problem: Rejected | None,
    genesis_hash: Hash | None,
    now_ms: TimestampMs,
) -> Light:
    """Judge what the headers lead from; `problem`: why they do not, where `trusted` is None."""
    own = proof.genesis_header.hash().hex()
    if trusted is None:
        assert problem is not None
        return Light(LightName.NETWORK, False, _problem(problem), str(problem))
    if genesis_hash is None:
        return Light(
            LightName.NETWORK,
            False,
            Text(
                "Red desconocida: quien verifica no indicó en qué red confía; "
                "lo que el archivo dice de su propia red no prueba nada.",
                "Unknown network: the verifier named no network to trust; "
                "what the file says of its own network proves nothing.",
            ),
            f"the bundle's genesis hash is {own}",
        )
    header, validators = trusted.header, trusted.validators
    when = to_text(header.timestamp_ms)
    if header.timestamp_ms > now_ms + VERIFIER_CLOCK_BEHIND_MAX_MS:
        return Light(
            LightName.NETWORK,
            False,
            Text(
                "La prueba es del futuro: revise la hora de este equipo.",
                "The proof is from the future: check this machine's clock.",
            ),
            f"header time {when}, this clock says {to_text(now_ms)}",
        )
    anchor, recovered = _anchor(proof, trusted, now_ms), _recovered(trusted.recoveries)
    return Light(
        LightName.NETWORK,
        True,
        Text(
            f"Lo certifican {validators.quorum} de {len(validators)} validadores de la red {header.chain_id} en el "
            f"bloque {header.height} del {when}. {anchor.es}{recovered.es}",
            f"{validators.quorum} of {len(validators)} validators of network {header.chain_id} certify it in "
            f"block {header.height} of {when}. {anchor.en}{recovered.en}",
        ),
        _detail(own, proof, trusted),
    )


def _anchor(proof: ChainProof, trusted: TrustedHeader, now_ms: TimestampMs) -> Text:
    """Name what the trust rests on, and how old it is."""
    checkpoint = trusted.checkpoint
    if checkpoint is None:
        time_ms = proof.genesis_header.timestamp_ms
        what = Text("del génesis de la red", "the network's genesis")
    else:
        time_ms, height = checkpoint.time_ms, checkpoint.height
        what = Text(f"del punto de control del bloque {height}", f"the checkpoint of block {height}")
    day, age = to_date_text(time_ms), _age(now_ms - time_ms)
    return Text(
        f"La confianza parte {what.es}, del {day} ({age.es}).",
        f"Trust rests on {what.en}, of {day} ({age.en}).",
    )


def _age(age_ms: int) -> Text:
    """Return an age in words."""
    hours = max(age_ms, 0) // HOUR_MS
    if hours >= DAYS_FROM_HOURS:
        return Text(f"hace {hours // 24} días", f"{hours // 24} days ago")
    return Text("hace 1 hora", "1 hour ago") if hours == 1 else Text(f"hace {hours} horas", f"{hours} hours ago")


def _recovered(recoveries: Sequence[Recovery]) -> Text:
    """Say which recoveries lie on the way, and who signed them; empty where none does."""
    who = [(item.height, ", ".join(item.signers)) for item in recoveries]
    return Text(
        "".join(f" En el bloque {height} la gobernanza recuperó la red: {names}." for height, names in who),
        "".join(f" At block {height} governance recovered the network: {names}." for height, names in who),
    )


def _detail(own: str, proof: ChainProof, trusted: TrustedHeader) -> str:
    changes = len(proof.hops) - len(trusted.recoveries)
    parts = [f"trust anchor: genesis hash {own}, {changes} changes of the validator set since"]
    if trusted.checkpoint is not None:
        parts.append(f"checkpoint of height {trusted.checkpoint.height}, block {trusted.checkpoint.block_hash.hex()}")
    parts += [
        f"recovery to epoch {item.epoch} above height {item.height}, signed by {', '.join(item.signers)}: {item.reason}"
        for item in trusted.recoveries
    ]
    return "; ".join(parts)


def _problem(problem: Rejected) -> Text:
    match problem.reason:
        case Reason.CONTRADICTS_CHECKPOINT:
            return Text(
                "El archivo contradice un punto de control conocido: es de otra historia de la red, quizá firmada con "
                "llaves retiradas.",
                "The file contradicts a known checkpoint: it is of another history of the network, perhaps signed "
                "with retired keys.",
            )
        case Reason.UNKNOWN_NETWORK:
            return Text(
                "El archivo es de otra red, no de la red en la que confía quien verifica.",
                "The file is of another network, not of the one that the verifier trusts.",
            )
        case _:
            return Text(
                "La parte de la cadena no es auténtica: los certificados no llevan de la red de confianza a este "
                "bloque.",
                "The chain part is not genuine: the certificates do not lead from the trusted network to this block.",
            )
