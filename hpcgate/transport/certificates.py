"""Short-lived OpenSSH user certificates: the gateway enters an account with a key that is worth nothing in minutes.

The host trusts the gateway's certificate authority (``TrustedUserCAKeys``), not keys of accounts. For each connection
a fresh key is made in memory and signed for one account. The certificate allows commands and files, and none of
terminals, forwarding and the account's own rc files.
"""

from __future__ import annotations

import io
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
from hpcgate.transport.credentials import only

#: Clocks differ: a certificate is valid this much before it was made, seconds.
_SKEW_S: Final = 60
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


@dataclass(frozen=True, slots=True)
class Certified:
    """Credentials that are made and signed anew for each connection.

    Args:
        authority_file: private key of the certificate authority, in OpenSSH's or PEM form, without a passphrase.
        valid_s: life of a certificate, seconds.
        purpose: stands in the certificate's key id, beside account and serial.
    """

    authority_file: str
    valid_s: int
    purpose: str

    def arguments(self, user: str) -> dict[str, Any]:
        """See ``Credentials.arguments``."""
        private = ed25519.Ed25519PrivateKey.generate()
        key_id = f"hpcgate {self.purpose} account={user} request={secrets.token_hex(8)}"
        certificate = sign(
            _load(self.authority_file), private.public_key(), account=user, key_id=key_id, valid_s=self.valid_s
        )
        key = paramiko.Ed25519Key.from_private_key(
            io.StringIO(
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
                ).decode()
            )
        )
        key.load_certificate(certificate.decode())
        return only(key)


def _load(file: str) -> _AuthorityKey:
    """The private key of a certificate authority. Nothing of the file gets into a message.

    Raises:
        TransportError: it cannot be read, or used.
    """
    try:
        data = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise TransportError(
            f"the key of the certificate authority cannot be read: {error.strerror}", transient=False
        ) from error
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
