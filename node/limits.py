"""Every bound of the system, unit in the name, and the relations that must hold between them.

What the network agrees on (consensus-critical) is marked so; the rest protects one process.
"""

from typing import Final

# --- transactions (consensus-critical) ---
TRANSACTION_BYTES_MAX: Final = 512 * 1024
"""A batch of 4,096 leaves is 131 kB; a stack of 32 components with openings and paths about 100 kB."""
TRANSACTION_VALIDITY_HEIGHTS_MAX: Final = 1_000
"""0 ≤ valid_until_height − height of inclusion ≤ 1,000; ids of as many blocks are remembered."""
SIGNATURES_PER_TRANSACTION_MAX: Final = 16
CREDENTIALS_PER_BATCH_MAX: Final = 4_096
STATUS_ENTRIES_PER_TRANSACTION_MAX: Final = 1_000
COMPONENTS_PER_STACK_MAX: Final = 64
STACK_DEPTH_MAX: Final = 4
"""Levels of stacks inside stacks."""
STACK_LEAVES_MAX: Final = 256
"""Components of components, at any depth, of one stack."""
KEYS_PER_INSTITUTION_MAX: Final = 64
KEYS_PER_APPLICATION_MAX: Final = 8
HISTORY_STEPS_PER_INSTITUTION_MAX: Final = 1_024
REVIEWS_PER_AGENCY_MAX: Final = 64
"""Reviews of one institution by one quality agency: none may fill another's history and so end its renewals."""
HISTORY_STEPS_RESERVED: Final = 2
"""Room that an authority keeps to suspend and to withdraw an institution whose history is full."""
HISTORY_BYTES_RESERVED: Final = 128 * 1024
"""The same in bytes of the record: two steps with the largest scope."""
COMPROMISE_LOOKBACK_HEIGHTS_MAX: Final = 1_000
"""A compromise declared further back needs an authority."""
STATUS_LIST_BITS: Final = 131_072
"""Entries of one Bitstring Status List: the least that the recommendation allows."""
STATUS_LISTS_PER_INSTITUTION_MAX: Final = 65_536

# --- text and lists in records (consensus-critical) ---
NAME_CHARS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 4_000
CODE_CHARS_MAX: Final = 64
URL_CHARS_MAX: Final = 500
LIST_ITEMS_MAX: Final = 64
OUTCOMES_PER_DEFINITION_MAX: Final = 32
REQUIREMENTS_PER_PATHWAY_MAX: Final = 32
SELECTORS_PER_PATHWAY_MAX: Final = 128
"""Sets of definitions in all requirements of one pathway: each is compared with every component."""
TRANSLATIONS_MAX: Final = 16
VALIDITY_MONTHS_MAX: Final = 600

# --- governance (consensus-critical) ---
AUTHORITIES_MAX: Final = 100
"""Institutions that have or had the role `authority`: a vote asks how each of them stands."""
PROPOSALS_LIVE_PER_INSTITUTION_MAX: Final = 4
"""Proposals of one institution that are open, or approved and not in force."""
PROPOSAL_LIFE_HEIGHTS: Final = 1_000
"""After so many blocks a proposal that is not approved lapses, and an approved change that never got its turn."""
PROPOSAL_AHEAD_HEIGHTS_MAX: Final = 10_000_000
"""How far ahead of its proposal a change of parameters or of the protocol may be fixed."""
CHANGES_WAITING_MAX: Final = 128
"""Changes of the validator set that wait for their turn; at most one of each institution."""
ACTIVATION_AGE_HEIGHTS_MAX: Final = 64
"""How old the block may be by which a joining validator shows that it is in sync."""
KEY_ROTATION_INTERVAL_MS: Final = 24 * 60 * 60 * 1_000
"""Between two changes of one validator's key by itself: each one is a hop that every later bundle carries."""
UPGRADE_READY_HEIGHTS: Final = 100
"""So many blocks before an upgrade N - f validators must have said that they are ready."""
GOVERNANCE_KEYS_MAX: Final = 256
GOVERNED_KEYS_PER_INSTITUTION_MAX: Final = 8
"""One consensus key and seven governance keys; they do not count against KEYS_PER_INSTITUTION_MAX."""

