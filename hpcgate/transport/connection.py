"""One authenticated ssh connection and its channels. It is never repaired: whoever finds it dead opens another."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import fabric
import paramiko

from hpcgate.errors import TransportError
from hpcgate.transport import remote
from hpcgate.transport.hostkeys import KnownHosts

#: How long an answer of the SFTP server may take, seconds.
SFTP_TIMEOUT_S: Final = 60.0
#: How long fewer channels are used after the host refused one, seconds.
_CAUTION_S: Final = 30.0

#: The part of their credentials' life after which connections are given up.
_OF_A_LIFE: Final = 0.75

# What goes wrong is raised to the caller; paramiko would print a traceback besides.
_WIRE_LOG: Final = "hpcgate.transport.wire"
logging.getLogger(_WIRE_LOG).setLevel(logging.CRITICAL)


class Credentials(Protocol):
    """What an account is entered with. Hashable: it is a part of what tells two connections apart."""

    @property
    def life_s(self) -> float:
        """How long a connection that was opened with it may be used, seconds."""

    def arguments(self, user: str) -> dict[str, Any]:
        """Arguments of ``paramiko.SSHClient.connect``.

        Args:
            user: the account.

        Raises:
            TransportError: there is no usable key.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An account at a host. Equal targets share a connection.

    Args:
        host, port, user: where, and as whom.
        credentials: what the account is entered with.
        known_hosts: file of the host keys that are believed.
        connect_timeout_s: for each step until a connection or a channel stands.
        keepalive_s: between two signs of life on an idle connection.
        max_channels: commands and file sessions at the same time.
        jump: the host through which it is reached.
    """

    host: str
    port: int
    user: str
    credentials: Credentials
    known_hosts: str | None = None
    connect_timeout_s: float = 10.0
    keepalive_s: float = 15.0
    max_channels: int = 8
    jump: Target | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


class ConnectionLostError(Exception):
    """The connection is gone; what was under way on it has an unknown outcome."""


@dataclass(slots=True)
class _Slots:
    """How many channels are in use, and may be."""

    limit: int
    used: int = 0
    cautious_limit: int = 0
    cautious_until: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def free(self) -> bool:
        cautious = time.monotonic() < self.cautious_until
        return self.used < (min(self.limit, self.cautious_limit) if cautious else self.limit)

    def refused(self) -> None:
        """The host took fewer than we thought. Perhaps not for ever: it counts sessions whose commands go on."""
        self.cautious_limit = max(1, self.used)
        self.cautious_until = time.monotonic() + _CAUTION_S


class SshConnection:
    """An open connection. Thread-safe."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._slots = _Slots(target.max_channels)
        self._idle: list[paramiko.SFTPClient] = []
        self._noisy = False
        self._renew_at = time.monotonic() + _OF_A_LIFE * target.credentials.life_s
        self._fabric = _open(target)
        self._transport: paramiko.Transport = self._fabric.transport
        self._transport.set_keepalive(max(1, round(target.keepalive_s)))

    @property
    def alive(self) -> bool:
        """Whether it was not found dead so far."""
        return bool(self._transport.is_active())

    @property
    def outlived(self) -> bool:
        """Whether what it was opened with is about to end, so that another one should take its place."""
        return time.monotonic() >= self._renew_at

    @property
    def busy(self) -> bool:
        """Whether something is under way on it."""
        with self._slots.changed:
            return self._slots.used > len(self._idle)

    @contextmanager
    def command(self, wait_s: float) -> Iterator[paramiko.Channel]:
        """A fresh channel for one command.

        Args:
            wait_s: how long to wait while all channels are in use.

        Raises:
            ConnectionLostError: nothing was sent on the channel.
            TransportError: no channel became free.
        """
        channel = self._channel(wait_s)
        try:
            yield channel
        finally:
            _shut(channel)
            self._give_back()

    @contextmanager
    def files(self, wait_s: float) -> Iterator[paramiko.SFTPClient]:
        """A file session for one thread; kept for the next one unless it broke.

        Raises:
            ConnectionLostError: the connection broke, before or while the session was used.
            TransportError: no channel became free, the host has no SFTP, or gives no answer.
        """
        with self._slots.changed:
            sftp = self._idle.pop() if self._idle else None
        if sftp is None:
            sftp = self._sftp(wait_s)
        try:
            yield sftp
        except TimeoutError as error:
            # Its answer may come yet, when nobody waits for it any more.
            self._drop(sftp)
            raise TransportError(f"{self._target.name}: no answer about a file in {SFTP_TIMEOUT_S:g} s") from error
        except (EOFError, OSError, paramiko.SSHException) as error:
            if not _is_broken(sftp, error):
                self._keep(sftp)
                raise
            self._drop(sftp)
            raise ConnectionLostError(str(error) or type(error).__name__) from error
        except TransportError:
            self._keep(sftp)
            raise
        except BaseException:
            self._drop(sftp)
            raise
        self._keep(sftp)

    def close(self) -> None:
        """Ends all channels and the connection."""
        with self._slots.changed:
            idle, self._idle = self._idle, []
        for sftp in idle:
            _shut(sftp)
        _close(self._fabric)

    # --- channels

    def _channel(self, wait_s: float) -> paramiko.Channel:
        deadline = time.monotonic() + wait_s
        while True:
            self._take_slot(deadline)
            try:
                return self._transport.open_session(timeout=self._target.connect_timeout_s)
            except (paramiko.SSHException, EOFError, OSError) as error:
                if self.alive and _is_channel_refusal(error):
                    self._refused(error, deadline)
                    continue
                self._give_back()
                # Also after a time-out: a channel that opens later would belong to nobody.
                self.close()
                raise ConnectionLostError(str(error) or type(error).__name__) from error
            except BaseException:
                self._give_back()
                raise

    def _take_slot(self, deadline: float) -> None:
        with self._slots.changed:
            while not self._slots.free():
                if self._idle:
                    _shut(self._idle.pop())
                    self._slots.used -= 1
                    continue
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TransportError(f"{self._target.name}: all channels stayed busy")
                self._slots.changed.wait(min(left_s, 1.0))
            self._slots.used += 1

    def _refused(self, error: Exception, deadline: float) -> None:
        """Waits until another channel may be tried."""
        with self._slots.changed:
            self._slots.used -= 1
            while self._idle:
                _shut(self._idle.pop())
                self._slots.used -= 1
            if self._slots.used:
                self._slots.refused()
            if time.monotonic() > deadline:
                raise TransportError(f"{self._target.name} opens no further channel: {error}") from error
            self._slots.changed.wait(0.1)

    def _give_back(self) -> None:
        with self._slots.changed:
            self._slots.used -= 1
            self._slots.changed.notify()

    # --- file sessions

    def _sftp(self, wait_s: float) -> paramiko.SFTPClient:
        if not self._noisy:
            try:
                return self._sftp_by(_start_subsystem, wait_s)
            except paramiko.SFTPError:
                # sshd starts the SFTP server by the login shell, and what that printed was taken for an answer.
                self._noisy = True
        try:
            return self._sftp_by(_start_program, wait_s)
        except paramiko.SFTPError as error:
            raise TransportError(f"{self._target.name} offers no SFTP: {error}", transient=False) from error

    def _sftp_by(self, start: Callable[[paramiko.Channel], None], wait_s: float) -> paramiko.SFTPClient:
        channel = self._channel(wait_s)
        try:
            with closing_after(channel, self._target.connect_timeout_s):
                channel.settimeout(SFTP_TIMEOUT_S)
                start(channel)
                return paramiko.SFTPClient(channel)
        except BaseException as error:
            _shut(channel)
            self._give_back()
            # An answer that makes no sense may be what was left of it when the connection broke.
            if isinstance(error, (paramiko.SFTPError, paramiko.SSHException, EOFError, OSError)) and not self.alive:
                raise ConnectionLostError(str(error) or type(error).__name__) from error
            if not isinstance(error, (paramiko.SSHException, EOFError, OSError)):
                raise
            raise TransportError(f"{self._target.name} offers no SFTP: {error}", transient=False) from error

    def _keep(self, sftp: paramiko.SFTPClient) -> None:
        with self._slots.changed:
            self._idle.append(sftp)
            self._slots.changed.notify()

    def _drop(self, sftp: paramiko.SFTPClient) -> None:
        _shut(sftp)
        self._give_back()


