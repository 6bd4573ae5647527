"""Answers to what is no HTTP request that an application could get: problems, like every other error."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    UnsupportedTransferCoding,
)

from hpcgate.server.errors import PROBLEM_JSON, Problem

#: Exceptions of gunicorn's parser -> status, code and what the client is told; everything else in it is a 400.
_KNOWN: Final = {
    LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "uri_too_long", "the request line is too long"),
    LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        "the request has too many headers, or too long ones",
    ),
    ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "this Expect is not supported"),
    UnsupportedTransferCoding: (
        HTTPStatus.NOT_IMPLEMENTED,
        "not_supported",
        "this Transfer-Encoding is not supported; known is: chunked",
    ),
}
_MALFORMED: Final = (HTTPStatus.BAD_REQUEST, "bad_request", "this is no well-formed HTTP request")


def refusal(error: Exception) -> bytes:
    """The whole answer to a request that could not be parsed, after which the connection ends.

    What the client sent is not repeated: it may be anything.
    """
    status, code, detail = _KNOWN.get(type(error), _MALFORMED)
    problem = Problem(status=status, code=code, title=status.phrase, detail=detail)
    body = json.dumps(problem.to_wire()).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        f"Content-Type: {PROBLEM_JSON}",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "",
        "",
    )
    return "\r\n".join(head).encode("ascii") + body