# --- blocks (consensus-critical) ---
BLOCK_BYTES_MAX: Final = 4 * 1024 * 1024
BLOCK_TRANSACTIONS_MAX: Final = 4_096
BLOCK_COST_MAX: Final = 200_000
"""Cost units (about a microsecond of validation each on the reference machine): a quarter of the
smallest view-0 timer is 250,000 µs."""
BLOCK_RESERVED_COST_SHARE_PERCENT: Final = 50
"""Share of a block kept for authorities and status changes."""
COST_BASE: Final = 60
"""Cost units of any transaction: envelope, id, look-up of keys, receipt."""
COST_PER_SIGNATURE: Final = 110
"""Checking one P-256 signature; Ed25519 takes half."""
COST_PER_STATE_KEY: Final = 40
"""Reading, encoding, hashing and writing one record of the state."""
COST_BYTES_PER_UNIT: Final = 256
"""Bytes of a transaction that are decoded, hashed and written in a microsecond."""
EVENTS_PER_TRANSACTION_MAX: Final = 1_024
RECEIPTS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Stored receipts of one block: far above what its cost allows."""
EVIDENCE_PER_BLOCK_MAX: Final = 16
"""Reports of a validator that signed two things."""
EVIDENCE_BYTES_MAX: Final = 512
"""Two statements with signatures have about 350."""
EVIDENCE_AGE_HEIGHTS_MAX: Final = 900
"""How long after its height an offence may be recorded: less than the 1,000 headers that every node has."""
EQUIVOCATIONS_RECORDED_MAX: Final = 64
"""Offences of one institution that are recorded, for ever: a liar must not fill the state."""

# --- consensus (consensus-critical where it judges messages) ---
VALIDATORS_MIN: Final = 4
VALIDATORS_MAX: Final = 100
VIEW_TIMEOUT_MIN_MS: Final = 1_000
VIEW_TIMEOUT_START_MAX_MS: Final = 10_000
VIEW_TIMEOUT_MAX_MS: Final = 30_000
HEARTBEAT_MS: Final = 60_000
CLOCK_AHEAD_MAX_MS: Final = 2_000
DEMERIT_HEIGHTS_PER_MEMBER: Final = 32
"""Times N: heights at which a validator is passed over after it missed a turn; twice as many after each further one.
A missed turn costs a second; with 4 validators and 10 blocks a second this comes to a twelfth of the time at first."""
DEMERIT_MISSES_MAX: Final = 4
"""Missed turns that count: 256 N heights at most, a hundredth of the time."""
DEMERIT_MEMORY_HEIGHTS_PER_MEMBER: Final = 32
"""Times N: heights with its usual turns after which a validator's missed ones are forgotten."""
STATUS_INTERVAL_MS: Final = 1_000
"""How often a Status is sent, the latest ViewChange repeated and what is missing asked for."""
VIEW_TIMEOUT_START_MS: Final = 2_000
"""Timer of view 0 before this process has seen a decision."""
BLOCK_FETCH_INTERVAL_MS: Final = 250
"""How long one signer of a certificate is waited for before the next is asked for the body."""
VIEW_CHANGES_PER_VALIDATOR_MAX: Final = 2
VOTE_VIEWS_PER_VALIDATOR_MAX: Final = 8
"""Views of one height for which one validator's votes are kept; the lowest gives way."""
BLOCKS_PER_HEIGHT_MAX: Final = 4
"""Bodies of one height held in memory; the rest of those voted for lie in the journal."""
FUTURE_MESSAGES_PER_PEER_MAX: Final = 16
"""Of a validator for the next height, at most one of them with a block: 33 liars of 100 take 140 MB."""
EQUIVOCATIONS_PER_VALIDATOR_MAX: Final = 16
"""Reports of one validator at one height; a liar could make two statements in view after view."""
EVIDENCE_JUDGED_PER_PEER_MAX: Final = 16
"""Reports from one peer that are examined between two Status ticks; two signatures each."""
EVIDENCE_POOL_PER_VALIDATOR_MAX: Final = 16
"""Pieces of evidence against one validator that wait for a block."""
EVIDENCE_POOL_MAX: Final = 256
"""Offences that wait for a block: sixteen of each of sixteen validators."""
PROPOSALS_JUDGED_PER_PEER_MAX: Final = 4
"""Proposals from one peer that are examined between two Status ticks."""
STATUSES_PER_PEER_MAX: Final = 8
"""Status of one peer that are verified between two ticks; an honest one sends one or two."""
BLOCK_ANSWERS_PER_PEER_MAX: Final = 4
"""Answers with a block that one peer gets between two Status ticks."""
DECIDED_ANSWERERS: Final = 2
"""Validators that answer a laggard in one second; who it is rotates."""
VERIFIED_SIGNATURES_MAX: Final = 32_768
"""Answers kept, 8 MB: the Prepares and Commits of a hundred and sixty heights with 100 validators."""
REFUSED_SIGNATURES_MAX: Final = 4_096
"""Forged signatures remembered as such."""
CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX: Final = 500
"""Fifty blocks a second take three of each validator for each; reading 500 takes less than a hundredth of a core."""
CONSENSUS_BYTES_PER_PEER_PER_SECOND_MAX: Final = 32 * 1024 * 1024
CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX: Final = 200
"""Points for messages that were refused; beyond them nothing more of that peer is read in that second: forged votes
take a fiftieth of a core."""
CONSENSUS_FAULT_BYTES: Final = 16 * 1024
"""A refused message has a point, and another for so many bytes: one bad block of 4 MiB a second."""
UNDO_HEIGHTS_MAX: Final = 1_024
"""How far back a state root can still be proven against."""

