"""What goes over the wire, in Rimrock's words."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
from marshmallow import fields, validate

STATUSES: Final = ("QUEUED", "RUNNING", "FINISHED", "ERROR", "ABORTED")
MAX_TAG_CHARS: Final = 255


def _text(description: str, **more: Any) -> fields.String:
    return fields.String(metadata={"description": description}, **more)


class _Lenient(ma.Schema):
    """Its clients send more than anybody reads."""

    class Meta:
        """Passes over what is unknown."""

        unknown = ma.EXCLUDE


class StartSchema(_Lenient):
    """A job to be started."""

    host = _text("the host, by its name or an alias", required=True, validate=validate.Length(min=1))
    script = _text("a whole batch script, with `#!` and its directives", required=True)
    working_directory = _text("where it starts; made where it is not there", allow_none=True, load_default=None)
    tag = _text("a word to find it by", allow_none=True, load_default=None, validate=validate.Length(max=MAX_TAG_CHARS))


class ActionSchema(_Lenient):
    """What is to be done to a job."""

    action = fields.String(required=True, validate=validate.Equal("abort", error="must be 'abort'"))


class CommandSchema(_Lenient):
    """A command to be run at a host."""

    host = StartSchema().fields["host"]
    command = _text("for the shell of the account", required=True, validate=validate.Length(min=1))
    working_directory = _text("where it starts; the home folder", allow_none=True, load_default=None)


class ListArgsSchema(_Lenient):
    """Which jobs, and how they are shown."""

    tag = _text("only those with this tag")
    format = _text("`short`: without what the scheduler tells of a run")
    job_id = fields.List(fields.String(), metadata={"description": "only these; may be repeated"})


class OutputArgsSchema(_Lenient):
    """Which part of a stream."""

    offset = fields.Integer(
        load_default=0, validate=validate.Range(0, 2**53), metadata={"description": "first byte, from 0"}
    )


class JobSchema(ma.Schema):
    """A job. The last six are there once they are known, and then for good."""

    job_id = _text("the scheduler's id, a dot, and the host", required=True)
    stdout_path = _text("absolute path of its standard output at the host", required=True, allow_none=True)
    stderr_path = _text("absolute path of its standard error there", required=True, allow_none=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    tag = _text("as it was given", required=True, allow_none=True)
    nodes = _text("how many nodes it got")
    cores = _text("how many cores it asked for")
    start_time = _text("`YYYY-MM-DD HH:MM:SS`")
    end_time = _text("`YYYY-MM-DD HH:MM:SS`")
    wall_time = _text("from start to end: `HH:MM:SS`, or `D-HH:MM:SS`")
    queue_time = _text("from submit to start, in the same form")


class ResultSchema(ma.Schema):
    """What a command answered, or what went wrong."""

    status = fields.String(required=True, validate=validate.OneOf(["OK", "ERROR"]))
    exit_code = fields.Integer(required=True)
    standard_output = fields.String(required=True)
    error_output = fields.String(required=True)
    error_message = fields.String(required=True, allow_none=True)


class ErrorSchema(ResultSchema):
    """What went wrong."""

    tag = fields.String(required=True, allow_none=True)
