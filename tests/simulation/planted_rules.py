"""Planted bugs in the rules: quorums, certificates, justifications, views, proposers, time."""

from tests.simulation.plan import Plan, draw
from tests.simulation.plants import Edit, Plant

_CORE = "node.consensus.core:Core."
_DECISION = "node.consensus.decision:"
_PROPOSAL = "node.consensus.proposal:"
_CHECK = "node.consensus.verification:"
_CHANGE = "node.consensus.view_change:"
_BOOK = "node.consensus.votes:VoteBook."


def _of_six(seed: int) -> Plan:
    return draw(seed, sizes=(6,))


RULES = {
    "quorum-2f+1": Plant(
        "the quorum that is right only when N = 3f + 1: with six validators two quorums need not meet in an honest one",
        (
            Edit(
                "node.chain.validator_set:ValidatorSet.quorum",
                "quorum(len(self.members))",
                "2 * max_faulty(len(self.members)) + 1",
            ),
        ),
        _of_six,
    ),
    "mixed-views": Plant(
        "votes of different views for one block are added up",
        (
            Edit(
                _BOOK + "add",
                "tally = self._tallies.setdefault((phase, vote.view, vote.block_hash), {})",
                "tally = self._tallies.setdefault((phase, 0, vote.block_hash), {})",
            ),
            Edit(_BOOK + "count", "(phase, view, block_hash)", "(phase, 0, block_hash)"),
            Edit(
                _BOOK + "certificate", "self._tallies[phase, view, block_hash]", "self._tallies[phase, 0, block_hash]"
            ),
        ),
    ),
    "duplicate-signers": Plant(
        "a certificate may hold one signature many times over",
        (
            Edit(
                "node.chain.certificate:Certificate.check",
                "any(low >= high for low, high in pairwise(indexes))",
                "False",
            ),
        ),
    ),
    "commit-unprepared": Plant(
        "Commit is sent without a quorum of Prepares",
        (
            Edit(
                _DECISION + "commit",
                "if state.votes.count(Phase.PREPARE, state.view, block_hash) < state.context.validators.quorum:\n"
                "        return\n",
                "if state.votes.count(Phase.PREPARE, state.view, block_hash) < 2:\n        return\n"
                "    if state.votes.count(Phase.PREPARE, state.view, block_hash) < state.context.validators.quorum:\n"
                "        state.step = Step.COMMITTING\n"
                "        place = (state.context.height, state.view, block_hash)\n"
                "        vote = Commit(state.context.epoch, *place, state.me, UNSIGNED)\n"
                "        yield Persist(vote)\n"
                "        yield SignAndBroadcast(vote)\n"
                "        return\n",
            ),
        ),
    ),
    "forget-prepared": Plant(
        "a ViewChange forgets what its signer has prepared, as one known system did",
        (
            Edit(
                _CHANGE + "start",
                "context, prepared = state.context, state.prepared\n",
                "context, prepared = state.context, None\n    state.prepared = None\n",
            ),
        ),
    ),
    "lowest-prepared": Plant(
        "of several prepared blocks the one of the lowest view is proposed again, and accepted",
        (
            Edit(_CHANGE + "_justification", "highest = max(certificates", "highest = min(certificates"),
            Edit(_CHECK + "_check_justification", "certificate.view != max(claims)", "certificate.view not in claims"),
        ),
    ),
    "one-moves-all": Plant(
        "a view is joined when a single validator asks for it",
        (
            Edit(
                "node.consensus.votes:ViewChangeBook.view_to_join",
                "len(above) > self._validators.max_faulty",
                "len(above) > 0",
            ),
        ),
    ),
    "new-time": Plant(
        "a block that is proposed again gets a new timestamp, and others take it for the one that was prepared",
        (
            Edit(
                _CHANGE + "_propose",
                "yield from _send(state, block)\n",
                "import msgspec\n"
                "    time_ms = max(now_ms, block.header.timestamp_ms + 1)\n"
                "    later = msgspec.structs.replace(block.header, timestamp_ms=time_ms)\n"
                "    yield from _send(state, msgspec.structs.replace(block, header=later))\n",
            ),
            Edit(_CHECK + "_check_justification", "certificate.block_hash != message.head.block_hash", "False"),
        ),
    ),
    "any-block-again": Plant(
        "a NewView may bring another block than the one that its certificate is for",
        (Edit(_CHECK + "_check_justification", "certificate.block_hash != message.head.block_hash", "False"),),
    ),
    "late-prepares-change-claim": Plant(
        "Prepares that complete a quorum after a ViewChange was sent change what it claims",
        (
            Edit(
                _DECISION + "commit",
                "block_hash = state.accepted_hash\n",
                "import msgspec\n"
                "    from node.consensus.messages import ViewChange\n"
                "    block_hash = state.accepted_hash\n"
                "    own = state.own_view_change\n"
                "    for (phase, view, late), tally in list(state.votes._tallies.items()):\n"
                "        if own is None or phase is not Phase.PREPARE or view >= own.head.view:\n"
                "            continue\n"
                "        higher = state.prepared is None or state.prepared.view < view\n"
                "        if higher and len(tally) >= state.context.validators.quorum:\n"
                "            state.prepared = state.votes.certificate(phase, view, late)\n"
                "            claim = {'prepared_view': view, 'prepared_hash': late, 'signature': UNSIGNED}\n"
                "            message = ViewChange(msgspec.structs.replace(own.head, **claim), state.prepared)\n"
                "            yield Persist(message)\n"
                "            yield SignAndBroadcast(message)\n"
                "    if state.step is not Step.PREPARING:\n"
                "        return\n",
            ),
            Edit(_CORE + "_progress", "if state.step is Step.PREPARING:", "if True:"),
        ),
    ),
    "vote-below-promise": Plant(
        "a proposal of a view that was left is still voted for",
        (
            Edit(_PROPOSAL + "judge", "if head.view < state.view:", "if False:"),
            Edit(_PROPOSAL + "_is_acceptable", "return view > state.view or ", "return view != state.view or "),
        ),
    ),
    "heads-of-other-views": Plant(
        "a NewView is accepted with ViewChanges that ask for other views",
        (Edit(_CHECK + "_check_justification", "if place != wanted:", "if place[:2] != wanted[:2]:"),),
    ),
    "few-heads": Plant(
        "a NewView is accepted with fewer than a quorum of ViewChanges",
        (
            Edit(
                _CHECK + "_check_justification",
                "if len(heads) < context.validators.quorum:",
                "if not heads:",
            ),
        ),
    ),
    "false-claims": Plant(
        "what a ViewChange claims needs no genuine certificate",
        (
            Edit(
                _CHECK + "check_view_change",
                "    verifier.check_certificate(context, certificate, Phase.PREPARE)",
                "    return",
            ),
        ),
    ),
    "unchecked-decision": Plant(
        "Decided is believed without checking its certificate",
        (
            Edit(
                _DECISION + "take_decided",
                "    verifier.check_certificate(state.context, certificate, Phase.COMMIT)\n",
                "",
            ),
        ),
    ),
    "anybody-proposes": Plant(
        "whose turn it is to propose is not checked",
        (
            Edit(_CHECK + "check_proposal", "if head.validator != proposer:", "if False:"),
            Edit(_CHECK + "_check_fresh", "if block.header.proposer != name:", "if False:"),
        ),
    ),
    "any-time": Plant(
        "a fresh block may lie any time ahead",
        (Edit(_CHECK + "_check_fresh", "now_ms + CLOCK_AHEAD_MAX_MS", "now_ms + 10**12"),),
    ),
    "empty-at-once": Plant(
        "an empty block of view 0 needs no minute after its parent",
        (Edit(_CHECK + "_check_heartbeat", "block.header.timestamp_ms < earliest", "False"),),
    ),
    "other-epochs": Plant(
        "what is said in another epoch counts here",
        (
            Edit(_CORE + "_check_epoch", "if epoch != self.state.context.epoch:", "if False:"),
            Edit(_CHECK + "Verifier.check_certificate", "if found != expected:", "if found[::2] != expected[::2]:"),
        ),
    ),
    "evidence-of-other-epochs": Plant(
        "evidence of another epoch, where validators promised other things, is accepted",
        (
            Edit("node.chain.evidence:judge", "if one.epoch != epoch:", "if False:"),
            Edit(
                _CORE + "_on_message",
                "epoch, height = evidence.epoch, evidence.height",
                "epoch, height = self.state.context.epoch, evidence.height",
            ),
        ),
    ),
    "commit-binds-for-ever": Plant(
        "who has sent Commit never leaves its view, as in some systems",
        (
            Edit(
                _CORE + "_on_timer",
                "if is_current and state.may_sign and not state.is_decided:",
                "if is_current and state.may_sign and state.step not in (Step.COMMITTING, Step.DECIDED):",
            ),
            Edit(
                _CHANGE + "progress",
                "if to_join is not None:",
                "if to_join is not None and state.step is not Step.COMMITTING:",
            ),
        ),
    ),
    "view-change-said-once": Plant(
        "a ViewChange that was lost is not said again",
        (
            Edit(
                _CORE + "_on_tick",
                "if state.own_view_change is not None and not state.is_decided:",
                "if False:",
            ),
        ),
    ),
    "timer-for-exactly-this-view": Plant(
        '[T2] without "or any higher view": one liar leads one honest validator away, and the others wait for ever',
        (
            Edit(
                "node.consensus.votes:ViewChangeBook.members_at_least",
                "return sum(1 for highest in self._highest.values() if highest >= view)",
                "return len(self.at(view))",
            ),
        ),
    ),
    "join-nobody": Plant(
        "no [V2]: who has nothing to include never leaves view 0, and those who have are no quorum",
        (
            Edit(
                "node.consensus.votes:ViewChangeBook.view_to_join",
                "return min(above) if len(above) > self._validators.max_faulty else None",
                "return None",
            ),
        ),
    ),
    "maker-blamed": Plant(
        "who made the decided block gets a demerit when it was decided late",
        (Edit("node.chain.missed_turns:_missed", "if name != parent.proposer", "if name"),),
    ),
    "early-messages-unbounded": Plant(
        "a peer may fill the memory with messages of the next height",
        (Edit(_CORE + "_on_early", "if len(held) >= FUTURE_MESSAGES_PER_PEER_MAX:", "if False:"),),
    ),
}
