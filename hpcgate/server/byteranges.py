"""Parts of output and files: downloads, Range requests, and text that is cut between characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from flask import Request, Response

from hpcgate.model.files import FileChunk
from hpcgate.server.errors import RangeNotSatisfiable

#: Reads ``length`` bytes from ``offset`` on; a negative offset counts from the end, no length = as many as allowed.
Read = Callable[[int, int | None], FileChunk]
BYTES: Final = "application/octet-stream"
#: Where the last byte of a file could be.
_MAX_OFFSET: Final = 2**63 - 1
#: First bytes of UTF-8 characters from here on -> how long these are; from 0xF8 on there are none.
_LEADS: Final = ((0xF8, 1), (0xF0, 4), (0xE0, 3), (0xC0, 2))


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range of a Range header.

    Args:
        offset: first byte; negative = so many from the end.
        length: how many; ``None`` = up to the end.
    """

    offset: int
    length: int | None


def wanted_range(request: Request) -> ByteRange | None:
    """The range that a request asks for.

    ``None`` = everything: there is no Range header, or one that may be ignored (other units, several ranges, or bound
    to a validator, which what still grows does not have).
    """
    found = request.range
    if found is None or found.units != "bytes" or len(found.ranges) != 1 or "If-Range" in request.headers:
        return None
    begin, end = found.ranges[0]
    if begin > _MAX_OFFSET:
        # Behind the end of whatever it is; no file can be asked for more.
        return ByteRange(_MAX_OFFSET, None)
    return ByteRange(begin, None if end is None else end - begin)


def range_response(read: Read, wanted: ByteRange, content_type: str) -> Response:
    """206 with (at least the beginning of) a range. The bytes are exact, also inside a character.

    Raises:
        RangeNotSatisfiable: it begins behind the end.
    """
    chunk = read(wanted.offset, wanted.length)
    if not chunk.data:
        raise RangeNotSatisfiable(chunk.size)
    response = Response(chunk.data, 206, content_type=content_type)
    last = chunk.offset + len(chunk.data) - 1
    response.headers["Content-Range"] = f"bytes {chunk.offset}-{last}/{max(chunk.size, last + 1)}"
    return response


def download(read: Read, request: Request, name: str) -> Response:
    """A file as bytes, or the range of it that a request asks for.

    Args:
        read: a part of the file. It is called until the last part is sent, when the request's context is gone.
        request: may have a Range.
        name: under which a browser keeps it.

    Raises:
        RangeNotSatisfiable: a range begins behind the end.
    """
    wanted = wanted_range(request)
    response = range_response(_counted_from_the_end(read), wanted, BYTES) if wanted else _whole(read)
    response.headers["Content-Disposition"] = attachment(name)
    response.headers["Accept-Ranges"] = "bytes"
    return response


def attachment(name: str) -> str:
    """The Content-Disposition of a file that is to be kept under a name, whatever characters are in it."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


def _counted_from_the_end(read: Read) -> Read:
    def from_the_end(offset: int, length: int | None) -> FileChunk:
        return read(max(0, read(0, 0).size + offset) if offset < 0 else offset, length)

    return from_the_end


def _whole(read: Read) -> Response:
    first = read(0, None)
    response = Response(_chunks(read, first), content_type=BYTES)
    response.content_length = first.size
    return response


def _chunks(read: Read, chunk: FileChunk) -> Iterator[bytes]:
    """The file as long as it was at first; the length has been promised."""
    size = chunk.size
    while chunk.data and chunk.offset < size:
        yield chunk.data[: size - chunk.offset]
        offset = chunk.offset + len(chunk.data)
        if offset >= size:
            return
        chunk = read(offset, None)


def whole_characters(data: bytes) -> bytes:
    """``data`` without the beginning of a UTF-8 character at its end; unchanged where nothing else is in it."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue  # inside a character: its first byte tells how long it is
        length = next((size for first, size in _LEADS if byte >= first), 1)
        return data[:-back] or data if length > back else data
    return data
