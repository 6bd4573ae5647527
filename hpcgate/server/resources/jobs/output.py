"""Routes of what jobs write to their output streams."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import marshmallow as ma
from flask import Response, request

from hpcgate.model.files import FileChunk
from hpcgate.model.principal import Principal
from hpcgate.server.byteranges import range_response, wanted_range, whole_characters
from hpcgate.server.context import gateway, serving
from hpcgate.server.follow import LogFollower
from hpcgate.server.resources.common import JOB, MAX_INT
from hpcgate.server.smorest import Blueprint, Schema
from hpcgate.server.sse import last_event_id, stream_response

blp = Blueprint("output", __name__, description="What jobs write.")

_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
RANGE: Final = {
    "name": "Range",
    "schema": {"type": "string"},
    "description": "`bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LAST`; one range. A long one is answered in part.",
}
_OFFSETS: Final = {
    name: {"schema": {"type": "integer"}, "description": description}
    for name, description in {
        "X-Offset": "where the answer begins, bytes",
        "X-Next-Offset": "the `offset` that goes on from here",
        "X-Size": "bytes written so far",
    }.items()
}


class OutputArgsSchema(Schema):
    """Which part of an output stream."""

    offset = ma.fields.Integer(
        validate=ma.validate.Range(-MAX_INT, MAX_INT),
        load_default=0,
        metadata={"description": "first byte; negative counts from the end"},
    )
    limit = ma.fields.Integer(
        validate=ma.validate.Range(1, MAX_INT),
        load_default=None,
        allow_none=False,
        metadata={"description": "most bytes; the server has a limit of its own"},
    )
    task = ma.fields.Integer(
        validate=ma.validate.Range(0, 2**31 - 1),
        load_default=None,
        allow_none=False,
        metadata={"description": "index of an array task"},
    )
    follow = ma.fields.Boolean(
        load_default=False, metadata={"description": "go on as a stream of server-sent events until the job ends"}
    )


def _output_route(view: Any) -> Any:
    """What is the same for both streams."""
    for decorate in (
        blp.header(RANGE),
        blp.problems(404, 409, 416, 502, 503, 504),
        blp.alt_response(206, schema={"type": "string"}, content_type="text/plain", success=True),
        blp.alt_response(200, schema={"type": "string"}, content_type="text/event-stream", success=True),
        blp.response(200, {"type": "string"}, content_type="text/plain", headers=_OFFSETS),
        blp.arguments(OutputArgsSchema, location="query"),
        blp.login,
    ):
        view = decorate(view)
    return view


@blp.route(f"/jobs/{JOB}/stdout")
@_output_route
def stdout(principal: Principal, args: dict[str, Any], job_id: int) -> Response:
    """Read or follow the standard output.

    With `follow`: `log` messages `{"offset", "text"}` whose id is the offset behind them (send it as `Last-Event-ID`
    to go on), then one `end` message with the job as it ended. `stale` messages tell of a site that does not answer,
    `truncated` ones of a file that became shorter: what follows is its beginning.
    """
    return _output(principal, args, job_id, "stdout")


@blp.route(f"/jobs/{JOB}/stderr")
@_output_route
def stderr(principal: Principal, args: dict[str, Any], job_id: int) -> Response:
    """Read or follow the standard error output; as `stdout`."""
    return _output(principal, args, job_id, "stderr")


def _output(principal: Principal, args: dict[str, Any], job_id: int, stream: str) -> Response:
    if args["follow"]:
        return _follow(principal, args, job_id, stream)
    read = partial(_read_output, principal, job_id, stream, args["task"])
    wanted = wanted_range(request)
    response = range_response(read, wanted, _TEXT) if wanted else _from_offset(principal, job_id, read, args)
    response.headers["Accept-Ranges"] = "bytes"
    return response


def _read_output(
    principal: Principal, job_id: int, stream: str, task: int | None, offset: int, length: int | None
) -> FileChunk:
    return gateway().jobs.output(principal, job_id, stream, offset=offset, length=length, task=task)


def _from_offset(principal: Principal, job_id: int, read: Any, args: dict[str, Any]) -> Response:
    chunk: FileChunk = read(args["offset"], args["limit"])
    data = whole_characters(chunk.data)
    at_the_end = chunk.offset + len(chunk.data) >= chunk.size
    if len(data) < len(chunk.data) and at_the_end and gateway().jobs.get(principal, job_id).state.final:
        data = chunk.data  # nothing will ever complete it
    response = Response(data, content_type=_TEXT)
    response.headers["X-Offset"] = str(chunk.offset)
    response.headers["X-Next-Offset"] = str(chunk.offset + len(data))
    response.headers["X-Size"] = str(chunk.size)
    return response


def _follow(principal: Principal, args: dict[str, Any], job_id: int, stream: str) -> Response:
    # A look first: what is wrong with the request is an answer with a status, not a message in a stream.
    _read_output(principal, job_id, stream, args["task"], 0, 0)
    resumed = last_event_id(request)
    hub = serving().hub
    subscription = hub.open(principal, job_id=job_id)
    follower = LogFollower(
        jobs=gateway().jobs,
        hub=hub,
        subscription=subscription,
        job_id=job_id,
        stream=stream,
        offset=args["offset"] if resumed is None else resumed,
        task=args["task"],
    )
    return stream_response(request, follower.frames(), subscription)
