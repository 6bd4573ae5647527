"""What goes wrong, in the words of the API: a text as JSON, or an object with ``detail`` where it is about who asks."""

from __future__ import annotations

import json
from typing import Any, Final

from flask import Response

from hpcgate.server.errors import Problem

#: Statuses by the code of the problem, where they are not those of HTTP.
BY_CODE: Final = {
    "unauthenticated": 403,  # pages test for it
    "quota_exceeded": 401,
}
#: Statuses that the API does not have.
BY_STATUS: Final = {409: 400, 422: 400, 501: 400}
#: Our names of fields -> theirs.
FIELDS: Final = {
    "name": "title",
    "args": "command",
    "resources": "core_number",
    "resources.nodes": "node_number",
    "resources.cpus_per_node": "core_number",
    "resources.walltime_s": "runtime",
    "staging.inputs": "file",
    "staging.inputs.path": "file",
}
#: In the document of the API.
SCHEMA: Final = {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"detail": {"type": "string"}}}]}

_OF_WHOM: Final = {
    "time": "Quota not enough! {left} s left, {asked} s asked for",
    "space": "Quota not enough! {left} KB left, {asked} KB asked for",
    "total_time": "Quota not enough! The project has {left} s left, {asked} s asked for",
    "total_space": "Quota not enough! The project has {left} KB left, {asked} KB asked for",
}


def render(problem: Problem) -> Response:
    """The answer to everything that goes wrong."""
    status = BY_CODE.get(problem.code) or BY_STATUS.get(problem.status, problem.status)
    said = text_of(problem)
    body: Any = {"detail": said} if status == 403 else said
    headers = {name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"}
    return Response(json.dumps(body, ensure_ascii=False), status, headers, content_type="application/json")


def text_of(problem: Problem) -> str:
    """One short text: clients show it as it is."""
    if problem.quota is not None:
        return _OF_WHOM[problem.quota["quota"]].format_map(problem.quota)
    if problem.errors:
        return "; ".join(f"{FIELDS.get(each.field, each.field)}: {each.message}" for each in problem.errors)
    return problem.detail
