"""Governance for tests: a chain whose institutions propose, vote and activate with one call each."""

from collections.abc import Sequence

import msgspec

from node.chain.answers import Committed
from node.chain.membership import activation_digest, leave_digest, rotation_digest, schedule_of
from node.chain.records.governance import (
    Action,
    Leave,
    Proposal,
    RotateKey,
    Schedule,
    action_hash,
)
from node.chain.records.institution import Purpose
from node.chain.rules.governance import GovernancePropose, GovernanceVote, VoteKind
from node.chain.rules.joining import ValidatorActivate
from node.errors import Reason
from node.limits import TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.primitives import Height, InstitutionId
from node.state import keys
from node.state.world_state import WorldState
from tests.unit.chain.kit import (
    COEPES,
    CONOCER,
    ITLEON,
    SDES,
    SEG,
    UGTO,
    Key,
    TestChain,
    genesis,
)

VOTERS = (SEG, SDES, UGTO)
"""Both authorities, who validate too, and a third validator: 2 of 2 authorities and 3 of 4 validators."""
SIX = (COEPES, CONOCER, ITLEON, SDES, SEG, UGTO)


def consensus(institution: InstitutionId, number: int = 0) -> Key:
    """Return a consensus key of an institution; 0 is the one that the genesis names."""
    return Key(institution, Purpose.CONSENSUS, number)


class Council(TestChain):
    """A chain that governs itself."""

    def proposal(self, number: int) -> Proposal:
        """Return a proposal as it stands."""
        found = self.ledger.read(keys.proposal(number), Proposal)
        assert found is not None
        return found

    @property
    def schedule(self) -> Schedule:
        """What is about to change the set."""
        return schedule_of(WorldState(self.ledger.state))

    @property
    def members(self) -> list[InstitutionId]:
        """Who votes on the next height."""
        return [member.institution for member in self.ledger.validators_at(self.next_height).members]

    @property
    def valid_until(self) -> Height:
        """As `transaction` fills it in."""
        return self.next_height + TRANSACTION_VALIDITY_HEIGHTS_MAX // 2

    def propose(self, action: Action, by: InstitutionId = SEG) -> Committed:
        """Open a proposal."""
        return self.do("governance.propose", GovernancePropose(action), signer=by)

    def refused_proposal(self, action: Action, by: InstitutionId = SEG) -> tuple[Reason, str]:
        """Propose what must be refused."""
        return self.refusal("governance.propose", GovernancePropose(action), signer=by)

    def ballot(self, number: int, kind: VoteKind = VoteKind.APPROVE) -> GovernanceVote:
        """Return a vote on a proposal as it is."""
        return GovernanceVote(number, action_hash(self.proposal(number).action), kind)

    def vote(self, number: int, by: InstitutionId, kind: VoteKind = VoteKind.APPROVE) -> Committed:
        """Vote."""
        return self.do("governance.vote", self.ballot(number, kind), signer=by)

    def refused_vote(self, number: int, by: InstitutionId, kind: VoteKind = VoteKind.APPROVE) -> tuple[Reason, str]:
        """Vote where that must be refused."""
        return self.refusal("governance.vote", self.ballot(number, kind), signer=by)

    def approve(self, action: Action, voters: Sequence[InstitutionId] = VOTERS) -> int:
        """Propose and vote until approved; return the proposal's number."""
        self.propose(action, voters[0])
        number = self.last_number
        for voter in voters[1:]:
            self.vote(number, voter)
        assert self.proposal(number).approved_height
        return number

    @property
    def last_number(self) -> int:
        """Of the latest proposal."""
        number = 0
        while self.ledger.read(keys.proposal(number + 1), Proposal) is not None:
            number += 1
        return number

    def activation(
        self, number: int, institution: InstitutionId, key: Key, height: Height | None = None, **changes: object
    ) -> ValidatorActivate:
        """Return a joiner's proof over a block (default: the head)."""
        at = self.ledger.head.height if height is None else height
        header = self.ledger.header_at(at)
        assert header is not None
        digest = activation_digest(
            self.network, 0, institution, key.public_key, number, at, header.hash(), self.valid_until
        )
        payload = ValidatorActivate(number, at, header.hash(), key.sign(digest))
        return msgspec.structs.replace(payload, **changes)

    def activate(self, number: int, institution: InstitutionId, key: Key) -> Committed:
        """Activate a joiner."""
        return self.do("validator.activate", self.activation(number, institution, key), signer=institution)

    def leave(self, institution: InstitutionId, key: Key | None = None) -> Leave:
        """Return the action by which a validator leaves."""
        held = key or consensus(institution)
        digest = leave_digest(self.network, 0, institution, held.public_key, self.valid_until)
        return Leave(held.sign(digest))

    def rotation(self, institution: InstitutionId, old: Key, new: Key) -> RotateKey:
        """Return the action by which a validator changes its key."""
        digest = rotation_digest(self.network, 0, institution, old.public_key, new.public_key, self.valid_until)
        return RotateKey(new.public_key, old.sign(digest), new.sign(digest))

    def forge(self, action: RotateKey | Leave, **changes: object) -> Action:
        """Return an action with other signatures."""
        return msgspec.structs.replace(action, **changes)

    def run_on(self, blocks: int) -> None:
        """Commit empty blocks."""
        self.skip_to(self.ledger.head.height + blocks)


def council(validators: Sequence[InstitutionId] = (ITLEON, SDES, SEG, UGTO), **options: object) -> Council:
    """Return a fresh network that governs itself."""
    return Council(genesis(validators=validators, **options))  # type: ignore[arg-type]  # options of the kit's genesis
