"""A small grid authority, users of it, and proxies that they make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
PROXY_CERT_INFO = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
INHERIT_ALL = bytes.fromhex("06082b06010505071501")
INDEPENDENT = bytes.fromhex("06082b06010505071502")
LIMITED = bytes.fromhex("060b2b060104019b5001010109")  # Globus: 1.3.6.1.4.1.3536.1.1.1.9
#: Of which few tests depend on the kind: those of RSA take long to make, and to be looked at.
RSA: Final = 1000
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def key(number: int) -> Key:
    if number == RSA:
        return rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def name(*parts: str) -> x509.Name:
    kinds = {"C": NameOID.COUNTRY_NAME, "O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME}
    pairs = (part.partition("=") for part in parts)
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, _, value in pairs])


def info(language: bytes, path_length: int | None = None) -> x509.UnrecognizedExtension:
    policy = bytes([0x30, len(language)]) + language
    length = b"" if path_length is None else bytes([2, 1, path_length])
    return x509.UnrecognizedExtension(PROXY_CERT_INFO, bytes([0x30, len(length + policy)]) + length + policy)


@dataclass(frozen=True)
class Holder:
    """A certificate with its private key and what stands between it and the authority."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    def issue(self, subject, number, *extensions, since=NOW - HOUR, until=NOW + HOUR):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key(number).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, SHA256())

    def proxy(self, language=INHERIT_ALL, *, number=3, path_length=None, common_name="1234", more=(), **dates):
        subject = x509.Name([*self.certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
        extensions = ((usage, True), (info(language, path_length), True), *more)
        made = self.issue(subject, number, *extensions, **dates)
        return Holder(made, key(number), (self.certificate, *self.chain))

    def pem(self, with_key=True, form=PrivateFormat.TraditionalOpenSSL, chain=True) -> bytes:
        """As a proxy file holds it: certificate, key, chain."""
        own = self.key.private_bytes(Encoding.PEM, form, NoEncryption()) if with_key else b""
        others = b"".join(each.public_bytes(Encoding.PEM) for each in self.chain) if chain else b""
        return self.certificate.public_bytes(Encoding.PEM) + own + others


class Authority:
    def __init__(self, common_name="Grid CA", number=0) -> None:
        subject = name("C=PL", "O=GRID", f"CN={common_name}")
        own = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key(number).public_key())
            .serial_number(1)
            .not_valid_before(NOW - 24 * HOUR)
            .not_valid_after(NOW + 24 * HOUR)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
            .sign(key(number), SHA256())
        )
        self.holder = Holder(own, key(number))

    @property
    def pem(self) -> bytes:
        return self.holder.certificate.public_bytes(Encoding.PEM)

    def user(self, common_name="plgann", **dates) -> Holder:
        dates = {"since": NOW - 24 * HOUR, "until": NOW + 24 * HOUR, **dates}
        constraint = (x509.BasicConstraints(False, None), True)
        subject = name("C=PL", "O=GRID", f"CN={common_name}")
        return Holder(self.holder.issue(subject, 2, constraint, **dates), key(2))

    def crl(self, *revoked: Holder, until=NOW + HOUR) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.holder.certificate.subject)
        builder = builder.last_update(NOW - 2 * HOUR).next_update(until)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - HOUR).build())
        return builder.sign(self.holder.key, SHA256()).public_bytes(Encoding.PEM)
