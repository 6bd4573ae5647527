"""Who comes with a token or a password. Users and tokens themselves are the business of the classes below."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcgate.config import AuthTable
from hpcgate.errors import Conflict, InvalidSpec, NotFound, Unauthenticated
from hpcgate.model.principal import Principal, Role, TokenInfo, User, is_email
from hpcgate.service.access import Verb, require
from hpcgate.service.groups import GroupService
from hpcgate.service.oidc import OidcVerifier, Subject
from hpcgate.service.passwords import check_password, hash_password
from hpcgate.service.secrets import KeyRing
from hpcgate.service.throttle import LoginThrottle
from hpcgate.service.tokens import Tokens
from hpcgate.service.trail import claims_to_be, is_by
from hpcgate.service.users import USER_NAME

if TYPE_CHECKING:
    from hpcgate.store.identities import IdentityStore
    from hpcgate.store.logins import LoginStore

_log = logging.getLogger(__name__)


class IdentityService(Tokens):
    """Authenticates, and manages users and tokens.

    Args:
        store: where they are kept.
        logins: where logins are counted.
        groups: what members of groups may do beside.
        keys: the gateway's secret.
        auth: the ``[auth]`` table.
        home: folder for the first admin's token.
        dialects: names of those that are mounted.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: IdentityStore,
        logins: LoginStore,
        groups: GroupService,
        keys: KeyRing,
        auth: AuthTable,
        home: Path,
        dialects: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(store, groups, keys, auth, dialects, clock)
        self._throttle = LoginThrottle(logins, auth, clock)
        self._oidc = None if auth.oidc is None else OidcVerifier(auth.oidc, clock)
        self._home = home
        self._dummy_hash = ""

    def authenticate(self, token: str, dialect: str | None = None) -> Principal:
        """The principal behind a token.

        Args:
            token: what the client sent.
            dialect: where it sent it; ``None`` = to the native API.

        Raises:
            Unauthenticated: it is malformed, forged, expired or revoked, or its user is gone or locked.
        """
        if self._oidc is not None and self._oidc.speaks_of(token):
            principal = self._foreign(self._oidc.verify(token))
        else:
            principal = self._own(self._signer.verify(token, dialect))
        is_by(principal)
        return principal

    def _own(self, claims: Mapping[str, Any]) -> Principal:
        """The principal whom a token of the gateway's own speaks of."""
        claims_to_be(claims["sub"], claims["jti"])
        info = self._store.token(claims["jti"])
        if info is None or info.revoked_at is not None or info.user != claims["sub"]:
            raise Unauthenticated("the token has been revoked; get a new one")
        try:
            user = self._user(info.user)
        except NotFound:
            raise Unauthenticated(f"the token's user {info.user!r} does not exist any more") from None
        if user.locked:
            raise Unauthenticated(f"user {user.name!r} is locked")
        if info.delegate is not None:
            self._check_delegate(info.delegate)
        # A token never has more rights than its user has now.
        return Principal(
            name=user.name,
            roles=info.roles & self._all_roles(user),
            groups=user.groups,
            token_id=info.id,
            delegate=info.delegate,
        )

    def _foreign(self, subject: Subject) -> Principal:
        """The principal whom an issuer's token speaks of; the first time, it becomes one where that is allowed."""
        user = self._store.user_of(subject.identity) or self._first_login(subject)
        claims_to_be(user.name)
        if user.locked:
            raise Unauthenticated(f"user {user.name!r} is locked")
        # What the claims give holds for this token alone: nothing of it is kept, so the next one is judged anew.
        groups = self._groups.of(user.name) | subject.groups
        roles = user.roles | subject.roles | self._groups.roles_in(groups)
        return Principal(name=user.name, roles=roles, groups=groups)

    def _first_login(self, subject: Subject) -> User:
        table = self._auth.oidc
        assert table is not None
        name = subject.name
        if not USER_NAME.match(name):
            raise Unauthenticated(f"the token's name {name[:128]!r} is none that a user can have")
        # Who comes second with a name is somebody else: what is another's already is never given away by its name.
        if table.link_users and self._store.link(name, subject.identity):
            return self._store.user(name)
        if table.create_users:
            roles = frozenset(map(Role, table.roles))
            email = subject.email if subject.email is not None and is_email(subject.email) else None
            user = User(name=name, roles=roles, created_at=self._clock(), email=email)
            with suppress(Conflict):
                self._store.add_user(user, None, subject.identity)
        found = self._store.user_of(subject.identity)  # also where another request of hers was quicker
        if found is None:
            raise Unauthenticated(f"there is no user for {name!r} here, or the name is another's; ask an admin")
        return found

    def _check_delegate(self, name: str) -> None:
        """A token that a client got in exchange is worth nothing once the client may not have it any more."""
        try:
            client = self._user(name)
        except NotFound:
            raise Unauthenticated(f"the client {name!r} that has the token does not exist any more") from None
        if client.locked or Role.DELEGATE not in self._all_roles(client):
            raise Unauthenticated(f"the client {name!r} may not act for users any more")

    def login(
        self,
        name: str,
        password: str,
        *,
        ttl_s: int | None = None,
        roles: Iterable[Role] = (),
        dialect: str | None = None,
        address: str | None = None,
    ) -> tuple[str, TokenInfo]:
        """A token for a user's password.

        Args:
            name: the user.
            password: its password.
            ttl_s: seconds that the token lives.
            roles: narrows the user's roles; all of them when empty.
            dialect: the only one where it is good; everywhere when not given.
            address: from where the login comes; ``None`` = from this machine itself.

        Raises:
            TooManyTries: there were too many logins for the user or from the address.
            Unauthenticated: user or password is wrong; which of them is not told.
            InvalidSpec: ``ttl_s`` is out of range.
        """
        self._throttle.attempt(name, address)
        try:
            user: User | None = self._user(name)
            claims_to_be(name)
            stored = self._store.password_hash(name)
        except NotFound:
            user, stored = None, None
        # The same work for an unknown user, so that the time tells nothing.
        good = check_password(password, stored or self._dummy())
        if user is None or stored is None or not good or user.locked:
            # What is no user's name may be a password in the wrong field.
            _log.info("refused a login for %s", "nobody" if user is None else repr(user.name))
            raise Unauthenticated("user name or password is wrong")
        self._throttle.succeeded(name)
        return self._issue(user, ttl_s, frozenset(roles), "login", dialect=dialect)

    def _dummy(self) -> str:
        if not self._dummy_hash:
            self._dummy_hash = hash_password(secrets.token_hex())
        return self._dummy_hash

    def subject_of(self, client: Principal, token: str) -> str:
        """The user whose token a client shows.

        Raises:
            Forbidden: the client may not act for users.
            InvalidSpec: the token is not good, or was itself got in exchange.
        """
        require(client, Verb.ACT_FOR)
        try:
            subject = self.authenticate(token)
        except Unauthenticated as error:
            raise InvalidSpec.of("subject_token", error.message) from None
        finally:
            is_by(client)
        if subject.delegate is not None:
            raise InvalidSpec.of("subject_token", "was itself got in exchange")
        return subject.name

    def bootstrap(self) -> Path | None:
        """Makes the user ``admin`` and a token for it where there are no users yet.

        Returns:
            The file (mode 0600) that holds the token; ``None`` where there are users already.
        """
        if self._store.users():
            return None
        admin = User(name="admin", roles=frozenset({Role.ADMIN, Role.USER}), created_at=self._clock())
        try:
            self._store.add_user(admin, None)
        except Conflict:
            return None  # of several servers that start for the first time another one was faster
        token, _ = self._issue(admin, None, frozenset(), "first start")
        path = self._home / "admin.token"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(token + "\n")
        return path
