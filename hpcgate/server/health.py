"""Routes for machines that watch the server."""

from __future__ import annotations

import logging
from typing import Final

from flask import Blueprint, Response, request

from hpcgate.errors import DatabaseUnavailable, Forbidden
from hpcgate.model.principal import Role
from hpcgate.server.auth import authenticate, caller
from hpcgate.server.context import gateway, serving
from hpcgate.server.peer import SECURE, is_loopback
from hpcgate.server.smorest import reply

_log = logging.getLogger(__name__)

_OPERATORS: Final = (Role.ADMIN, Role.MANAGER, Role.SUPPORT)

#: Its name; who watches is neither counted nor slowed down.
NAME: Final = "health"
blp = Blueprint(NAME, __name__)


@blp.route("/health/live")
def live() -> Response:
    """The process answers."""
    return reply({"status": "ok"})


@blp.route("/health/ready")
def ready() -> Response:
    """The process can do its work: 200, or 503.

    A site that is down makes it ``degraded``, not unready: it goes on for the others. Which one and why is told to this
    machine and to operators; anybody may ask for the rest.
    """
    try:
        status = gateway().status()
    except Exception:  # noqa: BLE001 - whatever it is, the answer is the same, and the log has it
        _log.exception("the gateway cannot tell its status")
        return reply({"status": "unavailable"}, 503)
    down = sorted(name for name, site in status["sites"].items() if not site["ok"])
    said = "unavailable" if not status["ready"] else "degraded" if down else "ok"
    if said != "ok":
        _log.warning("%s: database: %s; sites that are down: %s", said, status["database"], ", ".join(down) or "none")
    told = {"status": said}
    if _is_local() or _is_operator():
        told |= {name: status[name] for name in ("database", "sites", "outbox")}
    return reply(told, 200 if status["ready"] else 503)


def _is_local() -> bool:
    return bool(request.environ.get(SECURE, False)) and is_loopback(request.remote_addr or "")


def _is_operator() -> bool:
    """Whether the request has an operator's token; where the database is away, nobody can say so."""
    try:
        principal = caller(request)
    except DatabaseUnavailable:
        return False
    return principal is not None and principal.has(*_OPERATORS)


@blp.route("/metrics")
def metrics() -> Response:
    """For Prometheus: from this machine, or with the token of an operator."""
    if not _is_local() and not authenticate(request).has(*_OPERATORS):
        raise Forbidden("metrics are for the roles admin, manager and support")
    return Response(serving().metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")
