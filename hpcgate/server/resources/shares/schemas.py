"""Shares on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.model.allocation import MOST
from hpcgate.model.state import ACTIVE
from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import flag, integer, text
from hpcgate.server.smorest import Schema


def _percent(description: str) -> ma.fields.Float:
    return ma.fields.Float(validate=ma.validate.Range(0, 100), metadata={"description": description})


class ShareUpdateSchema(Schema):
    """What changes; the rest stays."""

    queue = text("where its jobs go", allow_none=True)
    capacity = _percent("what it is meant to have of its site's cores, percent")
    max_capacity = _percent("what its jobs may have together at a time, percent; below 100 it needs `cpus`")
    cpus = integer(
        "cores of the site; null = as its scheduler tells", allow_none=True, validate=ma.validate.Range(1, MOST)
    )
    open = flag("every user may use it")
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "groups whose members may use it"})


class ShareCreateSchema(ShareUpdateSchema):
    """A new share."""

    name = text("letters, digits and `_ . -`", required=True)
    site = text("of which it is a slice", required=True)


class ShareUsageSchema(Schema):
    """What its active jobs take now, as they asked for it."""

    cpus_total = integer("cores of the site; null = not known", allow_none=True)
    used_capacity = ma.fields.Float(
        allow_none=True, metadata={"description": "what its running jobs take of the site's cores, percent"}
    )
    cpus = integer("cores of its running jobs")
    memory_mib = integer("memory of its running jobs, MiB")
    gpus = integer("accelerators of its running jobs")
    active = integer("jobs that run")
    pending = integer("jobs that wait, here or at their scheduler")
    waiting = integer("those of them that no scheduler has yet: the share has no room for them, or they are on the way")
    counts = ma.fields.Dict(
        keys=ma.fields.String(validate=ma.validate.OneOf(sorted(state.value for state in ACTIVE))),
        values=ma.fields.Integer(),
        metadata={"description": "jobs that have not ended, by state"},
    )


class ShareSchema(Schema):
    """A slice of a site."""

    name = text("unique name")
    site = text("of which it is a slice")
    queue = text("where its jobs go", allow_none=True)
    capacity = _percent("what it is meant to have of its site's cores, percent")
    max_capacity = _percent("what its jobs may have together at a time, percent")
    cpus = integer("cores of the site, where they are told; null = as its scheduler tells", allow_none=True)
    open = flag("every user may use it")
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "groups whose members may use it"})
    managed_by_config = flag("whether it stands in the configuration, and cannot be changed here")
    usage = ma.fields.Nested(ShareUsageSchema)


class ShareMemberSchema(Schema):
    """A member of a share."""

    name = text("name of the user")


class NothingSchema(Schema):
    """An empty object, or no body."""


SharePageSchema = page_schema(ShareSchema)
ShareMemberPageSchema = page_schema(ShareMemberSchema)
