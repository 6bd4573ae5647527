"""Routes for machines that watch the server."""

from __future__ import annotations

import logging
from typing import Final

from flask import Blueprint, Response, request

from hpcgate.errors import Forbidden
from hpcgate.model.principal import Role
from hpcgate.server.auth import authenticate
from hpcgate.server.context import gateway, serving
from hpcgate.server.peer import SECURE, is_loopback
from hpcgate.server.smorest import reply

_log = logging.getLogger(__name__)

#: Its name; who watches is neither counted nor slowed down.
NAME: Final = "health"
blp = Blueprint(NAME, __name__)


@blp.route("/health/live")
def live() -> Response:
    """The process answers."""
    return reply({"status": "ok"})


@blp.route("/health/ready")
def ready() -> Response:
    """The process can do its work. What is wrong stands in the log: anybody may ask here."""
    try:
        status = gateway().status()
    except Exception:  # noqa: BLE001 - whatever it is, the answer is the same, and the log has it
        _log.exception("the gateway cannot tell its status")
        return reply({"status": "unavailable"}, 503)
    if not status["ready"]:
        _log.error("not ready: %s", status)
        return reply({"status": "unavailable"}, 503)
    return reply({"status": "ok"})


@blp.route("/metrics")
def metrics() -> Response:
    """For Prometheus: from this machine, or with the token of an operator."""
    local = request.environ.get(SECURE, False) and is_loopback(request.remote_addr or "")
    if not local and not authenticate(request).has(Role.ADMIN, Role.MANAGER, Role.SUPPORT):
        raise Forbidden("metrics are for the roles admin, manager and support")
    return Response(serving().metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")
