"""What encrypts the secrets that are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol

from hpcgate.errors import ConfigError


class Cipher(Protocol):
    """Authenticated encryption with the gateway's own key."""

    def encrypt(self, data: bytes) -> bytes:
        """Encrypts ``data``."""

    def decrypt(self, data: bytes) -> bytes:
        """Undoes ``encrypt``; raises an error where the data were changed or the key is another one."""


def seal(cipher: Cipher | None, secrets: Mapping[str, str], what: str = "secret_environment") -> bytes | None:
    """Secrets as they are stored; ``None`` = there are none.

    Args:
        cipher: encrypts them.
        secrets: by name.
        what: what they are, for the error.

    Raises:
        ConfigError: there are some, and nothing to encrypt them with.
    """
    if not secrets:
        return None
    if cipher is None:
        raise ConfigError(f"{what} cannot be stored: this store was opened without a secret key")
    return cipher.encrypt(json.dumps(dict(secrets)).encode())


def unseal(cipher: Cipher | None, data: bytes | None, what: str = "secret_environment") -> dict[str, str]:
    """What ``seal`` was given.

    Raises:
        ConfigError: there are secrets, and nothing to decrypt them with.
    """
    if data is None:
        return {}
    if cipher is None:
        raise ConfigError(f"{what} cannot be read: this store was opened without a secret key")
    return dict(json.loads(cipher.decrypt(bytes(data))))
