"""Plugins on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import text
from hpcgate.server.smorest import Schema


class FieldSupportSchema(Schema):
    """How a scheduler treats a field of a job."""

    field = text("dotted name; it covers what is below it")
    verdict = text("`honoured` or `approximated`; what is not listed is refused")
    how = text("how it is approximated", allow_none=True)


class PluginSchema(Schema):
    """An installed plugin."""

    name = text("its entry point")
    version = text("of its distribution", allow_none=True)
    distribution = text("what pip calls it", allow_none=True)
    kind = text("`scheduler`, `dialect` or `other`")
    status = text("`ok`, `broken` or `blocked`")
    error = text("why it is broken", allow_none=True)
    summary = text("one line", allow_none=True)
    capabilities = ma.fields.List(
        ma.fields.String(), metadata={"description": "what a scheduler can do beyond submit, poll and cancel"}
    )
    fields_ = ma.fields.List(ma.fields.Nested(FieldSupportSchema), data_key="fields")


PluginPageSchema = page_schema(PluginSchema)
