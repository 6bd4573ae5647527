"""Where the next part of a list of records begins, as text that only the gateway reads."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from hpcgate.errors import InvalidSpec

_KIND: Final = "record"


def write(place: tuple[int, int]) -> str:
    """A cursor for what comes after a record, by when it began and its id."""
    started_at, id_ = place
    return base64.urlsafe_b64encode(f"{_KIND}:{started_at}:{id_}".encode()).decode().rstrip("=")


def read(cursor: str) -> tuple[int, int]:
    """Undoes ``write``.

    Raises:
        InvalidSpec: the cursor is none of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        kind, started_at, id_ = text.split(":")
        place = int(started_at), int(id_)
        if kind == _KIND and all(-(2**63) <= number < 2**63 for number in place):
            return place
    except (ValueError, binascii.Error):
        pass
    raise InvalidSpec.of("cursor", f"{cursor[:64]!r} is none; take next_cursor of the part before")
