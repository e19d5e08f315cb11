"""The lights that the chain's records answer: issuer, key, status, dates, components.

All facts come from `node.chain.reading` over proven records; here they become sentences.
"""

from typing import Final

from node.chain.credential_finding import (
    IssuerFinding,
    StackedFinding,
    definition_finding,
    issuer_finding,
    stacked_finding,
)
from node.chain.proof import ProvenRecords
from node.chain.reading import CredentialState, Impairment, batch_is_void, credential_status
from node.chain.records.common import text_in
from node.chain.records.credential import Batch, Leaf, ReasonCode
from node.chain.records.institution import Institution
from node.chain.records.pathway import Cascade, Consent
from node.documents.answer import Light, LightName, Text
from node.documents.content_light import assertion_key
from node.documents.jcs import JsonObject
from node.documents.times import to_date_text, to_text
from node.errors import Reason, Rejected
from node.primitives import Hash, InstitutionId, TimestampMs

_STATES: Final = {
    CredentialState.SUSPENDED: Text("suspendida", "suspended"),
    CredentialState.REVOKED: Text("revocada", "revoked"),
    CredentialState.SUPERSEDED: Text("sustituida por una corregida", "superseded by a corrected one"),
}
_REASONS: Final = {
    ReasonCode.ISSUED_IN_ERROR: Text("emitida por error", "issued in error"),
    ReasonCode.FRAUD: Text("fraude", "fraud"),
    ReasonCode.ACADEMIC_DECISION: Text("decisión académica", "academic decision"),
    ReasonCode.HOLDER_REQUEST: Text("a petición de su titular", "at the holder's request"),
    ReasonCode.DATA_PROTECTION: Text("protección de datos", "data protection"),
    ReasonCode.SUPERSEDED: Text("sustituida", "superseded"),
    ReasonCode.OTHER: Text("otro motivo", "another reason"),
}


def issuer(records: ProvenRecords, batch: Batch, as_of_ms: TimestampMs) -> Light:
    """Judge whether the issuer was accredited for this in the batch's block; says how it stands now."""
    act = batch.act
    definition = definition_finding(records, batch.definition)
    found = None if definition is None else issuer_finding(records, batch, definition.definition.content, as_of_ms)
    if found is None or definition is None:
        raise Rejected(Reason.BAD_PROOF, f"the chain does not know {batch.issuer} or {batch.definition}")
    label = Text("autorizada", "authorised") if definition.authorised else Text("registrada", "registered")
    then, now = found.accredited_then, found.accredited_now
    day, today = to_date_text(act.time_ms), to_date_text(as_of_ms)
    names = Text(text_in(found.institution.names, "es"), text_in(found.institution.names, "en"))
    if then is None:
        return Light(
            LightName.ISSUER,
            False,
            Text(
                f"{names.es} no cuenta como acreditada para esto cuando la emitió ({day}).",
                f"{names.en} does not count as accredited for this when it issued it ({day}).",
            ),
            f"{batch.issuer} at height {act.height}",
        )
    by = _accreditor(found, then.act.actor)
    still = Text("y lo está hoy", "and still is") if now else Text("pero ya no lo está", "but no longer is")
    return Light(
        LightName.ISSUER,
        True,
        Text(
            f"{names.es} estaba acreditada por {by.es} cuando la emitió ({day}) {still.es} ({today}). "
            f"Microcredencial {label.es}.",
            f"{names.en} was accredited by {by.en} when it issued this ({day}) {still.en} ({today}). "
            f"Microcredential {label.en}.",
        ),
        f"{batch.issuer}, accredited at height {then.act.height} by {then.act.actor}; "
        f"now: {'accredited' if now else 'not accredited'}; label: {label.en}",
    )


def _accreditor(found: IssuerFinding, actor: InstitutionId) -> Text:
    if found.accreditor is None or actor == found.institution.id:
        return Text("el génesis de la red", "the network's genesis")
    return _names(found.accreditor)


def _names(institution: Institution) -> Text:
    return Text(text_in(institution.names, "es"), text_in(institution.names, "en"))


def key(records: ProvenRecords, batch: Batch, document: JsonObject | None) -> Light:
    """Judge whether the keys that signed batch and document were good in the batch's block."""
    height = batch.act.height
    if batch_is_void(records, batch):
        return Light(
            LightName.KEY,
            False,
            Text(
                "Las llaves que firmaron el registro estaban comprometidas en ese momento.",
                "The keys that signed the record were compromised at that time.",
            ),
            f"fewer than {batch.act.required} of {len(batch.act.keys)} keys are good at height {height}",
        )
    if document is not None:
        try:
            record = assertion_key(records, batch.issuer, document)
        except Rejected as refusal:
            if refusal.reason is Reason.BAD_PROOF:
                raise
            return Light(
                LightName.KEY,
                False,
                Text(
                    "La llave que firmó el documento no es de la institución.",
                    "The key that signed the document is not the institution's.",
                ),
                str(refusal),
            )
        if not record.is_good_at(height):
            return Light(
                LightName.KEY,
                False,
                Text(
                    "La llave que firmó el documento no era válida cuando se registró.",
                    "The key that signed the document was not good when it was recorded.",
                ),
                f"key added at {record.added.height}, retired {record.retired is not None}, "
                f"compromised {record.compromised is not None}; recorded at height {height}",
            )
    return Light(
        LightName.KEY,
        True,
        Text(
            "Las llaves de la institución eran válidas cuando se registró.",
            "The institution's keys were good when it was recorded.",
        ),
        f"{len(batch.act.keys)} keys signed, {batch.act.required} required, at height {height}",
    )


