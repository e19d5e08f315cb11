"""Data Integrity proofs with `eddsa-rdfc-2022`: canonicalise, hash, sign, verify. Offline.

PyLD makes the RDF dataset and its canonical form (URDNA2015, the same as RDFC-1.0 where no control
characters occur). It has no guard against hostile graphs, so `check_bounds` stands before it: few
nodes, few blank nodes, none of them inside another, no keywords, no inline contexts, no control
characters. Source: CREDENTIALS; W3C vc-di-eddsa §3.2.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, cast

from frozendict import frozendict
from pyld import jsonld
from pyld.context_resolver import ContextResolver

from node.codec import is_clean_text
from node.crypto.hashing import sha256
from node.crypto.signing import Ed25519Signer, verify_ed25519_message
from node.documents.jcs import Json, JsonObject, canonical
from node.documents.multibase import decode_multibase, encode_multibase
from node.documents.pinned_contexts import pinned_contexts
from node.errors import Reason, Rejected
from node.limits import DOCUMENT_BLANK_NODES_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_NODES_MAX, PROCESSED_CONTEXTS_MAX
from node.primitives import PublicKey

CRYPTOSUITE: Final = "eddsa-rdfc-2022"
_PROOF_MEMBERS: Final = frozenset(
    {"type", "cryptosuite", "created", "verificationMethod", "proofPurpose", "proofValue"}
)


class _Processor(jsonld.JsonLdProcessor):  # type: ignore[misc] # PyLD ships no types
    """PyLD's processor that keeps type-scoped contexts: it makes them anew for every node, two thirds of all time.

    An active context is identified by PyLD's own `_uuid`; a local one by the object inside our parsed
    contexts, which is kept alive beside the result.
    """

    def __init__(self) -> None:
        super().__init__(on_property_dropped=_refuse_dropped)
        self._kept: dict[tuple[object, ...], tuple[object, object]] = {}

    def _process_context(
        self,
        active_ctx: Mapping[str, object],
        local_ctx: object,
        options: Mapping[str, object],
        override_protected: bool = False,
        propagate: bool = True,
        validate_scoped: bool = True,
        cycles: object = None,
    ) -> object:
        arguments = (options, override_protected, propagate, validate_scoped, cycles)
        if cycles is not None or not isinstance(local_ctx, dict) or not isinstance(active_ctx, frozendict):
            return super()._process_context(active_ctx, local_ctx, *arguments)
        key = (active_ctx["_uuid"], id(local_ctx), override_protected, propagate, validate_scoped)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= PROCESSED_CONTEXTS_MAX:
                self._kept.clear()
            kept = (super()._process_context(active_ctx, local_ctx, *arguments), local_ctx)
            self._kept[key] = kept
        return kept[0]


class Canonicaliser:
    """RDF canonical form under a fixed set of contexts; keeps processed contexts between documents."""

    def __init__(self, contexts: Mapping[str, Json]) -> None:
        self._contexts = contexts
        self._resolver = ContextResolver({}, self._load)
        self._processor = _Processor()

    def n_quads(self, document: JsonObject) -> str:
        """Return the canonical N-Quads of a JSON-LD document.

        Raises: Rejected(BAD_DOCUMENT): above the bounds, an unknown context, a term without meaning.
        """
        check_bounds(document)
        options = {
            "algorithm": "URDNA2015",
            "format": "application/n-quads",
            "documentLoader": self._load,
            "contextResolver": self._resolver,
        }
        try:
            return cast(str, self._processor.normalize(document, options))
        except jsonld.JsonLdError as error:
            raise Rejected(Reason.BAD_DOCUMENT, f"JSON-LD: {_innermost(error)}") from None
        except Rejected:
            raise
        except Exception as error:  # noqa: BLE001 – PyLD is not written for hostile input: their input, our refusal
            raise Rejected(Reason.BAD_DOCUMENT, f"JSON-LD: {type(error).__name__}: {error}") from None

    def _load(self, url: str, _options: object) -> dict[str, object]:
        context = self._contexts.get(url)
        if context is None:
            raise jsonld.JsonLdError(f"context {url} is not shipped; nothing is fetched", "loading")
        return {"contentType": "application/ld+json", "contextUrl": None, "documentUrl": url, "document": context}


def _refuse_dropped(term: object) -> NoReturn:
    """Refuse what canonicalisation would leave out: it would be outside the signature."""
    raise Rejected(Reason.BAD_DOCUMENT, f"JSON-LD: a term ({term}) has no meaning in the contexts")


def _innermost(error: BaseException) -> str:
    while isinstance(error.__cause__, jsonld.JsonLdError):
        error = error.__cause__
    return str(error).split("\n", maxsplit=1)[0]


_pinned: list[Canonicaliser] = []


def pinned_canonicaliser() -> Canonicaliser:
    """Return the canonicaliser of the contexts that we ship, made at first use."""
    if not _pinned:
        _pinned.append(Canonicaliser(pinned_contexts()))
    return _pinned[0]


def sign_document(
    document: JsonObject,
    signer: Ed25519Signer,
    *,
    method: str,
    created: str,
    canonicaliser: Canonicaliser | None = None,
) -> JsonObject:
    """Return the document with its one proof.

    `created` is an RFC 3339 time. Raises: Rejected(BAD_DOCUMENT).
    """
    assert "proof" not in document
    options: JsonObject = {
        "type": "DataIntegrityProof",
        "cryptosuite": CRYPTOSUITE,
        "created": created,
        "verificationMethod": method,
        "proofPurpose": "assertionMethod",
    }
    message = _hash_data(document, options, canonicaliser or pinned_canonicaliser())
    return {**document, "proof": {**options, "proofValue": encode_multibase(signer.sign_message(message))}}


def check_signature(document: JsonObject, public_key: PublicKey, *, canonicaliser: Canonicaliser | None = None) -> None:
    """Check the document's one proof against an Ed25519 key.

    Raises: Rejected(BAD_DOCUMENT): not exactly one proof of our suite; Rejected(BAD_SIGNATURE).
    """
    proof = proof_of(document)
    value = proof["proofValue"]
    if not isinstance(value, str):
        raise Rejected(Reason.BAD_DOCUMENT, "proofValue is no text")
    signature = decode_multibase(value)
    if len(signature) != 64 or encode_multibase(signature) != value:
        raise Rejected(Reason.BAD_SIGNATURE, "proofValue is not the base58 form of 64 bytes")
    unsigned = {name: member for name, member in document.items() if name != "proof"}
    options = {name: member for name, member in proof.items() if name != "proofValue"}
    message = _hash_data(unsigned, options, canonicaliser or pinned_canonicaliser())
    if not verify_ed25519_message(public_key, message, signature):
        raise Rejected(Reason.BAD_SIGNATURE, "the document's signature is not that of its content")


def proof_of(document: JsonObject) -> JsonObject:
    """Return the document's one proof. Raises: Rejected(BAD_DOCUMENT)."""
    proof = document.get("proof")
    if not isinstance(proof, dict):
        raise Rejected(Reason.BAD_DOCUMENT, "there must be exactly one proof, an object")
    if set(proof) != _PROOF_MEMBERS:
        raise Rejected(Reason.BAD_DOCUMENT, f"members of the proof: {', '.join(sorted(proof))}")
    found = (proof["type"], proof["cryptosuite"], proof["proofPurpose"])
    wanted = ("DataIntegrityProof", CRYPTOSUITE, "assertionMethod")
    if found != wanted:
        raise Rejected(Reason.BAD_DOCUMENT, f"proof is {found}, not {wanted}")
    return proof


