"""What the verifier answers: separate lights, each with a sentence in Spanish and in English.

Source: DOMAIN §6; INTERFACE `credential_verify`.
"""

from dataclasses import dataclass
from enum import StrEnum

from node.documents.jcs import JsonObject


class LightName(StrEnum):
    """The lights in the order in which they are shown."""

    DOCUMENT = "document"
    """Signature and content."""
    ISSUED = "issued"
    """In a block."""
    ISSUER = "issuer"
    """Accredited for this then; and now."""
    KEY = "key"
    """Good then."""
    STATUS = "status"
    """Not revoked, suspended or superseded, as of a time."""
    DATES = "dates"
    COMPONENTS = "components"
    """For stacked credentials only."""
    NETWORK = "network"
    """Certificates and genesis."""


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence in two languages."""

    es: str
    en: str


NOT_PROVEN = Text(
    "No se puede saber: el archivo no lo demuestra.",
    "This cannot be known: the file does not prove it.",
)
"""The sentence of a light whose question stays open because another light's is answered badly."""
UNREADABLE = Text(
    "El archivo está dañado, incompleto o no es una credencial de Pila.",
    "The file is damaged, incomplete or no Pila credential.",
)
"""The sentence of every light where the file is no bundle at all."""


@dataclass(frozen=True, slots=True)
class Light:
    """One question answered."""

    name: LightName
    ok: bool
    text: Text
    detail: str
    """For those who want to know exactly: values that disagree, ids, heights; may be empty."""

    @property
    def is_known(self) -> bool:
        """Whether the question was answered, well or badly; False: it stays open, which is not good either."""
        return self.text not in (NOT_PROVEN, UNREADABLE)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the bundle is about, for showing beside the lights; only as good as they are."""

    credential_id: str
    issuer: str
    definition: str
    as_of: str
    """Time of the header that everything is proven under."""
    shown: JsonObject
    """Opened claims by path."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The lights of one bundle."""

    checks: tuple[Light, ...]
    """Every light that applies: `components` only for stacked credentials."""
    readable: bool
    """False where the file is no bundle at all."""
    summary: Summary | None
    """None where the file is no bundle at all."""

    @property
    def verified(self) -> bool:
        """Whether every light that applies is good."""
        return all(light.ok for light in self.checks)

    def light(self, name: LightName) -> Light | None:
        """Return one light, or None where it does not apply."""
        return next((light for light in self.checks if light.name is name), None)

    def to_json(self) -> JsonObject:
        """Return what `credential_verify` answers."""
        return {
            "verified": self.verified,
            "checks": [
                {
                    "name": light.name.value,
                    "ok": light.ok,
                    "text": {"es": light.text.es, "en": light.text.en},
                    "detail": light.detail,
                }
                for light in self.checks
            ],
        }
