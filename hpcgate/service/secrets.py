"""The gateway's secret: it signs tokens and encrypts what is stored of other people's secrets.

The file holds one key per line, ``KID HEX``; the first signs and encrypts, all are accepted, so that a key can be
replaced without ending every session.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpcgate.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_log = logging.getLogger(__name__)

KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key.

    Args:
        kid: its name, which stands in the head of each token.
        material: at least 32 bytes.
    """

    kid: str
    material: bytes

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, so that no key is used for two things."""
        return hashlib.blake2b(purpose.encode(), key=self.material, digest_size=32).digest()


def load_keys(path: Path) -> tuple[SecretKey, ...]:
    """Reads the secret file; makes it (mode 0600, one random key) where there is none.

    Raises:
        ConfigError: it cannot be read or made, others may read it, it is empty, or a line is malformed.
    """
    try:
        _make(path)
        mode = path.stat().st_mode & 0o777
        lines = path.read_text(encoding="ascii").split("\n")
    except OSError as error:
        raise ConfigError(f"secret_key_file {path}: cannot be read or made: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"secret_key_file {path}: is no text: {error}") from error
    if mode & 0o077:
        raise ConfigError(f"secret_key_file {path}: has mode {mode:04o}; others must not read it: chmod 600")
    keys = tuple(_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not keys:
        raise ConfigError(
            f"secret_key_file {path}: holds no key; put the old one back, or remove the file to have a new one made"
        )
    return keys


def _make(path: Path) -> None:
    """Makes the file whole or not at all, also when two processes start at once: the first link wins."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        _write(draft, [SecretKey(secrets.token_hex(4), secrets.token_bytes(KEY_BYTES))])
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, keys: Iterable[SecretKey]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{key.kid} {key.material.hex()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())


def _parse(path: Path, number: int, line: str) -> SecretKey:
    kid, _, text = line.strip().partition(" ")
    try:
        material = bytes.fromhex(text)
    except ValueError:
        material = b""
    if not kid or len(material) < KEY_BYTES:
        raise ConfigError(f"secret_key_file {path}: line {number} must be 'KID HEX' with at least {KEY_BYTES} bytes")
    return SecretKey(kid, material)


class KeyRing:
    """The keys as they stand in the file now, so that a new one needs no restart.

    Args:
        path: the file; see ``load_keys``.

    Raises:
        ConfigError: as ``load_keys``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = (load_keys(path), _stamp(path))

    def current(self) -> tuple[SecretKey, ...]:
        """The keys: the first signs and encrypts, all are accepted."""
        keys, stamp = self._known
        try:
            now = _stamp(self._path)
            if now != stamp:
                keys = load_keys(self._path)
                self._known = (keys, now)
        except (ConfigError, OSError) as error:
            # What was good a moment ago goes on; a start would be refused.
            _log.warning("the keys stay as they were: %s", error)
        return keys


def rotate(path: Path) -> SecretKey:
    """Puts a new key in front of the others, which stay good for what they have signed and encrypted.

    Raises:
        ConfigError: as ``load_keys``.
    """
    try:
        with _alone(path):
            keys = load_keys(path)
            new = SecretKey(secrets.token_hex(4), secrets.token_bytes(KEY_BYTES))
            owner = path.stat()
            draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            try:
                _write(draft, (new, *keys))
                os.chown(draft, owner.st_uid, owner.st_gid)  # by root for the gateway's account
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"secret_key_file {path}: cannot be changed: {error.strerror}") from error
    return new


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Of two who change the file at once, one waits: a key must not get lost that has signed already."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


class FernetCipher:
    """Encrypts stored secrets with the first key and decrypts with any.

    Args:
        keys: the ring that it takes them from.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def encrypt(self, data: bytes) -> bytes:
        """Encrypts and signs."""
        return self._fernet().encrypt(data)

    def decrypt(self, data: bytes) -> bytes:
        """Checks and decrypts.

        Raises:
            ConfigError: none of the keys fits; the secret file was replaced.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(data)
        except InvalidToken as error:
            raise ConfigError(
                "a stored secret does not fit any key of secret_key_file; put the old key back"
            ) from error

    def _fernet(self) -> MultiFernet:
        # Imported when first needed: most commands never touch a stored secret.
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet(
            [Fernet(base64.urlsafe_b64encode(key.derive("stored secrets"))) for key in self._keys.current()]
        )
