"""Routes of the files in a job's work folder."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import marshmallow as ma
from flask import Response, request

from hpcgate.model.files import FileChunk
from hpcgate.model.principal import Principal
from hpcgate.server.bodies import raw_body
from hpcgate.server.byteranges import BYTES, attachment, download
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire, page_schema
from hpcgate.server.resources.common import JOB, flag, integer, text, time
from hpcgate.server.resources.jobs.output import RANGE
from hpcgate.server.smorest import Blueprint, Schema, empty, reply
from hpcgate.service.files import FileService, FolderNotFile
from hpcgate.service.wire import file_to_wire

blp = Blueprint("files", __name__, description="The files of a job.")

_ZIP: Final = "application/zip"
_BINARY: Final = {"type": "string", "format": "binary"}


class FileSchema(Schema):
    """A file or folder."""

    name = text("its name, without the folder")
    size = integer("bytes")
    modified_at = time("when it last changed, by the site's clock")
    is_dir = flag("whether it is a folder")
    is_link = flag("whether it is a symbolic link; links are not followed")


class FolderArgsSchema(Schema):
    """How a folder is wanted."""

    archive = ma.fields.String(
        validate=ma.validate.OneOf(["zip"]),
        load_default=None,
        allow_none=False,
        metadata={"description": "all that is in the folder as one archive, without links"},
    )


class PutArgsSchema(Schema):
    """How a file is made."""

    executable = ma.fields.Boolean(load_default=False, metadata={"description": "whether it gets the x bits"})


@blp.route(f"/jobs/{JOB}/files")
@blp.login
@blp.arguments(FolderArgsSchema, location="query")
@blp.response(200, page_schema(FileSchema))
@blp.alt_response(200, schema=_BINARY, content_type=_ZIP, description="With `archive`.", success=True)
@blp.problems(404, 409, 422, 502, 504)
def list_files(principal: Principal, args: dict[str, Any], job_id: int) -> Response:
    """List the job's work folder, or download all of it."""
    if args["archive"]:
        return _archive(principal, job_id, "")
    return _listing(principal, job_id, "")


def _archive(principal: Principal, job_id: int, path: str) -> Response:
    name = f"job-{job_id}" + (f"-{path.strip('/').rpartition('/')[2]}" if path else "")
    response = Response(gateway().files.archive(principal, job_id, path), content_type=_ZIP)
    response.headers["Content-Disposition"] = attachment(f"{name}.zip")
    return response


def _listing(principal: Principal, job_id: int, path: str) -> Response:
    return reply(list_to_wire(map(file_to_wire, gateway().files.list(principal, job_id, path))))


@blp.route(f"/jobs/{JOB}/files/<path:path>")
@blp.login
@blp.arguments(FolderArgsSchema, location="query")
@blp.response(200, _BINARY, content_type=BYTES)
@blp.alt_response(206, schema=_BINARY, content_type=BYTES, success=True)
@blp.alt_response(200, schema=page_schema(FileSchema), description="The path names a folder.", success=True)
@blp.alt_response(200, schema=_BINARY, content_type=_ZIP, description="With `archive`.", success=True)
@blp.problems(404, 409, 416, 422, 502, 504)
@blp.header(RANGE)
def read_file(principal: Principal, args: dict[str, Any], job_id: int, path: str) -> Response:
    """Download a file, or list a folder, or download all that is in it."""
    if args["archive"]:
        return _archive(principal, job_id, path)
    read = partial(_read_file, gateway().files, principal, job_id, path)
    try:
        return download(read, request, path.rpartition("/")[2])
    except FolderNotFile:
        return _listing(principal, job_id, path)


@blp.route(f"/jobs/{JOB}/files/<path:path>", methods=["PUT"])
@blp.login
@blp.arguments(PutArgsSchema, location="query")
@blp.response(200, FileSchema, description="It took the place of one that was there.")
@blp.alt_response(201, schema=FileSchema, description="It is new.", success=True)
@blp.problems(404, 409, 413, 422, 502, 504)
@blp.doc(requestBody={"required": True, "content": {BYTES: {"schema": _BINARY}}})
def put_file(principal: Principal, args: dict[str, Any], job_id: int, path: str) -> Response:
    """Upload a file while the job waits or runs; folders above it are made.

    Whoever reads it meanwhile sees the old file or the new one, never a part.
    """
    info, new = gateway().files.write(principal, job_id, path, raw_body(request), executable=args["executable"])
    return reply(file_to_wire(info), 201 if new else 200)


@blp.route(f"/jobs/{JOB}/files/<path:path>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409, 422, 502, 504)
def remove_file(principal: Principal, job_id: int, path: str) -> Response:
    """Remove a file, or a folder with all that is in it."""
    gateway().files.remove(principal, job_id, path)
    return empty()


def _read_file(
    files: FileService, principal: Principal, job_id: int, path: str, offset: int, length: int | None
) -> FileChunk:
    # The service is handed in: a file that is sent in parts is read when the request's context is gone.
    return files.read(principal, job_id, path, offset=offset, length=length)
