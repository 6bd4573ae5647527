"""Server-sent events: frames, and the response that carries them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Final

from flask import Request, Response

from hpcgate.errors import InvalidSpec
from hpcgate.model.codec import event_to_wire
from hpcgate.model.job import Event
from hpcgate.server.auth import Recheck
from hpcgate.server.streams import EventHub, Subscription

#: A comment goes out at least this often, so that proxies and clients see that the connection lives, seconds.
KEEPALIVE_S: Final = 15.0
RECHECK_S: Final = 60.0
#: A client that takes nothing for so long is gone, seconds.
STALLED_S: Final = 30.0
KEEPALIVE: Final = b": keep-alive\n\n"
#: Sent first, so that the client has an answer at once and knows how soon to come back, ms.
HELLO: Final = b"retry: 1000\n: connected\n\n"
MAX_SEQ: Final = 2**63 - 1
_DIGITS: Final = len(str(MAX_SEQ))


def frame(event: str, data: Any, ident: int | None = None) -> bytes:
    """One message; ``data`` is sent as JSON on one line."""
    head = f"id: {ident}\n" if ident is not None else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def last_event_id(request: Request) -> int | None:
    """The number in ``Last-Event-ID``; ``None`` without it.

    Raises:
        InvalidSpec: it is no number that this server gave out.
    """
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) <= MAX_SEQ):
        raise InvalidSpec.of("Last-Event-ID", f"{text[:80]!r} is not the id of an event")
    return int(text)


def event_frames(hub: EventHub, subscription: Subscription, after: int, recheck: Recheck) -> Iterator[bytes]:
    """The frames of an event stream, until it is stopped, cut, or its token ends."""
    yield HELLO
    checked = time.monotonic()
    for event in hub.follow(subscription, after, KEEPALIVE_S):
        yield KEEPALIVE if event is None else event_frame(event)
        if time.monotonic() - checked > RECHECK_S:
            checked = time.monotonic()
            good = recheck.still_good()
            hub.release()
            if not good:
                return


def event_frame(event: Event) -> bytes:
    """An event of the gateway as a message."""
    return frame(event.type, event_to_wire(event), event.seq)


def stream_response(request: Request, frames: Iterator[bytes], subscription: Subscription) -> Response:
    """A response that sends ``frames`` as they come and gives the subscription back at its end.

    Proxies are told not to buffer. A client that stops reading is dropped: its thread must not wait for ever.
    """
    socket = request.environ.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(STALLED_S)
    response = Response(frames, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(subscription.close)
    return response
