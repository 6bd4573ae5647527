"""Whose token came with a request."""

from __future__ import annotations

from functools import partial
from typing import Final

from flask import Request, request

from hpcgate.errors import IssuerUnavailable, Unauthenticated
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.errors import InsecureTransport
from hpcgate.server.peer import SECURE

#: Where the principal is kept once it is authenticated: the limit of rates asks first, the route once more.
PRINCIPAL: Final = "hpcgate.principal"
#: Where the front says which dialect it called; nothing for the native API.
DIALECT: Final = "hpcgate.dialect"
MAX_TOKEN_CHARS: Final = 16_384


def require_secure(incoming: Request) -> None:
    """Refuses a credential that others could have read on its way.

    Raises:
        InsecureTransport: the request came over plain HTTP from another machine.
    """
    if not incoming.environ.get(SECURE, False):
        raise InsecureTransport(
            "credentials are not accepted over plain HTTP from another machine; use https, or name the proxy "
            "that speaks it in [server] trusted_proxies"
        )


def bearer_token(incoming: Request) -> str | None:
    """The token of ``Authorization: Bearer TOKEN``; ``None`` without that header.

    Raises:
        Unauthenticated: the header is of another form.
        InsecureTransport: see ``require_secure``.
    """
    header = incoming.headers.get("Authorization")
    if header is None:
        return None
    require_secure(incoming)
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise Unauthenticated("the Authorization header is not of the form 'Bearer TOKEN'")
    return token


def authenticate(incoming: Request) -> Principal:
    """The principal behind a request with ``Authorization: Bearer TOKEN``.

    Raises:
        Unauthenticated: it has no token, or one that is malformed, expired, revoked or forged.
        InsecureTransport: see ``require_secure``.
    """
    known = incoming.environ.get(PRINCIPAL)
    if isinstance(known, Principal):
        return known
    token = bearer_token(incoming)
    if token is None:
        raise Unauthenticated("a token is needed: send it as 'Authorization: Bearer TOKEN'")
    return principal_of(incoming, token)


def principal_of(incoming: Request, token: str) -> Principal:
    """The principal behind a token, wherever in the request a dialect found it.

    Raises:
        Unauthenticated: it is malformed, expired, revoked or forged, or is for another dialect.
        InsecureTransport: see ``require_secure``.
    """
    require_secure(incoming)
    if not token or len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise Unauthenticated("what was sent as a token is none")
    principal = gateway().identities.authenticate(token, incoming.environ.get(DIALECT))
    incoming.environ[PRINCIPAL] = principal
    return principal


def caller(incoming: Request) -> Principal | None:
    """The principal behind a request; ``None`` where it has no good token, whatever the route makes of that."""
    if "Authorization" not in incoming.headers:
        return None
    try:
        return authenticate(incoming)
    except (Unauthenticated, InsecureTransport, IssuerUnavailable):
        return None


class Recheck:
    """Asks again, in the middle of a long stream, whether its token is still good.

    Args:
        token: what the request came with; its bearer token when not given.
    """

    def __init__(self, token: str | None = None) -> None:
        token = token or bearer_token(request)
        assert token is not None, "the route has authenticated the request"
        self._ask = partial(gateway().identities.authenticate, token, request.environ.get(DIALECT))

    def still_good(self) -> bool:
        """Whether the token has neither expired nor been revoked, and its user is not locked."""
        try:
            self._ask()
        except Unauthenticated:
            return False
        return True