# --- state ---
STATE_KEY_CHARS_MAX: Final = 256
"""Characters of a plain state key; the longest so far, `def/<id>`, has at most 139."""
STATE_RECORD_BYTES_MAX: Final = 1024 * 1024
"""Canonical bytes of one record (consensus-critical)."""
UNDO_CHANGES_MAX: Final = 100_000
"""Overwritten records kept for recent heights: reaching back over all of them takes seconds."""
UNDO_BYTES_MAX: Final = 128 * 1024 * 1024
STATE_VIEWS_MAX: Final = 4
"""Recent heights whose tree is kept ready while the head stays."""
DECODED_RECORDS_MAX: Final = 20_000
PREFIX_PROOF_ENTRIES_MAX: Final = 4_096
"""Records under four hex digits; 16 at a million keys."""

# --- proofs ---
PROOF_STEPS_MAX: Final = 256
MERKLE_PATH_STEPS_MAX: Final = 32

# --- mempool (this process) ---
BATCHES_REMEMBERED_MAX: Final = 128
"""Batches whose root need not be computed again; 17 MB at the most."""
MEMPOOL_TRANSACTIONS_MAX: Final = 20_000
MEMPOOL_BYTES_MAX: Final = 128 * 1024 * 1024
MEMPOOL_SHARE_PER_INSTITUTION_PERCENT: Final = 50
MEMPOOL_RESERVED_SHARE_PERCENT: Final = 10
"""Share that only authorities and status changes may fill."""
TRANSACTION_CACHE_MAX: Final = 32_768
"""Transactions whose signatures are remembered as good."""
TRANSACTION_CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
PENDING_RECHECK_COST_MAX: Final = BLOCK_COST_MAX // 2
"""Cost units of waiting transactions that are tried on a new head in one go: a tenth of a second."""
VALIDATOR_SETS_KEPT_MAX: Final = 16
EXECUTIONS_KEPT_MAX: Final = 4
"""Executed blocks of the next height that wait for their decision."""
GENESIS_BYTES_MAX: Final = 16 * 1024 * 1024
GENESIS_INSTITUTIONS_MAX: Final = 1_000

