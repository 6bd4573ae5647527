"""Signs the gateway's own tokens, and checks them."""

from __future__ import annotations

from typing import Any, Final

from hpcgate.errors import Unauthenticated
from hpcgate.model.principal import TokenInfo
from hpcgate.service.secrets import KeyRing

#: Of tokens for the whole gateway; ``hpcgate/NAME`` is the audience of those for one dialect.
AUDIENCE: Final = "hpcgate"
ISSUER: Final = "hpcgate"
#: Pinned: the head of a token never chooses how it is checked.
ALGORITHM: Final = "HS256"


class TokenSigner:
    """Tokens as JSON Web Tokens.

    Args:
        keys: the first signs, all are accepted.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def sign(self, info: TokenInfo, dialect: str | None = None) -> str:
        """A token; with ``dialect``, one that is good there alone."""
        import jwt

        claims = {
            "iss": ISSUER,
            "aud": _audience(dialect),
            "sub": info.user,
            "iat": int(info.created_at),
            "exp": int(info.expires_at),
            "jti": info.id,
            "roles": sorted(info.roles),
        }
        if info.delegate is not None:
            claims["act"] = {"sub": info.delegate}
        key = self._keys.current()[0]
        return jwt.encode(claims, key.derive("tokens"), algorithm=ALGORITHM, headers={"kid": key.kid})

    def verify(self, token: str, dialect: str | None = None) -> dict[str, Any]:
        """The claims of a token that is for the whole gateway, or for ``dialect``.

        Raises:
            Unauthenticated: it is malformed, forged, expired, or for something else.
        """
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next((each for each in self._keys.current() if each.kid == kid), None)
            if key is None:
                raise Unauthenticated("the token was not signed by this gateway")
            claims: dict[str, Any] = jwt.decode(
                token,
                key.derive("tokens"),
                algorithms=[ALGORITHM],
                audience={AUDIENCE, _audience(dialect)},
                issuer=ISSUER,
                options={"require": ["sub", "exp", "iat", "jti", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired; get a new one") from None
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token is not valid: {type(error).__name__}") from None
        return claims


def _audience(dialect: str | None) -> str:
    return AUDIENCE if dialect is None else f"{AUDIENCE}/{dialect}"
