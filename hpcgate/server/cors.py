"""Pages of other origins in a browser: which of them may use the APIs.

Credentials are bearer tokens, which a page sends on purpose; nothing here is ever allowed to send cookies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from werkzeug.datastructures import Headers

_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS: Final = (
    "Authorization, Content-Type, Accept, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Range, X-Request-ID"
)
#: What a page may read beside the headers that every page may.
_EXPOSED: Final = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Link, Location, RateLimit, RateLimit-Policy, "
    "Retry-After, WWW-Authenticate, X-Request-ID"
)
#: How long a browser need not ask again, seconds.
_MAX_AGE_S: Final = 600


class Origins:
    """The origins whose pages may read answers.

    Args:
        allowed: each exactly as a browser sends it.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    def preflight(self, environ: Mapping[str, Any]) -> Headers | None:
        """The answer (204) to a browser that asks before it sends; ``None`` = this is no such question from there."""
        asks = environ.get("REQUEST_METHOD") == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        if not asks or environ.get("HTTP_ORIGIN") not in self._allowed:
            return None
        headers = Headers()
        headers["Access-Control-Allow-Methods"] = _METHODS
        headers["Access-Control-Allow-Headers"] = _HEADERS
        headers["Access-Control-Max-Age"] = str(_MAX_AGE_S)
        return headers

    def allow(self, environ: Mapping[str, Any], headers: Headers) -> None:
        """Lets a page of an allowed origin read the answer."""
        if not self._allowed:
            return
        # The answer differs by origin: no cache may give one origin's to another.
        headers.add("Vary", "Origin")
        origin = environ.get("HTTP_ORIGIN")
        if origin in self._allowed:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED
