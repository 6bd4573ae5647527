"""Projects on the wire."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from hpcgate.model.allocation import MOST, Project, Weighting, seconds
from hpcgate.model.spec import MAX_WALLTIME_S
from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import flag, integer, text
from hpcgate.server.smorest import Schema

MOST_HOURS = MOST // 3600


def of_hours(description: str, **kwargs: Any) -> ma.fields.Float:
    """Hours, weighted as the project says."""
    return ma.fields.Float(
        allow_none=True, validate=ma.validate.Range(0, MOST_HOURS), metadata={"description": description}, **kwargs
    )


def of_kib(description: str) -> ma.fields.Integer:
    """KiB."""
    return integer(description, allow_none=True, validate=ma.validate.Range(0, MOST))


class GrantSchema(Schema):
    """What a member has. Null, or left out: what the project says of each user."""

    hours = of_hours("hours that it has")
    space_kb = of_kib("KiB that it may have stored")


class ProjectUpdateSchema(Schema):
    """What changes; the rest stays. Null takes a limit or a word away."""

    account = text("what the scheduler charges", allow_none=True)
    qos = text("quality of service at the scheduler", allow_none=True)
    weighting = text(
        "what an hour is: of the clock, of a node, or of a core; of the jobs to come",
        validate=ma.validate.OneOf([each.value for each in Weighting]),
    )
    hours = of_hours("hours that each user has; null = without limit")
    space_kb = of_kib("KiB that each user may have stored; null = without limit")
    total_hours = of_hours("hours that all users have together; null = without limit")
    total_space_kb = of_kib("KiB that all users may have stored together; null = without limit")
    default = flag("every user has it, and jobs at its site that name no project are of this one")
    default_walltime_s = integer(
        "walltime of jobs that name none, seconds", allow_none=True, validate=ma.validate.Range(1, MAX_WALLTIME_S)
    )
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "groups whose members have it"})


class ProjectCreateSchema(ProjectUpdateSchema):
    """A new project."""

    name = text("letters, digits and `_ . -`", required=True)
    site = text("where its jobs run", required=True)


class FiguresSchema(Schema):
    """`granted - used - reserved` is `left`, at any moment."""

    granted = integer("what there was to begin with; null = without limit", allow_none=True)
    used = integer("by jobs that have ended")
    reserved = integer("for jobs that have not")
    left = integer("may be below 0, where jobs took more than they had reserved; null = no limit", allow_none=True)


class BalanceSchema(Schema):
    """What was granted, and what became of it."""

    time = ma.fields.Nested(FiguresSchema, metadata={"description": "seconds, weighted as the project says"})
    space = ma.fields.Nested(FiguresSchema, metadata={"description": "KiB"})


class ProjectSchema(Schema):
    """A project."""

    name = text("unique name")
    site = text("where its jobs run")
    account = text("what the scheduler charges", allow_none=True)
    qos = text("quality of service at the scheduler", allow_none=True)
    weighting = text("what an hour is: of the clock, of a node, or of a core")
    hours = of_hours("hours that each user has")
    space_kb = of_kib("KiB that each user may have stored")
    total_hours = of_hours("hours that all users have together")
    total_space_kb = of_kib("KiB that all users may have stored together")
    default = flag("every user has it")
    default_walltime_s = integer("walltime of jobs that name none, seconds", allow_none=True)
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "groups whose members have it"})
    managed_by_config = flag("whether it stands in the configuration, and cannot be changed here")
    own = ma.fields.Nested(BalanceSchema, allow_none=True, metadata={"description": "of who asks; null = no member"})
    total = ma.fields.Nested(BalanceSchema, metadata={"description": "of all users together"})


class ProjectMemberSchema(GrantSchema):
    """A member of a project, or one who has used it."""

    name = text("name of the user")
    balance = ma.fields.Nested(BalanceSchema)


ProjectPageSchema = page_schema(ProjectSchema)
ProjectMemberPageSchema = page_schema(ProjectMemberSchema)


def project_fields(wanted: dict[str, Any]) -> dict[str, Any]:
    """Fields of the wire as those of ``Project``."""
    fields = dict(wanted)
    for name in ("hours", "total_hours"):
        if name in fields:
            fields[f"{name.removesuffix('hours')}time_s"] = seconds(fields.pop(name))
    if "weighting" in fields:
        fields["weighting"] = Weighting(fields["weighting"])
    if "groups" in fields:
        fields["groups"] = tuple(fields["groups"])
    return fields


def to_project(wanted: dict[str, Any]) -> Project:
    """A new project."""
    return Project(**project_fields(wanted))
