"""`chain_…`: blocks, headers, certificates, validators, the genesis document, the parameters."""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate
from node.chain.genesis_json import document_json
from node.chain.records.network import Parameters
from node.chain.validator_set import ValidatorSet
from node.primitives import Height
from node.rpc.services import Services
from node.rpc.shapes import HeightNumber, Hex, Hex32, Institution, Time, algorithm_name, invalid, not_found, time_text


class HeaderView(Struct, frozen=True, kw_only=True):
    """A header's fields and its canonical bytes."""

    height: HeightNumber
    hash: Hex32
    parent_hash: Hex32
    """In block 0: hash of the canonical genesis document."""
    epoch: int
    version: int
    chain_id: str
    time: Time
    proposer: Institution | None
    """Original proposer; nil in block 0."""
    view: int | UnsetType = UNSET
    """Of the certificate in block h+1, at the head of this node's own; absent at height 0."""
    state_root: Hex32
    transactions_root: Hex32
    evidence_root: Hex32
    receipts_root: Hex32
    validators_hash: Hex32
    next_validators_hash: Hex32
    parent_certificate_hash: Hex32
    raw: Hex
    """Canonical bytes: H("pila/header", raw) is the hash."""


class TransactionSummary(Struct, frozen=True):
    """A transaction of a block."""

    tx_id: Hex32
    kind: str
    signer: Institution


class BlockView(HeaderView, frozen=True, kw_only=True):
    """A header's fields and the block's transactions in their order."""

    transactions: list[TransactionSummary]


class CommitSignature(Struct, frozen=True):
    """One validator's commit."""

    validator: int
    """Index in the set of the height."""
    institution: Institution
    public_key: Hex32
    signature: Hex


class CertificateView(Struct, frozen=True):
    """A quorum of commits."""

    height: HeightNumber
    epoch: int
    view: int
    block_hash: Hex32
    algorithm: str
    signatures: list[CommitSignature]
    raw: Hex


class ValidatorView(Struct, frozen=True):
    """One member of a validator set."""

    index: int
    institution: Institution
    public_key: Hex32


class ValidatorSetView(Struct, frozen=True):
    """The validators of a height."""

    height: HeightNumber
    hash: Hex32
    quorum: int
    max_faulty: int
    validators: list[ValidatorView]
    raw: Hex


class CreditFrameworkView(Struct, frozen=True):
    """A unit of credit."""

    name: str
    hours_per_credit: float
    source: str


class ParametersView(Struct, frozen=True):
    """What the network agreed on."""

    did_host: str
    credit_frameworks: list[CreditFrameworkView]
    credentials_per_batch_max: int
    pending_applications_max: int


def _header(services: Services, height: int | None, hash_hex: str | None) -> Header:
    """Return the header that one of two parameters names. Raises: RpcError."""
    ledger = services.ledger
    if (height is None) == (hash_hex is None):
        raise invalid("exactly one of height and hash is needed")
    if hash_hex is not None:
        found = ledger.header_by_hash(bytes.fromhex(hash_hex))
        if found is None:
            raise not_found(f"no block has the hash {hash_hex}")
        return found
    assert height is not None
    found = ledger.header_at(height) if height <= ledger.head.height else None
    if found is None:
        raise not_found(ledger.absence(height))
    return found


def _certificate(services: Services, height: Height) -> Certificate | None:
    """Return the certificate of a height; None at height 0 and above the head."""
    return services.ledger.certificate_at(height) if height <= services.ledger.head.height else None


def header_view(services: Services, header: Header) -> HeaderView:
    """Return a header as JSON shows it."""
    certificate = _certificate(services, header.height)
    return HeaderView(
        height=header.height,
        hash=header.hash().hex(),
        parent_hash=header.parent_hash.hex(),
        epoch=header.epoch,
        version=header.version,
        chain_id=header.chain_id,
        time=time_text(header.timestamp_ms),
        proposer=header.proposer,
        view=UNSET if certificate is None else certificate.view,
        state_root=header.state_root.hex(),
        transactions_root=header.transactions_root.hex(),
        evidence_root=header.evidence_root.hex(),
        receipts_root=header.receipts_root.hex(),
        validators_hash=header.validators_hash.hex(),
        next_validators_hash=header.next_validators_hash.hex(),
        parent_certificate_hash=header.parent_certificate_hash.hex(),
        raw=codec.encode(header).hex(),
    )


