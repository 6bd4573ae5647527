"""The eight verbs that every transport has. Paths are absolute or begin with ``~/`` (the account's home).

A transport never interprets: argv is a list, output is bytes, a non-zero exit status is an answer and not an
error. ``TransportError`` means that there was no answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from hpcgate.model.files import FileChunk, FileInfo

DEFAULT_TIMEOUT_S: Final = 60.0
DEFAULT_MAX_OUTPUT: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command answered.

    Args:
        exit_status: its exit status; negative = minus the signal that ended it.
        stdout, stderr: what it printed.
    """

    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def err(self) -> str:
        """Standard error as text; bytes that are no UTF-8 are replaced."""
        return self.stderr.decode("utf-8", "replace")


class Transport(ABC):
    """An open way to one account at one site. Thread-safe; closed by whoever opened it."""

    @abstractmethod
    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        """Runs a command and waits for it.

        Args:
            argv: program and arguments; no shell looks at them.
            stdin: what it reads.
            environment: added to the account's environment.
            timeout_s: after which the command is ended.
            max_output: bytes of stdout and stderr together.

        Raises:
            CommandTimeout: it ran too long; whether it took effect is not known.
            OutputTooLarge: it printed more than ``max_output``.
            TransportError: it could not be started, or the connection broke.
        """

    @abstractmethod
    def read(self, path: str, *, offset: int = 0, length: int | None = None, within: str | None = None) -> FileChunk:
        """Reads a part of a file; past the end gives empty data.

        Args:
            path: of the file.
            offset: first byte.
            length: most bytes; ``None`` = all there are.
            within: a folder above the file. From there on no link is followed, also not one that is put there at this
                very moment; nor is the folder itself.

        Raises:
            FileNotFoundError: there is no such file.
            TransportError: it could not be read.
        """

    @abstractmethod
    def write(self, path: str, data: bytes, *, mode: int = 0o600, within: str | None = None) -> None:
        """Writes a file atomically: a reader sees the old content or the new, never a part.

        A link at ``path`` is replaced, not followed. ``within`` is as for ``read``.

        Raises:
            TransportError: it could not be written; the old content stands.
        """

    @abstractmethod
    def list(self, path: str, *, within: str | None = None) -> Sequence[FileInfo]:
        """What is in a folder, by name. ``within`` is as for ``read``.

        Raises:
            FileNotFoundError: there is no such folder.
            TransportError: it could not be listed.
        """

    @abstractmethod
    def stat(self, path: str) -> FileInfo | None:
        """What stands at a path, links not followed; ``None`` = nothing.

        Raises:
            TransportError: it could not be looked at.
        """

    @abstractmethod
    def mkdir(self, path: str, *, mode: int = 0o700, within: str | None = None) -> None:
        """Makes a folder and those above it; one that is there already is left as it is.

        ``within`` is as for ``read``, and is not made.

        Raises:
            TransportError: it could not be made.
        """

    @abstractmethod
    def remove(self, path: str, *, within: str | None = None) -> None:
        """Removes a file, or a folder with all that is in it, links not followed. Nothing there is fine.

        ``within`` is as for ``read``.

        Raises:
            TransportError: it could not be removed.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives back what the transport holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
