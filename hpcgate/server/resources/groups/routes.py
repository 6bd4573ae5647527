"""Routes of groups."""

from __future__ import annotations

from flask import Response

from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire
from hpcgate.server.resources.groups.schemas import GroupPageSchema, GroupSchema
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.service.wire import group_to_wire

blp = Blueprint("groups", __name__, description="Groups of principals, as the configuration has them.")


@blp.route("/groups")
@blp.login
@blp.response(200, GroupPageSchema)
def list_groups(principal: Principal) -> Response:
    """List one's own groups; operators see all."""
    return reply(list_to_wire(map(group_to_wire, gateway().groups.list(principal))))


@blp.route("/groups/<name>")
@blp.login
@blp.response(200, GroupSchema)
@blp.problems(404)
def get(principal: Principal, name: str) -> Response:
    """Show a group."""
    return reply(group_to_wire(gateway().groups.get(principal, name)))
