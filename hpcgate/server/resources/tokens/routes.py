"""Routes of tokens."""

from __future__ import annotations

from typing import Any

from flask import Response, request, url_for

from hpcgate.errors import FieldError, InvalidSpec, Unauthenticated
from hpcgate.model.principal import Principal, TokenInfo
from hpcgate.server.auth import authenticate, require_secure
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire
from hpcgate.server.resources.common import to_roles
from hpcgate.server.resources.tokens.schemas import (
    NewTokenSchema,
    TokenCreateSchema,
    TokenListArgsSchema,
    TokenPageSchema,
)
from hpcgate.server.smorest import Blueprint, empty, reply
from hpcgate.service.wire import token_to_wire

blp = Blueprint("tokens", __name__, description="Credentials: JSON Web Tokens that can be revoked.")


@blp.route("/tokens", methods=["POST"])
@blp.arguments(TokenCreateSchema)
@blp.response(201, NewTokenSchema)
@blp.problems(401, 403, 404, 429)
@blp.doc(security=[{}, {"token": []}])
def create(wanted: dict[str, Any]) -> Response:
    """Make a token.

    With `username` and `password` for whoever knows them; with a token in the request for oneself, or for any `user`
    as an admin. The answer is the only one that ever shows the token.
    """
    token, info = _create(wanted) if "Authorization" in request.headers else _login(wanted)
    location = url_for("tokens.revoke", token_id=info.id)
    return reply({"token": token, **token_to_wire(info)}, 201, {"Location": location})


def _create(wanted: dict[str, Any]) -> tuple[str, TokenInfo]:
    principal = authenticate(request)
    _refuse(wanted, ("username", "password"), "does not go with a token in the request; name the `user`")
    return gateway().identities.create_token(
        principal,
        wanted.get("user", principal.name),
        ttl_s=wanted.get("ttl_s"),
        roles=to_roles(wanted["roles"]),
        comment=wanted["comment"],
        dialect=wanted["dialect"],
    )


def _login(wanted: dict[str, Any]) -> tuple[str, TokenInfo]:
    require_secure(request)
    if "username" not in wanted and "password" not in wanted:
        raise Unauthenticated("give username and password, or a token as 'Authorization: Bearer TOKEN'")
    missing = [FieldError(name, "is required") for name in ("username", "password") if name not in wanted]
    if missing:
        raise InvalidSpec(missing)
    _refuse(wanted, ("user",), "goes with a token in the request; a password makes one's own")
    return gateway().identities.login(
        wanted["username"],
        wanted["password"],
        ttl_s=wanted.get("ttl_s"),
        roles=to_roles(wanted["roles"]),
        dialect=wanted["dialect"],
        address=request.remote_addr,
    )


def _refuse(wanted: dict[str, Any], names: tuple[str, ...], message: str) -> None:
    if given := [FieldError(name, message) for name in names if name in wanted]:
        raise InvalidSpec(given)


@blp.route("/tokens")
@blp.login
@blp.arguments(TokenListArgsSchema, location="query")
@blp.response(200, TokenPageSchema)
def list_tokens(principal: Principal, args: dict[str, Any]) -> Response:
    """List tokens; the tokens themselves are not kept."""
    found = gateway().identities.tokens(principal, args["user"])
    return reply(list_to_wire(map(token_to_wire, found)))


@blp.route("/tokens/<token_id>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404)
def revoke(principal: Principal, token_id: str) -> Response:
    """Revoke a token. It is worthless from now on."""
    gateway().identities.revoke_token(principal, token_id)
    return empty()