# --- peers (this process) ---
FRAME_BYTES_MAX: Final = BLOCK_BYTES_MAX + 256 * 1024
NOISE_MESSAGE_BYTES_MAX: Final = 65_535
HANDSHAKE_MESSAGE_BYTES_MAX: Final = 1_024
"""Noise message 2, the longest, has about 350 bytes."""
P2P_CHANNELS_MAX: Final = 7
PEERS_MAX: Final = 256
PEER_ADDRESSES_MAX: Final = 1_024
PEER_PENALTIES_MAX: Final = 1_024
PEER_QUEUE_FRAMES_MAX: Final = 8_192
"""A burst of gossiped transactions fits; memory is bounded by the bytes."""
PEER_QUEUE_BYTES_MAX: Final = 32 * 1024 * 1024
PEER_WRITE_BUFFER_BYTES_MAX: Final = 256 * 1024
"""What may lie below the queue, where a vote can no longer overtake a block."""
PEER_READ_BYTES_PER_SECOND_MAX: Final = 64 * 1024 * 1024
PEER_READ_ITEMS_PER_SECOND_MAX: Final = 20_000
"""Noise messages and frames together, about 5 µs each: a tenth of a core for one peer."""
BODY_BYTES_MIN: Final = 64 * 1024
"""An answer to one replica from this size on travels behind votes."""
HANDSHAKE_TIMEOUT_MS: Final = 10_000
HANDSHAKES_PENDING_MAX: Final = 64
HANDSHAKES_PER_ADDRESS_PER_SECOND_MAX: Final = 20
HANDSHAKES_OF_STRANGERS_PER_SECOND_MAX: Final = 100
"""From all addresses together that we do not dial ourselves: about a twentieth of a core."""
HANDSHAKES_BURST_SECONDS: Final = 5
"""Of both: a hundred nodes on one address may start at once."""
HANDSHAKE_ADDRESSES_MAX: Final = 4_096
"""Addresses whose rate is remembered."""
DIALS_PENDING_MAX: Final = 16
RECONNECT_BACKOFF_MIN_MS: Final = 250
RECONNECT_BACKOFF_MAX_MS: Final = 15_000
PEER_STABLE_MS: Final = 10_000
"""A connection that lasted this long resets the back-off."""
PEER_KEEPALIVE_MS: Final = 5_000
PEER_SILENCE_MAX_MS: Final = 15_000
PEER_BLOCKED_MAX_MS: Final = 10_000
"""How long a peer may take nothing of what we write, or keep its queue overflowing."""
PEER_PENALTY_MS: Final = 10_000
PEER_UNPROVEN_PENALTY_MS: Final = 1_000
"""After a fault that somebody on the way could have caused, such as a changed byte."""

