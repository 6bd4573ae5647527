"""Groups on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import flag, roles, text
from hpcgate.server.smorest import Schema


class GroupSchema(Schema):
    """A group of principals."""

    name = text("unique name")
    members = ma.fields.List(ma.fields.String(), metadata={"description": "names of principals"})
    roles = roles("what its members may do, beside what they may do anyway")
    managed_by_config = flag("always true: groups stand in the configuration, and cannot be changed here")


GroupPageSchema = page_schema(GroupSchema)
