"""`python offline.py ARGUMENTS…`: run `pila` in a process where every use of a socket fails.

An audit hook cannot be taken away again: whoever tried to open a connection, resolve a name or even make
an IP socket would end with an error. Works where network namespaces are not allowed.
"""

import sys

FORBIDDEN = frozenset({"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})


def forbid(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse whatever would reach for a network."""
    if event in FORBIDDEN:
        raise RuntimeError(f"the offline verifier used the network: {event} {arguments[1:]}")


if __name__ == "__main__":
    sys.path.insert(0, "")
    sys.addaudithook(forbid)
    from tools.pila import main

    main()
