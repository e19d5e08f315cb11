"""A definition and a learner's row become an Open Badges 3.0 credential.

Only terms of the two pinned contexts; the EU elements a … o4 stand where the table of CREDENTIALS
puts them. Every node has an id where the vocabulary allows one. Nothing here derives from leaf,
batch or block: the document is made first, and its id is random.
Source: CREDENTIALS, the profile; Open Badges 3.0; Verifiable Credentials Data Model 2.0.
"""

from dataclasses import dataclass
from typing import Final

from node.chain.records.common import Credits, text_in
from node.chain.records.credential import StatusListEntry
from node.chain.records.definition import Alignment, DefinitionContent
from node.chain.records.institution import Institution
from node.documents.did import did_key
from node.documents.jcs import Json, JsonObject
from node.documents.learners import Learner
from node.documents.pinned_contexts import CREDENTIALS_V2, OPEN_BADGES_3
from node.documents.times import to_seconds_text
from node.primitives import PublicKey, TimestampMs

LANGUAGE: Final = "es"
"""Open Badges credentials are in one language; the definition on the chain has the others."""
STATUS_PURPOSES: Final = ("revocation", "suspension")
"""Revocation first: some verifiers choose how to check by the first entry."""

_PARTICIPATION: Final = {
    "in_person": "Presencial",
    "online": "En línea",
    "hybrid": "Híbrida",
    "dual": "Dual",
}


@dataclass(frozen=True, slots=True)
class Award:
    """What one credential has of its own beside the learner's row."""

    uuid: bytes
    """16 random bytes: the document's id."""
    holder_key: PublicKey
    """Ed25519."""
    valid_from_ms: TimestampMs
    """Whole seconds."""
    valid_until_ms: TimestampMs
    """Whole seconds."""
    entry: StatusListEntry


def open_badge(
    definition: DefinitionContent,
    institution: Institution,
    learner: Learner,
    award: Award,
    *,
    public_url: str,
) -> JsonObject:
    """Return the credential without its proof.

    `public_url` is where the network is seen (no slash at the end): pages and status lists hang from it.
    """
    definition_url = f"{public_url}/catalog/{definition.id}"
    institution_url = f"{public_url}/institutions/{institution.id}"
    title = text_in(definition.title, LANGUAGE)
    document: JsonObject = {
        "@context": [CREDENTIALS_V2, OPEN_BADGES_3],
        "id": f"urn:uuid:{_uuid_text(award.uuid)}",
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "name": title,
        "description": _one_line(text_in(definition.description, LANGUAGE)),
        "issuer": _issuer(institution, institution_url),
        "validFrom": to_seconds_text(award.valid_from_ms),
        "validUntil": to_seconds_text(award.valid_until_ms),
        "awardedDate": to_seconds_text(award.valid_from_ms),
        "credentialSubject": _subject(definition, learner, award, definition_url, title),
        "credentialStatus": status_entries(institution.id, award.entry, public_url),
        "evidence": _evidence(definition, learner, definition_url),
        "termsOfUse": [{"id": f"{institution_url}#accreditation", "type": f"{public_url}/vocab#AccreditationRecord"}],
    }
    return document


def status_entries(institution: str, entry: StatusListEntry, public_url: str) -> list[Json]:
    """Return the credential's places in the issuer's two status lists (Bitstring Status List 1.0)."""
    entries: list[Json] = []
    for purpose in STATUS_PURPOSES:
        url = f"{public_url}/status-lists/{institution}/{purpose}/{entry.list_number}"
        entries.append(
            {
                "id": f"{url}#{entry.list_index}",
                "type": "BitstringStatusListEntry",
                "statusPurpose": purpose,
                "statusListIndex": str(entry.list_index),
                "statusListCredential": url,
            }
        )
    return entries


def _issuer(institution: Institution, url: str) -> JsonObject:
    """Elements c (country and region) and d (awarding body)."""
    address: JsonObject = {
        "id": f"{url}#address",
        "type": ["Address"],
        "addressCountryCode": institution.country,
    }
    if institution.region:
        address["addressRegion"] = institution.region
    if institution.municipality:
        address["addressLocality"] = institution.municipality
    issuer: JsonObject = {
        "id": institution.did,
        "type": ["Profile"],
        "name": text_in(institution.names, LANGUAGE),
        "address": address,
    }
    if institution.website:
        issuer["url"] = institution.website
    if institution.cct:
        issuer["otherIdentifier"] = [
            {"type": "IdentifierEntry", "identifier": institution.cct, "identifierType": "ext:CCT"}
        ]
    return issuer


def _subject(definition: DefinitionContent, learner: Learner, award: Award, url: str, title: str) -> JsonObject:
    """Element a (learner), the achievement, credits earned and the grade (o3)."""
    subject: JsonObject = {
        "id": did_key(award.holder_key),
        "type": ["AchievementSubject"],
        "identifier": [
            {"type": "IdentityObject", "hashed": False, "identityHash": learner.full_name, "identityType": "name"}
        ],
        "achievement": _achievement(definition, url, title),
    }
    if definition.credits is not None:
        subject["creditsEarned"] = credit_number(definition.credits)
    if learner.grade:
        subject["result"] = [
            {
                "id": f"urn:uuid:{_uuid_text(award.uuid)}#result",
                "type": ["Result"],
                "resultDescription": f"{url}#grade",
                "value": learner.grade,
            }
        ]
    return subject


