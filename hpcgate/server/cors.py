"""Which pages of other origins a browser lets call an application (CORS), decided before the application is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.datastructures import Headers

#: How long a browser may remember the answer to its question, seconds.
MAX_AGE_S: Final = 600
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
#: What a page may read beside the headers that every page may.
_EXPOSED: Final = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Link, Location, RateLimit, RateLimit-Policy, "
    "Retry-After, WWW-Authenticate, X-Request-ID"
)
#: What a page may send to the native API.
API_HEADERS: Final = (
    *("Authorization", "Content-Type", "Accept", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"),
    *("Range", "X-Request-ID"),
)


@dataclass(frozen=True, slots=True)
class Cors:
    """The rule of one application. Cookies play no part: who asks is said by a token that the page itself sends.

    Args:
        origins: lower-case ones that are let in; ``*`` = all; none = there is no CORS.
        headers: request headers that their pages may send.
    """

    origins: frozenset[str]
    headers: tuple[str, ...]

    def is_preflight(self, environ: Mapping[str, Any]) -> bool:
        """Whether this is only a browser's question what it may send."""
        return (
            environ.get("REQUEST_METHOD") == "OPTIONS"
            and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
            and self._allows(environ)
        )

    def add_to(self, headers: Headers, environ: Mapping[str, Any]) -> None:
        """Adds to the headers of an answer what makes the browser hand it to the page."""
        if not self.origins:
            return
        if "*" not in self.origins:
            headers.add("Vary", "Origin")
        if not self._allows(environ):
            return
        headers["Access-Control-Allow-Origin"] = "*" if "*" in self.origins else environ["HTTP_ORIGIN"]
        headers["Access-Control-Expose-Headers"] = _EXPOSED
        # Else a browser hands nothing of another origin to a page that asked for isolation.
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if self.is_preflight(environ):
            headers["Access-Control-Allow-Methods"] = _METHODS
            headers["Access-Control-Allow-Headers"] = ", ".join(self.headers)
            headers["Access-Control-Max-Age"] = str(MAX_AGE_S)

    def _allows(self, environ: Mapping[str, Any]) -> bool:
        origin = environ.get("HTTP_ORIGIN", "").lower()
        return bool(origin) and ("*" in self.origins or origin in self.origins)


NO_CORS: Final = Cors(frozenset(), ())
