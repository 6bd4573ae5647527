"""Routes of users."""

from __future__ import annotations

from typing import Any

from flask import Response, url_for

from hpcgate.errors import InvalidSpec
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire
from hpcgate.server.resources.common import to_roles
from hpcgate.server.resources.users.schemas import UserCreateSchema, UserPageSchema, UserSchema, UserUpdateSchema
from hpcgate.server.smorest import Blueprint, empty, reply
from hpcgate.service.wire import user_to_wire

blp = Blueprint("users", __name__, description="Those who may use the gateway. Managed by admins.")


@blp.route("/users")
@blp.login
@blp.response(200, UserPageSchema)
def list_users(principal: Principal) -> Response:
    """List all users."""
    return reply(list_to_wire(map(user_to_wire, gateway().identities.users(principal))))


@blp.route("/users", methods=["POST"])
@blp.login
@blp.arguments(UserCreateSchema)
@blp.response(201, UserSchema)
@blp.problems(409)
def create(principal: Principal, wanted: dict[str, Any]) -> Response:
    """Add a user."""
    user = gateway().identities.add_user(
        principal,
        wanted["name"],
        roles=to_roles(wanted["roles"]),
        password=wanted.get("password"),
        email=wanted.get("email"),
    )
    return reply(user_to_wire(user), 201, {"Location": url_for("users.get", name=user.name)})


@blp.route("/users/<name>")
@blp.login
@blp.response(200, UserSchema)
@blp.problems(404)
def get(principal: Principal, name: str) -> Response:
    """Show a user; everybody may see oneself."""
    return reply(user_to_wire(gateway().identities.user(principal, name)))


@blp.route("/users/<name>", methods=["PATCH"])
@blp.login
@blp.arguments(UserUpdateSchema)
@blp.response(200, UserSchema)
@blp.problems(404, 409)
def update(principal: Principal, wanted: dict[str, Any], name: str) -> Response:
    """Change a user. Everybody may change the own password."""
    if not wanted:
        raise InvalidSpec.of("body", "changes nothing; give roles, password, locked or email")
    roles = wanted.get("roles")
    user = gateway().identities.update_user(
        principal,
        name,
        roles=None if roles is None else to_roles(roles),
        password=wanted.get("password"),
        locked=wanted.get("locked"),
        email=wanted.get("email", ...),
    )
    return reply(user_to_wire(user))


@blp.route("/users/<name>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409)
def remove(principal: Principal, name: str) -> Response:
    """Remove a user. Its tokens end at once, its jobs stay."""
    gateway().identities.remove_user(principal, name)
    return empty()
