"""What may stand behind the question mark of a list. Anything else is an error, and says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from werkzeug.datastructures import MultiDict

from hpcgate.model.record import RecordFilter, RecordState
from hpcgate_dialect_clustercockpit.errors import bad

DEFAULT_ITEMS: Final = 25
#: ``items-per-page`` that asks for all of them.
ALL: Final = -1
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}\Z")
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Query:
    """What a list was asked for.

    Args:
        filter: which jobs.
        page: from 1.
        items: how many a page has; -1 = all jobs are one page.
        with_metadata: whether each job comes with its metadata.
    """

    filter: RecordFilter
    page: int = 1
    items: int = DEFAULT_ITEMS
    with_metadata: bool = False


def read_query(args: MultiDict[str, str]) -> Query:
    """The query of a list.

    Raises:
        BadRequest: a parameter is unknown, or its value is none.
    """
    query = Query(RecordFilter())
    for name in args:
        reader = _READERS.get(name)
        if reader is None:
            bad(f"invalid query parameter: {name}; known are: {', '.join(_READERS)}")
        query = reader(query, args.getlist(name))
    return query


def integer(text: str, what: str) -> int:
    """A whole number of 64 bits.

    Raises:
        BadRequest: it is none.
    """
    if not _INTEGER.match(text) or not -_MOST - 1 <= (number := int(text)) <= _MOST:
        bad(f"{what}: {text[:64]!r} is no integer of 64 bits")
    return number


def state_of(text: str) -> RecordState:
    """A state by its word.

    Raises:
        BadRequest: it is none.
    """
    try:
        return RecordState(text)
    except ValueError:
        bad(f'invalid job state: "{text[:64]}"; known are: {", ".join(RecordState)}')


def _states(query: Query, values: list[str]) -> Query:
    return replace(query, filter=replace(query.filter, states=tuple(dict.fromkeys(map(state_of, values)))))


def _cluster(query: Query, values: list[str]) -> Query:
    return replace(query, filter=replace(query.filter, cluster=values[0]))


def _project(query: Query, values: list[str]) -> Query:
    return replace(query, filter=replace(query.filter, project=values[0]))


def _started(query: Query, values: list[str]) -> Query:
    ends = values[0].split("-")
    if len(ends) != 2:
        bad(f"invalid start-time {values[0][:64]!r}: it must be FROM-TO, both in epoch seconds")
    first, last = (integer(end, "start-time") for end in ends)
    return replace(query, filter=replace(query.filter, started_from=first, started_to=last))


def _page(query: Query, values: list[str]) -> Query:
    page = integer(values[0], "page")
    if page < 1:
        bad(f"page: must be 1 or more, not {page}")
    return replace(query, page=page)


def _items(query: Query, values: list[str]) -> Query:
    items = integer(values[0], "items-per-page")
    if items < 1 and items != ALL:
        bad(f"items-per-page: must be 1 or more, or {ALL} for all, not {items}")
    return replace(query, items=items)


def _metadata(query: Query, values: list[str]) -> Query:
    return replace(query, with_metadata=values[0].lower() not in ("false", "0"))


_READERS: Final[Mapping[str, Callable[[Query, list[str]], Query]]] = {
    "state": _states,
    "cluster": _cluster,
    "project": _project,
    "start-time": _started,
    "items-per-page": _items,
    "page": _page,
    "with-metadata": _metadata,
}