# --- gossip and catching up (this process) ---
GOSSIP_DELAY_MS: Final = 3
"""Under load transactions wait so long for company before they are sent to peers."""
GOSSIP_BUNDLE_BYTES_MAX: Final = 1024 * 1024
"""Transactions sent together; one more may be beside them."""
GOSSIP_MESSAGES_PER_PEER_PER_SECOND_MAX: Final = 2_000
"""Read of one peer; an honest one makes a bundle every three milliseconds at most."""
GOSSIP_BYTES_PER_PEER_PER_SECOND_MAX: Final = 32 * 1024 * 1024
"""Reading so much takes about a twenty-fifth of a core."""
GOSSIP_INBOX_BYTES_MAX: Final = 8 * 1024 * 1024
"""Transactions of one peer that wait to be checked."""
GOSSIP_INBOX_TRANSACTIONS_MAX: Final = 8_192
"""The same by number."""
GOSSIP_SLICE_TRANSACTIONS: Final = 8
"""Checked in one turn of the event loop: about two milliseconds."""
GOSSIP_SLICE_MS: Final = 4
"""A turn also ends after so long; a transaction of many signatures takes longer than others."""
GOSSIP_RELAY_MS: Final = 400
"""What came from a peer and is not in a block by then is announced to those who may lack it."""
GOSSIP_ANSWER_BYTES_PER_SECOND_MAX: Final = 8 * 1024 * 1024
"""Transactions that one peer may ask us for."""
GOSSIP_FAULTS_MAX: Final = 1_000
"""Points of fault that one peer may have before it is disconnected."""
GOSSIP_FAULTS_FORGIVEN_PER_SECOND: Final = 100
GOSSIP_INVALID_FAULT: Final = 20
"""Points for a transaction that no honest node holds; one that the state refuses has a single point."""
GOSSIP_IDS_MAX: Final = 1_000
"""Ids in one announcement or request."""
GOSSIP_IDS_PER_SECOND_MAX: Final = MEMPOOL_TRANSACTIONS_MAX
"""Ids of one peer's announcements that are looked up; about 5 µs each."""
GOSSIP_ANNOUNCE_MS: Final = 2_000
"""What has been pending for so long is announced by id."""
GOSSIP_REQUEST_MS: Final = 2_000
"""How long one peer is waited for before another is asked for the same transaction."""
SYNC_MESSAGES_PER_PEER_PER_SECOND_MAX: Final = 500
"""Read of one peer: what it asks, says of its head, and answers to one question at a time."""
SYNC_BYTES_PER_PEER_PER_SECOND_MAX: Final = 64 * 1024 * 1024
SYNC_BLOCKS_MAX: Final = 64
"""Blocks in one answer."""
SYNC_BYTES_MAX: Final = 1024 * 1024
"""Bytes of an answer, unless its first block is larger."""
SYNC_TIMEOUT_MS: Final = 5_000
"""How long a peer may take to answer a request for blocks."""
SYNC_REQUESTS_MAX: Final = 8
"""Under way at the same time, each with another peer."""
SYNC_WINDOW_BLOCKS: Final = 4 * SYNC_BLOCKS_MAX
"""Blocks that are asked for or wait to be committed at the same time."""
SYNC_WINDOW_BYTES: Final = 8 * SYNC_BYTES_MAX
"""Blocks that wait to be committed; beyond it nothing is asked for."""
SYNC_BAN_MS: Final = 10 * 60_000
"""How long a peer that sent what no honest one has is not asked again, whether or not it connects anew."""
SYNC_FORGIVE_MS: Final = 60_000
"""A peer's failures halve in such a time without another one."""
SYNC_STANDINGS_MAX: Final = 1_024
"""Peers whose failures are remembered after they have gone."""
SYNC_LATE_MAX: Final = 8
"""Answers that one peer may owe us after we have given up waiting for them."""
SYNC_HEDGE_MS: Final = 1_000
"""After so long without an answer a second peer is asked for the same blocks."""
SYNC_BACKOFF_MS: Final = 2_000
"""How long a peer that failed us once is not asked again; doubles with each failure."""
SYNC_BACKOFF_MAX_MS: Final = 60_000
SYNC_SLICE_MS: Final = 5
"""Blocks are committed for so long, at least one, before the event loop has its turn."""
SYNC_FAR_SLICE_MS: Final = 25
"""The same while the node is so far behind that it takes no part in anything."""
SYNC_SERVE_PAUSE_MS: Final = 10
"""Least pause between two answers to requests for blocks."""
SYNC_SERVE_REST: Final = 4
"""The pause is so many times as long as making the answer took: a fifth of a core at most."""
SYNC_PATIENCE_MS: Final = 1_500
"""How long a validator leaves it to consensus to catch up by itself."""
SYNC_POLL_MS: Final = 10_000
"""How often a node without vote asks for the next block though nobody said that there is one."""
HEAD_ANNOUNCE_MS: Final = 1_000
HEAD_REPEAT_MS: Final = 5_000
"""The head is announced again though it did not move."""

