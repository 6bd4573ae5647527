"""Calls about sites, plugins, users and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]


class AdminCalls:
    """The other routes of ``Client``."""

    http: Http

    def me(self) -> Wire:
        """Whose token this is."""
        principal: Wire = self.http.json("GET", "/me")
        return principal

    def sites(self) -> list[Wire]:
        """The sites and what is known of them."""
        return self._items("/sites")

    def site(self, name: str) -> Wire:
        """One site, by name or alias."""
        site: Wire = self.http.json("GET", f"/sites/{name}")
        return site

    def queues(self, site: str) -> list[Wire]:
        """The queues of a site."""
        return self._items(f"/sites/{site}/queues")

    def nodes(self, site: str) -> list[Wire]:
        """The nodes of a site."""
        return self._items(f"/sites/{site}/nodes")

    def check_site(self, name: str) -> Wire:
        """Looks whether a site has everything that the gateway needs."""
        probe: Wire = self.http.json("GET", f"/sites/{name}/check")
        return probe

    def drain_site(self, name: str, reason: str) -> Wire:
        """Lets a site take no new jobs; what its scheduler has goes on."""
        site: Wire = self.http.json("POST", f"/sites/{name}/drain", body={"reason": reason})
        return site

    def resume_site(self, name: str) -> Wire:
        """Lets a drained site take new jobs again."""
        site: Wire = self.http.json("POST", f"/sites/{name}/resume")
        return site

    def plugins(self) -> list[Wire]:
        """The plugins of the server."""
        return self._items("/plugins")

    def users(self) -> list[Wire]:
        """All users (for admins)."""
        return self._items("/users")

    def user(self, name: str) -> Wire:
        """One user."""
        user: Wire = self.http.json("GET", f"/users/{name}")
        return user

    def add_user(
        self, name: str, *, roles: Sequence[str] = (), password: str | None = None, email: str | None = None
    ) -> Wire:
        """Adds a user; its role is ``user`` when none is given."""
        body = _given(name=name, roles=list(roles), password=password, email=email)
        user: Wire = self.http.json("POST", "/users", body=body)
        return user

    def update_user(
        self,
        name: str,
        *,
        roles: Sequence[str] | None = None,
        password: str | None = None,
        locked: bool | None = None,
        email: str | EllipsisType | None = ...,
    ) -> Wire:
        """Changes a user; what is not given stays, ``email=None`` takes its address away."""
        body = _given(roles=None if roles is None else list(roles), password=password, locked=locked)
        if email is not ...:
            body["email"] = email
        user: Wire = self.http.json("PATCH", f"/users/{name}", body=body)
        return user

    def remove_user(self, name: str) -> None:
        """Removes a user; its tokens become worthless, its jobs stay."""
        self.http.send("DELETE", f"/users/{name}")

    def groups(self) -> list[Wire]:
        """One's own groups; all of them for operators."""
        return self._items("/groups")

    def tokens(self, user: str | None = None) -> list[Wire]:
        """One's own tokens, or those of a user, or all with ``"*"`` (for admins)."""
        return self._items("/tokens", user=user)

    def create_token(
        self,
        user: str | None = None,
        *,
        ttl_s: int | None = None,
        roles: Sequence[str] = (),
        comment: str | None = None,
        dialect: str | None = None,
    ) -> Wire:
        """A token for oneself, or for a user by an admin; it stands under ``token``.

        Args:
            user: whose it is; oneself when not given.
            ttl_s: seconds it lives.
            roles: narrows the user's roles; all of them when empty.
            comment: what it is for.
            dialect: the only one where it is good; everywhere when not given.
        """
        body = _given(user=user, ttl_s=ttl_s, roles=list(roles), comment=comment, dialect=dialect)
        created: Wire = self.http.json("POST", "/tokens", body=body)
        return created

    def login(self, username: str, password: str, *, ttl_s: int | None = None) -> Wire:
        """A token for a password; the client goes on with the token that it has (or has not)."""
        created: Wire = self.http.json(
            "POST", "/tokens", body=_given(username=username, password=password, ttl_s=ttl_s)
        )
        return created

    def revoke_token(self, token_id: str) -> None:
        """Makes a token worthless."""
        self.http.send("DELETE", f"/tokens/{token_id}")

    def _items(self, path: str, **params: Any) -> list[Wire]:
        items: list[Wire] = self.http.json("GET", path, params=params)["items"]
        return items


def _given(**values: Any) -> Wire:
    return {name: value for name, value in values.items() if value not in (None, [])}
