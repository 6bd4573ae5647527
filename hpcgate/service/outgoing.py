"""Requests to addresses that users name: only where they may go, and to the very address that was looked at.

The name is resolved once for each connection, what it leads to is checked, and the connection is made to the address
that was checked, so that a name server that answers otherwise the next time changes nothing. ``Host``, SNI and the
check of the certificate still go by the name. Redirects are not followed, proxies of the environment are not used.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import httpcore

from hpcgate.service.addresses import AddressRules

_log = logging.getLogger(__name__)

Resolver = Callable[[str, int], Sequence[str]]

#: What is told of an error; the rest could be the receiver's.
_MAX_ERROR_CHARS: Final = 200


class RefusedAddress(httpcore.ConnectError):
    """The name leads to no address that may be called."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine resolves it."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered.

    Args:
        status: its HTTP status.
        retry_after_s: when it wants to be asked again; ``None`` = it does not say.
    """

    status: int
    retry_after_s: int | None = None


class Outgoing:
    """Sends requests; threads may share it.

    Args:
        rules: where they may go.
        timeout_s: how long one may take from the connection to the answer.
        context: how certificates are checked.
        resolver: finds the addresses of a name.
    """

    def __init__(
        self, rules: AddressRules, timeout_s: float, context: ssl.SSLContext, resolver: Resolver = resolve
    ) -> None:
        self._rules = rules
        self._timeout_s = timeout_s
        self._context = context
        self._resolver = resolver
        self._open: set[_Pinned] = set()
        self._lock = threading.Lock()
        self._aborted = False

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Sends one POST over a connection of its own. The body of the answer is not read.

        Raises:
            OSError: there was no answer; its text says why.
        """
        pinned = _Pinned(self._rules, self._resolver)
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError("the gateway is stopping")
            self._open.add(pinned)
        # The time-outs below are for single steps; a receiver that drips would pass each of them.
        watch = threading.Timer(self._timeout_s, pinned.abort)
        watch.daemon = True
        watch.start()
        try:
            return self._post(pinned, url, headers, body)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError) as error:
            raise ConnectionError(self._explained(error, pinned)) from error
        finally:
            watch.cancel()
            with self._lock:
                self._open.discard(pinned)
            pinned.close()

    def _post(self, pinned: _Pinned, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        target = httpcore.URL(url)
        steps = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        connection = httpcore.HTTPConnection(target.origin, ssl_context=self._context, network_backend=pinned)
        try:
            with connection.stream(
                "POST",
                target,
                headers=[*headers.items(), ("Connection", "close")],
                content=body,
                extensions={"timeout": steps},
            ) as response:
                return Answer(response.status, _seconds(response.headers))
        finally:
            connection.close()

    def _explained(self, error: Exception, pinned: _Pinned) -> str:
        if isinstance(error, RefusedAddress):
            return str(error)
        if isinstance(error, httpcore.TimeoutException) or pinned.aborted:
            return f"no answer within {self._timeout_s:g} s"
        return (str(error) or type(error).__name__)[:_MAX_ERROR_CHARS]

    def abort(self) -> None:
        """Ends all requests, for good."""
        with self._lock:
            self._aborted = True
            for pinned in self._open:
                pinned.abort()


class _Pinned(httpcore.NetworkBackend):
    """Connects once, to an address that was checked, and can cut that connection from another thread."""

    def __init__(self, rules: AddressRules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver
        self._handle: socket.socket | None = None
        self._lock = threading.Lock()
        self.aborted = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to the first address that may be called and can be reached."""
        failure: Exception = RefusedAddress("the name leads to no address that may be called from here")
        for address in self._allowed(host, port):
            if self.aborted:
                raise httpcore.ConnectTimeout
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._keep(stream)
            return stream
        raise failure

    def _allowed(self, host: str, port: int) -> list[str]:
        found = dict.fromkeys(self._resolver(host.strip("[]"), port))
        good = [address for address in found if self._rules.allow(ipaddress.ip_address(address))]
        if len(good) < len(found):
            refused = ", ".join(address for address in found if address not in good)
            _log.warning("%s leads to %s, which may not be called", ascii(host), refused)
        return good

    def _keep(self, stream: httpcore.NetworkStream) -> None:
        # A copy: TLS takes the socket itself over.
        handle = stream.get_extra_info("socket").dup()
        with self._lock:
            self._handle = handle
            if self.aborted:
                _cut(handle)

    def abort(self) -> None:
        """Cuts the connection, now or as soon as there is one."""
        with self._lock:
            self.aborted = True
            if self._handle is not None:
                _cut(self._handle)

    def close(self) -> None:
        """Lets go of the connection."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None


def _cut(handle: socket.socket) -> None:
    with suppress(OSError):  # the other side was quicker
        handle.shutdown(socket.SHUT_RDWR)


def _seconds(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """``Retry-After`` in seconds; as a date it is not heeded."""
    given = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return int(given) if given.isdigit() and len(given) <= 9 else None
