"""The Open Badges document: every EU element in its place, pinned contexts, ids on nodes."""

from node.documents.bundle import write_bundle
from node.documents.data_integrity import check_signature
from node.documents.did import did_key
from node.documents.jcs import Json, JsonObject, canonical
from node.documents.pinned_contexts import PINNED, pinned_contexts
from node.documents.verifier import verify_bundle
from tests.unit.documents.small_chain import NOW_MS, PUBLIC_URL, UGTO, SmallChain, assertion_signer, person

DEFINITION = f"{UGTO}/primer-empleo/1"
URL = f"{PUBLIC_URL}/catalog/{DEFINITION}"


def document() -> JsonObject:
    """Return the signed document of one learner."""
    chain = SmallChain()
    return chain.prepare(chain.publish(DEFINITION), person(1), 4711).document


def at(value: Json, *steps: str | int) -> Json:
    """Return what lies at a path."""
    for step in steps:
        value = value[step]  # type: ignore[index,call-overload] # the path is known to be there
    return value


def test_elements_stand_where_the_table_puts_them() -> None:
    """Elements a … o4 of the recommendation, each in its Open Badges term."""
    made = document()
    subject, achievement = made["credentialSubject"], at(made, "credentialSubject", "achievement")
    assert at(subject, "id") == did_key(person(1).key.public_key)
    assert at(subject, "identifier", 0, "identityHash") == "María José Núñez 1"
    assert (made["name"], at(achievement, "name")) == ("Habilidades clave para tu primer empleo",) * 2
    assert at(made, "issuer", "address", "addressCountryCode") == "MX"
    assert at(made, "issuer", "address", "addressRegion") == "GTO"
    assert at(made, "issuer", "otherIdentifier", 0, "identifier") == "11USU0001A"
    assert (made["validFrom"], made["awardedDate"]) == ("2026-06-30T00:00:00Z",) * 2
    assert made["validUntil"] == "2028-06-30T00:00:00Z"
    assert "Comunica: Comunica por escrito una propuesta" in str(at(achievement, "criteria", "narrative"))
    assert (at(achievement, "creditsAvailable"), at(subject, "creditsEarned")) == (3.75, 3.75)
    assert at(subject, "result", 0, "value") == "9.5"
    assert at(subject, "result", 0, "resultDescription") == at(achievement, "resultDescription", 0, "id")
    assert at(made, "evidence", 0, "id") == "https://e.mx/1"
    assert at(made, "evidence", 0, "genre") == "Proyecto integrador con rúbrica"
    alignments = {str(item["targetType"]): item for item in at(achievement, "alignment")}  # type: ignore[union-attr,index,call-overload] # alignments are a list of objects
    assert {name: item["targetName"] for name, item in alignments.items()} == {  # type: ignore[index,call-overload] # see above
        "ext:Hours": "60 horas",
        "ext:CreditFramework": "SATCA",
        "ext:Level": "MNC 4",
        "ext:AssessmentType": "Proyecto integrador con rúbrica",
        "ext:ModeOfLearning": "Híbrida",
        "ext:QualityAssurance": "coepes.guanajuato.gob.mx",
        "ext:Prerequisite": "Secundaria terminada",
        "ext:Supervision": "Presencial, con identificación oficial",
        "ext:StacksInto": "Apilable",
        "ext:Standard": "Impartición de cursos",
    }


def test_both_status_entries_stand_in_the_document_from_the_first_issue() -> None:
    """Revocation first, suspension second, with the place drawn at issue."""
    entries = document()["credentialStatus"]
    assert [(at(entry, "statusPurpose"), at(entry, "statusListIndex")) for entry in entries] == [  # type: ignore[union-attr] # a list
        ("revocation", "4711"),
        ("suspension", "4711"),
    ]


def test_document_has_exactly_the_two_contexts_and_few_blank_nodes() -> None:
    """No context of our own, one proof, and ids wherever the vocabulary allows."""
    made = document()
    assert made["@context"] == list(PINNED)
    assert set(pinned_contexts()) == set(PINNED)
    blank = [node for node in nodes(made) if "id" not in node]
    assert [node["type"] for node in blank] == ["IdentifierEntry", "IdentityObject", "DataIntegrityProof"]
    check_signature(made, assertion_signer(UGTO).public_key)


def nodes(value: Json) -> list[JsonObject]:
    """Return every object of a document in the order of its members."""
    match value:
        case dict():
            return [value, *(node for member in value.values() for node in nodes(member))]
        case list():
            return [node for item in value for node in nodes(item)]
        case _:
            return []


def test_ids_of_nodes_are_unique() -> None:
    """Two nodes with one id would merge into one when canonicalised."""
    ids = [str(node["id"]) for node in nodes(document()) if "id" in node]
    assert len(ids) == len(set(ids))


def test_same_arguments_give_the_same_bytes() -> None:
    """Nothing random but what `entropy` gave."""
    assert canonical(document()) == canonical(document())


def test_production_network_issues_under_did_web() -> None:
    """With a did_host the issuer is did:web and the proof names the key by its id; the bundle verifies."""
    chain = SmallChain(did_host="pila.mx")
    credential = chain.issue(chain.publish(DEFINITION), [person(1)])[0]
    assert at(credential.document, "issuer", "id") == "did:web:pila.mx:did:ugto.mx"
    answer = verify_bundle(write_bundle(chain.bundle(credential)), genesis_hash=chain.genesis_hash, now_ms=NOW_MS)
    assert answer.verified, answer
