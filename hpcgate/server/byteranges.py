"""Parts of output and files: Range requests, and text that is cut between characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flask import Request, Response

from hpcgate.model.files import FileChunk
from hpcgate.server.errors import RangeNotSatisfiable

#: Reads ``length`` bytes from ``offset`` on; a negative offset counts from the end, no length = as many as allowed.
Read = Callable[[int, int | None], FileChunk]
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


def whole_characters(data: bytes) -> bytes:
    """``data`` without the beginning of a UTF-8 character at its end; unchanged where nothing else is in it."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue  # inside a character: its first byte tells how long it is
        length = next((size for first, size in _LEADS if byte >= first), 1)
        return data[:-back] or data if length > back else data
    return data
