"""The WSGI front: which application answers, and what is the same for all of them.

Applications are found by Host first, then by the longest prefix; everything else is the native one. What every answer
has (a request id, safe headers, a line in the access log) and what every request must give back is done here once,
so that no dialect can forget it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Response
from werkzeug.datastructures import Headers
from werkzeug.wsgi import ClosingIterator

from hpcgate.server.auth import DIALECT
from hpcgate.server.context import Serving
from hpcgate.server.cors import API_HEADERS, NO_CORS, Cors
from hpcgate.server.errors import CODE, Problem, problem_of
from hpcgate.server.peer import Proxies
from hpcgate.server.rates import RATE
from hpcgate.service.audit import AuditRecord, without_tokens
from hpcgate.service.logs import request_id_from
from hpcgate.service.trail import TRAIL, Trail

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)
_access = logging.getLogger("hpcgate.access")

#: Where an application leaves the rule that matched, so that metrics do not grow with the paths that were asked for.
ROUTE: Final = "hpcgate.route"

#: Routes by which nobody learns or changes anything that is somebody's.
_UNRECORDED: Final = ("/health/", "/docs", "/api/v1/openapi.json")
_REFUSED: Final = frozenset({401, 403, 429})
_DEFAULT_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ("Cache-Control", "no-store"),
)


@dataclass(frozen=True, slots=True)
class Mount:
    """An application and where it is seen.

    Args:
        name: for log and metrics.
        app: the application.
        prefix: path below which it is seen; ``""`` = the root.
        hosts: lower-case Host names, with or without port, whose requests see it at the root.
        render: makes the answer to what goes wrong before the application has the request.
        merge_slashes: whether ``//`` in a path means ``/``.
        cors: whose pages may call it.
    """

    name: str
    app: Flask
    prefix: str = ""
    hosts: frozenset[str] = frozenset()
    render: Callable[[Problem], Response] = Problem.response
    merge_slashes: bool = False
    cors: Cors = field(default=NO_CORS)


class Front:
    """The server's WSGI callable.

    Args:
        native: the native application.
        dialects: the others.
        serving: what they share.
        proxies: whose forwarding headers are believed.
    """

    def __init__(self, native: Flask, dialects: Sequence[Mount], serving: Serving, proxies: Proxies) -> None:
        self.serving = serving
        origins = serving.gateway.config.server.cors_origins
        self._native = Mount("native", native, cors=Cors(frozenset(origins), API_HEADERS))
        self._by_prefix = sorted(dialects, key=lambda mount: len(mount.prefix), reverse=True)
        self._by_host = {host: mount for mount in dialects for host in mount.hosts}
        self._proxies = proxies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handles one request."""
        exchange = _Exchange(environ)
        TRAIL.set(exchange.trail)
        self._proxies.resolve(environ)
        mount = self._select(environ)
        if mount is not self._native:
            environ[DIALECT] = mount.name
        body = _answer(mount, environ, exchange.starting(start_response, mount.cors))
        return ClosingIterator(body, [lambda: self._finish(mount, exchange)])

    def stop(self) -> None:
        """Ends all streams. New ones are refused from now on."""
        self.serving.hub.stop()

    def _select(self, environ: WSGIEnvironment) -> Mount:
        host = environ.get("HTTP_HOST", "").lower()
        path = environ.get("PATH_INFO", "")
        mount, prefix = self._by_host.get(host) or self._by_host.get(_without_port(host)), ""
        if mount is None:
            below = (each for each in self._by_prefix if path == each.prefix or path.startswith(each.prefix + "/"))
            mount = next(below, self._native)
            prefix = mount.prefix
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
        path = path[len(prefix) :]
        environ["PATH_INFO"] = re.sub("//+", "/", path) if mount.merge_slashes else path
        return mount

    def _finish(self, mount: Mount, exchange: _Exchange) -> None:
        self.serving.gateway.release_thread()
        seconds = exchange.seconds()
        route = exchange.environ.get(ROUTE, "none")
        method = exchange.environ.get("REQUEST_METHOD", "")
        self.serving.metrics.observe(mount.name, method, route, exchange.status, seconds)
        _access.info("%s", exchange.line(mount.name, seconds), extra={"fields": exchange.fields(mount.name, seconds)})
        if route != "none" and not route.startswith(_UNRECORDED):
            self.serving.gateway.audit.write(exchange.record(mount.name, route, seconds))
        TRAIL.set(None)


