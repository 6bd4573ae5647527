"""Users and their tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import EllipsisType
from typing import Any

from peewee import IntegrityError

from hpcgate.errors import Conflict, NotFound
from hpcgate.model.principal import Role, TokenInfo, User
from hpcgate.store.session import Session
from hpcgate.store.tables import CallbackKeyRow, DeliveryRow, MailRow, TokenRow, UserRow, WebhookRow


class IdentityStore:
    """Users that the gateway keeps, and what it remembers of tokens."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- users ---

    def add_user(self, user: User, password_hash: str | None, identity: str | None = None) -> None:
        """Stores a user.

        Args:
            user: the user; ``has_password`` follows from ``password_hash``.
            password_hash: with salt and parameters; ``None`` = no password gets in.
            identity: who it is at an issuer of tokens.

        Raises:
            Conflict: the name or the identity is taken.
        """
        new = {
            "name": user.name,
            "roles": _dump_roles(user.roles),
            "created_at": user.created_at,
            "password_hash": password_hash,
            "locked": user.locked,
            "email": user.email,
            "identity": identity,
        }
        try:
            with self._session.transaction():
                self._session.execute(UserRow.insert(new))
        except IntegrityError as error:
            raise Conflict(f"there is a user {user.name!r} already") from error

    def user(self, name: str) -> User:
        """A user.

        Raises:
            NotFound: there is none of this name.
        """
        row = self._session.one(f"{_USERS} WHERE name = ?", (name,))
        if row is None:
            raise NotFound(f"there is no user {name!r}")
        return _user(*row)

    def user_of(self, identity: str) -> User | None:
        """The user who is this one at an issuer of tokens."""
        row = self._session.one(f"{_USERS} WHERE identity = ?", (identity,))
        return None if row is None else _user(*row)

    def link(self, name: str, identity: str) -> bool:
        """Makes a user the one of an identity; ``False`` = there is no such user, or it has an identity already."""
        sql = "UPDATE principal SET identity = ? WHERE name = ? AND identity IS NULL"
        with self._session.transaction():
            return bool(self._session.execute(sql, (identity, name)))

    def users(self) -> list[User]:
        """All users, by name."""
        return [_user(*row) for row in self._session.rows(f"{_USERS} ORDER BY name")]

    def password_hash(self, name: str) -> str | None:
        """The hash of a user's password; ``None`` = there is no such user, or it has no password."""
        found = self._session.rows(UserRow.select(UserRow.password_hash).where(UserRow.name == name))
        return found[0][0] if found else None

    def update_user(
        self,
        name: str,
        *,
        roles: Iterable[Role] | None = None,
        password_hash: str | EllipsisType | None = ...,
        locked: bool | None = None,
        email: str | EllipsisType | None = ...,
    ) -> User:
        """Changes what is given; ``password_hash=None`` takes the password away, ``email=None`` the address.

        Raises:
            NotFound: there is no user of this name.
        """
        changes: dict[str, Any] = {}
        if roles is not None:
            changes["roles"] = _dump_roles(roles)
        if password_hash is not ...:
            changes["password_hash"] = password_hash
        if locked is not None:
            changes["locked"] = locked
        if email is not ...:
            changes["email"] = email
        with self._session.transaction():
            if changes:
                self._session.execute(UserRow.update(changes).where(UserRow.name == name))
            return self.user(name)

    def remove_user(self, name: str) -> None:
        """Removes a user with its tokens and webhooks, so that a later user of the same name does not inherit them.

        Raises:
            NotFound: there is no user of this name.
        """
        with self._session.transaction():
            if not self._session.execute(UserRow.delete().where(UserRow.name == name)):
                raise NotFound(f"there is no user {name!r}")
            self._session.execute(TokenRow.delete().where((TokenRow.user == name) | (TokenRow.delegate == name)))
            hooks = WebhookRow.select(WebhookRow.id).where(WebhookRow.owner == name)
            self._session.execute(DeliveryRow.delete().where(DeliveryRow.webhook_id.in_(hooks)))
            self._session.execute(WebhookRow.delete().where(WebhookRow.owner == name))
            self._session.execute(CallbackKeyRow.delete().where(CallbackKeyRow.owner == name))
            self._session.execute(MailRow.delete().where(MailRow.owner == name))

    # --- tokens ---

    def add_token(self, token: TokenInfo) -> None:
        """Remembers a token.

        Raises:
            Conflict: its id is taken.
        """
        new = {
            "id": token.id,
            "user": token.user,
            "roles": _dump_roles(token.roles),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "revoked_at": token.revoked_at,
            "comment": token.comment,
            "delegate": token.delegate,
        }
        try:
            with self._session.transaction():
                self._session.execute(TokenRow.insert(new))
        except IntegrityError as error:
            raise Conflict(f"there is a token {token.id!r} already") from error

    def token(self, id: str) -> TokenInfo | None:  # noqa: A002
        """What is remembered of a token; ``None`` = it was never given, or it is forgotten."""
        row = self._session.one(f"{_TOKENS} WHERE id = ?", (id,))
        return None if row is None else _token(*row)

    def tokens(self, user: str | None = None) -> list[TokenInfo]:
        """The tokens of a user, or of all, newest first."""
        where, params = ("", ()) if user is None else (' WHERE "user" = ?', (user,))
        found = self._session.rows(f"{_TOKENS}{where} ORDER BY created_at DESC, id DESC", params)
        return [_token(*row) for row in found]

    def revoke_token(self, id: str, at: float) -> None:  # noqa: A002
        """Makes a token worthless from ``at`` (epoch seconds) on; one that is revoked already stays as it is.

        Raises:
            NotFound: there is no such token.
        """
        with self._session.transaction():
            revoked = TokenRow.update(revoked_at=at).where(TokenRow.id == id, TokenRow.revoked_at.is_null())
            if not self._session.execute(revoked) and self.token(id) is None:
                raise NotFound(f"there is no token {id!r}")

    def prune_tokens(self, now: float) -> int:
        """Forgets tokens that have expired; how many."""
        with self._session.transaction():
            return self._session.execute(TokenRow.delete().where(TokenRow.expires_at <= now))


_USERS = "SELECT name, roles, created_at, password_hash, locked, email FROM principal"
_TOKENS = 'SELECT id, "user", roles, created_at, expires_at, revoked_at, comment, delegate FROM token'


def _user(name: str, roles: str, created_at: float, password_hash: str | None, locked: int, email: str | None) -> User:
    return User(
        name=name,
        roles=_load_roles(roles),
        created_at=created_at,
        has_password=password_hash is not None,
        locked=bool(locked),
        email=email,
    )


def _token(
    id_: str,
    user: str,
    roles: str,
    created_at: float,
    expires_at: float,
    revoked_at: float | None,
    comment: str | None,
    delegate: str | None,
) -> TokenInfo:
    return TokenInfo(
        id=id_,
        user=user,
        roles=_load_roles(roles),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        comment=comment,
        delegate=delegate,
    )


def _dump_roles(roles: Iterable[Role]) -> str:
    return json.dumps(sorted(role.value for role in roles))


def _load_roles(text: str) -> frozenset[Role]:
    return frozenset(Role(role) for role in json.loads(text))
