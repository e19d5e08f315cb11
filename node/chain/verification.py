"""A transaction before it executes: its parts, its cost, and whether the right keys signed it.

Signatures are checked once per node. What is remembered is only that the signatures inside these
complete bytes verify against these public keys; refusals are never remembered, and whether the keys
are in force is looked up every time. Source: PROTOCOL §3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec

from node import codec
from node.chain.certificate import Network
from node.chain.records.institution import InstitutionKey
from node.chain.rules.framework import Context, Rule, SignatureGroup
from node.chain.rules.institutions import Apply
from node.chain.rules.registry import rule_of
from node.chain.transaction import (
    TRANSACTION_VERSION,
    Transaction,
    TransactionSignature,
    decode_transaction,
    transaction_id,
)
from node.crypto.hashing import sha256
from node.crypto.signing import key_id, verify
from node.errors import Reason, Rejected
from node.limits import (
    COST_BASE,
    COST_BYTES_PER_UNIT,
    COST_PER_SIGNATURE,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_CACHE_BYTES_MAX,
    TRANSACTION_CACHE_MAX,
)
from node.primitives import Epoch, Hash, InstitutionId, KeyId, PublicKey
from node.state import keys

SigningKey: TypeAlias = tuple[int, PublicKey]
"""Algorithm and public key."""


@dataclass(frozen=True, slots=True)
class ParsedTransaction:
    """A transaction taken apart: a function of its bytes, the network and the epoch alone."""

    data: bytes
    """Complete canonical bytes."""
    data_hash: Hash
    """SHA-256 of them."""
    id: Hash
    envelope: Transaction
    rule: Rule[Any]
    payload: msgspec.Struct
    cost: int
    """Cost units; see `limits.BLOCK_COST_MAX`."""
    account: InstitutionId
    """Whose rate and share it uses: the signer's; of an application the forwarder's."""


def parse_transaction(data: bytes, network: Network, epoch: Epoch, data_hash: Hash | None = None) -> ParsedTransaction:
    """Take a transaction apart.

    Raises: Rejected(TOO_LARGE, MALFORMED, UNKNOWN_VERSION, WRONG_CHAIN, UNKNOWN_KIND).
    """
    envelope = decode_transaction(data)
    if envelope.version != TRANSACTION_VERSION:
        raise Rejected(Reason.UNKNOWN_VERSION, f"transaction version {envelope.version}, not {TRANSACTION_VERSION}")
    if envelope.chain_id != network.chain_id:
        raise Rejected(Reason.WRONG_CHAIN, f"chain {envelope.chain_id}, this is {network.chain_id}")
    rule = rule_of(envelope.kind)
    payload: msgspec.Struct = codec.decode(envelope.payload, rule.payload, bytes_max=TRANSACTION_BYTES_MAX)
    cost = (
        COST_BASE
        + COST_PER_SIGNATURE * len(envelope.signatures)
        + len(data) // COST_BYTES_PER_UNIT
        + rule.cost(payload)
    )
    return ParsedTransaction(
        data,
        data_hash or sha256(data),
        transaction_id(envelope, network, epoch),
        envelope,
        rule,
        payload,
        cost,
        payload.forwarder if isinstance(payload, Apply) else envelope.signer,
    )


class TransactionCache:
    """What this node found out about transactions before; bounded in number and bytes, oldest out first."""

    def __init__(self, network: Network, epoch: Epoch) -> None:
        self._network = network
        self._epoch = epoch
        self._parsed: dict[Hash, ParsedTransaction] = {}
        self._parsed_bytes = 0
        self._verified: dict[Hash, tuple[Hash, tuple[SigningKey, ...]]] = {}
        """Hash of the complete bytes → (transaction id, keys that its signatures verify against)."""

    def parse(self, data: bytes) -> ParsedTransaction:
        """Take a transaction apart, once. Raises: as `parse_transaction`."""
        data_hash = sha256(data)
        found = self._parsed.get(data_hash)
        if found is not None:
            return found
        parsed = parse_transaction(data, self._network, self._epoch, data_hash)
        self._parsed[data_hash] = parsed
        self._parsed_bytes += len(data)
        while len(self._parsed) > TRANSACTION_CACHE_MAX or self._parsed_bytes > TRANSACTION_CACHE_BYTES_MAX:
            oldest = self._parsed.pop(next(iter(self._parsed)))
            self._parsed_bytes -= len(oldest.data)
        return parsed

    def holds(self, parsed: ParsedTransaction, signing_keys: tuple[SigningKey, ...]) -> bool:
        """Tell whether these bytes' signatures are known to verify against exactly these keys."""
        return self._verified.get(parsed.data_hash) == (parsed.id, signing_keys)

    def remember(self, parsed: ParsedTransaction, signing_keys: tuple[SigningKey, ...]) -> None:
        """Remember that they do."""
        self._verified[parsed.data_hash] = (parsed.id, signing_keys)
        if len(self._verified) > TRANSACTION_CACHE_MAX:
            del self._verified[next(iter(self._verified))]

    def forget(self, parsed: ParsedTransaction) -> None:
        """Drop what a committed transaction no longer needs."""
        self._verified.pop(parsed.data_hash, None)
        if self._parsed.pop(parsed.data_hash, None) is not None:
            self._parsed_bytes -= len(parsed.data)


