"""Ports of this machine for servers that come and go during a test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Ports that nobody else is given, also while no server listens there.

    A port that is merely free now may soon be a client's own end somewhere on this machine, and stays taken for another
    minute after that connection: a server that is stopped and started again would not get it back. Each is therefore
    kept by a socket that does not listen; servers, which all set SO_REUSEADDR, share it with that socket.
    """
    with ExitStack() as sockets:
        ports = []
        for _ in range(count):
            keeper = sockets.enter_context(socket.socket())
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind(("", 0))
            ports.append(keeper.getsockname()[1])
        yield ports
