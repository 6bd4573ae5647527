"""Who asks, from where, and by which door: programs by ``/api``, people by ``/userapi``, admins by ``/api/users``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from flask import Request

from hpcgate.errors import Forbidden, IssuerUnavailable, Unauthenticated
from hpcgate.model.principal import Principal, Role
from hpcgate.server.auth import PRINCIPAL, principal_of, require_secure
from hpcgate.server.errors import InsecureTransport
from hpcgate.service.trail import denied
from hpcgate_dialect_clustercockpit.settings import Network

HEADER: Final = "X-Auth-Token"
#: What may stand before a token in either header.
_SCHEME: Final = re.compile(r"\Abearer\s+", re.IGNORECASE)
_PEOPLE: Final = (Role.USER, Role.MANAGER, Role.SUPPORT, Role.ADMIN)


class Doors:
    """Finds out who asks, and lets in who may.

    Args:
        networks: from where ``/api`` may be called; from everywhere when there are none.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    def api(self, request: Request) -> Principal:
        """Who reports and reads jobs: it takes the role ``api``.

        A token that has another role beside it but for ``admin`` is a person's: it reaches what that person's is.

        Raises:
            Forbidden: the role is missing, or the address is none of those.
        """
        self._from_here(request)
        principal = principal_behind(request)
        self._has(principal, Role.API)
        return principal

    def admin(self, request: Request) -> Principal:
        """Who manages users: it takes the role ``admin``."""
        self._from_here(request)
        principal = principal_behind(request)
        self._has(principal, Role.ADMIN)
        return principal

    def anybody(self, request: Request) -> Principal:
        """Whoever is known."""
        self._from_here(request)
        return principal_behind(request)

    def people(self, request: Request) -> Principal:
        """Who looks at jobs of one's own: it takes a role of people, and sees what that one sees."""
        principal = principal_behind(request)
        self._has(principal, *_PEOPLE)
        return replace(principal, roles=principal.roles - {Role.API})

    def _from_here(self, request: Request) -> None:
        if not self._networks:
            return
        # The server has put the client's address there, of those who come by a trusted proxy too.
        address = _parsed(request.remote_addr or "")
        if address is None or not any(address in network for network in self._networks):
            denied()
            raise Forbidden(f"the address {request.remote_addr} is none from which this API may be called")

    @staticmethod
    def _has(principal: Principal, *roles: Role) -> None:
        if not principal.has(*roles):
            denied()
            raise Forbidden(f"missing role: {' or '.join(roles)}")


def principal_behind(request: Request) -> Principal:
    """The principal behind a request.

    Raises:
        Unauthenticated: it has no token, or one that is not good.
        InsecureTransport: it came in the clear from another machine.
    """
    known = request.environ.get(PRINCIPAL)
    if isinstance(known, Principal):
        return known
    header = request.headers.get(HEADER) or request.headers.get("Authorization")
    if header is None:
        raise Unauthenticated(f"a token is needed: send it as '{HEADER}: TOKEN' or 'Authorization: Bearer TOKEN'")
    require_secure(request)
    return principal_of(request, _SCHEME.sub("", header.strip(), count=1))


def caller(request: Request) -> Principal | None:
    """The same for the limit of rates, where nobody known is no error."""
    try:
        return principal_behind(request)
    except (Unauthenticated, InsecureTransport, IssuerUnavailable):
        return None


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