# --- snapshots (this process; the chunk's size decides whether nodes cut a state alike) ---
SNAPSHOT_CHUNK_BYTES: Final = 256 * 1024
"""A chunk of the state is the largest sub-tree of about so many bytes; a larger one holds a single record."""
SNAPSHOT_CHUNK_BYTES_MAX: Final = STATE_RECORD_BYTES_MAX + 64 * 1024
SNAPSHOT_CHUNKS_MAX: Final = 131_072
"""Chunks of one snapshot: about 30 GB."""
SNAPSHOT_MANIFEST_BYTES_MAX: Final = 32 * 1024 * 1024
"""What proves the header, its last 1,000 ancestors and the list of chunks."""
SNAPSHOT_BATCHES_PER_CHUNK_MAX: Final = 256
"""Taking one costs about 0.1 ms."""
SNAPSHOT_PIECE_BYTES: Final = 256 * 1024
"""Of a manifest in one message."""
SNAPSHOT_RECENT_BLOCKS_MAX: Final = TRANSACTION_VALIDITY_HEIGHTS_MAX
"""Blocks whose headers and transaction ids a snapshot brings."""
SNAPSHOT_OFFERS_MAX: Final = 4
"""Snapshots in one answer."""
SNAPSHOTS_KEPT: Final = 2
"""A node that began to fetch the older one when the newer was made can finish."""
SNAPSHOT_SLICE_MS: Final = 3
"""A snapshot is made for so long before the event loop has its turn; a whole chunk takes about as long again."""
SNAPSHOT_PAUSE_MS: Final = 20
"""Between two slices: about a seventh of a core."""
SNAPSHOT_LAG_HEIGHTS_MIN: Final = 2_000
"""A node that is further behind looks for a snapshot first."""
SNAPSHOT_REQUESTS_MAX: Final = 8
"""Chunks that are under way at the same time, each with another peer."""
SNAPSHOT_RETRY_MS: Final = 10 * 60_000
"""After a failed attempt a node goes by blocks for so long."""
SNAPSHOT_OFFERS_WAIT_MS: Final = 3_000
"""How long offers are gathered before the best is taken."""
KEEP_BLOCKS_MIN: Final = 2_000
"""A pruned node keeps at least so many: who was restored from a snapshot needs those above it."""
PRUNE_SLICE_BLOCKS: Final = 20
"""Blocks deleted in one turn of the event loop."""

# --- diagnosis (this process) ---
RECORDING_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""From this size on a new file begins with the next height; at twice as much the height is recorded no further."""
RECORDING_FILES_MAX: Final = 8
"""Files of the ring: a quarter of a gibibyte at most."""
LOG_CAUSES_MAX: Final = 1_024
"""Causes of log lines, and addresses, of which is remembered when they were last told."""
ROUND_VIEWS_MAX: Final = 8
"""Views of one height that a log line tells of: the last ones."""
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
"""One record of a recording; a height's start with all promises of a long stall is the largest."""

# --- RPC (this process) ---
RPC_BODY_BYTES_MAX: Final = 1024 * 1024
RPC_BATCH_CALLS_MAX: Final = 100
RPC_PAGE_ITEMS_MAX: Final = 1_000
RPC_WAIT_MS_MAX: Final = 60_000
RPC_TURN_MS_MAX: Final = 5
"""How long a batch of calls keeps the event loop before it gives way."""
RPC_WAITING_CALLS_MAX: Final = 4_096
"""Calls that wait for something, such as `tx_wait`."""
RPC_SOCKET_CALLS_MAX: Final = 16
"""Messages of one WebSocket that are answered at the same time."""
LOOKBACK_CHANGES_PER_SECOND_MAX: Final = 2_500
"""Overwritten records that proofs under earlier state roots put back, for all callers together; 20 µs each, and twice
as many in one go, which is a tenth of a second."""
LOOKBACK_CHANGES_MIN: Final = 100
"""What such a proof counts at least."""
RPC_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Answers of one batch together; what is asked for beyond it is refused."""
RPC_CONNECTIONS_SHARE: Final = 8
"""An eighth of all connections may come from one address."""
RPC_IDLE_SECONDS_MAX: Final = 60
"""How long a connection may stay without a whole request."""
RPC_BLOCKED_MS_MAX: Final = 60_000
"""How long a caller may take nothing of its answers."""
RPC_UNSENT_BYTES_MAX: Final = 128 * 1024 * 1024
"""Answers that all callers together have not taken; then the largest is dropped."""
RPC_ADDRESSES_MAX: Final = 10_000
"""Callers whose rate is remembered."""
VERIFICATIONS_PENDING_MAX: Final = 16
"""Bundles that wait for the verifying process."""
VERIFICATION_MS_MAX: Final = 10_000
"""After so long a verification is ended: some hostile documents never end by themselves."""
WORKER_MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Address space of the verifying process."""
BUNDLE_BYTES_MAX: Final = 4 * 1024 * 1024
PAGE_FORM_BYTES_MAX: Final = BUNDLE_BYTES_MAX + 64 * 1024
"""A form with one bundle: its fields' names, the file's name and white space around pasted text."""
PAGE_UPLOADS_MAX: Final = 32
"""Forms that are read or verified at the same time."""
PAGE_UPLOAD_MS_MAX: Final = 60_000
"""How long a form may take to arrive: 4 MiB at 0.6 Mbit/s."""