def _achievement(definition: DefinitionContent, url: str, title: str) -> JsonObject:
    """Elements b, f, g, i and o3 as the achievement has them, the others as alignments."""
    achievement: JsonObject = {
        "id": url,
        "type": ["Achievement"],
        "achievementType": "MicroCredential",
        "name": title,
        "description": _one_line(text_in(definition.description, LANGUAGE)),
        "criteria": {"id": f"{url}#criteria", "narrative": _criteria(definition)},
        "version": definition.id.rsplit("/", 1)[1],
        "alignment": list(_alignments(definition, url)),
        "resultDescription": [
            {
                "id": f"{url}#grade",
                "type": ["ResultDescription"],
                "name": _one_line(definition.grading) or _one_line(definition.assessment) or "Calificación",
                "resultType": "Result",
            }
        ],
    }
    if definition.creators:
        achievement["creator"] = {
            "id": f"{url}#creators",
            "type": ["Profile"],
            "name": ", ".join(definition.creators),
        }
    if definition.credits is not None:
        achievement["creditsAvailable"] = credit_number(definition.credits)
    if definition.field:
        achievement["fieldOfStudy"] = definition.field
    if definition.languages:
        achievement["inLanguage"] = definition.languages[0]
    return achievement


def _criteria(definition: DefinitionContent) -> str:
    """Elements f and o1 in words."""
    lines = ["Resultados de aprendizaje:"]
    lines += [
        f"- {_one_line(outcome.verb)}: {_one_line(outcome.statement)}"
        + (f" (evidencia: {_one_line(outcome.evidence)})" if outcome.evidence else "")
        for outcome in definition.outcomes
    ]
    if definition.prerequisites:
        lines.append("Requisitos previos:")
        lines += [f"- {_one_line(text)}" for text in definition.prerequisites]
    return "\n".join(lines)


def _alignments(definition: DefinitionContent, url: str) -> list[Json]:
    """Elements g (unit, hours), h, i, j, k, o1, o2 and o4, then the codes of others' frameworks."""
    found: list[Json] = [_own(url, "hours", "Hours", f"{definition.hours} horas", f"PT{definition.hours}H")]
    if definition.credits is not None:
        found.append(
            _own(url, "credits", "CreditFramework", definition.credits.framework, definition.credits.framework)
        )
    if definition.level is not None:
        framework, value = definition.level.framework, definition.level.value
        level = _own(url, "level", "Level", f"{framework} {value}", str(value))
        level["targetFramework"] = framework
        if framework == "EQF":
            level["targetUrl"] = f"http://data.europa.eu/snb/eqf/{value}"
        found.append(level)
    if definition.assessment:
        found.append(_own(url, "assessment", "AssessmentType", definition.assessment))
    if definition.participation is not None:
        code = definition.participation.value
        found.append(_own(url, "participation", "ModeOfLearning", _PARTICIPATION[code], code))
    if definition.quality is not None:
        found.append(_own(url, "quality", "QualityAssurance", definition.quality.agency))
    for number, text in enumerate(definition.prerequisites, 1):
        found.append(_own(url, f"prerequisite-{number}", "Prerequisite", text))
    if definition.supervision:
        found.append(_own(url, "supervision", "Supervision", definition.supervision))
    if definition.stackability:
        found.append(_own(url, "stackability", "StacksInto", definition.stackability))
    found += [_foreign(url, number, item) for number, item in enumerate(definition.alignments, 1)]
    return found


def _own(url: str, fragment: str, target_type: str, name: str, code: str = "") -> JsonObject:
    """Return an alignment to a part of the definition itself."""
    alignment: JsonObject = {
        "id": f"{url}#{fragment}",
        "type": ["Alignment"],
        "targetType": f"ext:{target_type}",
        "targetName": _one_line(name),
        "targetUrl": url,
    }
    if code:
        alignment["targetCode"] = code
    return alignment


def _foreign(url: str, number: int, item: Alignment) -> JsonObject:
    """Return an alignment to a code in somebody's framework."""
    return {
        "id": f"{url}#alignment-{number}",
        "type": ["Alignment"],
        "targetType": "ext:Standard",
        "targetName": item.name or item.code,
        "targetCode": item.code,
        "targetFramework": item.framework,
        "targetUrl": item.url or url,
    }


def _evidence(definition: DefinitionContent, learner: Learner, url: str) -> list[Json]:
    """Elements i (type of assessment) and o2 (supervision) as evidence; the learner's own where there is one."""
    evidence: JsonObject = {
        "id": learner.evidence_url or f"{url}#evidence",
        "type": ["Evidence"],
        "name": "Evaluación",
    }
    if definition.assessment:
        evidence["genre"] = _one_line(definition.assessment)
    if definition.supervision:
        evidence["narrative"] = _one_line(definition.supervision)
    return [evidence]


def credit_number(credits_: Credits) -> int | float:
    """Return credits as a JSON number: a whole one without a point."""
    whole, rest = divmod(credits_.value_hundredths, 100)
    return credits_.value_hundredths / 100 if rest else whole


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _uuid_text(data: bytes) -> str:
    """Write 16 bytes as a version 4 UUID; version and variant bits are set here."""
    assert len(data) == 16
    marked = bytearray(data)
    marked[6] = marked[6] & 0x0F | 0x40
    marked[8] = marked[8] & 0x3F | 0x80
    text = marked.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
