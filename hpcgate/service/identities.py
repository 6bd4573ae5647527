"""Users and tokens. Tokens are JWTs, signed with the gateway's secret and revocable by their ``jti``."""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Final

from hpcgate.config import AuthTable
from hpcgate.errors import Conflict, Forbidden, InvalidSpec, NotFound, Unauthenticated, nearest
from hpcgate.model.principal import Principal, Role, TokenInfo, User
from hpcgate.service.access import DELEGABLE, Verb, require, require_oneself
from hpcgate.service.groups import GroupService
from hpcgate.service.oidc import OidcVerifier, Subject
from hpcgate.service.passwords import check_password, hash_password
from hpcgate.service.secrets import KeyRing
from hpcgate.service.signing import TokenSigner
from hpcgate.service.throttle import LoginThrottle
from hpcgate.service.trail import about, claims_to_be, is_by

if TYPE_CHECKING:
    from hpcgate.store.identities import IdentityStore
    from hpcgate.store.logins import LoginStore

_log = logging.getLogger(__name__)

#: Longest life of a token by which a client acts for a user, seconds.
DELEGATE_TTL_S: Final = 3600
MIN_PASSWORD_CHARS: Final = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}\Z")
#: What mail programs take as one plain address; whether it is somebody's is the admin's word.
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\Z")
MAX_EMAIL_CHARS: Final = 254


