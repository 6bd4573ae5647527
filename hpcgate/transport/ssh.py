"""The transport to an account at another host, over ssh.

Commands run on channels of their own, files go by SFTP, both on one kept connection (``pool``, ``connection``). How a
command is put into words for the far side, and its answer taken apart, is in ``remote``.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from posixpath import basename, dirname, join, normpath
from typing import Final, TypeVar

import paramiko

from hpcgate.errors import CommandTimeout, OutputTooLarge, TransportError
from hpcgate.model.files import FileChunk, FileInfo
from hpcgate.model.site import Site
from hpcgate.transport import remote
from hpcgate.transport.base import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S, CommandResult, Transport
from hpcgate.transport.connection import ConnectionLostError, closing_after
from hpcgate.transport.identity import target_of
from hpcgate.transport.pool import Link, LinkPool
from hpcgate.transport.sftp import (
    errors_of,
    folders_above,
    info_of,
    make_folder,
    read_file,
    remove_unless_folder,
    way_from,
    write_file,
)

T = TypeVar("T")

_CHUNK: Final = 1 << 16
#: How much longer than the far side the near side waits for the end of a command, seconds.
_GRACE_S: Final = 5.0


class SshTransport(Transport):
    """An account at a host.

    Args:
        link: the way there; may be shared.
        on_close: gives the link back.
    """

    def __init__(self, link: Link, on_close: Callable[[], None] | None = None) -> None:
        self._link = link
        self._on_close = on_close or link.close
        self._home: str | None = None

    # --- commands

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        """See ``Transport.run``. Commands start in the home folder.

        A connection that breaks once the command was sent is a ``CommandTimeout``: it may have taken effect. What
        ends by INT or PIPE has the status 130 or 141, as in a shell.
        """
        mark = remote.new_mark()
        line = remote.line(argv, environment or {}, timeout_s, mark)
        with self._link.command() as channel:
            dialogue = _Dialogue(channel, argv[0], mark, max_output, timeout_s)
            dialogue.start(line)
            return dialogue.hold(stdin)

    # --- files

    def read(self, path: str, *, offset: int = 0, length: int | None = None, within: str | None = None) -> FileChunk:
        """See ``Transport.read``. Only regular files are read: a FIFO would never end.

        SFTP opens by path alone, so ``within`` is looked at before and after; whoever changes links back and forth
        faster than that could read what is found there by itself, for it is the same account.
        """
        inside = partial(self._require_inside, path, within)
        return self._on_files("read", path, lambda sftp, there: read_file(sftp, there, offset, length, inside))

    def write(self, path: str, data: bytes, *, mode: int = 0o600, within: str | None = None) -> None:
        """See ``Transport.write``; of ``within`` holds what ``read`` says."""
        inside = partial(self._require_inside, dirname(path), within)

        def written(sftp: paramiko.SFTPClient, there: str) -> None:
            inside(sftp)
            write_file(sftp, there, data, mode)

        self._on_files("written", path, written)

    def list(self, path: str, *, within: str | None = None) -> Sequence[FileInfo]:
        """See ``Transport.list``; of ``within`` holds what ``read`` says."""
        inside = partial(self._require_inside, path, within)

        def listed(sftp: paramiko.SFTPClient, there: str) -> Sequence[paramiko.SFTPAttributes]:
            inside(sftp)
            found: list[paramiko.SFTPAttributes] = sftp.listdir_attr(there)
            inside(sftp)
            return found

        found = self._on_files("listed", path, listed)
        return sorted((info_of(each.filename, each) for each in found), key=lambda info: info.name)

    def stat(self, path: str) -> FileInfo | None:
        """See ``Transport.stat``."""
        try:
            return self._on_files("looked at", path, lambda sftp, there: info_of(basename(there), sftp.lstat(there)))
        except FileNotFoundError:
            return None

    def mkdir(self, path: str, *, mode: int = 0o700, within: str | None = None) -> None:
        """See ``Transport.mkdir``; of ``within`` holds what ``read`` says."""

        def made(sftp: paramiko.SFTPClient, there: str) -> None:
            if within is None:
                make_folder(sftp, there, mode)
                return
            self._require_inside(within, within, sftp)
            for folder in reversed([there, *folders_above(there, self._absolute(sftp, within), path)]):
                make_folder(sftp, folder, mode, parents=False)
                self._require_inside(folder, within, sftp)

        self._on_files("made", path, made)

    def remove(self, path: str, *, within: str | None = None) -> None:
        """See ``Transport.remove``. A folder is removed by ``rm``: one command, however much is in it."""

        def removed(sftp: paramiko.SFTPClient, there: str) -> str | None:
            self._require_inside(dirname(path), within, sftp)
            return remove_unless_folder(sftp, there)

        try:
            folder = self._on_files("removed", path, removed)
        except FileNotFoundError:
            return
        if folder is not None:
            result = self.run(["rm", "-rf", "--", folder])
            if result.exit_status != 0:
                said = result.err.strip().rpartition("\n")[2]
                raise TransportError(f"{path!r} cannot be removed: {said}", transient=False)

    def close(self) -> None:
        """See ``Transport.close``. The connection is closed when nobody else uses it."""
        self._on_close()

    def _on_files(self, verb: str, path: str, do: Callable[[paramiko.SFTPClient, str], T]) -> T:
        """Does something with a file; once more where the connection broke: every verb may be repeated."""
        try:
            return self._on_files_once(verb, path, do)
        except ConnectionLostError:
            pass
        try:
            return self._on_files_once(verb, path, do)
        except ConnectionLostError as error:
            raise TransportError(f"{path!r} cannot be {verb}: {self._link.target.name}: {error}") from error

    def _on_files_once(self, verb: str, path: str, do: Callable[[paramiko.SFTPClient, str], T]) -> T:
        with self._link.files() as sftp, errors_of(verb, path, sftp):
            return do(sftp, self._absolute(sftp, path))

    def _require_inside(self, path: str, within: str | None, sftp: paramiko.SFTPClient) -> None:
        """Refuses a path that leads elsewhere than it says, from ``within`` on."""
        if within is None:
            return
        there, above = self._absolute(sftp, path), self._absolute(sftp, within)
        said = join(sftp.normalize(dirname(above)), basename(above), way_from(there, above, path))
        if sftp.normalize(there) != normpath(said):
            raise TransportError(f"{path!r} leads through a link; links are not followed", transient=False)

    def _absolute(self, sftp: paramiko.SFTPClient, path: str) -> str:
        if path.startswith("/"):
            return path
        if not path.startswith("~/"):
            raise TransportError(f"{path!r} is neither absolute nor below ~/", transient=False)
        if self._home is None:
            self._home = sftp.normalize(".")
        return normpath(join(self._home, path[2:]))


class SshOpener:
    """Opens transports to sites. Those to the same account at the same host share one connection."""

    def __init__(self) -> None:
        self._pool = LinkPool()

    def __call__(self, site: Site, account: str | None) -> SshTransport:
        """A transport to a site as an account (``None`` = the one that polls). Nothing is connected yet.

        Raises:
            ConfigError: the site's tables do not say how.
        """
        link = self._pool.take(target_of(site, account))
        return SshTransport(link, on_close=lambda: self._pool.give_back(link))


class _Dialogue:
    """Starts a command on a channel, feeds it and collects what it prints, until it ends.

    The end is that of the command, not that of its streams: a background child that inherited them must not keep the
    caller waiting.
    """

    def __init__(self, channel: paramiko.Channel, program: str, mark: str, max_output: int, timeout_s: float) -> None:
        self._channel = channel
        # The program alone: arguments may be long, or hold what is nobody's business.
        self._program = program
        self._max_output = max_output
        self._timeout_s = timeout_s
        self._stdout, self._stderr = remote.Stream(mark), remote.Stream(mark)
        self._began_at = time.monotonic()
        self._deadline = self._began_at + timeout_s + _GRACE_S

    def start(self, line: str) -> None:
        """Sends the command.

        Raises:
            TransportError: the host refused it.
            CommandTimeout: whether it was started is not known.
        """
        try:
            with closing_after(self._channel, self._timeout_s + _GRACE_S):
                self._channel.exec_command(line.encode("utf-8", "surrogateescape"))
        except (paramiko.SSHException, EOFError, OSError) as error:
            # Where the host said no, paramiko closes the channel and nothing else.
            if not self._channel.get_transport().is_active() or time.monotonic() >= self._deadline:
                raise self._lost() from error
            raise TransportError(f"{self._program!r} cannot be started: the host refused it: {error}") from error

    def hold(self, stdin: bytes) -> CommandResult:
        """What it answered, once it has ended."""
        self._channel.settimeout(0.0)
        rest = self._give(memoryview(stdin))
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while True:
            while self._take():
                pass
            if self._stdout.ended and self._stderr.ended:
                return self._result()
            if self._channel.eof_received or self._channel.closed:
                if not self._take():
                    raise self._ended_without_a_word()
                continue
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise self._too_long()
            if rest:
                rest = self._give(rest)
            # paramiko tells nobody when it may send again; what comes in wakes us at once.
            poll.poll(1000 * min(left_s, 0.01 if rest else left_s))

    def _give(self, rest: memoryview) -> memoryview:
        """Sends what the far side takes now; then the end of file. What is left comes back."""
        try:
            while rest:
                rest = rest[self._channel.send(rest[:_CHUNK]) :]
            self._channel.shutdown_write()
        except TimeoutError:
            return rest
        except (OSError, EOFError, paramiko.SSHException):
            pass  # nobody reads any more; how the command ended is told by its output
        return memoryview(b"")

    def _take(self) -> bool:
        """Reads what there is on both streams; False = nothing now."""
        came = False
        for stream, receive in ((self._stdout, self._channel.recv), (self._stderr, self._channel.recv_stderr)):
            try:
                data = receive(_CHUNK)
            except TimeoutError:
                continue
            except (OSError, EOFError, paramiko.SSHException) as error:
                # paramiko tells the far side how much more may come; what it had read is lost then.
                raise self._lost() from error
            stream.feed(data)
            came = came or bool(data)
        if self._stdout.size + self._stderr.size > self._max_output:
            raise OutputTooLarge(f"{self._program!r} printed more than {self._max_output} bytes")
        return came

    def _result(self) -> CommandResult:
        status = remote.exit_status(self._stdout)
        # `timeout` ends itself with the command, so its own end looks like that of a command that was killed.
        if status == -9 and time.monotonic() - self._began_at >= self._timeout_s:
            raise self._too_long()
        return CommandResult(status, self._stdout.data, self._stderr.data)

    def _too_long(self) -> CommandTimeout:
        return CommandTimeout(f"{self._program!r} did not end within {self._timeout_s:g} s")

    def _lost(self) -> CommandTimeout:
        return CommandTimeout(f"the connection broke while {self._program!r} ran; whether it took effect is not known")

    def _ended_without_a_word(self) -> TransportError:
        if self._stdout.began or self._stderr.began or not self._channel.get_transport().is_active():
            return self._lost()
        last_lines = [
            repr(each.noise.decode("utf-8", "replace").strip().rpartition("\n")[2][:200])
            for each in (self._stdout, self._stderr)
            if each.noise.strip()
        ]
        said = f"; it says {' and '.join(last_lines)}" if last_lines else ""
        return TransportError(f"{self._program!r} cannot be started: the account's login shell runs no commands{said}")
