"""Lists: one shape, one way to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import marshmallow as ma

from hpcgate.model.query import DEFAULT_LIMIT, MAX_LIMIT, Page
from hpcgate.server.smorest import Schema

T = TypeVar("T")


class PageArgsSchema(Schema):
    """Which part of a list."""

    cursor = ma.fields.String(
        load_default=None,
        allow_none=False,
        validate=ma.validate.Length(1, 512),
        metadata={"description": "`next_cursor` of the page before"},
    )
    limit = ma.fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=ma.validate.Range(1, MAX_LIMIT),
        metadata={"description": "most items in the answer"},
    )


@cache
def page_schema(item: type[ma.Schema]) -> type[ma.Schema]:
    """The schema of a page of ``item``."""
    name = item.__name__.removesuffix("Schema")
    fields: dict[str, Any] = {
        "items": ma.fields.List(ma.fields.Nested(item), required=True),
        "next_cursor": ma.fields.String(
            required=True,
            allow_none=True,
            metadata={"description": "gets the next page as `cursor`; null = this was the last one"},
        ),
    }
    return Schema.from_dict(fields, name=f"{name}PageSchema")


def page_to_wire(page: Page[T], item: Callable[[T], Any]) -> dict[str, Any]:
    """A page as the API shows it."""
    return list_to_wire(map(item, page.items), page.next_cursor)


def list_to_wire(items: Iterable[Any], next_cursor: str | None = None) -> dict[str, Any]:
    """A list that is complete, or one whose cursor is known."""
    return {"items": list(items), "next_cursor": next_cursor}
