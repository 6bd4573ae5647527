"""One ssh connection per account at a host, shared by everything that needs it and opened again when it broke."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import paramiko

from hpcgate.errors import TransportError
from hpcgate.transport.breaker import Breaker
from hpcgate.transport.connection import ConnectionLostError, SshConnection, Target

#: How long a call may wait for a free channel, seconds.
_CHANNEL_WAIT_S: Final = 120.0


class Link:
    """The way to one target: a connection that is opened when it is needed. Thread-safe.

    Args:
        target: where to.
        breaker: when an unreachable host is asked again.
        connect: opens a connection.
    """

    def __init__(
        self,
        target: Target,
        *,
        breaker: Breaker | None = None,
        connect: Callable[[Target], SshConnection] = SshConnection,
    ) -> None:
        self.target = target
        self._breaker = breaker or Breaker()
        self._connect = connect
        self._connection: SshConnection | None = None
        self._outlived: list[SshConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def command(self) -> Iterator[paramiko.Channel]:
        """A channel on which nothing was sent so far.

        Raises:
            TransportError: there is none; nothing was sent.
        """
        with self._on_a_live_connection(lambda connection: connection.command(_CHANNEL_WAIT_S)) as channel:
            yield channel

    @contextmanager
    def files(self) -> Iterator[paramiko.SFTPClient]:
        """A file session for the calling thread.

        Raises:
            TransportError: there is none.
        """
        with self._on_a_live_connection(lambda connection: connection.files(_CHANNEL_WAIT_S)) as sftp:
            yield sftp

    def close(self) -> None:
        """Closes the connection; the link cannot be used any more."""
        with self._lock:
            self._closed = True
            connections = [each for each in (self._connection, *self._outlived) if each]
            self._connection, self._outlived = None, []
        for each in connections:
            each.close()

    @contextmanager
    def _on_a_live_connection(self, use: Callable[[SshConnection], Any]) -> Iterator[Any]:
        """Enters what ``use`` gives; anew, once, where the connection turns out to be dead."""
        connection = self._live()
        leased = use(connection)
        try:
            what = leased.__enter__()
        except ConnectionLostError:
            self._forget(connection)
            leased = use(self._live())
            try:
                what = leased.__enter__()
            except ConnectionLostError as error:
                raise TransportError(f"{self.target.name}: the connection broke again: {error}") from error
        try:
            yield what
        except BaseException as error:
            if not leased.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            leased.__exit__(None, None, None)

    def _live(self) -> SshConnection:
        # Whoever comes while a connection is being opened waits for it here, instead of opening another.
        with self._lock:
            if self._closed:
                raise TransportError(f"{self.target.name}: the gateway is closing")
            if self._connection and not self._connection.alive:
                self._connection.close()
                self._connection = None
            self._renew()
            if self._connection is None:
                self._connection = self._opened()
            return self._connection

    def _renew(self) -> None:
        """Gives up a connection whose credentials end soon. What is under way on it may end there."""
        if self._connection and self._connection.outlived:
            self._outlived.append(self._connection)
            self._connection = None
        still_busy = [each for each in self._outlived if each.busy]
        for each in self._outlived:
            if each not in still_busy:
                each.close()
        self._outlived = still_busy

    def _forget(self, connection: SshConnection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        connection.close()

    def _opened(self) -> SshConnection:
        deadline = time.monotonic() + self.target.connect_timeout_s
        while True:
            self._breaker.check()
            try:
                connection = self._connect(self.target)
            except TransportError as error:
                self._breaker.failed(error)
                delay_s = self._breaker.retry_delay_s()
                if self._breaker.is_open or time.monotonic() + delay_s > deadline:
                    raise
                time.sleep(delay_s)
            else:
                self._breaker.succeeded()
                return connection


class LinkPool:
    """Links by target; each is closed when the last who took it gives it back."""

    def __init__(self) -> None:
        self._links: dict[Target, tuple[Link, int]] = {}
        self._lock = threading.Lock()

    def take(self, target: Target) -> Link:
        """The link to a target; to be given back."""
        with self._lock:
            link, users = self._links.get(target) or (Link(target), 0)
            self._links[target] = (link, users + 1)
            return link

    def give_back(self, link: Link) -> None:
        """Ends a ``take``."""
        with self._lock:
            _, users = self._links[link.target]
            if users > 1:
                self._links[link.target] = (link, users - 1)
                return
            del self._links[link.target]
        link.close()
