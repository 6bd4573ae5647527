"""Pieces that the schemas of several resources share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import marshmallow as ma

from hpcgate.model.principal import Role

#: Route variable of a job's id; larger numbers than the database has are no ids.
JOB: Final = f"<int(max={2**63 - 1}):job_id>"
MAX_INT: Final = 2**63 - 1


def text(description: str, **kwargs: Any) -> ma.fields.String:
    """A text field."""
    return ma.fields.String(metadata={"description": description}, **kwargs)


def integer(description: str, **kwargs: Any) -> ma.fields.Integer:
    """A whole-number field; JSON text such as ``"7"`` is none."""
    return ma.fields.Integer(strict=True, metadata={"description": description}, **kwargs)


def flag(description: str, **kwargs: Any) -> ma.fields.Boolean:
    """A true-or-false field; 0, 1 and words are none."""
    return StrictBoolean(metadata={"description": description}, **kwargs)


def time(description: str) -> ma.fields.String:
    """A time as answers have it: RFC 3339 in UTC."""
    return ma.fields.String(allow_none=True, metadata={"description": description, "format": "date-time"})


class StrictBoolean(ma.fields.Boolean):
    """JSON true or false."""

    truthy = {True}  # noqa: RUF012 - marshmallow declares them so
    falsy = {False}  # noqa: RUF012 - and so

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def roles(description: str, **kwargs: Any) -> ma.fields.List[Any]:
    """A list of roles."""
    role = ma.fields.String(validate=ma.validate.OneOf([role.value for role in Role]))
    return ma.fields.List(role, metadata={"description": description}, **kwargs)


def to_roles(names: Iterable[str]) -> tuple[Role, ...]:
    """Checked names as roles."""
    return tuple(Role(name) for name in names)