# --- documents and bundles (this process, and every verifier) ---
JSON_DEPTH_MAX: Final = 24
"""Levels of arrays and objects in any JSON file that we read; our deepest has 8."""
DOCUMENT_BYTES_MAX: Final = 64 * 1024
"""Canonical JSON of one Open Badges document; a full one has about 10 kB."""
DOCUMENT_NODES_MAX: Final = 256
"""JSON objects in a document."""
DOCUMENT_BLANK_NODES_MAX: Final = 16
"""Objects without an id: the price of canonicalisation rises steeply with them."""
PROCESSED_CONTEXTS_MAX: Final = 1_024
"""JSON-LD contexts kept ready; a document of ours uses 20."""
VERIFIER_CLOCK_BEHIND_MAX_MS: Final = 5 * 60_000
"""How far a proof's block may lie in the verifier's future before its clock is called wrong."""
BASE58_CHARS_MAX: Final = 128
"""A signature of 64 bytes has 88."""
CLAIMS_PER_CREDENTIAL_MAX: Final = 64
CLAIM_PATH_CHARS_MAX: Final = 100
CLAIM_BYTES_MAX: Final = 8 * 1024
RECORDS_PER_PROOF_MAX: Final = 4_096
"""A stack of 256 leaves asks for about seven records a leaf."""
HAND_OVERS_PER_PROOF_MAX: Final = 1_024
"""Changes of the validator set from genesis to the proven header."""
RECOVERY_DOCUMENT_BYTES_MAX: Final = 64 * 1024
"""256 signatures and 100 validators come to 33 kB (consensus-critical)."""
RECOVERY_REASON_CHARS_MAX: Final = 500
CHECKPOINTS_MAX: Final = 4_096
CHECKPOINTS_BYTES_MAX: Final = 2 * 1024 * 1024
"""The file that a release ships, about 350 bytes a checkpoint."""
RECOVERY_FILE_BYTES_MAX: Final = 256 * 1024
"""The same document as readable JSON."""
RECOVERIES_MAX: Final = 256
"""Recovery documents in one node's store."""
HOP_BYTES_MAX: Final = 256 * 1024
"""One of them as stored: header, certificate and set of 100 members come to 14 kB."""
LEARNERS_PER_FILE_MAX: Final = 100_000
LEARNERS_FILE_BYTES_MAX: Final = 32 * 1024 * 1024
LEARNER_CELL_CHARS_MAX: Final = 500
CREDENTIALS_PER_ISSUING_BATCH_MAX: Final = 1_000
"""What `pila issue` puts into one transaction."""

