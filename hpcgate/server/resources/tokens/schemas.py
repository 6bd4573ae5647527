"""Tokens on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import integer, roles, text, time
from hpcgate.server.smorest import Schema


class TokenCreateSchema(Schema):
    """Who gets a token: somebody with a password, or a user named by somebody who has a token already."""

    username = text("log in with this name; without a token in the request", validate=ma.validate.Length(1, 128))
    password = text("the user's password", load_only=True, validate=ma.validate.Length(1, 1024))
    user = text("make a token for this user; oneself when not given", validate=ma.validate.Length(1, 128))
    ttl_s = integer("how long it lives, seconds")
    roles = roles("narrows the user's roles; all of them when empty", load_default=[])
    dialect = text(
        "the only dialect where it is good; everywhere when not given",
        allow_none=True,
        load_default=None,
    )
    comment = text("what it is for", allow_none=True, load_default=None, validate=ma.validate.Length(0, 512))


class TokenSchema(Schema):
    """What the gateway remembers of a token."""

    id = text("what revokes it")
    user = text("whose it is")
    roles = roles("what it may do")
    created_at = time("when it was made")
    expires_at = time("when it ends")
    revoked_at = time("when it was revoked; null = it was not")
    comment = text("what it is for", allow_none=True)
    delegate = text("the client that has it to act for the user", allow_none=True)


class NewTokenSchema(TokenSchema):
    """A token; the only answer that holds the token itself."""

    token = text("the token, to be sent as `Authorization: Bearer TOKEN`")


class TokenListArgsSchema(Schema):
    """Whose tokens."""

    user = text("of this user; `*` = of all; one's own when not given", load_default=None, allow_none=False)


TokenPageSchema = page_schema(TokenSchema)
