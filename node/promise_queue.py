"""What a replica has promised and its signer has yet to sign: kept in order while the signer does not answer."""

from collections.abc import Iterator
from typing import TypeVar

from node.consensus.messages import Promise, Signed, Status, header_of, with_signature
from node.primitives import Height
from node.replica_view import ReplicaCounters
from node.signer.contract import ConsensusSigner, SignerUnreachable, SigningRefused

S = TypeVar("S", bound=Signed)


class PromiseQueue:
    """Promises that are in the journal and not yet said; while the signer answers, none."""

    def __init__(self, signer: ConsensusSigner, counters: ReplicaCounters) -> None:
        self.problem: str | None = None
        """Why the signer does not answer; None while it does."""
        self._signer = signer
        self._counters = counters
        self._waiting: list[Promise] = []
        """In order; the latest of each kind once the signer has not answered."""

    def add(self, promise: Promise) -> None:
        """Take a promise that is durable."""
        self._waiting.append(promise)

    def signed(self, height: Height) -> Iterator[Promise]:
        """Sign what waits and yield it, in order: nothing later before what the signer could not sign yet.

        While it does not answer, the latest of each kind waits, for nobody needs the others any more; what
        a decision has overtaken (it is not of this height) is dropped. The journal holds all of it.
        """
        while self._waiting:
            message = self._waiting[0]
            if header_of(message).height == height:
                try:
                    signed = self._sign(message)
                except SignerUnreachable:
                    latest = {type(waiting): waiting for waiting in self._waiting}
                    self._waiting = [waiting for waiting in self._waiting if latest[type(waiting)] is waiting]
                    return
                if signed is not None:
                    yield signed
            del self._waiting[0]

    def sign_status(self, status: Status) -> Status | None:
        """Sign what binds nobody. What cannot be signed now is left out: the next one comes in a second."""
        try:
            return self._sign(status)
        except SignerUnreachable:
            return None

    def _sign(self, message: S) -> S | None:
        """Return the message with our signature; None when the signer would contradict itself.

        Raises: SignerUnreachable.
        """
        signer = self._signer
        try:
            signature = signer.sign_status(message) if isinstance(message, Status) else signer.sign(message)
        except SigningRefused:
            self._counters.signing_refused += 1
            return None
        except SignerUnreachable as error:
            self._counters.signer_unreachable += 1
            self.problem = str(error)
            raise
        self.problem = None
        return with_signature(message, signature)
