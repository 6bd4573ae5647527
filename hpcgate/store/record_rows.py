"""Rows of records to models and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from hpcgate.model.record import Record, RecordState, Resource, Sharing, Source
from hpcgate.store import rows
from hpcgate.store.dialect import Row
from hpcgate.store.tables import RecordRow

#: Column -> field, where they differ; ``ended_at`` is a column alone, so that it can be looked for.
_FIELDS: Final = {"owner": "user"}
_WORDS: Final[Mapping[str, Any]] = {
    "state": {word.value: word for word in RecordState},
    "sharing": {word.value: word for word in Sharing},
    "source": {word.value: word for word in Source},
}

COLUMNS: Final = rows.columns(RecordRow)
_NAMES: Final = tuple(_FIELDS.get(column, column) for column in COLUMNS)
INSERT: Final = rows.insert(RecordRow)
SELECT: Final = f"SELECT {', '.join(f'r.{name}' for name in COLUMNS)} FROM record r"  # noqa: S608


def values(record: Record) -> Sequence[Any]:
    """A record as a row for ``INSERT``."""
    return tuple(_value(record, name) for name in COLUMNS)


def _value(record: Record, column: str) -> Any:
    if column == "resources":
        return json.dumps([_resource(each) for each in record.resources], separators=(",", ":"))
    value = getattr(record, _FIELDS.get(column, column))
    return value.value if column in _WORDS else value


def _resource(resource: Resource) -> dict[str, Any]:
    named = {
        "hostname": resource.hostname,
        "hwthreads": resource.hwthreads,
        "accelerators": resource.accelerators,
        "configuration": resource.configuration,
    }
    return {name: value for name, value in named.items() if value}


def record(row: Row) -> Record:
    """A record from a row of ``SELECT``."""
    found = dict(zip(_NAMES, row, strict=True))
    del found["ended_at"]
    for column, words in _WORDS.items():
        found[column] = words[found[column]]
    found["resources"] = _resources(found["resources"])
    return Record(**found)


@lru_cache(maxsize=4096)
def _resources(text: str) -> tuple[Resource, ...]:
    """Many jobs have the same nodes, and as much of them."""
    return tuple(
        Resource(
            hostname=each["hostname"],
            hwthreads=tuple(each.get("hwthreads", ())),
            accelerators=tuple(each.get("accelerators", ())),
            configuration=each.get("configuration", ""),
        )
        for each in json.loads(text)
    )