def chain_block(services: Services, height: HeightNumber | None = None, hash: Hex32 | None = None) -> BlockView:  # noqa: A002 – the parameter's name is a promise
    """Return a block by height or by hash: the header's fields and the transactions."""
    ledger = services.ledger
    header = _header(services, height, hash)
    receipts = ledger.receipts_at(header.height)
    if receipts is None:
        raise not_found(ledger.absence(header.height))
    transactions = [
        TransactionSummary(receipt.transaction_id.hex(), receipt.kind, receipt.signer) for receipt in receipts
    ]
    fields = msgspec.structs.asdict(header_view(services, header))
    return BlockView(**fields, transactions=transactions)


def chain_header(services: Services, height: HeightNumber | None = None, hash: Hex32 | None = None) -> HeaderView:  # noqa: A002 – the parameter's name is a promise
    """Return a header by height or by hash."""
    return header_view(services, _header(services, height, hash))


def chain_certificate(services: Services, height: HeightNumber) -> CertificateView:
    """Return the quorum of commits of a height: the one inside block h+1, at the head this node's own."""
    ledger = services.ledger
    certificate = _certificate(services, height)
    if certificate is None:
        is_pruned = 0 < height < ledger.pruned_below
        raise not_found(
            ledger.absence(height)
            if is_pruned
            else f"no certificate at height {height}; the head is {ledger.head.height}"
        )
    members = ledger.validators_at(height).members
    signatures = [
        CommitSignature(
            vote.validator,
            members[vote.validator].institution,
            members[vote.validator].public_key.hex(),
            vote.signature.hex(),
        )
        for vote in certificate.signatures
    ]
    return CertificateView(
        certificate.height,
        certificate.epoch,
        certificate.view,
        certificate.block_hash.hex(),
        algorithm_name(certificate.algorithm),
        signatures,
        codec.encode(certificate).hex(),
    )


def chain_validators(services: Services, height: HeightNumber | None = None) -> ValidatorSetView:
    """Return the validators that vote on a height; without one, on the next."""
    next_height = services.ledger.head.height + 1
    wanted = next_height if height is None else height
    if wanted > next_height:
        raise not_found(f"the validators of height {wanted} are not decided; the head is {next_height - 1}")
    return validator_set_view(wanted, services.ledger.validators_at(wanted))


def validator_set_view(height: Height, validators: ValidatorSet) -> ValidatorSetView:
    """Return a set as JSON shows it."""
    members = [
        ValidatorView(index, member.institution, member.public_key.hex())
        for index, member in enumerate(validators.members)
    ]
    raw = codec.encode(validators).hex()
    return ValidatorSetView(height, validators.hash.hex(), validators.quorum, validators.max_faulty, members, raw)


def chain_genesis(services: Services) -> dict[str, object]:
    """Return the genesis document, with `genesis_hash`, as `genesis.json` holds it."""
    return document_json(services.ledger.genesis, services.ledger.network.genesis_hash)


def chain_params(services: Services) -> ParametersView:
    """Return the parameters that the network agreed on."""
    return parameters_view(services.ledger.parameters)


def parameters_view(parameters: Parameters) -> ParametersView:
    """Return parameters as JSON shows them."""
    frameworks = [
        CreditFrameworkView(item.name, item.hours_per_credit_hundredths / 100, item.source)
        for item in parameters.credit_frameworks
    ]
    return ParametersView(
        parameters.did_host,
        frameworks,
        parameters.credentials_per_batch_max,
        parameters.pending_applications_max,
    )
