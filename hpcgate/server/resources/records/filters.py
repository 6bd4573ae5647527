"""Filters of lists of records: query parameters to ``RecordFilter``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import marshmallow as ma

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.record import RecordFilter, RecordState, Source
from hpcgate.server.paging import PageArgsSchema
from hpcgate.server.resources.common import MAX_INT, text
from hpcgate.server.resources.jobs.filters import read_time, repeatable

_MOMENT = "RFC 3339 with a zone, or epoch seconds"
_TIMES = ("started_from", "started_to", "ended_from", "ended_to")
_SAME = (
    "cluster",
    "project",
    "partition",
    "number",
    "array_number",
    "job_id",
    "name",
    "tag",
    "node",
    "min_duration_s",
    "max_duration_s",
    "min_nodes",
    "max_nodes",
)


def _exact(description: str) -> ma.fields.String:
    return text(description, load_default=None, allow_none=False)


def _number(description: str, least: int = 0) -> ma.fields.Integer:
    return ma.fields.Integer(
        load_default=None,
        allow_none=False,
        validate=ma.validate.Range(least, MAX_INT),
        metadata={"description": description},
    )


def _switch(description: str) -> ma.fields.Boolean:
    return ma.fields.Boolean(load_default=False, allow_none=False, metadata={"description": description})


class RecordFilterArgsSchema(ma.Schema):
    """Which records; everything given must hold, and one of each list."""

    state = repeatable("states; repeat it, or separate them by commas")
    cluster = _exact("exact name of the cluster")
    subcluster = repeatable("exact names of sub-clusters")
    user = repeatable("exact names of users")
    project = _exact("exact name")
    partition = _exact("exact name")
    number = _number("the batch system's number of the job", -MAX_INT - 1)
    array_number = _number("number of the array that it is of; 0 = of none", -MAX_INT - 1)
    job_id = _number("the gateway's own job", 1)
    name = _exact("how the job's name begins")
    tag = _exact("name of a tag, or `TYPE:NAME`")
    node = _exact("hostname of one of its nodes")
    started_from = _exact(f"began at or after: {_MOMENT}")
    started_to = _exact(f"began at or before: {_MOMENT}")
    ended_from = _exact(f"ended at or after: {_MOMENT}")
    ended_to = _exact(f"ended at or before: {_MOMENT}")
    min_duration_s = _number("ran, or has been running, at least so many seconds")
    max_duration_s = _number("and at most so many")
    min_nodes = _number("has at least so many nodes")
    max_nodes = _number("and at most so many")
    source = text(
        "`gateway` or `reported`", load_default=None, validate=ma.validate.OneOf([word.value for word in Source])
    )


class RecordListArgsSchema(PageArgsSchema, RecordFilterArgsSchema):
    """Which records, and what of them."""

    count = _switch("tell how many there are in all, too")
    details = _switch("show metadata and statistics, too")


def filter_from_args(args: Mapping[str, Any]) -> RecordFilter:
    """The filter of a query.

    Raises:
        InvalidSpec: with every wrong parameter.
    """
    errors: list[FieldError] = []
    states = _states(args["state"], errors)
    moments = {name: read_time(args[name], errors, name) for name in _TIMES}
    if errors:
        raise InvalidSpec(errors)
    # What begins at or after half a second past does so from the next second on.
    whole: dict[str, Any] = {
        name: None if at is None else int(-(-at // 1) if name.endswith("from") else at) for name, at in moments.items()
    }
    return RecordFilter(
        states=states,
        subclusters=tuple(args["subcluster"]),
        users=tuple(args["user"]),
        source=None if args["source"] is None else Source(args["source"]),
        **{name: args[name] for name in _SAME},
        **whole,
    )


def _states(items: Sequence[str], errors: list[FieldError]) -> tuple[RecordState, ...]:
    known = {state.value: state for state in RecordState}
    found = []
    for word in (word.strip().lower() for item in items for word in item.split(",")):
        if word in known:
            found.append(known[word])
        else:
            errors.append(FieldError("state", f"{word!r} is no state{nearest(word, list(known))}"))
    return tuple(dict.fromkeys(found))
