"""What the pages ask, answered from the ledger and the running node.

The same sources as JSON-RPC, so that a page never says anything that a call does not.
"""

from collections.abc import Mapping

from node.chain.records.institution import Institution
from node.documents.answer import Answer
from node.primitives import Height, InstitutionId
from node.rpc.methods.stats import stats_summary
from node.rpc.services import Services
from node.rpc.shapes import texts
from node.state import keys
from node.web.view import Counts, NetworkState, ValidatorState


class ServicesPageView:
    """A `PageView` of one node."""

    def __init__(self, services: Services) -> None:
        """Take what JSON-RPC answers from."""
        self._services = services

    def network_state(self) -> NetworkState:
        """Return the network as this node has it now."""
        ledger, node = self._services.ledger, self._services.node
        head = ledger.head
        return NetworkState(
            chain_id=ledger.network.chain_id,
            genesis_hash=ledger.network.genesis_hash,
            height=head.height,
            block_hash=ledger.head_hash,
            block_time_ms=head.timestamp_ms,
            now_ms=node.now_ms(),
            institution=node.institution,
            version=node.version,
            syncing=node.syncing,
            validators=self._validators(head.height),
            quorum=ledger.validators_at(head.height).quorum,
            peers=len(node.peers()),
            counts=self._counts(),
        )

    def institution_names(self, institution: InstitutionId) -> Mapping[str, str]:
        """Return the names on the institution's record."""
        record = self._services.ledger.read(keys.accreditation(institution), Institution)
        return {} if record is None else texts(record.names)

    async def verify_bundle(self, bundle: bytes, *, is_file: bool) -> Answer:
        """Have the node verify it. Raises: RpcError(LIMIT_EXCEEDED)."""
        return await self._services.node.verify(bundle, is_file=is_file)

    def _validators(self, height: Height) -> tuple[ValidatorState, ...]:
        """Return the set of a height and whose commits are in its certificate."""
        ledger = self._services.ledger
        certificate = ledger.certificate_at(height)
        signed = None if certificate is None else {vote.validator for vote in certificate.signatures}
        return tuple(
            ValidatorState(
                member.institution,
                self.institution_names(member.institution),
                None if signed is None else index in signed,
            )
            for index, member in enumerate(ledger.validators_at(height).members)
        )

    def _counts(self) -> Counts:
        counted = stats_summary(self._services)
        return Counts(
            institutions=counted.institutions,
            definitions=counted.definitions,
            pathways=counted.pathways,
            transactions=sum(counted.transactions.values()),
            credentials_issued=counted.credentials,
            credentials_revoked=counted.status_changes.get("revoke", 0),
        )
