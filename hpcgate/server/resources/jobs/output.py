"""Routes of what jobs write: their output streams and their files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import marshmallow as ma
from flask import Response, request

from hpcgate.model.files import FileChunk
from hpcgate.model.principal import Principal
from hpcgate.server.byteranges import range_response, wanted_range, whole_characters
from hpcgate.server.context import gateway, serving
from hpcgate.server.follow import LogFollower
from hpcgate.server.paging import list_to_wire, page_schema
from hpcgate.server.resources.common import JOB, MAX_INT, flag, integer, text, time
from hpcgate.server.smorest import Blueprint, Schema, reply
from hpcgate.server.sse import last_event_id, stream_response
from hpcgate.service.files import FileService, FolderNotFile
from hpcgate.service.wire import file_to_wire

blp = Blueprint("output", __name__, description="What jobs write.")

_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_RANGE: Final = {
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


class FileSchema(Schema):
    """A file or folder."""

    name = text("its name, without the folder")
    size = integer("bytes")
    modified_at = time("when it last changed, by the site's clock")
    is_dir = flag("whether it is a folder")
    is_link = flag("whether it is a symbolic link; links are not followed")


def _output_route(view: Any) -> Any:
    """What is the same for both streams."""
    for decorate in (
        blp.header(_RANGE),
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
    to go on), then one `end` message with the job as it ended. `stale` messages tell of a site that does not answer.
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


@blp.route(f"/jobs/{JOB}/files")
@blp.login
@blp.response(200, page_schema(FileSchema))
@blp.problems(404, 409, 502, 504)
def list_files(principal: Principal, job_id: int) -> Response:
    """List the job's work folder."""
    return _listing(principal, job_id, "")


def _listing(principal: Principal, job_id: int, path: str) -> Response:
    return reply(list_to_wire(map(file_to_wire, gateway().files.list(principal, job_id, path))))


@blp.route(f"/jobs/{JOB}/files/<path:path>")
@blp.login
@blp.response(200, {"type": "string", "format": "binary"}, content_type=_BYTES)
@blp.alt_response(206, schema={"type": "string", "format": "binary"}, content_type=_BYTES, success=True)
@blp.alt_response(200, schema=page_schema(FileSchema), description="The path names a folder.", success=True)
@blp.problems(404, 409, 416, 422, 502, 504)
@blp.header(_RANGE)
def read_file(principal: Principal, job_id: int, path: str) -> Response:
    """Download a file, or list a folder."""
    read = partial(_read_file, gateway().files, principal, job_id, path)
    wanted = wanted_range(request)
    try:
        response = range_response(partial(_suffix_aware, read), wanted, _BYTES) if wanted else _whole_file(read)
    except FolderNotFile:
        return _listing(principal, job_id, path)
    response.headers["Content-Disposition"] = _attachment(path.rpartition("/")[2])
    response.headers["Accept-Ranges"] = "bytes"
    return response


def _attachment(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _read_file(
    files: FileService, principal: Principal, job_id: int, path: str, offset: int, length: int | None
) -> FileChunk:
    # The service is handed in: a file that is sent in parts is read when the request's context is gone.
    return files.read(principal, job_id, path, offset=offset, length=length)


def _suffix_aware(read: Any, offset: int, length: int | None) -> FileChunk:
    if offset < 0:
        offset = max(0, read(0, 0).size + offset)
    chunk: FileChunk = read(offset, length)
    return chunk


def _whole_file(read: Any) -> Response:
    first: FileChunk = read(0, None)
    response = Response(_chunks(read, first), content_type=_BYTES)
    response.content_length = first.size
    return response


def _chunks(read: Any, chunk: FileChunk) -> Iterator[bytes]:
    """The file as long as it was at first; the length has been promised."""
    size = chunk.size
    while chunk.data and chunk.offset < size:
        yield chunk.data[: size - chunk.offset]
        offset = chunk.offset + len(chunk.data)
        if offset >= size:
            return
        chunk = read(offset, None)