# --- signer and control socket (this machine) ---
SIGNER_FRAME_BYTES_MAX: Final = 32 * 1024
"""The largest request is a Status with the certificate of 100 validators: 7 kB."""
SIGNER_WAIT_MS_MAX: Final = 1_000
"""How long the event loop waits for the signer's process: a signature takes it less than a millisecond and one sync."""
SIGNER_BACKOFF_MS_MIN: Final = 100
SIGNER_BACKOFF_MS_MAX: Final = 10_000
"""A signer that hangs takes at most a tenth of the event loop's time."""
SIGNER_CONNECTIONS_MAX: Final = 8
"""The node, and whoever asks for the last position."""
SIGNER_SENTENCE_CHARS_MAX: Final = 500
BACKUP_PIECE_BYTES: Final = 1024 * 1024
"""Of the database's records, in one answer of the node's control socket."""
CONTROL_FRAME_BYTES_MAX: Final = BACKUP_PIECE_BYTES + 1_024
BACKUP_RECORD_BYTES_MAX: Final = 256 * 1024 * 1024
"""Value of one record in a backup file: above the receipts of the fullest block."""
BACKUP_TURN_MS_MAX: Final = 5
"""How long reading for a backup keeps the event loop before it gives way."""
BACKUP_STALL_MS_MAX: Final = 60_000
"""How long whoever makes a backup may take nothing: meanwhile the database cannot forget what is overwritten."""

# --- relations ---
assert CREDENTIALS_PER_BATCH_MAX * 32 + 65_536 <= TRANSACTION_BYTES_MAX
assert TRANSACTION_BYTES_MAX * 2 <= BLOCK_BYTES_MAX
assert FRAME_BYTES_MAX > BLOCK_BYTES_MAX
assert FRAME_BYTES_MAX <= PEER_QUEUE_BYTES_MAX
assert PEER_KEEPALIVE_MS * 2 < PEER_SILENCE_MAX_MS
assert VALIDATORS_MAX < PEERS_MAX
assert EVIDENCE_AGE_HEIGHTS_MAX < TRANSACTION_VALIDITY_HEIGHTS_MAX
assert GOSSIP_BUNDLE_BYTES_MAX + 2 * TRANSACTION_BYTES_MAX <= FRAME_BYTES_MAX
assert SYNC_BYTES_MAX <= FRAME_BYTES_MAX
assert SNAPSHOT_CHUNK_BYTES_MAX < FRAME_BYTES_MAX
assert SNAPSHOT_CHUNK_BYTES <= SNAPSHOT_CHUNK_BYTES_MAX
assert BLOCK_TRANSACTIONS_MAX * 64 + 1_024 <= SNAPSHOT_CHUNK_BYTES_MAX
assert KEEP_BLOCKS_MIN > SNAPSHOT_RECENT_BLOCKS_MAX
assert GOSSIP_IDS_MAX * 40 <= FRAME_BYTES_MAX
assert VIEW_TIMEOUT_MIN_MS <= VIEW_TIMEOUT_START_MAX_MS <= VIEW_TIMEOUT_MAX_MS
assert BACKUP_RECORD_BYTES_MAX > RECEIPTS_BYTES_MAX
assert BLOCK_COST_MAX <= VIEW_TIMEOUT_MIN_MS * 1_000 // 4
assert STATUS_ENTRIES_PER_TRANSACTION_MAX <= EVENTS_PER_TRANSACTION_MAX
assert TRANSACTION_CACHE_MAX >= MEMPOOL_TRANSACTIONS_MAX + 2 * BLOCK_TRANSACTIONS_MAX
assert TRANSACTION_VALIDITY_HEIGHTS_MAX < UNDO_HEIGHTS_MAX
assert 1 << MERKLE_PATH_STEPS_MAX >= CREDENTIALS_PER_BATCH_MAX
assert CREDENTIALS_PER_ISSUING_BATCH_MAX <= CREDENTIALS_PER_BATCH_MAX
assert CHANGES_WAITING_MAX >= VALIDATORS_MAX
assert ACTIVATION_AGE_HEIGHTS_MAX < TRANSACTION_VALIDITY_HEIGHTS_MAX
assert UPGRADE_READY_HEIGHTS < PROPOSAL_LIFE_HEIGHTS
