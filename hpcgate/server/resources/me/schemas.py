"""The principal on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.resources.common import roles, text
from hpcgate.server.smorest import Schema


class PrincipalSchema(Schema):
    """Who is asking."""

    name = text("unique name")
    roles = roles("what the token may do")
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "groups of which it is a member"})
    token_id = text("id of the token in the request", allow_none=True)
    delegate = text("the client that acts for it; null = it acts itself", allow_none=True)
