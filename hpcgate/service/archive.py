"""The files of a job as one ZIP archive, made while it is sent."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator, Sequence
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from hpcgate.config import LimitsTable
from hpcgate.errors import InvalidSpec, TransportError
from hpcgate.model.files import FileInfo
from hpcgate.transport.base import Transport

CHUNK_BYTES: Final = 1 << 20
#: Names what could not be read, so that nobody takes the rest for everything.
LEFT_OUT: Final = ".hpcgate-left-out.txt"
#: The years that the format knows.
_FIRST_S, _LAST_S = 315_532_800, 4_354_819_199


def zipped(transport: Transport, top: str, within: str, limits: LimitsTable) -> Iterator[bytes]:
    """A folder as an archive, in parts.

    Args:
        transport: to where the folder is.
        top: the folder.
        within: a folder above it, from which on no link is followed.
        limits: how much one archive may hold.

    Raises:
        InvalidSpec: there is more; nothing has been read of it then.
    """
    return _parts(transport, top, within, _walk(transport, top, within, limits))


def _walk(transport: Transport, top: str, within: str, limits: LimitsTable) -> Sequence[tuple[str, FileInfo]]:
    """All that is below a folder, with paths from there; links are left out."""
    found: list[tuple[str, FileInfo]] = []
    folders, size = [""], 0
    while folders:
        folder = folders.pop()
        try:
            entries = transport.list(f"{top}/{folder}".rstrip("/"), within=within)
        except FileNotFoundError:
            continue
        for info in entries:
            if info.is_link:
                continue
            found.append((folder + info.name, info))
            size += 0 if info.is_dir else info.size
            if info.is_dir:
                folders.append(f"{folder}{info.name}/")
        if len(found) > limits.max_archive_files or size > limits.max_archive_bytes:
            raise InvalidSpec.of(
                "archive",
                f"would hold more than {limits.max_archive_files} files or {limits.max_archive_bytes} bytes; "
                "ask for a folder, or for the files one by one",
            )
    return sorted(found, key=lambda each: each[0])


def _parts(transport: Transport, top: str, within: str, found: Sequence[tuple[str, FileInfo]]) -> Iterator[bytes]:
    sink, left_out = _Sink(), []
    with ZipFile(sink, "w", ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for path, info in found:
            if info.is_dir:
                archive.writestr(_entry(f"{path}/", info), b"")
                continue
            try:
                chunk = transport.read(f"{top}/{path}", length=min(CHUNK_BYTES, info.size), within=within)
            except (FileNotFoundError, TransportError) as error:
                if isinstance(error, TransportError) and error.transient:
                    raise
                left_out.append(path)
                continue
            with archive.open(_entry(path, info), "w", force_zip64=True) as file:
                read = 0
                # No more than it was when it was counted, however it grows.
                while chunk.data and read < info.size:
                    file.write(chunk.data)
                    read += len(chunk.data)
                    yield from sink.take()
                    if read < info.size:
                        wanted = min(CHUNK_BYTES, info.size - read)
                        chunk = transport.read(f"{top}/{path}", offset=read, length=wanted, within=within)
            yield from sink.take()
        if left_out:
            archive.writestr(LEFT_OUT, "These files could not be read:\n" + "".join(f"{path}\n" for path in left_out))
    yield from sink.take()


def _entry(path: str, info: FileInfo) -> ZipInfo:
    modified = time.gmtime(min(max(info.modified_at, _FIRST_S), _LAST_S))
    # A name may be any bytes at its site; in an archive it is text.
    name = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    entry = ZipInfo(name, modified[:6])
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = ((stat.S_IFDIR if info.is_dir else stat.S_IFREG) | info.mode) << 16
    return entry


class _Sink:
    """What the archive is written to: it is handed on, not kept."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Takes a part."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing behind it."""

    def take(self) -> Iterator[bytes]:
        """What has come since the last time."""
        parts, self._parts = self._parts, []
        if parts:
            yield b"".join(parts)
