"""A wire of IP packets: every node in a network namespace of its own, all packets between them pass here.

A namespace lives as long as this process holds a descriptor of it or a node runs in it; it has no name and leaves no
file. In each there is a loopback interface and a TUN interface whose other end is here. RPC and metrics of a node
are reached as ever on this machine's loopback address: connections there are joined with ones inside the namespace.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.functional.wire_process import Table, obey

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8914
IFF_UP_RUNNING = 0x41
SUBNET = "10.77.0."
PACKET_BYTES_MAX = 2_048
QUEUE_S_MAX = 1.0
"""What a narrow link cannot send within this time is dropped, as a router does."""
PACKETS_PER_TURN = 64

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Namespace:
    """One node's network; made in the only thread, which returns to its own network each time."""

    def __init__(self, index: int) -> None:
        self.address = f"{SUBNET}{index + 1}"
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _checked(_libc.unshare(CLONE_NEWNET))
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self.tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tunnel, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN_NO_PI))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                for name, address in ((b"lo", "127.0.0.1"), (b"wire", self.address)):
                    for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")):
                        packed = struct.pack("16sHH4s16x", name, socket.AF_INET, 0, socket.inet_aton(value))
                        fcntl.ioctl(control, request, packed)
                    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name, IFF_UP_RUNNING))
        finally:
            _checked(_libc.setns(self._home, CLONE_NEWNET))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it for a moment: what is opened meanwhile belongs to it."""
        _checked(_libc.setns(self.descriptor, CLONE_NEWNET))
        try:
            yield
        finally:
            _checked(_libc.setns(self._home, CLONE_NEWNET))


class Router:
    """Carries packets between namespaces as the table says."""

    def __init__(self, table: Table, namespaces: list[Namespace]) -> None:
        self._table = table
        self._namespaces = namespaces
        self._loop = asyncio.get_running_loop()
        self._free_at: dict[tuple[int, int], float] = defaultdict(float)
        for index, namespace in enumerate(namespaces):
            self._loop.add_reader(namespace.tunnel, self._readable, index)

    def _readable(self, sender: int) -> None:
        for _ in range(PACKETS_PER_TURN):
            try:
                packet = os.read(self._namespaces[sender].tunnel, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            # IPv4 to one of us; the kernel also asks for neighbours by IPv6.
            if packet[0] >> 4 == 4 and 1 <= packet[19] <= len(self._namespaces):
                self._carry(sender, packet[19] - 1, packet)

    def _carry(self, sender: int, receiver: int, packet: bytes) -> None:
        link = self._table.link(sender, receiver)
        if link.is_cut or link.loses():
            return
        now = self._loop.time()
        arrives_at = now + link.delay_s()
        if link.bytes_per_second:
            free_at = max(now, self._free_at[sender, receiver])
            if free_at - now > QUEUE_S_MAX:
                return
            self._free_at[sender, receiver] = free_at + len(packet) / link.bytes_per_second
            arrives_at += self._free_at[sender, receiver] - now
        if arrives_at > now:
            self._loop.call_at(arrives_at, self._deliver, receiver, packet)
        else:
            self._deliver(receiver, packet)

    def _deliver(self, receiver: int, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # a full queue drops
            os.write(self._namespaces[receiver].tunnel, packet)


async def _join(namespace: Namespace, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Join a client on this machine's loopback address with the same port inside a namespace."""
    with namespace.entered():
        inside = socket.socket()
    inside.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(inside, ("127.0.0.1", port))
    except OSError:
        inside.close()
        writer.close()
        return
    inner_reader, inner_writer = await asyncio.open_connection(sock=inside)
    async with asyncio.TaskGroup() as group:
        group.create_task(_copy(reader, inner_writer))
        group.create_task(_copy(inner_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _begin(table: Table, ports: list[list[int]]) -> dict[str, Any]:
    namespaces = [Namespace(index) for index in range(len(ports))]
    Router(table, namespaces)
    for namespace, (rpc, _, metrics) in zip(namespaces, ports, strict=True):
        for port in (rpc, metrics):
            await asyncio.start_server(functools.partial(_join, namespace, port), "127.0.0.1", port)
    addresses = [f"{namespace.address}:{p2p}" for namespace, (_, p2p, _) in zip(namespaces, ports, strict=True)]
    enter = [["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace.descriptor}"] for namespace in namespaces]
    return {"listen": addresses, "dial": [addresses for _ in namespaces], "prefix": enter}


if __name__ == "__main__":
    asyncio.run(obey(_begin))
