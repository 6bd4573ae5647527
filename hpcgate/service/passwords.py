"""Passwords are kept as salted hashes that take time to make."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

# OWASP's recommendation for scrypt: N=2^15, r=8, p=3 takes 32 MiB and some 0.2 s.
_SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20}


def hash_password(password: str) -> str:
    """A salted scrypt hash, as ``scrypt$SALT$HASH`` in hex."""
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, dklen=32, **_SCRYPT).hex()}"


def check_password(password: str, stored: str) -> bool:
    """Whether a password is the one of a hash; the time that it takes tells nothing."""
    _, salt, wanted = stored.split("$")
    found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), dklen=32, **_SCRYPT)
    return hmac.compare_digest(found.hex(), wanted)
