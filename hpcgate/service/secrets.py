"""The gateway's secret: it signs tokens and encrypts what is stored of other people's secrets.

The file holds one key per line, ``KID HEX``; the first signs and encrypts, all are accepted, so that a key can be
replaced without ending every session.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpcgate.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

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
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(4)} {secrets.token_hex(KEY_BYTES)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()


def _parse(path: Path, number: int, line: str) -> SecretKey:
    kid, _, text = line.strip().partition(" ")
    try:
        material = bytes.fromhex(text)
    except ValueError:
        material = b""
    if not kid or len(material) < KEY_BYTES:
        raise ConfigError(f"secret_key_file {path}: line {number} must be 'KID HEX' with at least {KEY_BYTES} bytes")
    return SecretKey(kid, material)


class FernetCipher:
    """Encrypts stored secrets with the first key and decrypts with any.

    Args:
        keys: as read by ``load_keys``.
    """

    def __init__(self, keys: tuple[SecretKey, ...]) -> None:
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

        return MultiFernet([Fernet(base64.urlsafe_b64encode(key.derive("stored secrets"))) for key in self._keys])
