"""Bearer tokens of an OpenID Connect issuer, checked by the keys that it publishes."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpcgate.config import OidcTable
from hpcgate.errors import IssuerUnavailable, Unauthenticated
from hpcgate.model.principal import Role

_log = logging.getLogger(__name__)

#: Signatures by a private key alone: with a shared one, whoever knows the public key could sign.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 1 << 20
#: How long the keys are good without another look, and how soon one is taken for a key that is not known, seconds.
FRESH_S: Final = 3600.0
AGAIN_S: Final = 30.0
#: An issuer that does not answer is believed to have the keys that it had, for so long, seconds.
STALE_S: Final = 86_400.0
LEEWAY_S: Final = 30


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a token speaks of.

    Args:
        identity: issuer and subject, which never come to mean somebody else.
        name: what the gateway calls her at her first login.
        email: where the issuer has verified that her mail goes.
        roles: that this token's claims give her, beside those that she has here.
        groups: likewise.
    """

    identity: str
    name: str
    email: str | None
    roles: frozenset[Role] = frozenset()
    groups: frozenset[str] = frozenset()


class OidcVerifier:
    """Checks tokens of one issuer.

    Args:
        table: ``[auth.oidc]``.
        clock: epoch seconds.
    """

    def __init__(self, table: OidcTable, clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._had_at = self._asked_at = float("-inf")

    def speaks_of(self, token: str) -> bool:
        """Whether a token says that it is from the issuer; nothing in it is believed yet."""
        import jwt

        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return False
        return bool(claims.get("iss") == self._table.issuer)

    def verify(self, token: str) -> Subject:
        """Whom a token speaks of.

        Raises:
            Unauthenticated: it is forged, expired, for another audience, or lacks a claim.
            IssuerUnavailable: the issuer does not give its keys.
        """
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(kid),
                algorithms=list(ALGORITHMS),
                audience=self._table.audience,
                issuer=self._table.issuer,
                leeway=LEEWAY_S,
                options={"require": ["sub", "exp", "iat", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired; get a new one") from None
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise Unauthenticated(f"the token is not valid: {type(error).__name__}") from None
        name, email = claims.get(self._table.name_claim), claims.get(self._table.email_claim)
        if not isinstance(name, str):
            raise Unauthenticated(f"the token has no claim {self._table.name_claim!r} with a name")
        verified = claims.get("email_verified") is True and isinstance(email, str)
        return Subject(
            f"{self._table.issuer} {claims['sub']}", name, email if verified else None, *self._mapped(claims)
        )

    def _mapped(self, claims: Mapping[str, Any]) -> tuple[frozenset[Role], frozenset[str]]:
        """Roles and groups by the operator's tables. A word that stands in none of them means nothing."""
        table = self._table
        roles = (table.role_map.get(word, ()) for word in _words(claims, table.roles_claim))
        groups = (table.group_map.get(word) for word in _words(claims, table.groups_claim))
        return (
            frozenset(Role(role) for each in roles for role in each),
            frozenset(group for group in groups if group is not None),
        )

    def _key(self, kid: str | None) -> Any:
        found = self._keys.get(kid or "")
        if found is not None and self._clock() - self._had_at <= FRESH_S:
            return found  # without waiting for one who asks the issuer
        with self._lock:
            now = self._clock()
            old = now - self._had_at > FRESH_S
            if (old or kid not in self._keys) and now - self._asked_at > AGAIN_S:
                self._asked_at = now
                self._refresh(now)
            if now - self._had_at > STALE_S:
                raise IssuerUnavailable("the keys of the token's issuer cannot be had now; try again")
            if kid is None or kid not in self._keys:
                raise Unauthenticated("the token was signed by no key of its issuer")
            return self._keys[kid]

    def _refresh(self, now: float) -> None:
        import httpx

        try:
            with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:
                self._keys = _signing_keys(_fetch(client, self._jwks_url(client)))
            self._had_at = now
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            _log.warning("the keys of %s cannot be had: %s", self._table.issuer, error)

    def _jwks_url(self, client: Any) -> str:
        if self._table.jwks_url is not None:
            return self._table.jwks_url
        told = _fetch(client, f"{self._table.issuer.rstrip('/')}/.well-known/openid-configuration")
        url = told.get("jwks_uri")
        if told.get("issuer") != self._table.issuer or not isinstance(url, str):
            raise ValueError("its discovery document is of another issuer, or names no keys")
        if not url.startswith("https://") and self._table.issuer.startswith("https://"):
            raise ValueError("its keys would come over plain HTTP")
        return url


def _words(claims: Mapping[str, Any], name: str | None) -> Sequence[str]:
    """The words of a claim: a list of texts, or one text. Anything else is none."""
    if name is None:
        return ()
    found: Any = claims.get(name)
    if found is None and "." in name:
        found = claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    words = [found] if isinstance(found, str) else found
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else ()


def _fetch(client: Any, url: str) -> dict[str, Any]:
    body, until = b"", time.monotonic() + TIMEOUT_S
    with client.stream("GET", url) as response:
        response.raise_for_status()
        if response.status_code != 200:
            raise ValueError(f"{url} answers {response.status_code}")
        for part in response.iter_bytes():
            body += part
            if len(body) > MAX_BYTES or time.monotonic() > until:
                raise ValueError(f"{url} answers with more than {MAX_BYTES} bytes, or not within {TIMEOUT_S} s")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{url} answers with no JSON object")
    return found


def _signing_keys(jwks: Mapping[str, Any]) -> dict[str, Any]:
    """The public keys by their names; those that are for something else, or unknown here, are left out."""
    import jwt

    keys: dict[str, Any] = {}
    for each in jwks.get("keys", ()):
        if each.get("kty") == "oct" or each.get("use", "sig") != "sig" or not isinstance(each.get("kid"), str):
            continue
        try:
            keys[each["kid"]] = jwt.PyJWK.from_dict(each)
        except jwt.PyJWTError as error:
            _log.info("key %r of the issuer is of no use here: %s", each["kid"], error)
    return keys
