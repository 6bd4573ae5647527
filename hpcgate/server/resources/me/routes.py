"""The route that tells who one is."""

from __future__ import annotations

from flask import Response

from hpcgate.model.principal import Principal
from hpcgate.server.resources.me.schemas import PrincipalSchema
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.service.wire import principal_to_wire

blp = Blueprint("me", __name__, description="Whoever asks.")


@blp.route("/me")
@blp.login
@blp.response(200, PrincipalSchema)
def get(principal: Principal) -> Response:
    """Show whose token this is."""
    return reply(principal_to_wire(principal))
