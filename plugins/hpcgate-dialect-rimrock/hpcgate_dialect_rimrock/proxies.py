"""X.509 proxies (RFC 3820), verified by OpenSSL. This alone needs the extra ``x509``.

A proxy is a certificate that a user's own one has signed, mostly for half a day, with its private key beside it; it may
have signed another one in turn. The user is whom the first certificate of the chain that is no proxy names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from hpcgate.errors import ConfigError, Unauthenticated
from hpcgate_dialect_rimrock.settings import X509Settings

_log = logging.getLogger(__name__)

#: The longest chain that is looked at.
MAX_CERTIFICATES: Final = 12
_PROXY_CERT_INFO: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
#: A proxy that may do all that its issuer may: the policy language ``id-ppl-inheritAll``, in DER. Limited ones
#: (Globus: for files, not for jobs) and independent ones name others.
_INHERIT_ALL: Final = bytes.fromhex("06082b06010505071501")
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?\s-----END \1-----", re.DOTALL)
_KEYS: Final = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
#: Short names of what distinguished names are made of, where they are not those of RFC 4514.
_SHORT: Final = {NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.SERIAL_NUMBER: "serialNumber"}

_Seen = frozenset[tuple[str, int, int]]


class Proxies:
    """Says whose a proxy is.

    Args:
        settings: which authorities are believed, and who is who.

    Raises:
        ConfigError: the files cannot be read, or hold no authority.
    """

    def __init__(self, settings: X509Settings) -> None:
        self._settings = settings
        self._users = {_plain(name): user for name, user in settings.users.items()}
        self._lock = Lock()
        self._seen = _signature(settings)
        self._store = _store(settings)

    def user(self, pem: bytes) -> str:
        """The user of the gateway whose proxy this is.

        Args:
            pem: certificate, private key and chain, as a proxy file holds them.

        Raises:
            Unauthenticated: it is no proxy, or not good.
        """
        certificates, key = _parts(pem)
        if _public(certificates[0].public_key()) != _public(key):
            raise Unauthenticated("the private key of the proxy is not that of its certificate")
        subject = _owner(self._verified(certificates))
        for name in (slashed(subject), _plain(subject.rfc4514_string())):
            if name in self._users:
                return self._users[name]
        raise Unauthenticated(f"nobody here has the certificate of {slashed(subject)!r}; ask the operator")

    def _verified(self, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
        """The chain from the first certificate to an authority that is believed.

        Whatever else was sent is not looked at: it may say anything.
        """
        leaf, *others = (crypto.X509.from_cryptography(each) for each in certificates)
        try:
            chain = crypto.X509StoreContext(self._current(), leaf, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            raise Unauthenticated(f"the proxy is not accepted: {error}") from None
        return [each.to_cryptography() for each in chain]

    def _current(self) -> crypto.X509Store:
        """The authorities and revocation lists, read again once their files have changed."""
        with self._lock:
            try:
                seen = _signature(self._settings)
                if seen != self._seen:
                    self._store, self._seen = _store(self._settings), seen
            except ConfigError as error:
                _log.error("what was read before stays in force: %s", error.message)
            return self._store


def slashed(name: x509.Name) -> str:
    """A distinguished name as Globus writes it: ``/C=PL/O=GRID/CN=plgann``."""
    return "".join(f"/{_SHORT.get(each.oid, each.rfc4514_attribute_name)}={each.value!s}" for each in name)


def _plain(name: str) -> str:
    """A distinguished name as it is compared: RFC 4514 allows spaces after commas."""
    return name if name.startswith("/") else ",".join(part.strip() for part in name.split(","))


def _parts(pem: bytes) -> tuple[list[x509.Certificate], object]:
    certificates, keys = [], []
    try:
        for block in _BLOCK.finditer(pem):
            if block[1] == b"CERTIFICATE":
                certificates.append(x509.load_pem_x509_certificate(block[0]))
            elif block[1] in _KEYS:
                keys.append(load_pem_private_key(block[0], None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Unauthenticated("the proxy holds what is no certificate or plain private key") from None
    if not certificates or len(certificates) > MAX_CERTIFICATES:
        raise Unauthenticated(f"a proxy has 1 to {MAX_CERTIFICATES} certificates, not {len(certificates)}")
    if len(keys) != 1:
        raise Unauthenticated(f"a proxy has one private key, not {len(keys)}")
    return certificates, keys[0].public_key()


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _owner(chain: list[x509.Certificate]) -> x509.Name:
    """Whom a chain that was verified speaks for: the first certificate that is no proxy.

    Raises:
        Unauthenticated: one of its proxies may not do all that the user may.
    """
    for certificate in chain:
        policy = _policy(certificate)
        if policy is None:
            return certificate.subject
        if not policy:
            raise Unauthenticated("the proxy is limited or independent: it may not start jobs; make a full one")
    raise Unauthenticated("the proxy comes without the certificate of its user")


def _policy(certificate: x509.Certificate) -> bool | None:
    """Whether a proxy inherits all rights; ``None`` = it is no proxy."""
    try:
        info = certificate.extensions.get_extension_for_oid(_PROXY_CERT_INFO)
    except x509.ExtensionNotFound:
        return None
    except ValueError:
        raise Unauthenticated("a certificate of the proxy has extensions that cannot be read") from None
    return _inherits_all(info.value.public_bytes())


def _inherits_all(der: bytes) -> bool:
    """Reads ``SEQUENCE {INTEGER OPTIONAL, SEQUENCE {OBJECT IDENTIFIER, ...}}``, which OpenSSL has found well-formed."""
    content = _content(der)
    if content[:1] == b"\x02":
        content = content[2 + content[1] :]
    return _content(content).startswith(_INHERIT_ALL)


def _content(der: bytes) -> bytes:
    """What is inside a DER element."""
    return der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :]


# --- what is believed


def _files(path: str) -> Iterable[Path]:
    place = Path(path)
    return sorted(each for each in place.iterdir() if each.is_file()) if place.is_dir() else (place,)


def _places(settings: X509Settings) -> Iterable[str]:
    return dict.fromkeys(path for path in (settings.ca, settings.crl) if path is not None)


def _signature(settings: X509Settings) -> _Seen:
    try:
        found = [(each, each.stat()) for path in _places(settings) for each in _files(path)]
    except OSError as error:
        raise _unreadable(error) from error
    return frozenset((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _store(settings: X509Settings) -> crypto.X509Store:
    flags = crypto.X509StoreFlags.ALLOW_PROXY_CERTS
    store = crypto.X509Store()
    authorities = list(_read(settings.ca, b"CERTIFICATE"))
    if not authorities:
        raise ConfigError(f"[dialects.rimrock.settings.x509] ca: {settings.ca!r} holds no certificate")
    for pem in authorities:
        store.add_cert(crypto.X509.from_cryptography(_loaded(settings.ca, x509.load_pem_x509_certificate, pem)))
    if settings.crl is not None:
        # All of the chain: it is the certificate of the user, not that of the proxy, that is revoked.
        flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
        for pem in _read(settings.crl, b"X509 CRL"):
            store.add_crl(_loaded(settings.crl, x509.load_pem_x509_crl, pem))
    store.set_flags(flags)
    return store


def _read(path: str, kind: bytes) -> Iterable[bytes]:
    try:
        texts: Mapping[str, bytes] = {str(each): each.read_bytes() for each in _files(path)}
    except OSError as error:
        raise _unreadable(error) from error
    # Folders of authorities hold each under several names.
    return dict.fromkeys(block[0] for text in texts.values() for block in _BLOCK.finditer(text) if block[1] == kind)


def _loaded(path: str, load: object, pem: bytes) -> object:
    try:
        return load(pem)  # type: ignore[operator]
    except ValueError as error:
        raise ConfigError(f"[dialects.rimrock.settings.x509] {path!r} holds what cannot be read: {error}") from error


def _unreadable(error: OSError) -> ConfigError:
    return ConfigError(f"[dialects.rimrock.settings.x509] {error.filename!r} cannot be read: {error.strerror}")
