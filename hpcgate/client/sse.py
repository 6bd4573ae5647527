"""Server-sent events: text lines to messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an event stream.

    Args:
        event: its type; ``message`` when the server names none.
        data: its text.
        id: the id to resume after; ``None`` when it has none of its own.
    """

    event: str
    data: str
    id: str | None


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Messages as the lines of a stream complete them; comments (heartbeats) and a cut last message are left out."""
    event, data, ident = "message", list[str](), None
    for line in lines:
        if not line:
            if data:
                yield Message(event, "\n".join(data), ident)
            event, data, ident = "message", [], None
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            ident = value