class IdentityService:
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
        self._store = store
        self._groups = groups
        self._throttle = LoginThrottle(logins, auth, clock)
        self._signer = TokenSigner(keys, auth.token_algorithm)
        self._oidc = None if auth.oidc is None else OidcVerifier(auth.oidc, clock)
        self._dialects = frozenset(dialects)
        self._auth = auth
        self._home = home
        self._clock = clock
        self._dummy_hash = ""

    # --- authentication

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
        user = self._with_groups(user)
        return Principal(name=user.name, roles=self._all_roles(user), groups=user.groups)

    def _first_login(self, subject: Subject) -> User:
        table = self._auth.oidc
        assert table is not None
        name = subject.name
        if not _NAME.match(name):
            raise Unauthenticated(f"the token's name {name[:128]!r} is none that a user can have")
        # Who comes second with a name is somebody else: what is another's already is never given away by its name.
        if table.link_users and self._store.link(name, subject.identity):
            return self._store.user(name)
        if table.create_users:
            roles = frozenset(map(Role, table.roles))
            email = subject.email if subject.email is not None and _is_email(subject.email) else None
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

    # --- tokens

    def create_token(
        self,
        actor: Principal,
        user: str,
        *,
        ttl_s: int | None = None,
        roles: Iterable[Role] = (),
        comment: str | None = None,
        dialect: str | None = None,
    ) -> tuple[str, TokenInfo]:
        """A token for a user: for oneself, or for anybody by an admin.

        Args:
            actor: who asks.
            user: whose token it will be.
            ttl_s: seconds it lives.
            roles: narrows the user's roles; all of them when empty.
            comment: a note for the list of tokens.
            dialect: the only one where it is good; everywhere when not given.

        Raises:
            Forbidden: the token would give rights that the actor or the user does not have.
            NotFound: there is no such user.
            InvalidSpec: ``ttl_s`` is out of range, or there is no such dialect.
        """
        require_oneself(actor)
        if user != actor.name:
            require(actor, Verb.MANAGE_USERS)
        wanted = frozenset(roles)
        if user == actor.name and not (wanted or actor.roles) <= actor.roles:
            raise Forbidden(f"a token cannot have more roles than its maker: {', '.join(sorted(wanted - actor.roles))}")
        if user == actor.name and not wanted:
            wanted = actor.roles
        return self._issue(self._user(user), ttl_s, wanted, comment, dialect=dialect)

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

    def exchange(self, client: Principal, user: str, *, scope: frozenset[str] = frozenset()) -> tuple[str, TokenInfo]:
        """A token by which a client acts for a user: for an hour at most, and with no more than a user's roles.

        Args:
            client: who asks, with the role ``delegate``.
            user: for whom it will act.
            scope: names of the roles that the token is narrowed to; all that may be delegated when empty.

        Raises:
            Forbidden: the client may not act for users, or the user has no role of those.
            NotFound: there is no such user.
            InvalidSpec: a role may not be delegated.
        """
        require(client, Verb.ACT_FOR)
        if foreign := scope - DELEGABLE:
            known = " and ".join(sorted(DELEGABLE))
            raise InvalidSpec.of("scope", f"{', '.join(sorted(foreign))} cannot be had for somebody else; only {known}")
        about("user", user)
        subject = self._user(user)
        roles = self._all_roles(subject) & (frozenset(map(Role, scope)) or DELEGABLE)
        if subject.locked or not roles:
            raise Forbidden(f"nobody may act for {user!r}: it is locked, or has none of the roles that are asked for")
        ttl_s = min(DELEGATE_TTL_S, self._auth.max_token_ttl_s)
        return self._issue(subject, ttl_s, roles, None, delegate=client.name)

    def _issue(
        self,
        user: User,
        ttl_s: int | None,
        roles: frozenset[Role],
        comment: str | None,
        *,
        delegate: str | None = None,
        dialect: str | None = None,
    ) -> tuple[str, TokenInfo]:
        if dialect is not None and dialect not in self._dialects:
            hint = nearest(dialect, sorted(self._dialects))
            raise InvalidSpec.of("dialect", f"{dialect!r} is not mounted here{hint}")
        ttl_s = self._auth.token_ttl_s if ttl_s is None else ttl_s
        if not 1 <= ttl_s <= self._auth.max_token_ttl_s:
            raise InvalidSpec.of("ttl_s", f"{ttl_s} is out of range; it must be from 1 to {self._auth.max_token_ttl_s}")
        if not roles <= self._all_roles(user):
            missing = ", ".join(sorted(roles - self._all_roles(user)))
            raise Forbidden(f"user {user.name!r} does not have the role {missing}")
        now = self._clock()
        info = TokenInfo(
            id=secrets.token_hex(12),
            user=user.name,
            roles=roles or self._all_roles(user),
            created_at=now,
            expires_at=now + ttl_s,
            comment=comment,
            delegate=delegate,
        )
        self._store.add_token(info)
        about("token", info.id)
        about("user", user.name)
        return self._signer.sign(info, dialect), info

    def public_keys(self) -> list[dict[str, str]]:
        """The keys by which others can check tokens of the gateway; none where they are signed with a secret."""
        return self._signer.public_keys()

    def tokens(self, actor: Principal, user: str | None = None) -> list[TokenInfo]:
        """The tokens of a user; of the actor when not given, of all for an admin with ``"*"``."""
        if user in (None, actor.name):
            return list(self._store.tokens(actor.name))
        require(actor, Verb.MANAGE_USERS)
        return list(self._store.tokens(None if user == "*" else user))

    def revoke_token(self, actor: Principal, token_id: str) -> None:
        """Revokes a token for good.

        Raises:
            NotFound: there is no such token, or it is another's and the actor is no admin.
        """
        if token_id != actor.token_id:
            require_oneself(actor)
        info = self._store.token(token_id)
        if info is not None:
            about("token", info.id)
            about("user", info.user)
        if info is None or (info.user != actor.name and not actor.has(Role.ADMIN)):
            raise NotFound(f"there is no token {token_id!r}")
        self._store.revoke_token(token_id, self._clock())

    # --- users

    def _user(self, name: str) -> User:
        return self._with_groups(self._store.user(name))

    def _with_groups(self, user: User) -> User:
        return replace(user, groups=self._groups.of(user.name))

    def _all_roles(self, user: User) -> frozenset[Role]:
        """Its own and those of its groups."""
        return user.roles | self._groups.roles_of(user.name)

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
        if not _NAME.match(name):
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

    # --- first start

    def bootstrap(self) -> Path | None:
        """Makes the user ``admin`` and a token for it where there are no users yet.

        Returns:
            The file (mode 0600) that holds the token; ``None`` where there are users already.
        """
        if self._store.users():
            return None
        admin = User(name="admin", roles=frozenset({Role.ADMIN, Role.USER}), created_at=self._clock())
        self._store.add_user(admin, None)
        token, _ = self._issue(admin, None, frozenset(), "first start")
        path = self._home / "admin.token"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(token + "\n")
        return path


def _checked_email(email: str) -> str:
    if not _is_email(email):
        raise InvalidSpec.of("email", f"{email!r} is no address such as ann@example.org")
    return email


def _is_email(email: str) -> bool:
    return len(email) <= MAX_EMAIL_CHARS and _EMAIL.match(email) is not None
