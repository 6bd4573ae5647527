"""Records on the wire."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma

from hpcgate.model.record import KeepTagged, Monitoring, RecordState, Sharing, Source, TagScope
from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import MAX_INT, integer, text, time
from hpcgate.server.smorest import Schema

#: Route variable of a record's id.
RECORD: Final = f"<int(max={MAX_INT}):record_id>"


def _one_of(words: type[Any], description: str, **kwargs: Any) -> ma.fields.String:
    return text(description, validate=ma.validate.OneOf([word.value for word in words]), **kwargs)


class ResourceSchema(Schema):
    """What a job has of one node."""

    hostname = text("name of the node")
    hwthreads = ma.fields.List(ma.fields.Integer(), metadata={"description": "hardware threads; empty = not told"})
    accelerators = ma.fields.List(ma.fields.String(), metadata={"description": "ids of accelerators"})
    configuration = text("how the node was set up", allow_none=True)


class TagSchema(Schema):
    """A tag of a record."""

    type = text("what kind of word it is", required=True, validate=ma.validate.Length(1, 1024))
    name = text("the word", required=True, validate=ma.validate.Length(1, 1024))
    scope = _one_of(
        TagScope,
        "who sees it: everybody who sees the record (`global`), operators (`admin`), or one's own eyes (`private`)",
        load_default=TagScope.GLOBAL.value,
    )


class ShownTagSchema(TagSchema):
    """A tag, as answers have it."""

    id = integer("its number")


class TagsSchema(Schema):
    """Tags that are given or taken away."""

    tags = ma.fields.List(ma.fields.Nested(TagSchema), required=True, validate=ma.validate.Length(1, 100))


class RecordSchema(Schema):
    """The accounting entry of one run of a job."""

    id = integer("its number, never used again")
    number = integer("the batch system's number of the job")
    job_id = integer("the job; null = it was not submitted here", allow_none=True)
    attempt = integer("which run of that job, from 1")
    array_number = integer("number of the array that it is of", allow_none=True)
    array_index = integer("which element of it", allow_none=True)
    name = text("as its user calls it", allow_none=True)
    user = text("whose job it was")
    project = text("whose allocation", allow_none=True)
    cluster = text("where it ran")
    subcluster = text("on which part of that", allow_none=True)
    partition = text("from which queue", allow_none=True)
    site = text("the site that it was submitted to", allow_none=True)
    state = _one_of(RecordState, "what became of it; all but `pending`, `running` and `suspended` are final")
    submitted_at = time("when the batch system took it")
    started_at = time("when it began")
    ended_at = time("when it ended")
    duration_s = integer("how long it ran, or has been running, seconds")
    walltime_s = integer("how long it might run, seconds", allow_none=True)
    num_nodes = integer("how many nodes it has")
    num_hwthreads = integer("how many hardware threads, or cores")
    num_accelerators = integer("how many accelerators")
    sharing = _one_of(Sharing, "whom it shares its nodes with")
    smt = integer("whether hardware threads are used one by one")
    monitoring = ma.fields.Integer(
        validate=ma.validate.Range(Monitoring.OFF, Monitoring.ARCHIVED),
        metadata={"description": "0 = not archived, 1 = not yet, 2 = could not be, 3 = archived"},
    )
    resources = ma.fields.List(ma.fields.Nested(ResourceSchema), metadata={"description": "by node"})
    tags = ma.fields.List(ma.fields.Nested(ShownTagSchema), metadata={"description": "those that one may see"})
    source = _one_of(Source, "`gateway` = a job of its own, `reported` = told by a program")
    metadata = ma.fields.Dict(allow_none=True, metadata={"description": "what was told beside; with `details`"})
    statistics = ma.fields.Dict(
        allow_none=True, metadata={"description": "measure = unit, avg, min, max; with `details`"}
    )


class DeletedSchema(Schema):
    """How many records went, or would go."""

    count = integer("records")


class DeleteArgsSchema(Schema):
    """Which records go."""

    before = text("of jobs that began before: RFC 3339 with a zone, or epoch seconds", required=True)
    keep = _one_of(
        KeepTagged,
        "tagged ones that stay: `all`, or `user` = those with a tag whose type is neither `app` nor `jobClass`",
        load_default=KeepTagged.NONE.value,
    )
    dry_run = ma.fields.Boolean(
        load_default=False, allow_none=False, metadata={"description": "only tell how many would go"}
    )


_Page = page_schema(RecordSchema)


class RecordPageSchema(_Page):  # type: ignore[valid-type, misc]
    """A page of records."""

    total = integer("how many there are in all; with `count`")
