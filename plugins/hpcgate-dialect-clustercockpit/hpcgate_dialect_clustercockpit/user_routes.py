"""Users, for admins; and tokens. What went well is told as plain text, as it always was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import Response, request

from hpcgate.errors import Conflict, Forbidden, InvalidSpec, NotFound
from hpcgate.model.allocation import Grant
from hpcgate.model.principal import Principal, Role
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import reply
from hpcgate_dialect_clustercockpit.bodies import UserBody
from hpcgate_dialect_clustercockpit.decoding import read
from hpcgate_dialect_clustercockpit.errors import bad, unprocessable
from hpcgate_dialect_clustercockpit.mapping import user_wire
from hpcgate_dialect_clustercockpit.schemas import MessageSchema, UserSchema

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

T = TypeVar("T")

_TEXT: Final = "text/plain"
_CHANGE: Final = UserBody()
_DONE: Final = {
    "add_role": "Add Role Success",
    "remove_role": "Remove Role Success",
    "add_project": "Add Project Success",
    "remove_project": "Remove Project Success",
}


def _parameters(*names: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "in": "query",
            "name": name,
            "description": f"{meaning}; or in a form",
            "schema": {"type": "string"},
        }
        for name, meaning in names
    ]


def user_routes(gateway: Gateway) -> DialectBlueprint:
    """Users, for admins."""
    blp = DialectBlueprint("users", __name__, description="Users, for admins.")
    people = _People(gateway)

    @blp.route("/api/users", methods=["POST", "PUT"])
    @blp.login
    @blp.response(200, {"type": "string"}, content_type=_TEXT)
    @blp.problems(400, 422)
    @blp.doc(
        parameters=_parameters(
            ("username", "name of the user"),
            ("password", "blank for the role `api` alone"),
            ("role", "`api`, `user`, `manager`, `support` or `admin`"),
            ("name", "taken and not kept"),
            ("email", "its address"),
            ("project", "what a manager manages"),
        )
    )
    def create_user(principal: Principal) -> Response:
        """Make a user."""
        values = request.values
        people.create(principal, values)
        return _text(f"User {values['username']} successfully created!\n")

    @blp.route("/api/users", methods=["GET"])
    @blp.login
    @blp.response(200, UserSchema(many=True))
    @blp.doc(parameters=_parameters(("not-just-user", "`true`: only those with a role beyond `user`")))
    def list_users(principal: Principal) -> Response:
        """List users."""
        return reply(people.list(principal, beyond=request.values.get("not-just-user") == "true"))

    @blp.route("/api/users", methods=["DELETE"])
    @blp.login
    @blp.response(200, {"type": "string"}, content_type=_TEXT)
    @blp.problems(422)
    @blp.doc(parameters=_parameters(("username", "name of the user")))
    def remove_user(principal: Principal) -> Response:
        """Remove a user."""
        _or_422(partial(gateway.identities.remove_user, principal, request.values.get("username", "")))
        return _text("")

    @blp.route("/api/user/<string:user>", methods=["POST"])
    @blp.login
    @blp.response(200, MessageSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody={"content": {"application/json": {"schema": UserBody}}})
    def change_user(principal: Principal, user: str) -> Response:
        """Give a user a role or project, or take it away. To a form the answer is plain text."""
        if request.values:
            known = {field.data_key or "": name for name, field in _CHANGE.load_fields.items()}
            said = _text(people.change(principal, user, {known[key]: request.values.get(key, "") for key in known}))
        else:
            said = reply({"msg": people.change(principal, user, read(request, _CHANGE))})
        return said

    return blp


def token_routes(gateway: Gateway, dialect: str) -> DialectBlueprint:
    """Tokens, for everybody for oneself."""
    blp = DialectBlueprint("tokens", __name__, description="Tokens.")

    @blp.route("/api/jwt")
    @blp.login
    @blp.response(200, {"type": "string"}, content_type=_TEXT)
    @blp.problems(422)
    @blp.doc(parameters=_parameters(("username", "whose token it will be")))
    def make_token(principal: Principal) -> Response:
        """Make a token that is good for this API alone: for oneself, or for anybody by an admin."""
        user = request.values.get("username", "")
        if user != principal.name and not principal.has(Role.ADMIN):
            raise Forbidden("only admins may make tokens for others")
        token, _ = _or_422(partial(gateway.identities.create_token, principal, user, dialect=dialect))
        return _text(token)

    return blp


class _People:
    """What is done to users."""

    def __init__(self, gateway: Gateway) -> None:
        self._identities = gateway.identities
        self._projects = gateway.projects

    def create(self, principal: Principal, values: Mapping[str, str]) -> None:
        """Makes a user of the fields of a form."""
        name, password, project = (values.get(key, "") for key in ("username", "password", "project"))
        role = _role(values.get("role", ""))
        if not password and role is not Role.API:
            bad("password: only users with the role api may have a blank one, since they never log in")
        if project and role is not Role.MANAGER:
            bad("project: only goes with the role manager")
        add = partial(self._identities.add_user, principal, name, roles=[role], password=password or None)
        _or_422(partial(add, email=values.get("email") or None))
        if project:
            _or_422(partial(self._projects.put_member, principal, project, name, Grant()))

    def list(self, principal: Principal, *, beyond: bool) -> list[dict[str, Any]]:
        """Users by name; with ``beyond`` those that have more than the role ``user``."""
        found = [user for user in self._identities.users(principal) if not beyond or not user.roles <= {Role.USER}]
        projects = self._projects.every()
        return [
            user_wire(user, [each.name for each in projects if self._projects.granted(each, user.name) is not None])
            for user in found
        ]

    def change(self, principal: Principal, name: str, wanted: Mapping[str, str]) -> str:
        """Makes the first change that is wanted; says which it was."""
        what = next((key for key in _DONE if wanted.get(key)), None)
        if what is None:
            bad("one of add-role, remove-role, add-project and remove-project is needed")
        value = wanted[what]
        if what.endswith("role"):
            _or_422(partial(self._change_role, principal, name, _role(value), add=what == "add_role"))
        elif what == "add_project":
            user = _or_422(partial(self._identities.user, principal, name))
            _or_422(partial(self._projects.put_member, principal, value, user.name, Grant()))
        else:
            _or_422(partial(self._projects.remove_member, principal, value, name))
        return _DONE[what]

    def _change_role(self, principal: Principal, name: str, role: Role, *, add: bool) -> None:
        has = self._identities.user(principal, name).roles
        if (role in has) == add:
            unprocessable(f"user {name!r} {'has' if add else 'does not have'} the role {role}")
        roles = has | {role} if add else has - {role}
        if not roles:
            unprocessable(f"{role} is the last role of user {name!r}; give it another one first")
        self._identities.update_user(principal, name, roles=roles)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        unprocessable(f"role: {text[:64]!r} is none; one of {', '.join(Role)}")


def _or_422(do: Callable[[], T]) -> T:
    """What cannot be done to a user is 422 here, whatever the reason."""
    try:
        return do()
    except (NotFound, Conflict, InvalidSpec) as error:
        unprocessable(error.message)


def _text(text: str) -> Response:
    return Response(text, content_type="text/plain; charset=utf-8")
