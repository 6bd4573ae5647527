"""Routes of sites."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response

from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire
from hpcgate.server.resources.sites.schemas import (
    DrainRequestSchema,
    NodePageSchema,
    ProbeSchema,
    QueuePageSchema,
    SitePageSchema,
    SiteSchema,
)
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.service.wire import probe_to_wire, site_to_wire

blp = Blueprint("sites", __name__, description="The clusters and machines that jobs can run on.")


@blp.route("/sites")
@blp.login
@blp.response(200, SitePageSchema)
def list_sites(principal: Principal) -> Response:
    """List the sites."""
    return reply(list_to_wire(map(site_to_wire, gateway().site_service.list(principal))))


@blp.route("/sites/<name>")
@blp.login
@blp.response(200, SiteSchema)
@blp.problems(404)
def get(principal: Principal, name: str) -> Response:
    """Show a site, by name or alias."""
    return reply(site_to_wire(gateway().site_service.get(principal, name)))


@blp.route("/sites/<name>/queues")
@blp.login
@blp.response(200, QueuePageSchema)
@blp.problems(404, 501, 502, 504)
def queues(principal: Principal, name: str) -> Response:
    """List a site's queues."""
    return reply(list_to_wire(map(asdict, gateway().site_service.queues(principal, name))))


@blp.route("/sites/<name>/nodes")
@blp.login
@blp.response(200, NodePageSchema)
@blp.problems(404, 501, 502, 504)
def nodes(principal: Principal, name: str) -> Response:
    """List a site's nodes."""
    return reply(list_to_wire(map(asdict, gateway().site_service.nodes(principal, name))))


@blp.route("/sites/<name>/check")
@blp.login
@blp.response(200, ProbeSchema)
@blp.problems(404, 501, 502, 504)
def check(principal: Principal, name: str) -> Response:
    """Look whether a site has everything that the gateway needs."""
    return reply(probe_to_wire(name, gateway().site_service.check(principal, name)))


@blp.route("/sites/<name>/drain", methods=["POST"])
@blp.login
@blp.arguments(DrainRequestSchema)
@blp.response(200, SiteSchema)
@blp.problems(404)
def drain(principal: Principal, wanted: dict[str, Any], name: str) -> Response:
    """Let a site take no new jobs: submits are refused with 503. What its scheduler has goes on."""
    return reply(site_to_wire(gateway().site_service.drain(principal, name, wanted["reason"])))


@blp.route("/sites/<name>/resume", methods=["POST"])
@blp.login
@blp.response(200, SiteSchema)
@blp.problems(404, 409)
def resume(principal: Principal, name: str) -> Response:
    """Let a drained site take new jobs again."""
    return reply(site_to_wire(gateway().site_service.resume(principal, name)))
