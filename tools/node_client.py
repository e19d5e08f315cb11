"""A blocking JSON-RPC client: what the commands say to a node, and transactions put together for it."""

import http.client
import itertools
import json
import time
import weakref
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from node import codec
from node.chain.certificate import Network
from node.chain.transaction import TransactionSigner, make_transaction
from node.limits import RPC_WAIT_MS_MAX
from node.primitives import Height, InstitutionId

VALIDITY_HEIGHTS: Final = 900
"""How far ahead a transaction stays valid; below the network's 1,000 so that a lagging node's answer is good enough."""
_REJECTED: Final = -32000
_UNUSABLE: Final = frozenset({-32700, -32600, -32601, -32602, -32002, -32603})


class NodeUnreachable(Exception):
    """No node answers at the address; the sentence says what to try."""


class CallFailed(Exception):
    """The node answered with an error."""

    def __init__(self, code: int, message: str, data: dict[str, Any]) -> None:
        self.code = code
        self.reason = str(data.get("reason", ""))
        self.detail = str(data.get("detail", message))
        super().__init__(f"{self.detail} ({self.reason})" if self.reason else f"{message}: {self.detail}")

    @property
    def exit_code(self) -> int:
        """2 where the request was unusable or the node not ready, 1 where the answer is no."""
        return 2 if self.code in _UNUSABLE else 1


class NodeClient:
    """One node, asked over one kept-open connection."""

    def __init__(self, url: str, *, timeout_s: float = 75.0) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NodeUnreachable(f"{url} is no address of a node; expected something like http://127.0.0.1:8600")
        self.url = url
        self._path = parts.path.rstrip("/") + "/rpc"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        weakref.finalize(self, self._connection.close)
        self._ids = itertools.count(1)

    def call(self, method: str, **params: object) -> Any:  # noqa: ANN401 -- the result's shape is the method's
        """Call a method. Raises: NodeUnreachable, CallFailed."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        answer = self._post(json.dumps(request).encode())
        if "error" in answer:
            error = answer["error"]
            raise CallFailed(error["code"], error["message"], error.get("data") or {})
        return answer["result"]

    def _post(self, body: bytes) -> dict[str, Any]:
        try:
            status, data = self._exchange(body)
        except ConnectionRefusedError as error:
            raise self._unreachable(error) from None
        except (OSError, http.client.HTTPException):
            # A kept-open connection may have been closed by the node meanwhile: once more, afresh.
            try:
                status, data = self._exchange(body)
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from None
        try:
            answer = json.loads(data)
        except ValueError:
            raise NodeUnreachable(f"{self.url} answered HTTP {status}, not JSON-RPC") from None
        if not isinstance(answer, dict):
            raise NodeUnreachable(f"{self.url} answered something that is not JSON-RPC")
        return answer

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self._connection.close()
            raise

    def _unreachable(self, error: Exception) -> NodeUnreachable:
        return NodeUnreachable(
            f"No node answers at {self.url} ({error}); is it running? (pila start --home DIR, or another --rpc URL)"
        )

    def network(self) -> tuple[Network, int, int]:
        """Return the network, its epoch and the node's height."""
        status = self.call("node_status")
        network = Network(status["chain_id"], bytes.fromhex(status["genesis_hash"]))
        return network, int(status.get("epoch", 0)), int(status["height"])

    def submit(self, data: bytes) -> str:
        """Submit a transaction's bytes and return its id."""
        return str(self.call("tx_submit", tx=data.hex())["tx_id"])

    def wait(self, tx_id: str, *, timeout_ms: int = 120_000) -> dict[str, Any]:
        """Wait until a transaction is in a block. Raises: CallFailed when it is not within the time."""
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            left_ms = max(1, int((deadline - time.monotonic()) * 1000))
            found: dict[str, Any] = self.call("tx_wait", tx_id=tx_id, timeout_ms=min(left_ms, RPC_WAIT_MS_MAX))
            if found["status"] == "committed":
                return found
            if time.monotonic() >= deadline:
                raise CallFailed(-32005, "not committed in time", {"detail": f"{tx_id} is {found['status']}"})

    def transact(
        self,
        *,
        signer: InstitutionId,
        kind: str,
        payload: msgspec.Struct,
        signers: Sequence[TransactionSigner],
        valid_until_height: Height | None = None,
    ) -> dict[str, Any]:
        """Sign, submit and wait: returns `tx_id`, `height`, `index`.

        `valid_until_height`: the one that something in the payload is signed with; else as far as is useful.
        """
        network, epoch, height = self.network()
        transaction = make_transaction(
            network,
            epoch,
            signer=signer,
            kind=kind,
            valid_until_height=height + VALIDITY_HEIGHTS if valid_until_height is None else valid_until_height,
            payload=payload,
            signers=signers,
        )
        tx_id = self.submit(codec.encode(transaction))
        found = self.wait(tx_id)
        return {"tx_id": tx_id, "height": found["height"], "index": found["index"]}

    def required_signatures(self, institution: InstitutionId, kind: str) -> int:
        """Return how many of its own keys an institution asks for a kind."""
        required = self.call("institution_get", id=institution).get("required_signatures", {})
        return int(required.get(kind, 1))
