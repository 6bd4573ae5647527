"""What goes wrong, in Rimrock's shape: always the same six keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from flask import Response

from hpcgate.server.errors import Problem

#: Its statuses where they are not ours: whatever happens at a site is 500, or 408 where it took too long.
STATUSES: Final[Mapping[int, int]] = {400: 422, 401: 403, 409: 500, 501: 500, 502: 500, 503: 500, 504: 408}
#: Its names of fields.
_FIELDS: Final[Mapping[str, str]] = {"site": "host", "tags": "tag"}
#: Headers that speak of another kind of credential.
_LEFT_OUT: Final = ("WWW-Authenticate",)


def render(problem: Problem) -> Response:
    """The answer to everything that goes wrong."""
    status = STATUSES.get(problem.status, problem.status)
    fields = [(_FIELDS.get(each.field, each.field), each.message) for each in problem.errors]
    message = "; ".join(f"{field}: {text}" for field, text in fields) or problem.detail
    if fields and all(field == "host" and "there is no" in text for field, text in fields):
        status = 500  # an unknown host: as Rimrock has it, a failure there and not a mistake here
    if status == 408 and not message.startswith("timeout"):
        message = f"timeout: {message}"
    refused = problem.code == "job_rejected"
    headers = {name: value for name, value in problem.headers.items() if name not in _LEFT_OUT}
    return answer(
        status,
        message,
        exit_code=1 if refused else 0 if status == 404 else -1,
        error_output=message if refused else "",
        headers=headers,
    )


def answer(
    status: int,
    message: str,
    *,
    exit_code: int = -1,
    standard_output: str = "",
    error_output: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as it goes out."""
    body = {
        "status": "ERROR",
        "exit_code": exit_code,
        "standard_output": standard_output,
        "error_output": error_output,
        "error_message": message,
        "tag": None,
    }
    return Response(json.dumps(body, ensure_ascii=False), status, dict(headers or {}), content_type="application/json")
