"""Errors as RFC 9457 problems: the one table from error classes to statuses, and the handlers that use it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from flask import Flask, Response, current_app, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from hpcgate import errors
from hpcgate.errors import FieldError, HpcgateError, InvalidSpec, SiteError

_log = logging.getLogger(__name__)

#: Where the front finds the code of a request's problem, for the audit log.
CODE: Final = "hpcgate.code"
PROBLEM_JSON: Final = "application/problem+json"
#: What ``Retry-After`` says where the same request may work later, seconds.
RETRY_AFTER_S: Final = 5


class MalformedBody(HpcgateError):
    """The request body is no JSON text."""

    code = "malformed_body"


class InsecureTransport(HpcgateError):
    """A token or password came over plain HTTP from another machine."""

    code = "insecure_transport"


class RateLimited(HpcgateError):
    """There were too many requests in the last minute.

    Args:
        retry_after_s: when there may be another one.
        rate: headers that tell of it.
    """

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int, rate: Mapping[str, str]) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.rate = rate


class TooManyStreams(HpcgateError):
    """As many streams are open as the server holds."""

    code = "too_many_streams"


class RangeNotSatisfiable(HpcgateError):
    """A Range begins behind the end.

    Args:
        size: of what was asked for, bytes.
    """

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the range begins behind the end; there are {size} bytes")
        self.size = size


#: Error class -> status. A class that is not named has the status of its nearest base.
STATUS: Final[Mapping[type[HpcgateError], int]] = {
    HpcgateError: 500,
    MalformedBody: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    InsecureTransport: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.JobRejected: 409,
    errors.EventsGone: 410,
    RangeNotSatisfiable: 416,
    errors.InvalidSpec: 422,
    errors.IdempotencyMismatch: 422,
    errors.TooManyTries: 429,
    RateLimited: 429,
    errors.NotSupported: 501,
    errors.SiteError: 502,
    errors.LeaseLost: 503,
    errors.SiteDrained: 503,
    errors.IssuerUnavailable: 503,
    errors.DatabaseUnavailable: 503,
    TooManyStreams: 503,
    errors.CommandTimeout: 504,
}

#: Status -> (code, title) for what no error class of ours stands behind.
_HTTP: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "Bad request"),
    401: ("unauthenticated", "Not authenticated"),
    403: ("forbidden", "Not allowed"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    406: ("not_acceptable", "Not acceptable"),
    409: ("conflict", "Conflict"),
    410: ("gone", "Gone"),
    413: ("body_too_large", "Request body too large"),
    414: ("uri_too_long", "URI too long"),
    415: ("unsupported_media_type", "Unsupported media type"),
    416: ("range_not_satisfiable", "Range not satisfiable"),
    422: ("invalid_spec", "Invalid request"),
    429: ("too_many_requests", "Too many requests"),
    500: ("internal_error", "Internal error"),
    501: ("not_supported", "Not supported"),
    502: ("site_error", "Site error"),
    503: ("unavailable", "Not available now"),
    504: ("site_timeout", "Site timed out"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, before it has a shape on the wire.

    Args:
        status: HTTP status.
        code: stable word for programs.
        title: the kind of problem, for people.
        detail: this occurrence of it, one sentence.
        errors: one entry per wrong field.
        transient: whether the same request may work later; ``None`` where that is no question.
        incident: the id under which the log has the rest.
        quota: which quota is short, and by how much.
        headers: further response headers.
    """

    status: int
    code: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    transient: bool | None = None
    incident: str | None = None
    quota: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """The members of the problem document."""
        wire: dict[str, Any] = {
            "type": f"urn:hpcgate:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            wire["errors"] = [{"field": each.field, "message": each.message} for each in self.errors]
        if self.transient is not None:
            wire["transient"] = self.transient
        if self.incident is not None:
            wire["incident"] = self.incident
        if self.quota is not None:
            wire["quota"] = dict(self.quota)
        return wire

    def response(self) -> Response:
        """The answer of the native API."""
        body = json.dumps(self.to_wire(), ensure_ascii=False)
        return Response(body, self.status, dict(self.headers), content_type=PROBLEM_JSON)


def status_of(error: HpcgateError) -> int:
    """The status of an error class or of its nearest base."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_of(error: Exception) -> Problem:
    """The problem that an exception stands for. One that nobody expected is logged, and told by its incident alone."""
    if isinstance(error, HpcgateError) and status_of(error) != 500:
        return _problem_of_ours(error)
    if isinstance(error, HTTPException):
        return _problem_of_http(error)
    if isinstance(error, ParseException):
        return _problem_of_ours(MalformedBody("the body does not come in well-formed chunks"))
    return _incident(error)


def _problem_of_ours(error: HpcgateError) -> Problem:
    status = status_of(error)
    transient = error.transient if isinstance(error, SiteError) else True if status == 503 else None
    headers = {"Retry-After": str(RETRY_AFTER_S)} if transient else {}
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="hpcgate"'
    if isinstance(error, (errors.TooManyTries, errors.SiteDrained)):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, RateLimited):
        headers |= {"Retry-After": str(error.retry_after_s), **error.rate}
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return Problem(
        status=status,
        code=error.code,
        title=_HTTP[status][1],
        detail=error.message,
        errors=error.errors if isinstance(error, InvalidSpec) else (),
        transient=transient,
        quota=_short(error) if isinstance(error, errors.QuotaExceeded) else None,
        headers=headers,
    )


def _short(error: errors.QuotaExceeded) -> dict[str, Any]:
    return {"project": error.project, "quota": error.quota, "asked": error.asked, "left": error.left}


def _problem_of_http(error: HTTPException) -> Problem:
    if isinstance(error, MethodNotAllowed) and not _goes_with_any(error.valid_methods or ()):
        error = NotFound()
    status = error.code or 500
    code, title = _HTTP.get(status, (error.name.lower().replace(" ", "_"), error.name))
    kept = ("allow", "retry-after", "content-range", "www-authenticate")
    headers = {name: value for name, value in error.get_headers() if name.lower() in kept}
    if status == 405:
        detail = f"this method does not go with this path; allowed are: {headers.get('Allow', 'none')}"
    elif status == 404:
        detail = "there is no such path"
    else:
        detail = error.description or title
    return Problem(status=status, code=code, title=title, detail=detail, headers=headers)


def _goes_with_any(methods: Iterable[str]) -> bool:
    """Whether the path of the request is one; werkzeug counts methods of rules whose numbers are out of range, too."""
    adapter = current_app.create_url_adapter(request)
    return adapter is None or any(adapter.test(method=method) for method in methods)


def _incident(error: Exception) -> Problem:
    incident = uuid4().hex[:12]
    _log.error("incident %s", incident, exc_info=error)
    code, title = _HTTP[500]
    detail = f"the gateway could not handle this; its log has incident {incident}"
    return Problem(status=500, code=code, title=title, detail=detail, incident=incident)


def register_errors(app: Flask, render: Callable[[Problem], Response]) -> None:
    """Gives everything that goes wrong in ``app`` one shape.

    Args:
        app: the native application or a dialect's.
        render: makes the answer.
    """

    def handle(error: Exception) -> Any:
        if isinstance(error, HTTPException) and (error.response is not None or (error.code or 500) < 400):
            return error  # a redirect, or an answer that somebody has made already
        problem = problem_of(error)
        request.environ[CODE] = problem.code
        return render(problem)

    for kind in (HTTPException, Exception):
        app.register_error_handler(kind, handle)
