"""Where the next part of a list begins, as text that means nothing to who hands it back."""

from __future__ import annotations

import base64

from hpcgate.errors import InvalidSpec


def to_cursor(kind: str, *place: str | int) -> str:
    """A cursor.

    Args:
        kind: of the list.
        place: what tells the last item of a part from all others.
    """
    text = ":".join((kind, *map(str, place)))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str, kind: str) -> str:
    """The place in a cursor, its parts with colons between them.

    Raises:
        InvalidSpec: the cursor is none of this kind of list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found, _, place = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(":")
    except ValueError:  # binascii.Error and UnicodeError are such
        found = place = ""
    if found != kind:
        raise _no_cursor(cursor)
    return place


def numbers_of(cursor: str, kind: str, count: int) -> tuple[int, ...]:
    """The place in a cursor where that is so many whole numbers from 0 on, each below 10^18.

    Raises:
        InvalidSpec: the cursor is none of this kind of list.
    """
    parts = place_of(cursor, kind).split(":")
    if len(parts) != count or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        raise _no_cursor(cursor)
    return tuple(map(int, parts))


def _no_cursor(cursor: str) -> InvalidSpec:
    """What is said of text that is no cursor of a list."""
    message = f"{cursor[:64]!r} is no cursor; give next_cursor of the part before, or leave it out"
    return InvalidSpec.of("cursor", message)
