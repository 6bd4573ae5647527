"""Filters of job lists: query parameters to ``JobFilter``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import marshmallow as ma

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.codec import time_from_wire
from hpcgate.model.query import JobFilter
from hpcgate.model.state import JobState
from hpcgate.server.paging import PageArgsSchema
from hpcgate.server.resources.common import text

#: The year 9999: later times cannot be written.
_LATEST = 253_402_300_799.0


def repeatable(description: str) -> ma.fields.List[Any]:
    """A parameter that may be given more than once."""
    return ma.fields.List(
        ma.fields.String(), load_default=[], metadata={"description": description, "explode": True, "style": "form"}
    )


class JobListArgsSchema(PageArgsSchema):
    """Which jobs; everything given must hold."""

    state = repeatable("states; repeat it, or separate them by commas")
    active = ma.fields.Boolean(
        load_default=None, allow_none=False, metadata={"description": "true = not ended, false = ended"}
    )
    site = repeatable("names or aliases of sites")
    owner = text("exact name of the owner", load_default=None, allow_none=False)
    name = text("exact job name", load_default=None, allow_none=False)
    label = repeatable("`key=value`; all of those given")
    tag = repeatable("all of those given")
    project = text("exact name", load_default=None, allow_none=False)
    since = text("created at or after: RFC 3339 with a zone, or epoch seconds", load_default=None, allow_none=False)
    until = text("created before: RFC 3339 with a zone, or epoch seconds", load_default=None, allow_none=False)


def filter_from_args(args: Mapping[str, Any]) -> JobFilter:
    """The filter of a query.

    Raises:
        InvalidSpec: with every wrong parameter.
    """
    errors: list[FieldError] = []
    labels = dict(_label(item, errors) for item in args["label"])
    return _filter({**args, "labels": labels, "tags": args["tag"]}, errors)


def filter_from_body(body: Mapping[str, Any]) -> JobFilter:
    """The filter of a bulk cancel.

    Raises:
        InvalidSpec: with every wrong field; also when it says nothing, for that would mean all jobs.
    """
    if not body:
        raise InvalidSpec.of("filter", "says nothing; to cancel all your jobs, give active: true")
    return _filter(body, [], "filter.")


def _filter(given: Mapping[str, Any], errors: list[FieldError], at: str = "") -> JobFilter:
    states = _states(given.get("state", ()), errors, f"{at}state")
    since = read_time(given.get("since"), errors, f"{at}since")
    until = read_time(given.get("until"), errors, f"{at}until")
    if errors:
        raise InvalidSpec(errors)
    return JobFilter(
        states=states,
        active=given.get("active"),
        owner=given.get("owner"),
        sites=tuple(given.get("site", ())),
        name=given.get("name"),
        labels=given.get("labels", {}),
        tags=tuple(given.get("tags", ())),
        project=given.get("project"),
        since=since,
        until=until,
    )


def _states(items: Sequence[str], errors: list[FieldError], field: str) -> frozenset[JobState]:
    found = set()
    for word in (word.strip().upper() for item in items for word in item.split(",")):
        if word in JobState.__members__:
            found.add(JobState(word))
        else:
            errors.append(FieldError(field, f"{word!r} is no state{nearest(word, list(JobState))}"))
    return frozenset(found)


def _label(item: str, errors: list[FieldError]) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not key or not equals:
        errors.append(FieldError("label", f"{item!r} is not of the form key=value"))
    return key, value


def read_time(item: str | None, errors: list[FieldError], field: str) -> float | None:
    """A moment of a query, in epoch seconds; what is wrong with it goes to ``errors``."""
    if item is None:
        return None
    try:
        at = _parsed(item)
    except (ValueError, OverflowError):
        message = f"{item!r} is no time; RFC 3339 with a zone such as 2026-01-31T12:00:00Z, or epoch seconds"
        errors.append(FieldError(field, message))
        return None
    if not math.isfinite(at) or not 0 <= at <= _LATEST:
        errors.append(FieldError(field, f"{item!r} is out of range"))
    return at


def _parsed(item: str) -> float:
    try:
        return time_from_wire(item)
    except ValueError:
        # An unescaped "+" of a zone comes out of a query as a space.
        return time_from_wire(item.replace(" ", "+"))
