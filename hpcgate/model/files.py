"""Where the parts of a job stand at its site: one private folder per job, named by its key."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import join


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Paths inside a job's folder. The user's files are below ``work`` alone; the rest is the gateway's.

    Args:
        root: absolute path of the folder, mode 0700.
    """

    root: str

    @classmethod
    def of(cls, work_root: str, key: str) -> JobFolder:
        """The folder of the job with ``key`` below a site's work root."""
        return cls(join(work_root, key))

    @property
    def work(self) -> str:
        """Where the job starts, and where its files are."""
        return join(self.root, "work")

    @property
    def script(self) -> str:
        """The user's script, verbatim."""
        return join(self.root, "script")

    @property
    def secrets(self) -> str:
        """Secret environment, mode 0600: ``NAME=VALUE`` records that end in NUL. Removed at the end."""
        return join(self.root, "secrets")

    @property
    def claim(self) -> str:
        """A folder that the first run of an attempt makes; whoever finds it made by another native id stops."""
        return join(self.root, "claim")

    def stdout(self, index: int | None = None) -> str:
        """Standard output of the job, or of one index of an array."""
        return join(self.root, "stdout" if index is None else f"stdout.{index}")

    def stderr(self, index: int | None = None) -> str:
        """Standard error of the job, or of one index of an array."""
        return join(self.root, "stderr" if index is None else f"stderr.{index}")

    def started(self, attempt: int, index: int | None = None) -> str:
        """Start record of an attempt: see ``scheduler.evidence``."""
        return join(self.root, f"start.{attempt}" + ("" if index is None else f".{index}"))

    def exit(self, attempt: int, index: int | None = None) -> str:
        """Exit record of an attempt: see ``scheduler.evidence``."""
        return join(self.root, f"exit.{attempt}" + ("" if index is None else f".{index}"))

    def tasks(self, attempt: int) -> str:
        """How far an attempt of a job with tasks has come: see ``scheduler.steps``."""
        return join(self.root, f"tasks.{attempt}")

    def stopped(self, attempt: int, index: int | None = None) -> str:
        """Record of an attempt that was ended from outside: only its scheduler knows why, so it proves no final."""
        return join(self.root, f"stopped.{attempt}" + ("" if index is None else f".{index}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A file or folder at a site.

    Args:
        size: bytes.
        modified_at: epoch seconds, by the site's clock.
        owner: numeric user id.
        mode: permission bits.
    """

    name: str
    size: int
    modified_at: float
    is_dir: bool = False
    is_link: bool = False
    owner: int = -1
    mode: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChunk:
    """A part of a file.

    Args:
        data: the bytes from ``offset`` on.
        offset: where they begin.
        size: of the whole file when it was read, bytes.
    """

    data: bytes
    offset: int
    size: int
