"""Signs the gateway's own tokens, and checks them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import Unauthenticated
from hpcgate.model.principal import TokenInfo
from hpcgate.service.secrets import KeyRing, SecretKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: Of tokens for the whole gateway; ``hpcgate/NAME`` is the audience of those for one dialect.
AUDIENCE: Final = "hpcgate"
ISSUER: Final = "hpcgate"
#: A key is for one algorithm: the head of a token names its key, and never chooses how it is checked.
HS256: Final = "HS256"
EDDSA: Final = "EdDSA"
#: End of the names of keys whose public half anybody may have.
_PUBLIC: Final = ".ed"


class TokenSigner:
    """Tokens as JSON Web Tokens.

    Args:
        keys: the first signs, all are accepted.
        algorithm: ``HS256``, or ``EdDSA`` where others shall be able to check tokens too; then tokens of before stay
            good. Without it no token of EdDSA is believed.
    """

    def __init__(self, keys: KeyRing, algorithm: str = HS256) -> None:
        self._keys = keys
        self._algorithm = algorithm

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
        if self._algorithm == EDDSA:
            return jwt.encode(claims, _private(key), algorithm=EDDSA, headers={"kid": key.kid + _PUBLIC})
        return jwt.encode(claims, key.derive("tokens"), algorithm=HS256, headers={"kid": key.kid})

    def verify(self, token: str, dialect: str | None = None) -> dict[str, Any]:
        """The claims of a token that is for the whole gateway, or for ``dialect``.

        Raises:
            Unauthenticated: it is malformed, forged, expired, or for something else.
        """
        import jwt

        try:
            key, algorithm = self._key(jwt.get_unverified_header(token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience={AUDIENCE, _audience(dialect)},
                issuer=ISSUER,
                options={"require": ["sub", "exp", "iat", "jti", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired; get a new one") from None
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token is not valid: {type(error).__name__}") from None
        return claims

    def _key(self, kid: str | None) -> tuple[Any, str]:
        """The key of a name, and the one algorithm that it is for."""
        for each in self._keys.current():
            if kid == each.kid:
                return each.derive("tokens"), HS256
            if kid == each.kid + _PUBLIC and self._algorithm == EDDSA:
                return _private(each).public_key(), EDDSA
        raise Unauthenticated("the token was not signed by this gateway")

    def public_keys(self) -> list[dict[str, str]]:
        """The keys (JWK, RFC 8037) by which others can check tokens; none with a secret algorithm."""
        if self._algorithm != EDDSA:
            return []
        return [_jwk(each) for each in self._keys.current()]


def _private(key: SecretKey) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.derive("tokens ed25519"))


def _jwk(key: SecretKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(_private(key).public_key().public_bytes_raw()).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": key.kid + _PUBLIC, "alg": EDDSA, "use": "sig"}


def _audience(dialect: str | None) -> str:
    return AUDIENCE if dialect is None else f"{AUDIENCE}/{dialect}"
