"""A folder with the files of records: where they are, how they are written and read.

``version.txt``, ``CLUSTER/cluster.json`` and ``CLUSTER/JOB DIV 1000/JOB MOD 1000/START/meta.json``, as a ClusterCockpit
job archive has them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final

from hpcgate.errors import Conflict, HpcgateError, NotFound
from hpcgate.model.cluster import Cluster
from hpcgate.model.record import Record
from hpcgate.service.record_files import (
    CLUSTER,
    META,
    VERSION,
    cluster_file,
    may_be_at,
    meta_of,
    places_of,
    record_of,
    run_of,
)
from hpcgate.service.record_schemas import checker

_FOLDER: Final = re.compile(r"\w[\w.\-]*")
_VERSION_FILE: Final = "version.txt"
#: The versions of the layout that can be read.
_READABLE: Final = range(1, VERSION + 1)
#: The character 0 as JSON has it, unlike a backslash before ``u0000``.
_ZERO: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
#: A record is some KiB; one of thousands of nodes with its script a few MiB.
_MOST_BYTES: Final = 64 << 20


class Damaged(HpcgateError):
    """A file of an archive is not what it must be; the message names it."""

    code = "damaged_file"


class RecordArchive:
    """An archive of records.

    Args:
        root: its folder.
        durable: whether what was written is on the disk before ``write`` returns.
    """

    def __init__(self, root: Path, *, durable: bool = False) -> None:
        self.root = root
        self._durable = durable
        self._clusters: set[str] = set()
        self._known = False

    # --- writing

    def write(self, record: Record, clusters: Mapping[str, Cluster]) -> bool:
        """Writes a record, and what its cluster is where that is not there yet.

        Returns:
            Whether anything had to be written.

        Raises:
            Conflict: its files are of other records, its cluster can be no folder, or ``prepare`` fails.
            OSError: it cannot be written.
        """
        self.prepare()
        if not _FOLDER.fullmatch(record.cluster):
            raise Conflict(f"{record.cluster!r} can be no folder of an archive")
        self._describe(record.cluster, clusters.get(record.cluster))
        meta = meta_of(record)
        text = _text(meta)
        places = [self.root / place for place in places_of(record)]
        for path in places:
            there = _content(path)
            if there == text:
                return False
            if there is None or _run(there) in (None, run_of(meta)):
                self._replace(path, text)
                return True
        raise Conflict(f"{places[-1]} is of another record with the same cluster, number and start")

    def remove(self, record: Record) -> None:
        """Removes the file of a record; none is fine.

        Raises:
            OSError: it is there and cannot be removed.
        """
        meta = meta_of(record)
        for place in places_of(record):
            path = self.root / place
            if _run(_content(path) or b"") == run_of(meta):
                path.unlink()
                with suppress(OSError):  # measurements may be beside it
                    path.parent.rmdir()

    def prepare(self) -> None:
        """Makes the folder an archive where it is none.

        Raises:
            Conflict: there is something else, or an archive of a version that is not written any more.
            OSError: it cannot be written.
        """
        version = self.version()
        if version is None:
            if self._known:
                raise Conflict(f"{self.root} has lost its {_VERSION_FILE}: is its file system away?")
            # Its parent has to be there: else it is that which is away.
            self.root.mkdir(mode=0o750, exist_ok=True)
            if any(not each.name.startswith(".") for each in self.root.iterdir()):
                raise Conflict(f"{self.root} is not empty, and no archive: it has no {_VERSION_FILE}")
            self._replace(self.root / _VERSION_FILE, f"{VERSION}\n".encode())
        elif version != VERSION:
            raise Conflict(f"{self.root} is an archive of version {version}; {VERSION} is written here")
        self._known = True

    def _describe(self, name: str, cluster: Cluster | None) -> None:
        path = self.root / name / CLUSTER
        if name not in self._clusters and not path.exists():
            self._replace(path, _text(cluster_file(name, cluster)))
        self._clusters.add(name)

    def _replace(self, path: Path, content: bytes) -> None:
        """Writes a file so that a reader, or a crash, never finds a half of it."""
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            # Scripts of jobs are in it: nothing for everybody.
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
                file.write(content)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        if self._durable:
            self._settle(path.parent)

    def _settle(self, folder: Path) -> None:
        """Lets the names of new files and folders be on the disk too."""
        while True:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            if folder == self.root:
                return
            folder = folder.parent

    # --- reading

    def version(self) -> int | None:
        """The version of its layout; ``None`` = it says none.

        Raises:
            Damaged: what it says is no number.
        """
        path = self.root / _VERSION_FILE
        try:
            return int(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Damaged(f"{path}: is no number of a version") from error

    def check_readable(self) -> None:
        """Looks whether there is an archive that can be read.

        Raises:
            NotFound: there is none.
            Conflict: its layout is of a version that is not known.
            Damaged: it says none.
        """
        if not self.root.is_dir():
            raise NotFound(f"there is no archive {self.root}")
        version = self.version()
        if version is None:
            raise NotFound(f"{self.root} is no archive: it has no {_VERSION_FILE}")
        if version not in _READABLE:
            raise Conflict(f"{self.root} is an archive of version {version}; up to {VERSION} can be read")

    def clusters(self) -> Iterator[str]:
        """The names of its clusters."""
        return (each.name for each in _folders(self.root))

    def places(self) -> Iterator[Path]:
        """The ``meta.json`` of every job, whether it is there or not, sorted within each folder."""
        for cluster in _folders(self.root):
            for thousand in _folders(cluster):
                for rest in _folders(thousand):
                    for start in _folders(rest):
                        yield start / META

    def read(self, path: Path) -> Record:
        """One of ``places``.

        Raises:
            Damaged: it is not there, cannot be read, or is not what it must be.
        """
        return self.record(path, self.load(path))

    def load(self, path: Path) -> object:
        """What stands in one of ``places``, whatever it is.

        Raises:
            Damaged: it is not there, or is no JSON.
        """
        return _loaded(path)

    def record(self, path: Path, document: object) -> Record:
        """A record from what was loaded.

        Raises:
            Damaged: it is not what it must be.
        """
        meta = _checked(path, document, "meta")
        if not may_be_at(meta, PurePosixPath(path.relative_to(self.root))):
            raise Damaged(f"{path}: is of job {meta['jobId']} of {meta['cluster']}, begun at {meta['startTime']}")
        return record_of(meta)

    def read_cluster(self, name: str) -> Mapping[str, Any]:
        """What its ``cluster.json`` says of a cluster.

        Raises:
            Damaged: see ``read``.
        """
        path = self.root / name / CLUSTER
        document = _checked(path, _loaded(path), "cluster")
        if document["name"] != name:
            raise Damaged(f"{path}: is of a cluster {document['name']!r}")
        return document


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _run(text: bytes) -> tuple[int, int] | None:
    """Which run a file is of; ``None`` = it is damaged."""
    try:
        return run_of(json.loads(text))
    except (ValueError, TypeError, AttributeError):
        return None


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(each.path) for each in entries if each.is_dir() and not each.name.startswith("."))


def _loaded(path: Path) -> object:
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise Damaged(f"{path}: has {size} bytes; {_MOST_BYTES} are read")
        text = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
    try:
        document = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if b"\\u" in text:
            _check_letters(document)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: is no JSON: {error}") from error
    return document


def _checked(path: Path, document: object, kind: str) -> Mapping[str, Any]:
    wrong = checker(kind)(document)
    if wrong is not None:
        raise Damaged(f"{path}: {wrong}")
    assert isinstance(document, dict), "the schema says so"
    return document


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _check_letters(document: object) -> None:
    """Refuses what a database does not take as text."""
    letters = json.dumps(document, ensure_ascii=False)
    letters.encode()  # raises a ValueError for half a letter
    if _ZERO.search(letters):
        raise ValueError("a text has the character 0")
