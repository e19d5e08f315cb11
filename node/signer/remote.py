"""The consensus key in another process of this machine, behind a Unix socket.

The event loop waits for each answer, but not for long; while nothing answers it is asked again after a
pause that grows. Whatever comes back is checked to be the key's signature: our own votes are counted unseen.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from node.chain.certificate import Network
from node.chain.statements import Commit, Prepare, ProposalHead, SignedPart, ViewChangeHead
from node.clock import monotonic_seconds
from node.consensus.messages import Promise, Status, header_of, signing_digest
from node.crypto.signing import Algorithm, verify
from node.errors import ConfigError, Rejected
from node.limits import SIGNER_BACKOFF_MS_MAX, SIGNER_BACKOFF_MS_MIN, SIGNER_FRAME_BYTES_MAX, SIGNER_WAIT_MS_MAX
from node.primitives import PublicKey, Signature
from node.signer.contract import SignerUnreachable, SigningRefused
from node.signer.frames import (
    VERSION,
    Answer,
    Destroy,
    Done,
    Failed,
    Hello,
    Refused,
    Request,
    SignatureMade,
    SignProposal,
    SignStatus,
    SignViewChange,
    SignVote,
    Welcome,
    decode_answer,
    encode_request,
)
from node.signer.local import position_of
from node.signer.record import Position
from node.unix_socket import FrameSocket, connect


class SocketSigner:
    """Fills `ConsensusSigner` by asking another process."""

    def __init__(
        self,
        path: Path,
        network: Network,
        *,
        wait_ms: int = SIGNER_WAIT_MS_MAX,
        now_seconds: Callable[[], float] = monotonic_seconds,
    ) -> None:
        """Nothing is asked yet: `open` does."""
        self._path = path
        self._network = network
        self._wait_ms = wait_ms
        self._now_seconds = now_seconds
        self._connection: FrameSocket | None = None
        self._pause_ms = SIGNER_BACKOFF_MS_MIN
        self._not_before_seconds = 0.0
        self._cause = ""
        """Why the last attempt failed."""
        self._public_keys: tuple[PublicKey, ...] = ()
        self._chosen: PublicKey = b""
        self._last: Position | None = None

    @classmethod
    def open(cls, path: Path, network: Network) -> Self:
        """Connect for the first time. Raises: ConfigError with what to do."""
        made = cls(path, network)
        try:
            made._connect()
        except SignerUnreachable as error:
            raise ConfigError(
                f"{error}; start it first (pila signer run --home DIR), or mend signer.socket in config.toml"
            ) from None
        return made

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """Oldest first, as the process said when it was asked last."""
        return self._public_keys

    @property
    def last_position(self) -> Position | None:
        """The highest position that the process has signed, as far as it told us."""
        return self._last

    def choose(self, public_key: PublicKey) -> None:
        """Have this key sign from now on."""
        assert public_key in self._public_keys
        self._chosen = public_key

    def sign(self, message: Promise) -> Signature:
        """Have a promise signed. Raises: SigningRefused, SignerUnreachable."""
        part = header_of(message)
        signature = self._signature(_to_sign(self._chosen, part), part)
        position = position_of(part)
        self._last = position if self._last is None else max(self._last, position)
        return signature

    def sign_status(self, message: Status) -> Signature:
        """Have a Status signed. Raises: SignerUnreachable."""
        return self._signature(SignStatus(self._chosen, message), message)

    def destroy(self, public_key: PublicKey) -> None:
        """Have a key wiped. Raises: SigningRefused, SignerUnreachable."""
        answer = self._ask(Destroy(public_key))
        if not isinstance(answer, Done):
            raise self._lost(f"answered {type(answer).__name__} when told to destroy a key")
        self._public_keys = tuple(key for key in self._public_keys if key != public_key)

    def close(self) -> None:
        """Hang up. Harmless when repeated."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _signature(self, request: Request, part: SignedPart | Status) -> Signature:
        answer = self._ask(request)
        if not isinstance(answer, SignatureMade):
            raise self._lost(f"answered {type(answer).__name__} when asked for a signature")
        digest = signing_digest(self._network, part)
        if not verify(Algorithm.ED25519, self._chosen, digest, answer.signature):
            raise self._lost(f"gave a signature that is not of the key {self._chosen.hex()}")
        return answer.signature

    def _ask(self, request: Request) -> Answer:
        """Put one request. Raises: SigningRefused, SignerUnreachable."""
        if self._connection is not None and self._connection.is_broken():
            self.close()  # it was started anew meanwhile: no reason to pause
        if self._connection is None:
            if self._now_seconds() < self._not_before_seconds:
                raise SignerUnreachable(self._cause)
            self._connect()
        answer = self._exchange(request)
        match answer:
            case Refused(sentence):
                raise SigningRefused(sentence)
            case Failed(sentence):
                raise SignerUnreachable(f"the signer at {self._path} cannot sign: {sentence}")
            case _:
                self._pause_ms = SIGNER_BACKOFF_MS_MIN
                return answer

    def _connect(self) -> None:
        """Connect and learn who answers. Raises: SignerUnreachable."""
        try:
            self._connection = connect(self._path, self._wait_ms, SIGNER_FRAME_BYTES_MAX)
        except OSError as error:
            raise self._lost(f"does not answer ({error.strerror or error})") from None
        answer = self._exchange(Hello(VERSION))
        if not isinstance(answer, Welcome) or answer.version != VERSION:
            raise self._lost("speaks another language: is it of the same version?")
        if answer.network != self._network:
            raise self._lost(
                f"signs for {answer.network.chain_id} ({answer.network.genesis_hash.hex()}), another chain"
            )
        if not answer.public_keys or (self._chosen and self._chosen not in answer.public_keys):
            raise self._lost("does not hold our key")
        self._public_keys = answer.public_keys
        self._chosen = self._chosen or answer.public_keys[-1]
        last = (
            None if answer.last is None else (answer.last.epoch, answer.last.height, answer.last.view, answer.last.step)
        )
        if self._last is None or (last is not None and last > self._last):
            self._last = last

    def _exchange(self, request: Request) -> Answer:
        assert self._connection is not None
        try:
            self._connection.send(encode_request(request), self._wait_ms)
            return decode_answer(self._connection.receive(self._wait_ms))
        except OSError as error:
            raise self._lost(f"does not answer ({error.strerror or error})") from None
        except Rejected as rejection:
            raise self._lost(f"answered something that is no answer ({rejection.detail})") from None

    def _lost(self, what: str) -> SignerUnreachable:
        """Hang up – a late answer must not be taken for that of the next question – and pause."""
        self.close()
        self._cause = f"the signer at {self._path} {what}"
        self._not_before_seconds = self._now_seconds() + self._pause_ms / 1_000
        self._pause_ms = min(2 * self._pause_ms, SIGNER_BACKOFF_MS_MAX)
        return SignerUnreachable(self._cause)


def _to_sign(public_key: PublicKey, part: SignedPart) -> SignVote | SignProposal | SignViewChange:
    match part:
        case Prepare() | Commit():
            return SignVote(public_key, part)
        case ProposalHead():
            return SignProposal(public_key, part)
        case ViewChangeHead():
            return SignViewChange(public_key, part)
