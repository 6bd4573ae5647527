"""HTTP with the manners that every call needs: token, time-outs, retries that are safe, errors as exceptions."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from hpcgate import __version__
from hpcgate.client.problem import error_of, not_json
from hpcgate.errors import ConfigError, TransportError

if TYPE_CHECKING:
    import httpx

API: Final = "/api/v1"
TRIES: Final = 4
FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 10.0
#: The server is there but cannot answer now. 502 and 504 are site errors when they come with a problem, and final.
_BUSY: Final = frozenset({429, 503})
_PROXY: Final = frozenset({502, 504})


class Http:
    """A connection pool to one server.

    Args:
        url: of the server, e.g. ``https://gate.example.org``.
        token: bearer token; ``None`` = none is sent.
        timeout_s: longest wait for an answer, seconds.
        pause: sleeps between two tries.

    Raises:
        ConfigError: the URL is none, or the token would go over plain HTTP to another machine.
    """

    def __init__(
        self, url: str, token: str | None, *, timeout_s: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        import httpx

        self.url = checked_url(url, with_token=token is not None)
        self.timeout_s = timeout_s
        self._pause = pause
        headers = {"User-Agent": f"hpcgate/{__version__}", "Accept": "application/json, application/problem+json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        parts = urlsplit(self.url)
        self._client = httpx.Client(
            base_url=self.url + API,
            headers=headers,
            timeout=timeout_s,
            # A proxy named in the environment is another machine: what is meant for this one never goes there.
            trust_env=not is_loopback(parts.hostname or ""),
            # Reading the certificates takes a tenth of a second. Plain HTTP has no use for them (redirects are errors).
            # What SSL_CERT_FILE names is believed on this machine, too.
            verify=httpx.create_ssl_context(trust_env=True) if parts.scheme == "https" else False,
        )

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Calls a route and returns its JSON (``None`` for an empty answer)."""
        response = self.send(
            method,
            path,
            params=params,
            body=body,
            content=content,
            idempotency_key=idempotency_key,
            timeout_s=timeout_s,
        )
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise not_json(response) from None

    def every(self, path: str, *, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page as they are consumed.

        Args:
            path: of the list.
            limit: most items in a page.
            params: of each request.
        """
        cursor: str | None = None
        while True:
            page = self.json("GET", path, params={**params, "cursor": cursor, "limit": limit})
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Calls a route, again when that is safe: a GET, a PUT, a POST with a key, and what surely was not sent.

        What is sent is ``body``, as JSON, or ``content`` as it is.

        Raises:
            HpcgateError: as ``client.problem`` maps the answer.
            TransportError: there was no answer.
        """
        request = self._client.build_request(
            method,
            path,
            params=_present(params),
            json=body,
            content=content,
            headers={**(headers or {}), **_told(content, idempotency_key)},
            timeout=timeout_s or self.timeout_s,
        )
        repeatable = method in ("GET", "PUT") or idempotency_key is not None
        for left in reversed(range(TRIES)):
            outcome = self._try(request)
            if left and _worth_another(outcome, repeatable):
                self._pause(_pause_s(outcome, TRIES - 1 - left))
                continue
            if isinstance(outcome, Exception):
                raise self.failure(outcome) from outcome
            if outcome.status_code >= 300:
                raise error_of(outcome)
            return outcome
        raise AssertionError("the last try returns or raises")

    def _try(self, request: httpx.Request) -> httpx.Response | httpx.HTTPError:
        import httpx

        try:
            return self._client.send(request)
        except httpx.HTTPError as error:
            return error

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        """An open answer, for event streams and large files. It is tried once.

        Args:
            path: below the API's prefix.
            params: query; ``None`` values are left out.
            headers: further ones.
            silence_s: longest time without a byte; the client's time-out when not given.
        """
        import httpx

        timeout = httpx.Timeout(self.timeout_s, read=silence_s or self.timeout_s)
        try:
            with self._client.stream(
                "GET", path, params=_present(params), headers=dict(headers or {}), timeout=timeout
            ) as response:
                if response.status_code >= 300:
                    response.read()
                    raise error_of(response)
                yield response
        except httpx.HTTPError as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> TransportError:
        """A failed connection as our error. It names the server; the request (and its token) stays out of it."""
        import httpx

        if isinstance(error, httpx.TimeoutException):
            return TransportError(f"{self.url} did not answer within {self.timeout_s:g} s")
        return TransportError(f"{self.url} cannot be reached: {str(error) or type(error).__name__}")


def checked_url(url: str, *, with_token: bool) -> str:
    """The server's URL without a trailing slash and without the API's prefix.

    Raises:
        ConfigError: it is no http(s) URL, or a token would travel in the clear to another machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"server URL {url!r}: must be like https://gate.example.org")
    if parts.username or parts.password:
        raise ConfigError("server URL: holds a user name or password; give a token instead")
    if with_token and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(
            f"server URL {url!r}: is plain HTTP to another machine and would show the token to everybody on the way; "
            "use https://"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/").removesuffix(API)


def is_loopback(host: str) -> bool:
    """Whether packets to ``host`` stay on this machine, going by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _told(content: bytes | None, idempotency_key: str | None) -> dict[str, str]:
    kind = {} if content is None else {"Content-Type": "application/octet-stream"}
    return kind if idempotency_key is None else {**kind, "Idempotency-Key": idempotency_key}


def _present(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None and value != []}


def _worth_another(outcome: httpx.Response | httpx.HTTPError, repeatable: bool) -> bool:
    import httpx

    if isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        return True
    if isinstance(outcome, httpx.HTTPError):
        return repeatable and isinstance(outcome, httpx.TransportError)
    if outcome.status_code in _BUSY:
        # Who is to come back later than one would wait here is told so at once.
        return repeatable and _told_s(outcome) <= MAX_PAUSE_S
    return (
        repeatable and outcome.status_code in _PROXY and "problem+json" not in outcome.headers.get("content-type", "")
    )


def _pause_s(outcome: httpx.Response | httpx.HTTPError, tries: int) -> float:
    pause: float = FIRST_PAUSE_S * 2**tries * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads load and guards nothing
    return min(max(pause, 0.0 if isinstance(outcome, Exception) else _told_s(outcome)), MAX_PAUSE_S)


def _told_s(answer: httpx.Response) -> float:
    """How long the server asks to wait, seconds."""
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdigit() else 0.0
