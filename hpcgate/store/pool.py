"""Connections to PostgreSQL that threads share.

``psycopg_pool`` connects in threads of its own: while a server is down, its callers wait for as long as they would for
a free connection and are not told why. Here whoever needs a connection opens it and sees at once what is wrong.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from hpcgate.errors import DatabaseUnavailable

Connection = psycopg.Connection[tuple[Any, ...]]

#: How long a thread waits until another one gives a connection back, seconds.
WAIT_S: Final = 15.0


class Pool:
    """At most ``size`` connections.

    Args:
        connect: opens one.
        size: most of them at a time.
    """

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: deque[Connection] = deque()
        self._used = 0
        self._shut = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for a while.

        Raises:
            DatabaseUnavailable: all are in use for too long, or the pool is closed.
            psycopg.OperationalError: none can be opened.
        """
        if not self._free.acquire(timeout=WAIT_S):
            raise DatabaseUnavailable(
                f"database: all {self._size} connections were in use for {WAIT_S:g} s; raise gateway.database_pool"
            )
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def _take(self) -> Connection:
        with self._lock:
            connection = self._next_idle()
        connection = connection or self._connect()
        with self._lock:
            self._used += 1
        return connection

    def _next_idle(self) -> Connection | None:
        if self._shut:
            raise DatabaseUnavailable("the store is closed")
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others may grow old and be closed by the server
            if _is_alive(connection):
                return connection
            connection.close()
        return None

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            self._used -= 1
            at_rest = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            if not self._shut and at_rest:
                self._idle.append(connection)
                return
        connection.close()

    def open(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self._idle) + self._used

    def close(self) -> None:
        """Closes the idle connections; those in use follow when they are given back."""
        with self._lock:
            self._shut = True
            while self._idle:
                self._idle.pop().close()


def _is_alive(connection: Connection) -> bool:
    """Whether an idle connection can be used. Costs a system call, not a question to the server.

    Nothing comes from a server that was asked nothing, but for its farewell.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        connection.execute("")  # a notice or a changed setting is harmless
    except psycopg.Error:
        return False
    return True
