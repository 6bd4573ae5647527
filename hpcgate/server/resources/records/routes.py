"""Routes of records."""

from __future__ import annotations

import time
from typing import Any

from flask import Response

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.principal import Principal
from hpcgate.model.record import KeepTagged, Record
from hpcgate.server.context import gateway
from hpcgate.server.paging import page_to_wire
from hpcgate.server.resources.jobs.filters import read_time
from hpcgate.server.resources.records.filters import RecordListArgsSchema, filter_from_args
from hpcgate.server.resources.records.schemas import (
    RECORD,
    DeleteArgsSchema,
    DeletedSchema,
    RecordPageSchema,
    RecordSchema,
    TagsSchema,
)
from hpcgate.server.smorest import Blueprint, empty, reply
from hpcgate.service.record_wire import record_to_wire, tag_from_wire

blp = Blueprint("records", __name__, description="Accounting: one record for each run of a job, also of others' jobs.")


@blp.route("/records")
@blp.login
@blp.arguments(RecordListArgsSchema, location="query")
@blp.response(200, RecordPageSchema)
def list_records(principal: Principal, args: dict[str, Any]) -> Response:
    """List the records that one may see, those of jobs that began last first."""
    wanted, records, now = filter_from_args(args), gateway().records, time.time()
    page = records.list(principal, wanted, cursor=args["cursor"], limit=args["limit"], details=args["details"])
    answer = page_to_wire(page, lambda record: record_to_wire(record, now, details=args["details"]))
    if args["count"]:
        answer["total"] = records.count(principal, wanted)
    return reply(answer)


@blp.route("/records", methods=["DELETE"])
@blp.login
@blp.arguments(DeleteArgsSchema, location="query")
@blp.response(200, DeletedSchema)
def delete_before(principal: Principal, args: dict[str, Any]) -> Response:
    """Delete the records of jobs that began before a moment, also of those that run. What was archived stays."""
    errors: list[FieldError] = []
    before = read_time(args["before"], errors, "before")
    if before is None or errors:
        raise InvalidSpec(errors)
    count = gateway().records.delete_before(
        principal, int(before), keep=KeepTagged(args["keep"]), dry_run=args["dry_run"]
    )
    return reply({"count": count})


@blp.route(f"/records/{RECORD}")
@blp.login
@blp.response(200, RecordSchema)
@blp.problems(404)
def get(principal: Principal, record_id: int) -> Response:
    """Show a record with its metadata and statistics."""
    return _shown(gateway().records.get(principal, record_id))


@blp.route(f"/records/{RECORD}", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404)
def delete(principal: Principal, record_id: int) -> Response:
    """Delete a record. What was archived of it stays."""
    gateway().records.delete(principal, record_id)
    return empty()


@blp.route(f"/records/{RECORD}/tags", methods=["POST"])
@blp.login
@blp.arguments(TagsSchema)
@blp.response(200, RecordSchema)
@blp.problems(404)
def tag(principal: Principal, wanted: dict[str, Any], record_id: int) -> Response:
    """Give tags to a record; those that it has already stay."""
    return _shown(gateway().records.tag(principal, record_id, list(map(tag_from_wire, wanted["tags"]))))


@blp.route(f"/records/{RECORD}/tags", methods=["DELETE"])
@blp.login
@blp.arguments(TagsSchema)
@blp.response(200, RecordSchema)
@blp.problems(404)
def untag(principal: Principal, wanted: dict[str, Any], record_id: int) -> Response:
    """Take tags away from a record; those that it has not do not matter."""
    return _shown(gateway().records.untag(principal, record_id, list(map(tag_from_wire, wanted["tags"]))))


def _shown(record: Record) -> Response:
    return reply(record_to_wire(record, time.time(), details=True))
