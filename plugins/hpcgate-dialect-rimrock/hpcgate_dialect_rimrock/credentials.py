"""Who asks: the header ``PROXY``, base64 of a token of the gateway or of an X.509 proxy.

What comes in it is used to find out who asks, and for nothing else: it is neither kept, nor logged, nor sent on.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from flask import Request

from hpcgate.errors import IssuerUnavailable, Unauthenticated
from hpcgate.model.principal import Principal
from hpcgate.server.auth import PRINCIPAL, authenticate, principal_of, require_secure
from hpcgate.server.errors import InsecureTransport
from hpcgate.service.trail import claims_to_be, is_by

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate_dialect_rimrock.proxies import Proxies

HEADER: Final = "PROXY"
_PEM: Final = b"-----BEGIN "


class Credentials:
    """Finds out who asks.

    Args:
        gateway: knows tokens and users.
        proxies: judges X.509 proxies; ``None`` = they are not taken.
    """

    def __init__(self, gateway: Gateway, proxies: Proxies | None) -> None:
        self._gateway = gateway
        self._proxies = proxies

    def principal(self, request: Request) -> Principal:
        """The principal behind a request.

        Raises:
            Unauthenticated: it has no credential, or one that is not good.
            InsecureTransport: it came in the clear from another machine.
        """
        known = request.environ.get(PRINCIPAL)
        if isinstance(known, Principal):
            return known
        header = request.headers.get(HEADER)
        if header is None:
            # Some web proxies take this header away; a token may come as it does everywhere else.
            if "Authorization" in request.headers:
                return authenticate(request)
            raise Unauthenticated(f"a credential is needed: send it as '{HEADER}: BASE64'")
        require_secure(request)
        plain = _decoded(header)
        if plain.lstrip().startswith(_PEM):
            return self._of_proxy(request, plain)
        return principal_of(request, plain.decode("ascii", "replace").strip())

    def caller(self, request: Request) -> Principal | None:
        """The same for the limit of rates, where nobody known is no error."""
        try:
            return self.principal(request)
        except (Unauthenticated, InsecureTransport, IssuerUnavailable):
            return None

    def _of_proxy(self, request: Request, plain: bytes) -> Principal:
        if self._proxies is None:
            raise Unauthenticated("X.509 proxies are not taken here; send the base64 of a token instead")
        name = self._proxies.user(plain)
        claims_to_be(name)
        principal = self._gateway.identities.acting(name)
        if principal is None:
            raise Unauthenticated(f"user {name!r} does not exist, or is locked")
        is_by(principal)
        request.environ[PRINCIPAL] = principal
        return principal


def _decoded(header: str) -> bytes:
    try:
        return base64.b64decode("".join(header.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated(f"the header {HEADER} is not base64") from None