def status(records: ProvenRecords, issuer_id: InstitutionId, status_key: Hash, as_of_ms: TimestampMs) -> Light:
    """Judge the status posted under the credential's status key, as of the proven header."""
    found = credential_status(records, issuer_id, status_key)
    when = to_text(as_of_ms)
    if found.by is None:
        return Light(
            LightName.STATUS,
            True,
            Text(
                f"Vigente al {when}: ni revocada, ni suspendida, ni sustituida.",
                f"Active as of {when}: not revoked, suspended or superseded.",
            ),
            f"status {found.state} as of {when}",
        )
    state, why, act = _STATES[found.state], _REASONS[found.by.reason], found.by.act
    return Light(
        LightName.STATUS,
        False,
        Text(
            f"La credencial está {state.es} desde el {to_text(act.time_ms)} ({why.es}), al {when}.",
            f"The credential is {state.en} since {to_text(act.time_ms)} ({why.en}), as of {when}.",
        ),
        f"status {found.state}, reason {found.by.reason}, by {act.actor} at height {act.height}",
    )


def dates(leaf: Leaf, batch: Batch, now_ms: TimestampMs) -> Light:
    """Judge the dates against the verifier's clock, and show them beside the block's time."""
    start, end = to_date_text(leaf.valid_from_ms), to_date_text(leaf.valid_until_ms)
    recorded = to_date_text(batch.act.time_ms)
    detail = f"valid from {to_text(leaf.valid_from_ms)} until {to_text(leaf.valid_until_ms)}, recorded {recorded}"
    if leaf.valid_until_ms <= leaf.valid_from_ms:
        text = Text("Las fechas se contradicen.", "The dates contradict each other.")
    elif now_ms >= leaf.valid_until_ms:
        text = Text(f"Venció el {end}.", f"It expired on {end}.")
    elif now_ms < leaf.valid_from_ms:
        text = Text(f"Aún no es válida: empieza el {start}.", f"It is not valid yet: it starts on {start}.")
    else:
        text = Text(
            f"Otorgada el {start} (registrada el {recorded}), válida hasta el {end}.",
            f"Awarded on {start} (recorded on {recorded}), valid until {end}.",
        )
        return Light(LightName.DATES, True, text, detail)
    return Light(LightName.DATES, False, text, detail)


def components(records: ProvenRecords, credential_id: Hash, as_of_ms: TimestampMs) -> Light:
    """Judge what became of a stacked credential's components, as of the proven header."""
    found = stacked_finding(records, credential_id)
    if found is None:
        raise Rejected(Reason.BAD_PROOF, f"the chain has no stack {credential_id.hex()}")
    when = to_text(as_of_ms)
    count = len(found.stack.components)
    detail = _component_detail(found)
    if not found.finding.complete:
        text = Text(
            "Los componentes son demasiados para comprobarlos todos.", "The components are too many to check them all."
        )
        return Light(LightName.COMPONENTS, False, text, detail)
    impairment = found.impairment
    if impairment is Impairment.REVOKED:
        text = Text(
            f"Un componente ya no vale, y con él esta credencial (al {when}).",
            f"A component no longer counts, and with it this credential (as of {when}).",
        )
        return Light(LightName.COMPONENTS, False, text, detail)
    if impairment is Impairment.IMPAIRED:
        # The pathway's own word: `flag` marks the result and lets it stand; under `revoke` a
        # suspended component suspends it.
        stands = found.stack.cascade is Cascade.FLAG
        text = Text(
            f"Un componente está suspendido o ya no vale (al {when})"
            + ("; la ruta deja en pie esta credencial." if stands else "."),
            f"A component is suspended or no longer counts (as of {when})"
            + ("; the pathway lets this credential stand." if stands else "."),
        )
        return Light(LightName.COMPONENTS, stands, text, detail)
    consent = _consent(found)
    return Light(
        LightName.COMPONENTS,
        True,
        Text(
            f"Los {count} componentes siguen en pie (al {when}); {consent.es}.",
            f"All {count} components stand (as of {when}); {consent.en}.",
        ),
        detail,
    )


def _consent(found: StackedFinding) -> Text:
    """Say how the components were shown to be one person's."""
    custodial = Text("; la institución guardaba alguna llave", "; an institution kept one of the keys")
    kept = custodial if found.stack.custodial else Text("", "")
    if found.stack.consent is Consent.ONE_KEY:
        return Text(f"una sola llave dio su consentimiento{kept.es}", f"one key consented{kept.en}")
    return Text(
        f"la institución atestigua que sus llaves son de una misma persona{kept.es}",
        f"the institution attests that their keys are one person's{kept.en}",
    )


def _component_detail(found: StackedFinding) -> str:
    parts = [f"pathway {found.stack.pathway}, cascade {found.stack.cascade}, {len(found.finding.leaves)} in all"]
    parts += [
        f"{item.component.definition} {item.component.credential_id.hex()}: "
        + ("its batch is void" if item.batch_void else item.state.value)
        for item in found.finding.findings
    ]
    parts += [
        f"{leaf.definition} {leaf.credential_id.hex()}: its issuer was not accredited for it"
        for leaf in found.unaccredited
    ]
    return "; ".join(parts)
