"""Every name under which something is stored: plain state keys, and the columns of the database.

A plain state key is ASCII, its parts joined by `/`, ids in lower-case hex. It is what the state
tree commits to (by its SHA-256), so it never changes for a record. A column is one byte in front
of a database key; nothing is stored outside this table. Source: PROTOCOL §1, §4.
"""

from enum import Enum
from typing import Final

from node.limits import STATE_KEY_CHARS_MAX
from node.primitives import CatalogueId, Epoch, Hash, Height, InstitutionId, KeyId, PublicKey


class Column(Enum):
    """The first byte of a database key: what lies there and who writes it."""

    META = b"m"
    """Single values by name: `m` | name. Each name has one writer."""
    STATE = b"s"
    """state: `s` | SHA-256(plain key) → flat record."""
    UNDO = b"u"
    """state: `u` | height (8) | number of changes (4) → what a block overwrote."""
    BLOCK = b"b"
    """chain: `b` | height (8) → block."""
    HEADER = b"h"
    """chain: `h` | height (8) → header."""
    RECEIPTS = b"r"
    """chain: `r` | height (8) → receipts of a block."""
    CERTIFICATE = b"c"
    """chain: `c` | height (8) → a commit certificate of the block."""
    BLOCK_HASH = b"a"
    """chain: `a` | block hash → height."""
    TRANSACTION = b"t"
    """chain: `t` | transaction id → height and index; derived."""
    RECENT = b"n"
    """chain: `n` | height (8) → ids of that block's transactions, for replay protection."""
    BATCH_IDS = b"d"
    """chain: `d` | batch id → its credential ids in order; derived, kept when the block is pruned."""
    CREDENTIAL = b"i"
    """chain: `i` | credential id → first batch and index; derived, never overwritten."""
    SUBJECT = b"e"
    """chain: `e` | anything → derived lists (by institution, definition, …); rebuilt from blocks."""
    HOP = b"o"
    """chain: `o` | height (8) | epoch (4) → what leads a light client over a change of the validator set."""
    JOURNAL = b"j"
    """journal: what this replica promised."""
    SIGNER = b"g"
    """signer, in a store of its own: `g` | epoch (4) | height (8) | view (4) | step (1) → digest | signature."""

    def key(self, rest: bytes) -> bytes:
        """Return the database key of `rest` in this column."""
        return self.value + rest

    def at(self, height: Height, rest: bytes = b"") -> bytes:
        """Return the database key of a height (8 bytes, big endian: heights sort as numbers)."""
        return self.value + height.to_bytes(8, "big") + rest


STATE_HEAD: Final = Column.META.key(b"state")
"""Root, height and number of keys of the committed state."""


def accreditation(institution: InstitutionId) -> str:
    """`acc/<institution>`: who it is, its standing and history."""
    return f"acc/{institution}"


def key(institution: InstitutionId, key_id: KeyId) -> str:
    """`key/<institution>/<key id>`: one of its keys."""
    return f"key/{institution}/{key_id.hex()}"


def counters(institution: InstitutionId) -> str:
    """`cnt/<institution>`: what it has used up of its bounds."""
    return f"cnt/{institution}"


def definition(definition_id: CatalogueId) -> str:
    """`def/<id>`: a microcredential's definition."""
    return f"def/{definition_id}"


def pathway(pathway_id: CatalogueId) -> str:
    """`path/<id>`: a pathway."""
    return f"path/{pathway_id}"


def batch(batch_id: Hash) -> str:
    """`bat/<batch id>`: a batch of credentials."""
    return f"bat/{batch_id.hex()}"


def status(institution: InstitutionId, status_key: Hash) -> str:
    """`sta/<institution>/<status key>`: what became of one credential."""
    return f"sta/{institution}/{status_key.hex()}"


def status_list_entry(institution: InstitutionId, list_number: int, list_index: int) -> str:
    """`lst/<institution>/<list number>/<index>`: which status key a list entry belongs to."""
    return f"lst/{institution}/{list_number}/{list_index}"


def stack(credential_id: Hash) -> str:
    """`stk/<credential id>`: what a stacked credential was made of."""
    return f"stk/{credential_id.hex()}"


def use(credential_id: Hash) -> str:
    """`use/<credential id>`: which stacks a credential went into."""
    return f"use/{credential_id.hex()}"


def recognition(*parts: str) -> str:
    """`rec/…`: a recognition agreement."""
    return "/".join(("rec", *parts))


def endorsement(*parts: str) -> str:
    """`end/…`: an endorsement."""
    return "/".join(("end", *parts))


def account(*parts: str) -> str:
    """`acct/…`: a learner's account."""
    return "/".join(("acct", *parts))


def governance(*parts: str) -> str:
    """`gov/…`: governance keys and proposals."""
    return "/".join(("gov", *parts))


def recovered(epoch: Epoch) -> str:
    """`gov/recovery/<epoch, ten digits>`: that governance keys began an epoch."""
    return governance("recovery", f"{epoch:010}")


def validators(*parts: str) -> str:
    """`val/…`: the validator set and what is about to change it."""
    return "/".join(("val", *parts))


def equivocations(institution: InstitutionId) -> str:
    """`val/equivocation/<institution>`: what it was proven to have signed twice."""
    return validators("equivocation", institution)


def parameters(*parts: str) -> str:
    """`par/…`: what the network agreed on."""
    return "/".join(("par", *parts))


def is_plain_key(text: str) -> bool:
    """Tell whether text may name a record: printable ASCII without spaces, within its bound."""
    return 0 < len(text) <= STATE_KEY_CHARS_MAX and text.isascii() and text.isprintable() and " " not in text


NETWORK_PARAMETERS: Final = parameters("network")
"""`par/network`."""
PENDING_APPLICATIONS: Final = parameters("applications")
"""`par/applications`: institutions that applied and wait for their accreditation."""
VALIDATOR_SET: Final = validators("set")
"""`val/set`: who votes."""
DEMERITS: Final = validators("demerits")
"""`val/demerits`: who let a turn to propose go by."""
GOVERNANCE_KEYS: Final = governance("keys")
"""`gov/keys`."""
LIVE_PROPOSALS: Final = governance("live")
"""`gov/live`: proposals for which something is still to come."""
AUTHORITIES: Final = governance("authorities")
"""`gov/authorities`: institutions that have or had the role."""
UPGRADE: Final = governance("upgrade")
"""`gov/upgrade`: the latest upgrade that is certain."""
VALIDATOR_SCHEDULE: Final = validators("schedule")
"""`val/schedule`: what is about to change the validator set."""
PROPOSALS: Final = governance("proposal", "")
"""What the plain key of every proposal begins with."""


def proposal(number: int) -> str:
    """`gov/proposal/<number, ten digits>`: one proposal; in order of number."""
    return f"{PROPOSALS}{number:010d}"


def validator_key(public_key: PublicKey) -> str:
    """`val/key/<public key>`: that a consensus key was used."""
    return validators("key", public_key.hex())