def _shut(channel: paramiko.Channel | paramiko.SFTPClient) -> None:
    """Closes a channel, whose farewell cannot be sent where the connection is gone."""
    with suppress(EOFError, OSError, paramiko.SSHException):
        channel.close()


def _is_channel_refusal(error: Exception) -> bool:
    """Whether the host opened no channel, and the connection is fine."""
    # paramiko keeps one exception for all threads: of two refusals at once, one gets the other words.
    return isinstance(error, paramiko.ChannelException) or str(error) == "Unable to open channel."


def _start_subsystem(channel: paramiko.Channel) -> None:
    channel.invoke_subsystem("sftp")


def _start_program(channel: paramiko.Channel) -> None:
    """Starts the SFTP server as a command, and reads away what comes before it."""
    stream = remote.Stream(remote.new_mark())
    channel.exec_command(remote.sftp_line(stream.mark))
    while not stream.began:
        data = channel.recv(1 << 12)
        if not data:
            raise EOFError("its SFTP server cannot be found")
        # The server says nothing before it is asked, so there is nothing behind the marker yet.
        stream.feed(data)


def _is_broken(sftp: paramiko.SFTPClient, error: Exception) -> bool:
    """Whether a file session cannot be used any more; an ``OSError`` may as well be what the host said of a file."""
    return not isinstance(error, OSError) or sftp.get_channel().closed


