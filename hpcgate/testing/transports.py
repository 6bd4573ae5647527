"""Transports for tests: files in memory, commands answered from a list."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import basename, dirname, normpath
from typing import Final

from hpcgate.errors import TransportError
from hpcgate.model.files import FileChunk, FileInfo
from hpcgate.transport.base import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S, CommandResult, Transport

_HOME: Final = "/home/test"


@dataclass(frozen=True, slots=True)
class _Entry:
    data: bytes | None
    mode: int
    modified_at: float


class MemoryTransport(Transport):
    """Files in memory. It runs no command.

    Attributes:
        closed: whether ``close`` was called.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.closed = False
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {"/": _Entry(None, 0o755, clock())}
        self.mkdir(_HOME)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        """Raises ``TransportError``: there is nothing here that runs a command."""
        raise TransportError(f"{argv[0]}: this transport has files only", transient=False)

    def read(self, path: str, *, offset: int = 0, length: int | None = None, within: str | None = None) -> FileChunk:
        """See ``Transport.read``. There are no links."""
        entry = self._entry(path)
        if entry is None:
            raise FileNotFoundError(path)
        if entry.data is None:
            raise TransportError(f"{path} is a folder", transient=False)
        stop = len(entry.data) if length is None else offset + length
        return FileChunk(data=entry.data[offset:stop], offset=offset, size=len(entry.data))

    def write(self, path: str, data: bytes, *, mode: int = 0o600, within: str | None = None) -> None:
        """See ``Transport.write``."""
        with self._lock:
            parent = self._entry(dirname(_absolute(path)))
            if parent is None or parent.data is not None:
                raise TransportError(f"{path}: its folder is not there", transient=False)
            self._entries[_absolute(path)] = _Entry(bytes(data), mode, self._clock())

    def list(self, path: str, *, within: str | None = None) -> Sequence[FileInfo]:
        """See ``Transport.list``. There are no links."""
        with self._lock:
            entry = self._entry(path)
            if entry is None or entry.data is not None:
                raise FileNotFoundError(path)
            at = _absolute(path)
            return [
                _info(name, self._entries[name]) for name in sorted(self._entries) if name != at and dirname(name) == at
            ]

    def stat(self, path: str) -> FileInfo | None:
        """See ``Transport.stat``."""
        entry = self._entry(path)
        return None if entry is None else _info(_absolute(path), entry)

    def mkdir(self, path: str, *, mode: int = 0o700, within: str | None = None) -> None:
        """See ``Transport.mkdir``."""
        at = _absolute(path)
        with self._lock:
            entry = self._entry(at)
            if entry is None:
                self.mkdir(dirname(at), mode=mode)
                self._entries[at] = _Entry(None, mode, self._clock())
            elif entry.data is not None:
                raise TransportError(f"{path} is a file", transient=False)

    def remove(self, path: str, *, within: str | None = None) -> None:
        """See ``Transport.remove``."""
        at = _absolute(path)
        with self._lock:
            for name in [name for name in self._entries if name == at or name.startswith(at.rstrip("/") + "/")]:
                del self._entries[name]

    def close(self) -> None:
        """See ``Transport.close``."""
        self.closed = True

    def _entry(self, path: str) -> _Entry | None:
        with self._lock:
            return self._entries.get(_absolute(path))


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a ``ScriptedTransport`` was asked to run."""

    argv: tuple[str, ...]
    stdin: bytes
    environment: Mapping[str, str]
    timeout_s: float


Answer = CommandResult | BaseException | Callable[[Command], CommandResult]


@dataclass(slots=True)
class _Script:
    prefix: tuple[str, ...]
    answers: list[Answer] = field(default_factory=list)


class ScriptedTransport(MemoryTransport):
    """Answers commands from a list, by how their argv begins.

    Example::

        transport = ScriptedTransport()
        transport.on("squeue", stdout="1 RUNNING")
        transport.on("squeue", stdout="1 COMPLETED")     # the second call; the last answer stays
        transport.on("sbatch", error=CommandTimeout("sbatch did not answer"))

    Attributes:
        commands: what was run, in order.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.commands: list[Command] = []
        self._scripts: list[_Script] = []

    def on(
        self,
        *prefix: str,
        stdout: str | bytes = b"",
        stderr: str | bytes = b"",
        exit_status: int = 0,
        error: BaseException | None = None,
        call: Callable[[Command], CommandResult] | None = None,
    ) -> None:
        """Adds an answer for commands whose argv begins with ``prefix``; the longest prefix wins.

        Args:
            prefix: the first words of argv.
            stdout: the answer's standard output.
            stderr: its standard error.
            exit_status: its exit status.
            error: raised instead.
            call: asked instead.
        """
        answer: Answer = error or call or CommandResult(exit_status, _bytes(stdout), _bytes(stderr))
        with self._lock:
            for script in self._scripts:
                if script.prefix == prefix:
                    script.answers.append(answer)
                    return
            self._scripts.append(_Script(prefix, [answer]))
            self._scripts.sort(key=lambda script: len(script.prefix), reverse=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        """Answers from the list.

        Raises:
            AssertionError: nothing was planned for this command.
        """
        command = Command(tuple(argv), stdin, dict(environment or {}), timeout_s)
        with self._lock:
            self.commands.append(command)
            answer = self._next(command.argv)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, CommandResult) else answer(command)

    def _next(self, argv: tuple[str, ...]) -> Answer:
        for script in self._scripts:
            if argv[: len(script.prefix)] == script.prefix:
                return script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        raise AssertionError(f"no answer was planned for {list(argv)}")


def _absolute(path: str) -> str:
    return normpath(_HOME + path[1:] if path.startswith("~/") or path == "~" else path)


def _info(path: str, entry: _Entry) -> FileInfo:
    return FileInfo(
        name=basename(path),
        size=len(entry.data or b""),
        modified_at=entry.modified_at,
        is_dir=entry.data is None,
        mode=entry.mode,
    )


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
