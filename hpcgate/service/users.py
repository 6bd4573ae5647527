"""Users: who there is, and what an admin or they themselves may change of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import Forbidden, InvalidSpec, NotFound
from hpcgate.model.principal import Principal, Role, User, is_email
from hpcgate.service.access import Verb, require, require_oneself
from hpcgate.service.groups import GroupService
from hpcgate.service.passwords import hash_password
from hpcgate.service.trail import about

if TYPE_CHECKING:
    from hpcgate.store.identities import IdentityStore

MIN_PASSWORD_CHARS: Final = 8
USER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}\Z")


class Users:
    """Manages users.

    Args:
        store: where they are kept.
        groups: what members of groups may do beside.
        clock: epoch seconds.
    """

    def __init__(self, store: IdentityStore, groups: GroupService, clock: Callable[[], float]) -> None:
        self._store = store
        self._groups = groups
        self._clock = clock

    def _user(self, name: str) -> User:
        return self._with_groups(self._store.user(name))

    def _with_groups(self, user: User) -> User:
        return replace(user, groups=self._groups.of(user.name))

    def _all_roles(self, user: User) -> frozenset[Role]:
        """Its own and those of its groups."""
        return user.roles | self._groups.roles_of(user.name)

    def acting(self, name: str) -> Principal | None:
        """A user in whose name the gateway acts by itself, with the rights that it has now.

        ``None`` = it is gone or locked, so that nothing is done for it any more.
        """
        user = self._present(name)
        return None if user is None else Principal(name=name, roles=self._all_roles(user), groups=user.groups)

    def address(self, name: str) -> str | None:
        """Where a user's mail goes; ``None`` = nowhere, also because it is gone or locked."""
        user = self._present(name)
        return None if user is None else user.email

    def _present(self, name: str) -> User | None:
        try:
            user = self._user(name)
        except NotFound:
            return None
        return None if user.locked else user

    def add_user(
        self,
        actor: Principal,
        name: str,
        *,
        roles: Iterable[Role] = (),
        password: str | None = None,
        email: str | None = None,
    ) -> User:
        """Makes a user; role ``user`` when none is given.

        Raises:
            Conflict: there is one of that name.
            InvalidSpec: name or password is not acceptable.
        """
        require(actor, Verb.MANAGE_USERS)
        if not USER_NAME.match(name):
            raise InvalidSpec.of("name", f"{name!r} is no user name; letters, digits and . _ @ + -, at most 128")
        user = User(
            name=name,
            roles=frozenset(roles) or frozenset({Role.USER}),
            created_at=self._clock(),
            has_password=password is not None,
            email=None if email is None else _checked_email(email),
        )
        about("user", name)
        self._store.add_user(user, None if password is None else self._new_hash(password))
        return self._with_groups(user)

    def users(self, actor: Principal) -> list[User]:
        """All users."""
        require(actor, Verb.MANAGE_USERS)
        return list(map(self._with_groups, self._store.users()))

    def user(self, actor: Principal, name: str) -> User:
        """One user; everybody may see oneself."""
        about("user", name)
        if name != actor.name:
            require(actor, Verb.MANAGE_USERS)
        return self._user(name)

    def update_user(
        self,
        actor: Principal,
        name: str,
        *,
        roles: Iterable[Role] | None = None,
        password: str | None = None,
        locked: bool | None = None,
        email: str | EllipsisType | None = ...,
    ) -> User:
        """Changes a user. One's own password may be changed by oneself, all else by an admin.

        ``email=None`` takes its address away.
        """
        about("user", name)
        if name != actor.name or roles is not None or locked is not None or email is not ...:
            require(actor, Verb.MANAGE_USERS)
        require_oneself(actor)
        if password is not None and name == actor.name and not self._all_roles(self._user(name)) <= actor.roles:
            raise Forbidden("a token with some of its user's roles only cannot change the password, which has them all")
        wanted = None if roles is None else frozenset(roles)
        if name == actor.name and (locked or (wanted is not None and Role.ADMIN not in wanted)):
            raise Forbidden("nobody can lock oneself or give up the role admin; ask another admin")
        changes: dict[str, Any] = {}
        if wanted is not None:
            changes["roles"] = wanted
        if locked is not None:
            changes["locked"] = locked
        if email is not ...:
            changes["email"] = None if email is None else _checked_email(email)
        if password is not None:
            changes["password_hash"] = self._new_hash(password)
        return self._with_groups(self._store.update_user(name, **changes))

    def remove_user(self, actor: Principal, name: str) -> None:
        """Removes a user; its tokens end at once, its jobs stay.

        Raises:
            NotFound: there is no such user.
            Forbidden: an admin cannot remove itself, so that one is always left.
        """
        about("user", name)
        require(actor, Verb.MANAGE_USERS)
        if name == actor.name:
            raise Forbidden("nobody can remove oneself; ask another admin")
        self._store.remove_user(name)

    def _new_hash(self, password: str) -> str:
        if len(password) < MIN_PASSWORD_CHARS:
            raise InvalidSpec.of("password", f"is too short; at least {MIN_PASSWORD_CHARS} characters")
        return hash_password(password)


def _checked_email(email: str) -> str:
    if not is_email(email):
        raise InvalidSpec.of("email", f"{email!r} is no address such as ann@example.org")
    return email