@contextmanager
def closing_after(channel: paramiko.Channel, seconds: float) -> Iterator[None]:
    """Closes a channel when what is done with it takes too long: paramiko waits for some answers without end."""
    timer = threading.Timer(seconds, _shut, [channel])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# --- opening --------------------------------------------------------------------------------------------------------


def _open(target: Target) -> fabric.Connection:
    connection = _fabric(target)
    try:
        connection.open()
    except BaseException as error:
        _close(connection)
        meaning = _as_transport_error(target, error)
        if meaning is error:
            raise
        raise meaning from error
    return connection


def _fabric(target: Target) -> fabric.Connection:
    known = KnownHosts(target.known_hosts)
    connection = fabric.Connection(
        target.host,
        user=target.user,
        port=target.port,
        # The gateway is configured in one place: no ~/.ssh/config, fabric.yml or environment variables.
        config=fabric.Config(ssh_config=paramiko.SSHConfig(), lazy=True),
        gateway=_fabric(target.jump) if target.jump else False,
        connect_kwargs={
            "timeout": target.connect_timeout_s,
            "banner_timeout": target.connect_timeout_s,
            "auth_timeout": target.connect_timeout_s,
            "channel_timeout": target.connect_timeout_s,
            "disabled_algorithms": _unknown_key_types(known, target),
            "transport_factory": partial(_paramiko_transport, silence_s=max(5.0, 2 * target.keepalive_s)),
            **target.credentials.arguments(target.user),
        },
    )
    # No key is loaded into the client, so that this is asked about every one.
    connection.client.set_missing_host_key_policy(_Believe(known, target))
    connection.client.set_log_channel(_WIRE_LOG)
    return connection


def _close(connection: fabric.Connection) -> None:
    # Not `connection.close()`: that does nothing where opening failed half-way.
    connection.client.close()
    if connection.gateway:
        _close(connection.gateway)


class _Believe(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
    def __init__(self, known: KnownHosts, target: Target) -> None:
        self._known, self._target = known, target

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self._known.check(self._target.host, self._target.port, key.get_name(), key.get_base64())


def _unknown_key_types(known: KnownHosts, target: Target) -> dict[str, list[str]] | None:
    """Makes the host show a key of a type that is known for it, where one is."""
    types = set(known.types(target.host, target.port))
    if "ssh-rsa" in types:
        types |= {"rsa-sha2-512", "rsa-sha2-256"}
    offered = paramiko.Transport._preferred_keys  # noqa: SLF001 - there is no other way to learn them
    if not types.intersection(offered):
        return None
    return {"keys": [each for each in offered if each not in types]}


def _paramiko_transport(sock: Any, *, silence_s: float, **options: Any) -> paramiko.Transport:
    if isinstance(sock, socket.socket):
        # Else each channel waits 40 ms for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Signs of life that nobody acknowledges end the connection, instead of a quarter of an hour of silence.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(silence_s * 1000))
    return paramiko.Transport(sock, **options)


def _as_transport_error(target: Target, error: BaseException) -> BaseException:
    """What a failed connection means; an error that is not about the connection stays what it is."""
    if _is_refusal(error):
        return TransportError(
            f"{target.name}: the host refused the account or its key (authentication failed)", transient=False
        )
    if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return TransportError(f"{target.name} cannot be reached: {said}")
    return error


def _is_refusal(error: BaseException) -> bool:
    """Whether the host said no; paramiko calls a connection that breaks meanwhile a failed authentication too."""
    said = str(error).lower()
    if isinstance(error, paramiko.AuthenticationException):
        return "timeout" not in said and "transport shut down" not in said
    return isinstance(error, paramiko.SSHException) and "no authentication methods available" in said
