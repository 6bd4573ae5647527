"""Short-lived OpenSSH user certificates: the gateway enters an account with a key that is worth nothing in minutes.

The host trusts the gateway's certificate authority (``TrustedUserCAKeys``), not keys of accounts. For each connection
a fresh key is made in memory and signed for one account. The certificate allows commands and files, and none of
terminals, forwarding and the account's own rc files. A connection is given up before its certificate ends: sshd looks
at the time when somebody enters, and never again.

The authority's private key is in a file, or in an ssh-agent: then the file has the public one.
"""

from __future__ import annotations

import base64
import io
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from hpcgate.errors import TransportError
from hpcgate.transport.agent import key_blob, sign_with_agent
from hpcgate.transport.credentials import only

_log = logging.getLogger(__name__)

#: Clocks differ: a certificate is valid this much before it was made, seconds.
_SKEW_S: Final = 60
#: Sizes of what ends a certificate of an ed25519 authority: key and signature, with the length before each.
_TAIL: Final = (4 + 51) + (4 + 83)
_AuthorityKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def sign(
    authority: _AuthorityKey, public_key: ed25519.Ed25519PublicKey, *, account: str, key_id: str, valid_s: int
) -> bytes:
    """Signs a user certificate.

    Args:
        authority: the private key of the certificate authority.
        public_key: whose holder may enter the account.
        account: the only one that may be entered with it.
        key_id: stands in the host's log at each log-in.
        valid_s: for how long, seconds from now.

    Returns:
        The certificate in the form of an OpenSSH ``-cert.pub`` file.
    """
    now = int(time.time())
    builder = (
        serialization.SSHCertificateBuilder()
        .public_key(public_key)
        .type(serialization.SSHCertificateType.USER)
        .serial(secrets.randbits(63))
        .key_id(key_id.encode())
        .valid_principals([account.encode()])
        .valid_after(now - _SKEW_S)
        .valid_before(now + valid_s)
    )
    return builder.sign(authority).public_bytes()


def sign_by_agent(
    authority: str, public_key: ed25519.Ed25519PublicKey, *, account: str, key_id: str, valid_s: int
) -> bytes:
    """As ``sign``, but ``authority`` is the public key, a line as in a ``.pub`` file; an ssh-agent has the private one.

    Raises:
        TransportError: the agent did not sign.
    """
    # The library signs with keys that it has only. So it signs with one that is thrown away, and what that key put at
    # the end is replaced.
    stand_in = ed25519.Ed25519PrivateKey.generate()
    kind, text = sign(stand_in, public_key, account=account, key_id=key_id, valid_s=valid_s).split()[:2]
    body = base64.b64decode(text)[:-_TAIL] + _string(key_blob(authority))
    return kind + b" " + base64.b64encode(body + _string(sign_with_agent(authority, body)))


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True, slots=True)
class Certified:
    """Credentials that are made and signed anew for each connection.

    Args:
        authority_file: private key of the certificate authority, in OpenSSH's or PEM form, without a passphrase; or
            its public key, where an ssh-agent has the private one.
        valid_s: life of a certificate, seconds.
        purpose: stands in the certificate's key id, beside the account and the number of the request.
    """

    authority_file: str
    valid_s: int
    purpose: str

    @property
    def life_s(self) -> float:
        """See ``Credentials.life_s``."""
        return float(self.valid_s)

    def arguments(self, user: str) -> dict[str, Any]:
        """See ``Credentials.arguments``."""
        private = ed25519.Ed25519PrivateKey.generate()
        request = secrets.token_hex(8)
        certificate = self._signed(
            private.public_key(), user, f"hpcgate {self.purpose} account={user} request={request}"
        )
        # The host logs the same number, so that what was done there can be laid at somebody's door.
        _log.info("certificate for %d s: %s account=%s request=%s", self.valid_s, self.purpose, user, request)
        key = paramiko.Ed25519Key.from_private_key(
            io.StringIO(
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
                ).decode()
            )
        )
        key.load_certificate(certificate.decode())
        return only(key)

    def _signed(self, public_key: ed25519.Ed25519PublicKey, user: str, key_id: str) -> bytes:
        data = _read(self.authority_file)
        if data.startswith((b"ssh-", b"ecdsa-", b"sk-")):
            line = data.decode("utf-8", "replace")
            return sign_by_agent(line, public_key, account=user, key_id=key_id, valid_s=self.valid_s)
        return sign(_loaded(data), public_key, account=user, key_id=key_id, valid_s=self.valid_s)


def _read(file: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise TransportError(
            f"the key of the certificate authority cannot be read: {error.strerror}", transient=False
        ) from error


def _loaded(data: bytes) -> _AuthorityKey:
    """The private key of a certificate authority. Nothing of it gets into a message.

    Raises:
        TransportError: it cannot be used.
    """
    load = serialization.load_ssh_private_key if b"OPENSSH" in data[:64] else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TransportError(
            "the key of the certificate authority is no private key that can be read; it must be in OpenSSH's or PEM "
            "form, without a passphrase",
            transient=False,
        ) from None
    if not isinstance(key, _AuthorityKey):
        raise TransportError(
            "the key of the certificate authority is of a kind that cannot sign; it must be ed25519, ecdsa or rsa",
            transient=False,
        )
    return key