def check_signatures(
    context: Context, parsed: ParsedTransaction, groups: Sequence[SignatureGroup], cache: TransactionCache
) -> None:
    """Check that the signatures are exactly those that the groups ask for, by keys in force, and good.

    Raises: Rejected(WRONG_SIGNERS, UNKNOWN_KEY, KEY_NOT_VALID, BAD_SIGNATURE).
    """
    signatures = parsed.envelope.signatures
    needed = sum(group.count for group in groups)
    if len(signatures) != needed:
        raise Rejected(Reason.WRONG_SIGNERS, f"{len(signatures)} signatures, {needed} needed")
    for low, high in pairwise(signatures):
        if low.key_id >= high.key_id:
            raise Rejected(Reason.WRONG_SIGNERS, f"key {high.key_id.hex()} is not above {low.key_id.hex()}")
    missing = [group.count for group in groups]
    signing_keys = tuple(_take_place(context, signature, groups, missing) for signature in signatures)
    if cache.holds(parsed, signing_keys):
        return
    for signature, (algorithm, public_key) in zip(signatures, signing_keys, strict=True):
        if not verify(algorithm, public_key, parsed.id, signature.signature):
            raise Rejected(
                Reason.BAD_SIGNATURE, f"signature of {signature.institution} with key {signature.key_id.hex()}"
            )
    cache.remember(parsed, signing_keys)


def _take_place(
    context: Context, signature: TransactionSignature, groups: Sequence[SignatureGroup], missing: list[int]
) -> SigningKey:
    """Count a signature in the first group that still lacks one of its kind, and return its key."""
    ours = [index for index, group in enumerate(groups) if group.institution == signature.institution]
    if not ours:
        raise Rejected(Reason.WRONG_SIGNERS, f"{signature.institution} need not sign")
    fault: Rejected | None = None
    for index in ours:
        try:
            key = _key_for(context, signature, groups[index])
        except Rejected as error:
            fault = fault or error
            continue
        if missing[index]:
            missing[index] -= 1
            return key
        fault = Rejected(Reason.WRONG_SIGNERS, f"more than {groups[index].count} signatures of {signature.institution}")
    assert fault is not None
    raise fault


def _key_for(context: Context, signature: TransactionSignature, group: SignatureGroup) -> SigningKey:
    """Return the key behind a signature if it may stand in a group."""
    if group.given:
        return _given_key(signature.key_id, group)
    key = context.state.get(keys.key(signature.institution, signature.key_id), InstitutionKey)
    if key is None:
        raise Rejected(Reason.UNKNOWN_KEY, f"{signature.institution} has no key {signature.key_id.hex()}")
    if key.compromised is not None:
        raise Rejected(Reason.KEY_NOT_VALID, f"key {signature.key_id.hex()} is compromised")
    if key.retired is not None:
        raise Rejected(Reason.KEY_NOT_VALID, f"key {signature.key_id.hex()} is retired")
    if key.purpose not in group.purposes:
        wanted = " or ".join(sorted(group.purposes))
        raise Rejected(
            Reason.KEY_NOT_VALID, f"key {signature.key_id.hex()} has purpose {key.purpose}, {wanted} is needed"
        )
    return key.algorithm, key.public_key


def _given_key(wanted: KeyId, group: SignatureGroup) -> SigningKey:
    for key in group.given:
        if key_id(key.algorithm, key.public_key) == wanted:
            return key.algorithm, key.public_key
    raise Rejected(Reason.UNKNOWN_KEY, f"{group.institution} brings no key {wanted.hex()}")