def _answer(mount: Mount, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What the application says, in its own words also where it does not get as far as that."""
    if mount.cors.is_preflight(environ):
        return Response(status=204)(environ, start_response)
    try:
        return mount.app.wsgi_app(environ, start_response)
    except Exception as error:  # noqa: BLE001 - the last place where it can have the application's shape
        problem = problem_of(error)
    try:
        return mount.render(problem)(environ, start_response)
    except Exception:  # noqa: BLE001 - there is nobody left to tell
        _log.exception("%s cannot even say that something went wrong", mount.name)
        return Response(status=500)(environ, start_response)


class _Exchange:
    """One request and what is told of it. Queries are never logged: they may hold what is nobody's business."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.trail = Trail(request_id_from(environ.get("HTTP_X_REQUEST_ID")))
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self.path = without_tokens(path.encode("latin-1", "replace").decode("utf-8", "replace"))
        self.status = 0
        self._at = time.time()
        self._started = time.perf_counter()

    def starting(self, start_response: StartResponse, cors: Cors) -> StartResponse:
        """``start_response`` that adds the headers that every answer has."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            self.status = int(status[:3])
            complete = Headers(headers)
            complete["X-Request-ID"] = self.trail.request_id
            cors.add_to(complete, self.environ)
            if (rate := self.environ.get(RATE)) is not None:
                complete.update(rate.headers())
            for name, value in _DEFAULT_HEADERS:
                complete.setdefault(name, value)
            if self.environ["wsgi.url_scheme"] == "https":
                complete.setdefault("Strict-Transport-Security", "max-age=31536000")
            return start_response(status, complete.to_wsgi_list(), exc_info)

        return start

    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self._started

    def line(self, app: str, seconds: float) -> str:
        """Its line in the access log; what the client chose is quoted, so that it cannot forge another one."""
        who = ascii(self._who() or "-")
        remote = self.environ.get("REMOTE_ADDR", "-")
        method = self.environ.get("REQUEST_METHOD", "-")
        return f"{remote} {who} {method} {self.path!a} {self.status} {seconds * 1000:.1f}ms {app}"

    def fields(self, app: str, seconds: float) -> dict[str, Any]:
        """The same for programs."""
        return {
            "from": self.environ.get("REMOTE_ADDR"),
            "who": self._who(),
            "method": self.environ.get("REQUEST_METHOD"),
            "path": self.path,
            "status": self.status,
            "seconds": round(seconds, 4),
            "api": app,
        }

    def _who(self) -> str | None:
        trail = self.trail
        return trail.who if trail.delegate is None else f"{trail.who} by {trail.delegate}"

    def _result(self) -> str:
        if self.status < 400:
            return "done"
        return "refused" if self.trail.denied or self.status in _REFUSED else "failed"

    def record(self, app: str, route: str, seconds: float) -> AuditRecord:
        """Its line in the audit log."""
        method = self.environ.get("REQUEST_METHOD", "-")
        return AuditRecord(
            at=self._at,
            api=app,
            address=self.environ.get("REMOTE_ADDR", "-"),
            what=f"{method} {route}",
            trail=self.trail,
            reading=method in ("GET", "HEAD", "OPTIONS"),
            result=self._result(),
            path=self.path,
            status=self.status,
            code=self.environ.get(CODE),
            seconds=seconds,
        )


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdecimal() and name else host
