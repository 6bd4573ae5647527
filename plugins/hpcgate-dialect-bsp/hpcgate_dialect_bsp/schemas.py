"""Their words: what a payload holds, and what is answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from hpcgate.errors import InvalidSpec
from hpcgate.server.smorest import flatten

MAX_TITLE_CHARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a job is asked to be.

    Args:
        runtime: hours.
        core_number: on each node.
        init_file: the file that the tool starts.
        expiration_time: epoch seconds.
    """

    runtime: float
    command: str | None = None
    tool: str | None = None
    node_number: int = 1
    core_number: int | None = None
    title: str = ""
    init_file: str | None = None
    expiration_time: float | None = None


class _Text(ma.fields.String):
    """Text, also where a client sent a number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        return super()._deserialize(str(value) if plain else value, attr, data, **kwargs)


class _Whole(ma.fields.Float):
    """A whole number, also as text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        number = super()._deserialize(value, attr, data, **kwargs)
        if not number.is_integer():
            raise ma.ValidationError(f"{value!r} is not a whole number")
        return int(number)


class _Moment(ma.fields.String):
    """A time such as ``2026-03-01T09:15:02``, in UTC where it names no zone."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ma.ValidationError(f"{text!r} is no time such as 2026-03-01T09:15:02") from None


def _printable(value: str) -> None:
    if not value.isprintable():
        raise ma.ValidationError("must be one line of printable characters")


class PayloadSchema(ma.Schema):
    """The payload of a submit. Clients send more than anybody reads: unknown keys are passed over."""

    class Meta:
        """Lenient."""

        unknown = ma.EXCLUDE

    command = _Text(metadata={"description": "a shell line, for systems that run commands"})
    tool = _Text(metadata={"description": "name of a tool, for systems that have tools"})
    node_number = _Whole(metadata={"description": "how many nodes; 1 when not given"})
    core_number = _Whole(metadata={"description": "cores on each node"})
    runtime = ma.fields.Float(required=True, metadata={"description": "hours"})
    title = _Text(
        validate=[ma.validate.Length(max=MAX_TITLE_CHARS), _printable], metadata={"description": "for people"}
    )
    init_file = _Text(metadata={"description": "the file in the zip that the tool starts"})
    expiration_time = _Moment(metadata={"description": "when the job and its files may go, UTC"})

    @ma.pre_load
    def _without_what_is_empty(self, data: Any, **_: Any) -> Any:
        """Forms send what was not filled in as well."""
        return {key: value for key, value in data.items() if value not in ("", None)}

    @ma.validates("runtime")
    def _runtime(self, value: float, **_: Any) -> None:
        if not (value > 0 and math.isfinite(value)):
            raise ma.ValidationError(f"{value:g} is out of range; it must be more than 0 hours")


_PAYLOAD = PayloadSchema()


def read_payload(data: Mapping[str, Any]) -> Payload:
    """A payload from JSON data; values may be text or numbers.

    Raises:
        InvalidSpec: with one entry per wrong key.
    """
    try:
        return Payload(**_PAYLOAD.load(data))
    except ma.ValidationError as error:
        raise InvalidSpec(list(flatten(error.messages))) from None


def _integer(description: str) -> ma.fields.Integer:
    return ma.fields.Integer(required=True, metadata={"description": description})


def _text(description: str) -> ma.fields.String:
    return ma.fields.String(required=True, metadata={"description": description})


class StatusSchema(ma.Schema):
    """That the service is there."""

    status = ma.fields.Integer(required=True, data_key="bsp-service-account-status")


class HpcSchema(ma.Schema):
    """A system."""

    id = _text("its name in paths, in upper case")
    name = _text("its name for people")


class ProjectSchema(ma.Schema):
    """A project; its figures are for those who may use it."""

    hpc = _text("name of the system")
    id = _integer("a number that stays the same")
    name = _text("its name in paths")
    init_time = ma.fields.Integer(
        allow_none=True, metadata={"description": "seconds that all users have; null = no limit"}
    )
    time_left = ma.fields.Integer(allow_none=True, metadata={"description": "what is left of them"})
    user_time = ma.fields.Integer(allow_none=True, metadata={"description": "seconds that each user has"})
    init_space = ma.fields.Float(allow_none=True, metadata={"description": "KB that all users have; null = no limit"})
    space_left = ma.fields.Float(allow_none=True, metadata={"description": "what is left of them"})
    user_space = ma.fields.Float(allow_none=True, metadata={"description": "KB that each user has"})


class QuotaSchema(ma.Schema):
    """What a user has left of a project."""

    id = _integer("a number that stays the same")
    user = _text("whose it is")
    project = _integer("number of the project")
    project_hpc = _text("name of the system")
    project_name = _text("name of the project")
    time_left = ma.fields.Integer(
        required=True, allow_none=True, metadata={"description": "seconds; null = no limit, less than 0 = overdrawn"}
    )
    space_left = ma.fields.Float(required=True, allow_none=True, metadata={"description": "KB; null = no limit"})


class JobSchema(ma.Schema):
    """A job."""

    id = _integer("a number")
    job_id = _text("its name in paths")
    owner = _text("whose it is")
    project = _integer("number of the project")
    project_hpc = _text("name of the system")
    project_name = _text("name of the project")
    title = _text("for people")
    runtime = ma.fields.Float(required=True, metadata={"description": "hours that it asked for"})
    init_date = _text("when it came, whole seconds, UTC")
    end_date = ma.fields.String(required=True, allow_none=True, metadata={"description": "when it ended"})
    stage = _text("where it is")
    terminal_stage = ma.fields.Boolean(required=True, metadata={"description": "whether that is for good"})
    failed = ma.fields.Boolean(required=True, metadata={"description": "whether it ended badly"})
    is_advanced = ma.fields.Boolean(required=True, metadata={"description": "always false"})


#: A list of names, or, of systems with tools, of objects whose values are all text.
FILES = {
    "type": "array",
    "items": {"oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]},
}
