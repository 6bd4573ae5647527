"""Tokens: JWTs, signed with the gateway's secret and revocable by their ``jti``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from hpcgate.config import AuthTable
from hpcgate.errors import Forbidden, InvalidSpec, NotFound, nearest
from hpcgate.model.principal import Principal, Role, TokenInfo, User
from hpcgate.service.access import DELEGABLE, Verb, require, require_oneself
from hpcgate.service.groups import GroupService
from hpcgate.service.secrets import KeyRing
from hpcgate.service.signing import TokenSigner
from hpcgate.service.trail import about
from hpcgate.service.users import Users

if TYPE_CHECKING:
    from hpcgate.store.identities import IdentityStore

#: Longest life of a token by which a client acts for a user, seconds.
DELEGATE_TTL_S: Final = 3600


class Tokens(Users):
    """Makes and revokes tokens.

    Args:
        store: where users and tokens are kept.
        groups: what members of groups may do beside.
        keys: the gateway's secret.
        auth: the ``[auth]`` table.
        dialects: names of those that are mounted.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: IdentityStore,
        groups: GroupService,
        keys: KeyRing,
        auth: AuthTable,
        dialects: Iterable[str],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(store, groups, clock)
        self._signer = TokenSigner(keys, auth.token_algorithm)
        self._auth = auth
        self._dialects = frozenset(dialects)

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
        owner = self._user(user)
        if user == actor.name and not wanted:
            # Roles that an issuer's claims give end with the issuer's token; no token of ours carries them on.
            wanted = actor.roles & self._all_roles(owner)
            if not wanted:
                raise Forbidden(f"{user!r} has no role of its own that a token could have")
        return self._issue(owner, ttl_s, wanted, comment, dialect=dialect)

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
