"""Hears of the commits of all processes on one PostgreSQL database: one connection a process."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import sql

from hpcgate.store.pool import Connection

_log = logging.getLogger(__name__)

#: How long to wait before listening is tried again, seconds.
AGAIN_S: Final = 1.0
#: How long the first call of ``version`` waits until the process listens, seconds.
FIRST_S: Final = 5.0


class Listener:
    """Counts what it hears on a channel.

    It begins when it is first asked. While the server cannot be reached the count grows once a second, so that whoever
    watches it looks now and then, and sees what was committed while nobody listened.

    Args:
        connect: opens a connection.
        channel: what to listen to.
    """

    def __init__(self, connect: Callable[[], Connection], channel: str) -> None:
        self._connect = connect
        self._channel = channel
        self._count = 0
        self._lock = threading.Lock()
        self._listening = threading.Event()
        self._thread: threading.Thread | None = None
        self._stop, self._stopped = os.pipe()
        self._shut = False

    def version(self) -> tuple[int, ...]:
        """Changes whenever something was heard."""
        if self._thread is None:
            self._start()
        self._listening.wait(FIRST_S)
        return (self._count,)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._shut:
                self._thread = threading.Thread(target=self._run, name="database-listener", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        with self._lock:
            if self._shut:
                return
            self._shut = True
            os.close(self._stopped)  # the other end of the pipe becomes readable
        if self._thread is not None:
            self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        while not self._shut:
            try:
                with self._connect() as connection:
                    self._listen(connection)
            except psycopg.Error as error:
                # Polling once a second takes the place of listening; the store itself says what is wrong.
                _log.warning("database: cannot listen for commits, polling instead: %s", type(error).__name__)
            self._count += 1
            self._listening.set()
            select.select([self._stop], [], [], AGAIN_S)

    def _listen(self, connection: Connection) -> None:
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        self._count += 1  # whatever was committed before this moment was not heard
        self._listening.set()
        while not self._shut:
            ready, _, _ = select.select([connection.fileno(), self._stop], [], [])
            if self._stop in ready:
                return
            for _ in connection.notifies(timeout=0):
                self._count += 1
