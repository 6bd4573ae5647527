"""Statistics on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import marshmallow as ma

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.record import RecordState
from hpcgate.model.statistics import HISTOGRAMS, SHORT_S, GroupBy, StatisticsQuery
from hpcgate.server.resources.common import integer, text, time
from hpcgate.server.resources.jobs.filters import read_time, repeatable
from hpcgate.server.resources.projects.schemas import BalanceSchema
from hpcgate.server.smorest import Schema
from hpcgate.service.statistics import BY_NAME, DEFAULT_GROUPS, MOST_GROUPS, ORDERS

JSON: Final = "json"
CSV: Final = "csv"


class StatisticsArgsSchema(Schema):
    """Which jobs, and how they are grouped. What may be repeated means any of its values."""

    group_by = text(
        "what jobs of a group have in common; a sub-cluster comes with its cluster, a day is that of the start (UTC)",
        required=True,
        validate=ma.validate.OneOf([each.value for each in GroupBy]),
    )
    cluster = repeatable("names of clusters")
    subcluster = repeatable("names of sub-clusters")
    user = repeatable("names of users")
    project = repeatable("names of projects; empty = without")
    state = repeatable("states; repeat it, or separate them by commas")
    since = text("started at or after: RFC 3339 with a zone, or epoch seconds", load_default=None, allow_none=False)
    until = text("started before: RFC 3339 with a zone, or epoch seconds", load_default=None, allow_none=False)
    histogram = repeatable(f"how many jobs have how much: {', '.join(HISTOGRAMS)}")
    sort = text(
        "most first, or `name`; days are by `name`, others by `node_hours`, where nothing else is said",
        load_default=None,
        allow_none=False,
        validate=ma.validate.OneOf([*ORDERS, BY_NAME]),
    )
    limit = ma.fields.Integer(
        load_default=DEFAULT_GROUPS,
        validate=ma.validate.Range(1, MOST_GROUPS),
        metadata={"description": "most groups in the answer"},
    )
    quota = ma.fields.Boolean(
        load_default=False,
        metadata={"description": "projects come with what may be used of them, also those without jobs"},
    )
    format = text(
        "of the answer; without, the header `Accept` says it, and where that does not, it is JSON",
        load_default=None,
        allow_none=False,
        validate=ma.validate.OneOf([JSON, CSV]),
    )


def hours(description: str) -> ma.fields.Float:
    """Hours."""
    return ma.fields.Float(metadata={"description": description})


class StatisticsCountedSchema(Schema):
    """What jobs add up to. Those that have not ended count with what they have used so far."""

    jobs = integer("all of them")
    running = integer("those that have begun and have not ended")
    short_jobs = integer(f"those that ended within {SHORT_S} seconds")
    run_hours = hours("how long they ran")
    node_hours = hours("run time times nodes")
    core_hours = hours("run time times hardware threads")
    accelerator_hours = hours("run time times accelerators")
    wait_hours = hours("how long those waited of which it is known")
    waited = integer("how many these are")
    histograms = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.List(ma.fields.Integer()),
        metadata={
            "description": "where asked for: how many jobs are in each of `bins`; `duration` of those that have ended"
        },
    )


class StatisticsQuotaSchema(Schema):
    """What may be used of a project."""

    weighting = text("what an hour is: of the clock, of a node, or of a core")
    own = ma.fields.Nested(BalanceSchema, allow_none=True, metadata={"description": "of who asks; null = no member"})
    total = ma.fields.Nested(BalanceSchema, metadata={"description": "of all users together"})


class StatisticsGroupSchema(StatisticsCountedSchema):
    """Jobs that have something in common: it has that of the following names that was asked for."""

    user = text("name of the user")
    project = text("name of the project; empty = without")
    cluster = text("name of the cluster")
    subcluster = text("name of the sub-cluster")
    state = text("state of the records", validate=ma.validate.OneOf([each.value for each in RecordState]))
    day = text("day of the start, UTC, such as 2026-01-31")
    quota = ma.fields.Nested(
        StatisticsQuotaSchema,
        allow_none=True,
        metadata={"description": "where asked for; null = no project that one may see"},
    )


class StatisticsBinsSchema(Schema):
    """The bins of a histogram."""

    unit = text("of what")
    from_ = ma.fields.List(
        ma.fields.Integer(),
        data_key="from",
        metadata={"description": "where each begins; it goes up to the next one, and the last has no end"},
    )


class StatisticsSchema(Schema):
    """Sums over records."""

    group_by = text("as it was asked for")
    since = time("as it was asked for")
    until = time("as it was asked for")
    at = time("until when jobs were counted that have not ended")
    groups = integer("how many there are; `items` has at most `limit` of them")
    bins = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Nested(StatisticsBinsSchema))
    total = ma.fields.Nested(StatisticsCountedSchema, metadata={"description": "over all groups"})
    items = ma.fields.List(ma.fields.Nested(StatisticsGroupSchema))


def query_from_args(args: Mapping[str, Any]) -> StatisticsQuery:
    """The query of a request.

    Raises:
        InvalidSpec: with every wrong parameter.
    """
    errors: list[FieldError] = []
    query = StatisticsQuery(
        group_by=GroupBy(args["group_by"]),
        clusters=tuple(args["cluster"]),
        subclusters=tuple(args["subcluster"]),
        users=tuple(args["user"]),
        projects=tuple(args["project"]),
        states=tuple(map(RecordState, _words(args["state"], list(RecordState), "state", errors))),
        since=_second(read_time(args["since"], errors, "since")),
        until=_second(read_time(args["until"], errors, "until")),
        histograms=_words(args["histogram"], list(HISTOGRAMS), "histogram", errors),
    )
    if errors:
        raise InvalidSpec(errors)
    return query


def _words(items: Sequence[str], known: Sequence[str], field: str, errors: list[FieldError]) -> tuple[str, ...]:
    words = dict.fromkeys(word.strip().lower() for item in items for word in item.split(","))
    wrong = [word for word in words if word not in known]
    errors += [FieldError(field, f"{word!r} is none of them{nearest(word, known)}") for word in wrong]
    return tuple(word for word in words if word in known)


def _second(at: float | None) -> int | None:
    """Jobs begin at whole seconds: from one on, and before one, both mean the next."""
    return None if at is None else math.ceil(at)
