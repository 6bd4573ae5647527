"""Routes of shares."""

from __future__ import annotations

from typing import Any

from flask import Response, url_for

from hpcgate.errors import InvalidSpec
from hpcgate.model.allocation import Grant, Share
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import PageArgsSchema, page_to_wire
from hpcgate.server.resources.shares.schemas import (
    NothingSchema,
    ShareCreateSchema,
    ShareMemberPageSchema,
    ShareMemberSchema,
    SharePageSchema,
    ShareSchema,
    ShareUpdateSchema,
)
from hpcgate.server.smorest import Blueprint, empty, reply
from hpcgate.service.wire import share_to_wire

blp = Blueprint("shares", __name__, description="Slices of sites, and what their jobs take of them now.")


def _wire(share: Share) -> dict[str, Any]:
    return share_to_wire(share, gateway().shares.usage(share))


def _fields(wanted: dict[str, Any]) -> dict[str, Any]:
    return wanted | {"groups": tuple(wanted["groups"])} if "groups" in wanted else wanted


@blp.route("/shares")
@blp.login
@blp.arguments(PageArgsSchema, location="query")
@blp.response(200, SharePageSchema)
def list_shares(principal: Principal, args: dict[str, Any]) -> Response:
    """List the shares that one may use; operators see all."""
    page = gateway().shares.list(principal, cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(page, _wire))


@blp.route("/shares", methods=["POST"])
@blp.login
@blp.arguments(ShareCreateSchema)
@blp.response(201, ShareSchema)
@blp.problems(409)
def create(principal: Principal, wanted: dict[str, Any]) -> Response:
    """Make a share."""
    share = gateway().shares.create(principal, Share(**_fields(wanted)))
    return reply(_wire(share), 201, {"Location": url_for("shares.get", name=share.name)})


@blp.route("/shares/<name>")
@blp.login
@blp.response(200, ShareSchema)
@blp.problems(404)
def get(principal: Principal, name: str) -> Response:
    """Show a share, and what its jobs take now."""
    return reply(_wire(gateway().shares.get(principal, name)))


@blp.route("/shares/<name>", methods=["PATCH"])
@blp.login
@blp.arguments(ShareUpdateSchema)
@blp.response(200, ShareSchema)
@blp.problems(404, 409)
def update(principal: Principal, wanted: dict[str, Any], name: str) -> Response:
    """Change a share. Jobs that are at their scheduler stay there."""
    if not wanted:
        raise InvalidSpec.of("body", "changes nothing; give queue, capacity, max_capacity or another field")
    return reply(_wire(gateway().shares.update(principal, name, _fields(wanted))))


@blp.route("/shares/<name>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409)
def remove(principal: Principal, name: str) -> Response:
    """Remove a share that has no active jobs."""
    gateway().shares.remove(principal, name)
    return empty()


@blp.route("/shares/<name>/members")
@blp.login
@blp.arguments(PageArgsSchema, location="query")
@blp.response(200, ShareMemberPageSchema)
@blp.problems(404)
def list_members(principal: Principal, args: dict[str, Any], name: str) -> Response:
    """List the members that were named; but for operators, oneself alone."""
    page = gateway().shares.members(principal, name, cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(page, lambda member: {"name": member[0]}))


@blp.route("/shares/<name>/members/<member>")
@blp.login
@blp.response(200, ShareMemberSchema)
@blp.problems(404)
def get_member(principal: Principal, name: str, member: str) -> Response:
    """Whether somebody is a member."""
    gateway().shares.member(principal, name, member)
    return reply({"name": member})


@blp.route("/shares/<name>/members/<member>", methods=["PUT"])
@blp.login
@blp.arguments(NothingSchema)
@blp.response(200, ShareMemberSchema)
@blp.alt_response(201, schema=ShareMemberSchema, description="It was none before.", success=True)
@blp.problems(404, 409)
def put_member(principal: Principal, wanted: dict[str, Any], name: str, member: str) -> Response:
    """Make somebody a member."""
    new = gateway().shares.put_member(principal, name, member, Grant())
    return reply({"name": member}, 201 if new else 200)


@blp.route("/shares/<name>/members/<member>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409)
def remove_member(principal: Principal, name: str, member: str) -> Response:
    """Take a membership away. The member's jobs go on."""
    gateway().shares.remove_member(principal, name, member)
    return empty()
