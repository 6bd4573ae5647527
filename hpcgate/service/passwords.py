"""Passwords are kept as salted hashes that take time to make."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

# OWASP's recommendation for scrypt: N=2^15, r=8, p=3 takes 32 MiB and some 0.2 s.
WORK: Final = 1 << 15


def hash_password(password: str) -> str:
    """A salted scrypt hash, as ``scrypt$SALT$HASH`` in hex."""
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${_scrypt(password, salt).hex()}"


def check_password(password: str, stored: str) -> bool:
    """Whether a password is the one of a hash; the time that it takes tells nothing."""
    _, salt, wanted = stored.split("$")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)).hex(), wanted)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, dklen=32, n=WORK, r=8, p=3, maxmem=64 << 20)
