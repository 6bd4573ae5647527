"""Zips that come from outside: what is in them, without letting them out of their folder or fill the disk."""

from __future__ import annotations

import io
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from hpcgate.errors import InvalidSpec
from hpcgate.model.spec import MAX_INPUT_BYTES, InputFile

#: Each is written to the site by itself.
MAX_ENTRIES: Final = 2000
_DRIVE: Final = re.compile(r"[A-Za-z]:")
#: What the library says of bytes that are no archive, or a damaged or an encrypted one.
_DAMAGES: Final = (
    *(BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, OverflowError),
    *(struct.error, zlib.error),
)
#: What systems put beside the folder that was packed.
_LITTER: Final = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was in a zip.

    Args:
        top: its one folder.
        files: with paths that begin with it.
        folders: those without a file in them.
    """

    top: str
    files: tuple[InputFile, ...]
    folders: tuple[str, ...]


def require_zip(name: str, content: bytes) -> None:
    """Looks at nothing but whether it is one.

    Raises:
        InvalidSpec: it is none.
    """
    _open(name, content).close()


def unpack(name: str, content: bytes) -> Unpacked:
    """Unpacks a zip that holds one folder, in memory.

    Raises:
        InvalidSpec: it is no zip, holds links, leads out of its folder, or holds too much.
    """
    with _open(name, content) as archive:
        entries = [(info, path) for info in archive.infolist() if (path := _path(name, info)) is not None]
        top = _top(name, entries)
        _check_size(name, [info for info, _ in entries])
        files = tuple(_files(name, archive, entries))
    inhabited = {file.path.rpartition("/")[0] for file in files}
    folders = tuple(sorted({path for info, path in entries if info.is_dir()} - inhabited))
    return Unpacked(top, files, folders)


def _open(name: str, content: bytes) -> ZipFile:
    try:
        return ZipFile(io.BytesIO(content))
    except _DAMAGES as error:
        raise _bad(name, f"is no zip archive: {error}") from None


def _path(name: str, info: ZipInfo) -> str | None:
    """Where an entry goes; ``None`` = nowhere, it is litter."""
    path = info.orig_filename.removesuffix("/")
    steps = path.split("/")
    if steps[0] in _LITTER or steps[-1] in _LITTER:
        return None
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad(name, f"holds {path!r}, which is a link or a device; only files and folders are taken")
    if path.startswith("/") or "\\" in path or _DRIVE.match(path) or not {"", ".", ".."}.isdisjoint(steps):
        raise _bad(name, f"holds {path!r}, which leads out of its folder")
    if not path.isprintable():
        raise _bad(name, f"holds {path!r}, which is no name of a file")
    return path


def _top(name: str, entries: list[tuple[ZipInfo, str]]) -> str:
    tops = {path.partition("/")[0] for _, path in entries}
    if len(tops) != 1 or any("/" not in path and not info.is_dir() for info, path in entries):
        raise _bad(
            name,
            f"must hold one folder with everything in it; at its top are: {', '.join(sorted(tops)[:5]) or 'nothing'}",
        )
    return tops.pop()


def _check_size(name: str, infos: list[ZipInfo]) -> None:
    if len(infos) > MAX_ENTRIES:
        raise _bad(name, f"holds {len(infos)} entries; at most {MAX_ENTRIES} are taken")
    size = sum(info.file_size for info in infos)
    if size > MAX_INPUT_BYTES:
        raise _bad(name, f"holds {size} bytes when unpacked; at most {MAX_INPUT_BYTES} are taken")


def _files(name: str, archive: ZipFile, entries: list[tuple[ZipInfo, str]]) -> Iterator[InputFile]:
    seen: set[str] = set()
    for info, path in entries:
        if path in seen:
            raise _bad(name, f"holds {path!r} twice")
        seen.add(path)
        if not info.is_dir():
            mode = info.external_attr >> 16
            yield InputFile(path=path, content=_content(name, archive, info), executable=bool(mode & 0o111))


def _content(name: str, archive: ZipFile, info: ZipInfo) -> bytes:
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise _bad(name, f"is compressed in an unusual way: {info.orig_filename!r}; use deflate")
    try:
        with archive.open(info) as entry:
            # Never more than it claims, which is what was counted.
            content = entry.read(info.file_size)
    except _DAMAGES as error:
        raise _bad(name, f"cannot be unpacked: {info.orig_filename!r}: {error}") from None
    if len(content) != info.file_size:
        raise _bad(name, f"cannot be unpacked: {info.orig_filename!r} is shorter than it claims")
    return content


def _bad(name: str, message: str) -> InvalidSpec:
    return InvalidSpec.of("file", f"{name!r} {message}")
