"""The route of installed plugins."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response

from hpcgate.model.principal import Principal, Role
from hpcgate.model.scheduler import Approximated, SchedulerInfo
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire
from hpcgate.server.resources.plugins.schemas import PluginPageSchema
from hpcgate.server.smorest import Blueprint, reply

blp = Blueprint("plugins", __name__, description="What is installed, and what it can do.")


@blp.route("/plugins")
@blp.login
@blp.response(200, PluginPageSchema)
def list_plugins(principal: Principal) -> Response:
    """List the plugins. Why one is broken is told to operators alone: it may speak of this machine."""
    host = gateway().plugins
    tells = principal.has(Role.ADMIN, Role.MANAGER, Role.SUPPORT)
    items = []
    for record in host.records:
        item = {**asdict(record), **_abilities(host.schedulers.get(record.name) if record.status == "ok" else None)}
        items.append(item if tells else {**item, "error": None})
    return reply(list_to_wire(items))


def _abilities(info: SchedulerInfo | None) -> dict[str, Any]:
    if info is None:
        return {"capabilities": [], "fields": []}
    fields = [
        {"field": name, "verdict": "approximated", "how": support.how}
        if isinstance(support, Approximated)
        else {"field": name, "verdict": "honoured", "how": None}
        for name, support in sorted(info.fields.items())
    ]
    return {"capabilities": sorted(each.value for each in info.capabilities), "fields": fields}