def _hash_data(document: JsonObject, options: JsonObject, canonicaliser: Canonicaliser) -> bytes:
    """Return SHA-256 of the proof options' canonical form and SHA-256 of the document's: 64 bytes."""
    configuration = {**options, "@context": document.get("@context")}
    return sha256(canonicaliser.n_quads(configuration).encode()) + sha256(canonicaliser.n_quads(document).encode())


def check_bounds(document: JsonObject) -> None:
    """Refuse a document that canonicalisation could choke on or read in two ways.

    Raises: Rejected(BAD_DOCUMENT), Rejected(TOO_LARGE), Rejected(MALFORMED).
    """
    size = len(canonical(document))
    if size > DOCUMENT_BYTES_MAX:
        raise Rejected(Reason.TOO_LARGE, f"a document of {size} bytes, at most {DOCUMENT_BYTES_MAX}")
    named = document.get("@context")
    if not isinstance(named, list) or not all(isinstance(url, str) for url in named):
        raise Rejected(Reason.BAD_DOCUMENT, "@context must be a list of URLs")
    nodes = blank_nodes = 0
    for node, inside_blank in _nodes(document):
        nodes += 1
        if isinstance(node.get("id"), str):
            continue
        blank_nodes += 1
        if inside_blank:
            raise Rejected(Reason.BAD_DOCUMENT, "a node without id lies inside another")
    if nodes > DOCUMENT_NODES_MAX:
        raise Rejected(Reason.TOO_LARGE, f"{nodes} nodes, at most {DOCUMENT_NODES_MAX}")
    if blank_nodes > DOCUMENT_BLANK_NODES_MAX:
        raise Rejected(Reason.TOO_LARGE, f"{blank_nodes} nodes without id, at most {DOCUMENT_BLANK_NODES_MAX}")


def _nodes(document: JsonObject) -> Iterator[tuple[JsonObject, bool]]:
    """Yield each object with whether it lies inside one without id; checks names and text on the way."""
    waiting: list[tuple[Json, bool]] = [(document, False)]
    while waiting:
        value, inside_blank = waiting.pop()
        match value:
            case str():
                _check_text(value)
            case list():
                waiting.extend((item, inside_blank) for item in value)
            case dict():
                yield value, inside_blank
                blank = not isinstance(value.get("id"), str)
                for name, member in value.items():
                    if name.startswith("@") and (name != "@context" or value is not document):
                        raise Rejected(Reason.BAD_DOCUMENT, f"keyword {name} is not allowed here")
                    _check_text(name)
                    waiting.append((member, blank))
            case _:
                continue


def _check_text(text: str) -> None:
    if text.startswith("_:"):
        raise Rejected(Reason.BAD_DOCUMENT, f"{text} is a blank node label")
    if not is_clean_text(text.replace("\n", " ")):
        raise Rejected(Reason.BAD_DOCUMENT, f"{text!r} is not NFC or holds control characters")
