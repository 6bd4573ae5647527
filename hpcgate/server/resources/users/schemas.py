"""Users on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import flag, roles, text, time
from hpcgate.server.smorest import Schema


class UserCreateSchema(Schema):
    """A new user."""

    name = text("letters, digits and `. _ @ + -`", required=True)
    roles = roles("what it may do; `user` when not given", load_default=[])
    password = text("lets it make tokens by itself", load_only=True, validate=ma.validate.Length(1, 1024))
    email = text("where its mail goes", allow_none=True)


class UserUpdateSchema(Schema):
    """What changes; the rest stays."""

    roles = roles("all its roles from now on", validate=ma.validate.Length(min=1))
    password = text("its new password", load_only=True, validate=ma.validate.Length(1, 1024))
    locked = flag("whether its tokens and its password are refused")
    email = text("where its mail goes; null = nowhere", allow_none=True)


class UserSchema(Schema):
    """A user."""

    name = text("unique name")
    roles = roles("what it may do")
    created_at = time("when it was added")
    has_password = flag("whether it can make tokens by password")
    locked = flag("whether it is refused")
    email = text("where its mail goes", allow_none=True)
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "groups of which it is a member"})
    managed_by_config = flag("whether it stands in the configuration, and cannot be changed here")


UserPageSchema = page_schema(UserSchema)
