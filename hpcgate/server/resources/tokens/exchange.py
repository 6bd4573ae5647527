"""The route by which a client gets a token to act for a user (RFC 8693)."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
from flask import Response

from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.resources.common import integer, text
from hpcgate.server.smorest import Blueprint, Schema, reply

blp = Blueprint("delegation", __name__, description="Act for somebody else.")

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
#: Our own: the subject is named, and the gateway takes the client's word that it has authenticated it.
USER_NAME: Final = "urn:hpcgate:token-type:user-name"


class ExchangeSchema(Schema):
    """The fields of RFC 8693, as far as they have a meaning here."""

    grant_type = text("what is wanted", required=True, validate=ma.validate.OneOf([GRANT]))
    subject_token = text("for whom: a user's name, or a token of hers", required=True, validate=ma.validate.Length(1))
    subject_token_type = text(
        "what `subject_token` is", required=True, validate=ma.validate.OneOf([USER_NAME, ACCESS_TOKEN, JWT])
    )
    requested_token_type = text("what comes back", validate=ma.validate.OneOf([ACCESS_TOKEN, JWT]))
    scope = text("`user`, `api`, or both with a blank between; what the user has of them when not given")


class ExchangedSchema(Schema):
    """A token, as RFC 8693 answers."""

    access_token = text("the token, to be sent as `Authorization: Bearer TOKEN`")
    issued_token_type = text("what it is")
    token_type = text("always `Bearer`")
    expires_in = integer("seconds that it lives")
    scope = text("what it may do: roles, with blanks between")


@blp.route("/tokens/exchange", methods=["POST"])
@blp.login
@blp.arguments(ExchangeSchema, location="form")
@blp.response(200, ExchangedSchema)
@blp.problems(404)
def exchange(client: Principal, wanted: dict[str, Any]) -> Response:
    """Get a token to act for a user (RFC 8693), as a client with the role `delegate`.

    It lives an hour at most, has the roles `user` and `api` at most, and makes no further tokens. Events and log name
    both the user and the client.
    """
    identities = gateway().identities
    subject = wanted["subject_token"]
    if wanted["subject_token_type"] != USER_NAME:
        subject = identities.subject_of(client, subject)
    token, info = identities.exchange(client, subject, scope=frozenset(wanted.get("scope", "").split()))
    return reply(
        {
            "access_token": token,
            "issued_token_type": wanted.get("requested_token_type", ACCESS_TOKEN),
            "token_type": "Bearer",
            "expires_in": round(info.expires_at - info.created_at),
            "scope": " ".join(sorted(info.roles)),
        }
    )
