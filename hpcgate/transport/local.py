"""The transport to the machine that the gateway itself runs on, as the account that it runs as."""

from __future__ import annotations

import errno
import os
import selectors
import shutil
import signal
import stat as st
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from posixpath import dirname
from typing import IO, Final, cast
from uuid import uuid4

from hpcgate.errors import CommandTimeout, OutputTooLarge, TransportError
from hpcgate.model.files import FileChunk, FileInfo
from hpcgate.transport.base import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S, CommandResult, Transport

_PIPE_BYTES: Final = 1 << 16
#: What is wrong with the path itself, and so will be the next time.
_FOR_GOOD: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)


class LocalTransport(Transport):
    """Commands by ``subprocess``, files by system calls. It holds nothing open between calls."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        """See ``Transport.run``. The command gets a session of its own; what is ended is its whole process group."""
        full = {**os.environ, **(environment or {})}
        return execute(argv[0], argv, full, stdin=stdin, timeout_s=timeout_s, max_output=max_output)

    def read(self, path: str, *, offset: int = 0, length: int | None = None, within: str | None = None) -> FileChunk:
        """See ``Transport.read``. Only regular files are read: a FIFO would never end."""
        # O_NONBLOCK: opening a FIFO must not wait for its writer.
        with (
            _errors_of("read", path),
            os.fdopen(_open(path, os.O_RDONLY | os.O_NONBLOCK, within), "rb", buffering=0) as file,
        ):
            status = os.fstat(file.fileno())
            if not st.S_ISREG(status.st_mode):
                raise TransportError(f"{path!r} cannot be read: it is no regular file", transient=False)
            data = b""
            if offset < status.st_size:  # a file system refuses to seek to where no file of its can reach
                file.seek(offset)
                data = _read_up_to(file, status.st_size - offset if length is None else length)
        # It may have grown since it was looked at.
        return FileChunk(data=data, offset=offset, size=max(status.st_size, offset + len(data) if data else 0))

    def write(self, path: str, data: bytes, *, mode: int = 0o600, within: str | None = None) -> None:
        """See ``Transport.write``. The new content is on disk before it takes the place of the old."""
        name = _local(path).name
        fresh = f".{name[:100]}.{uuid4().hex}"
        with _errors_of("written", path), _folder(dirname(path), within) as folder:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=folder), "wb") as file:
                    os.fchmod(file.fileno(), mode)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(fresh, dir_fd=folder)
                raise

    def list(self, path: str, *, within: str | None = None) -> Sequence[FileInfo]:
        """See ``Transport.list``."""
        found = []
        with _errors_of("listed", path), _folder(path, within) as folder, os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed since the folder was read
                    found.append(_info(entry.name, entry.stat(follow_symlinks=False)))
        return sorted(found, key=lambda info: info.name)

    def stat(self, path: str) -> FileInfo | None:
        """See ``Transport.stat``."""
        local = _local(path)
        try:
            with _errors_of("looked at", path):
                return _info(local.name, local.lstat())
        except FileNotFoundError:
            return None
        except TransportError as error:
            # Below a file, or with a name that no file can have, there is nothing either.
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise

    def mkdir(self, path: str, *, mode: int = 0o700, within: str | None = None) -> None:
        """See ``Transport.mkdir``. Every folder that it makes gets ``mode``, whatever the umask."""
        with _errors_of("made", path):
            if within is not None:
                _mkdir_within(path, within, mode)
                return
            local = _local(path)
            for folder in [*reversed(local.parents), local]:
                try:
                    folder.mkdir(mode)
                except FileExistsError:
                    if not folder.is_dir():
                        raise
                else:
                    folder.chmod(mode)

    def remove(self, path: str, *, within: str | None = None) -> None:
        """See ``Transport.remove``."""
        name = _local(path).name
        with suppress(FileNotFoundError), _errors_of("removed", path), _folder(dirname(path), within) as folder:
            if st.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    def close(self) -> None:
        """There is nothing to give back."""


def execute(
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: bytes,
    timeout_s: float,
    max_output: int,
) -> CommandResult:
    """Runs a command of this machine; see ``Transport.run``.

    Args:
        name: what it is called in errors.
        argv: program and arguments.
        environment: all of it.
        stdin: what it reads.
        timeout_s: after which it is ended.
        max_output: bytes of stdout and stderr together.
    """
    # Neither `preexec_fn` nor `user=`: either makes subprocess fork this whole process instead of vfork.
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise TransportError(f"{name!r} cannot be started: {error}", transient=False) from error
    with process:
        try:
            stdout, stderr = _Dialogue(name, process, stdin, max_output, timeout_s).hold()
        except BaseException:
            with suppress(ProcessLookupError, PermissionError):  # what runs by sudo is ended by its own `timeout`
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return CommandResult(process.returncode, stdout, stderr)


class _Dialogue:
    """Feeds a process and collects what it prints, until it ends.

    The end is that of the process, not that of its pipes: a background child that inherited them must not keep the
    caller waiting.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], stdin: bytes, max_output: int, timeout_s: float
    ) -> None:
        # The program alone: arguments may be long, or hold what is nobody's business.
        self._name = name
        self._process = process
        self._rest = memoryview(stdin)
        self._left = max_output
        self._max_output = max_output
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._output: dict[int, bytearray] = {}

    def hold(self) -> tuple[bytes, bytes]:
        """What it printed on stdout and stderr, once it has ended."""
        stdout, stderr = cast("IO[bytes]", self._process.stdout), cast("IO[bytes]", self._process.stderr)
        ended = os.pidfd_open(self._process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(ended, selectors.EVENT_READ)
                for pipe in (stdout, stderr):
                    os.set_blocking(pipe.fileno(), False)
                    self._output[pipe.fileno()] = bytearray()
                    selector.register(pipe.fileno(), selectors.EVENT_READ)
                if self._process.stdin is not None:
                    os.set_blocking(self._process.stdin.fileno(), False)
                    selector.register(self._process.stdin.fileno(), selectors.EVENT_WRITE)
                self._exchange(selector, ended)
        finally:
            os.close(ended)
        return bytes(self._output[stdout.fileno()]), bytes(self._output[stderr.fileno()])

    def _exchange(self, selector: selectors.BaseSelector, ended: int) -> None:
        while True:
            left_s = self._deadline - time.monotonic()
            ready = {key.fd for key, _ in selector.select(max(left_s, 0))}
            for fd in ready & self._output.keys():
                if not self._take(fd):
                    selector.unregister(fd)
            if self._process.stdin is not None and (fd := self._process.stdin.fileno()) in ready and self._give(fd):
                selector.unregister(fd)
                self._process.stdin.close()
                self._process.stdin = None
            if ended in ready:
                self._drain(selector)
                return
            if left_s <= 0:
                raise CommandTimeout(f"{self._name!r} did not end within {self._timeout_s:g} s")

    def _drain(self, selector: selectors.BaseSelector) -> None:
        for fd in self._output:
            if fd in selector.get_map():
                while self._take(fd):
                    pass

    def _take(self, fd: int) -> bool:
        """Reads what there is; False = end of file, or nothing there now."""
        try:
            data = os.read(fd, _PIPE_BYTES)
        except BlockingIOError:
            return False
        self._left -= len(data)
        if self._left < 0:
            raise OutputTooLarge(f"{self._name!r} printed more than {self._max_output} bytes")
        self._output[fd] += data
        return bool(data)

    def _give(self, fd: int) -> bool:
        """Writes what the pipe takes; True = that was all, or nobody reads any more."""
        try:
            self._rest = self._rest[os.write(fd, self._rest[:_PIPE_BYTES]) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._rest


class _errors_of:  # noqa: N801 - reads as a phrase in a with statement
    """Turns an ``OSError`` into a ``TransportError`` that names the path; "not found" stays what it is."""

    def __init__(self, verb: str, path: str) -> None:
        self._verb, self._path = verb, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not (isinstance(error, FileNotFoundError) and self._verb != "written"):
            # A path that cannot be used will not get better by itself; a full or failing disk may.
            transient = error.errno not in _FOR_GOOD
            raise TransportError(
                f"{self._path!r} cannot be {self._verb}: {error.strerror or error}", transient=transient
            ) from error


def _local(path: str) -> Path:
    if path.startswith("~/"):
        return Path.home() / path[2:]
    if not path.startswith("/"):
        raise TransportError(f"{path!r} is neither absolute nor below ~/", transient=False)
    return Path(path)


def _steps(path: str, within: str) -> tuple[str, ...]:
    """The way from ``within`` to a path."""
    local, above = _local(path), _local(within)
    if not local.is_relative_to(above) or ".." in local.parts:
        raise TransportError(f"{path!r} leads out of {within!r}", transient=False)
    return local.relative_to(above).parts


#: How a folder is entered on the way: never through a link.
_INTO: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _mkdir_within(path: str, within: str, mode: int) -> None:
    at = os.open(_local(within), _INTO)
    for step in _steps(path, within):
        try:
            with suppress(FileExistsError):
                os.mkdir(step, mode, dir_fd=at)
                os.chmod(step, mode, dir_fd=at)
            further = os.open(step, _INTO, dir_fd=at)
        finally:
            os.close(at)
        at = further
    os.close(at)


def _open(path: str, flags: int, within: str | None) -> int:
    """Opens a path; below ``within`` step by step, each from the folder that the last one has led into."""
    flags |= os.O_CLOEXEC
    if within is None:
        return os.open(_local(path), flags)
    steps, into = _steps(path, within), _INTO
    at = os.open(_local(within), flags | os.O_NOFOLLOW if not steps else into)
    for number, step in enumerate(steps, 1):
        try:
            further = os.open(step, flags | os.O_NOFOLLOW if number == len(steps) else into, dir_fd=at)
        finally:
            os.close(at)
        at = further
    return at


@contextmanager
def _folder(path: str, within: str | None) -> Iterator[int]:
    fd = _open(path, os.O_RDONLY | os.O_DIRECTORY, within)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_up_to(file: IO[bytes], wanted: int) -> bytes:
    parts = []
    while wanted > 0 and (part := file.read(wanted)):
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def _info(name: str, status: os.stat_result) -> FileInfo:
    return FileInfo(
        name=name,
        size=status.st_size,
        modified_at=status.st_mtime,
        is_dir=st.S_ISDIR(status.st_mode),
        is_link=st.S_ISLNK(status.st_mode),
        owner=status.st_uid,
        mode=st.S_IMODE(status.st_mode),
    )
