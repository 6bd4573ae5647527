"""Clients that take their time: what they may hold up is bounded, so that they cannot take all threads."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

#: How long what was sent may stay unread at the other end before its connection is cut, seconds.
UNREAD_S: Final = 60


def bound_writes(listener: socket.socket) -> None:
    """Lets connections of a listener die whose other end does not read, or is gone without a word."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_S * 1000)


class Reading:
    """Connections from which a request is being read.

    A time-out of a socket begins anew with each byte; this one is for the whole request.

    Args:
        timeout_s: for head and body together, and for the handshake of TLS.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._until: dict[Any, float] = {}

    def begins(self, conn: Any) -> None:
        """A thread waits for what a connection (of gunicorn) sends."""
        with self._lock:
            self._until[conn] = time.monotonic() + self._timeout_s

    def over(self, conn: Any) -> None:
        """It does not any more."""
        with self._lock:
            self._until.pop(conn, None)

    def cut(self) -> int:
        """Ends the reading of those that took too long: their threads see the end of what is sent.

        Returns:
            How many.
        """
        now = time.monotonic()
        with self._lock:
            late = [conn for conn, until in self._until.items() if until < now]
            for conn in late:
                del self._until[conn]
        for conn in late:
            with suppress(OSError):
                # Not the method of a TLS socket, which would take its state away from the thread that reads.
                socket.socket.shutdown(conn.sock, socket.SHUT_RD)
        return len(late)
