"""Routes of projects."""

from __future__ import annotations

from typing import Any

from flask import Response, url_for

from hpcgate.errors import InvalidSpec
from hpcgate.model.allocation import Grant, Project, seconds
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import PageArgsSchema, page_to_wire
from hpcgate.server.resources.projects.schemas import (
    GrantSchema,
    ProjectCreateSchema,
    ProjectMemberPageSchema,
    ProjectMemberSchema,
    ProjectPageSchema,
    ProjectSchema,
    ProjectUpdateSchema,
    project_fields,
    to_project,
)
from hpcgate.server.smorest import Blueprint, empty, reply
from hpcgate.service.wire import project_member_to_wire, project_to_wire

blp = Blueprint("projects", __name__, description="Allocations with a quota for each user.")


def _wire(principal: Principal, project: Project) -> dict[str, Any]:
    projects = gateway().projects
    return project_to_wire(project, projects.own_balance(principal, project), projects.total(project))


def _member_wire(project: Project, name: str, grant: Grant) -> dict[str, Any]:
    return project_member_to_wire(name, grant, gateway().projects.balance(project, name))


@blp.route("/projects")
@blp.login
@blp.arguments(PageArgsSchema, location="query")
@blp.response(200, ProjectPageSchema)
def list_projects(principal: Principal, args: dict[str, Any]) -> Response:
    """List one's own projects; operators see all."""
    page = gateway().projects.list(principal, cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(page, lambda project: _wire(principal, project)))


@blp.route("/projects", methods=["POST"])
@blp.login
@blp.arguments(ProjectCreateSchema)
@blp.response(201, ProjectSchema)
@blp.problems(409)
def create(principal: Principal, wanted: dict[str, Any]) -> Response:
    """Make a project."""
    project = gateway().projects.create(principal, to_project(wanted))
    return reply(_wire(principal, project), 201, {"Location": url_for("projects.get", name=project.name)})


@blp.route("/projects/<name>")
@blp.login
@blp.response(200, ProjectSchema)
@blp.problems(404)
def get(principal: Principal, name: str) -> Response:
    """Show a project, and what is left of it."""
    return reply(_wire(principal, gateway().projects.get(principal, name)))


@blp.route("/projects/<name>", methods=["PATCH"])
@blp.login
@blp.arguments(ProjectUpdateSchema)
@blp.response(200, ProjectSchema)
@blp.problems(404, 409)
def update(principal: Principal, wanted: dict[str, Any], name: str) -> Response:
    """Change a project. Jobs that it has already keep what they have reserved."""
    if not wanted:
        raise InvalidSpec.of("body", "changes nothing; give hours, space_kb, account or another field")
    return reply(_wire(principal, gateway().projects.update(principal, name, project_fields(wanted))))


@blp.route("/projects/<name>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409)
def remove(principal: Principal, name: str) -> Response:
    """Remove a project that has no active jobs, and forget what was used of it."""
    gateway().projects.remove(principal, name)
    return empty()


@blp.route("/projects/<name>/members")
@blp.login
@blp.arguments(PageArgsSchema, location="query")
@blp.response(200, ProjectMemberPageSchema)
@blp.problems(404)
def list_members(principal: Principal, args: dict[str, Any], name: str) -> Response:
    """List the members that were named, and who else has used the project; but for operators, oneself alone."""
    project = gateway().projects.get(principal, name)
    page = gateway().projects.members(principal, name, cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(page, lambda member: _member_wire(project, *member)))


@blp.route("/projects/<name>/members/<member>")
@blp.login
@blp.response(200, ProjectMemberSchema)
@blp.problems(404)
def get_member(principal: Principal, name: str, member: str) -> Response:
    """Show what a member has, and what is left of it."""
    grant = gateway().projects.member(principal, name, member)
    return reply(_member_wire(gateway().projects.get(principal, name), member, grant))


@blp.route("/projects/<name>/members/<member>", methods=["PUT"])
@blp.login
@blp.arguments(GrantSchema)
@blp.response(200, ProjectMemberSchema)
@blp.alt_response(201, schema=ProjectMemberSchema, description="It was none before.", success=True)
@blp.problems(404, 409)
def put_member(principal: Principal, wanted: dict[str, Any], name: str, member: str) -> Response:
    """Make somebody a member, or grant it something else."""
    grant = Grant(time_s=seconds(wanted.get("hours")), space_kb=wanted.get("space_kb"))
    new = gateway().projects.put_member(principal, name, member, grant)
    project = gateway().projects.get(principal, name)
    return reply(_member_wire(project, member, grant), 201 if new else 200)


@blp.route("/projects/<name>/members/<member>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409)
def remove_member(principal: Principal, name: str, member: str) -> Response:
    """Take a membership away. What the member has used stays used, and its jobs go on."""
    gateway().projects.remove_member(principal, name, member)
    return empty()
