"""Over the whole suite: no token, password, stored secret or proxy text ever stands in a log record.

What is secret is learnt while the tests run: every token that is signed, every password that is hashed or tried, and
everything that is encrypted for the database. Beside these, what looks like a token or a certificate is one. A test
during which a secret was logged fails, and says where.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

#: Shorter ones are found by chance.
MIN_CHARS = 8
PATTERNS = {
    "what looks like a token": re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\."),
    "a bearer token": re.compile(r"(?i)\bbearer\s+[\w.~+/-]{20,}"),
    "a certificate or key": re.compile(r"-----BEGIN |LS0tLS1CRUdJTi"),
}


class LogWatch:
    """Knows secrets, and what was found of them."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.leaks: list[str] = []

    def learn(self, kind: str, secret: str) -> None:
        if len(secret) >= MIN_CHARS:
            self.secrets[secret] = kind

    def look(self, text: str, where: str) -> None:
        """Notes what a text holds that it must not; the text itself is not repeated."""
        kinds = {kind for secret, kind in list(self.secrets.items()) if secret in text}
        kinds |= {kind for kind, pattern in PATTERNS.items() if pattern.search(text)}
        self.leaks += [f"{where} logged {kind}" for kind in sorted(kinds)]

    def look_at(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {getattr(record, 'fields', '')}"
        if record.exc_info and record.exc_info[0] is not None:
            text += "".join(traceback.format_exception(*record.exc_info))
        self.look(text, f"{record.pathname}:{record.lineno} ({record.name})")

    @contextmanager
    def diverted(self) -> Iterator[list[str]]:
        """For a test that leaks on purpose."""
        before, self.leaks = self.leaks, []
        try:
            yield self.leaks
        finally:
            self.leaks = before


def _learning(watch: LogWatch, patch: pytest.MonkeyPatch) -> None:
    from hpcgate.service import identities, users
    from hpcgate.service.secrets import FernetCipher
    from hpcgate.service.signing import TokenSigner

    sign, encrypt = TokenSigner.sign, FernetCipher.encrypt
    hash_password, check_password = users.hash_password, identities.check_password

    def signing(self: TokenSigner, *args: Any, **kwargs: Any) -> str:
        token = sign(self, *args, **kwargs)
        watch.learn("a token", token)
        return token

    def encrypting(self: FernetCipher, data: bytes) -> bytes:
        for secret in _values(data):
            watch.learn("a stored secret", secret)
        return encrypt(self, data)

    def hashing(password: str) -> str:
        watch.learn("a password", password)
        return hash_password(password)

    def checking(password: str, stored: str) -> bool:
        watch.learn("a password", password)
        return check_password(password, stored)

    patch.setattr(TokenSigner, "sign", signing)
    patch.setattr(FernetCipher, "encrypt", encrypting)
    patch.setattr(users, "hash_password", hashing)
    patch.setattr(identities, "check_password", checking)


def _values(data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return [text]
    return [each for each in found.values() if isinstance(each, str)] if isinstance(found, dict) else [text]


@pytest.fixture(scope="session")
def log_watch() -> Iterator[LogWatch]:
    """The one of this process."""
    watch = LogWatch()
    make = logging.Logger.makeRecord

    def making(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(self, *args, **kwargs)
        watch.look_at(record)
        return record

    with pytest.MonkeyPatch.context() as patch:
        # Where records are made: handlers come and go, and some loggers do not propagate.
        patch.setattr(logging.Logger, "makeRecord", making)
        _learning(watch, patch)
        yield watch


@pytest.fixture(autouse=True)
def _no_secret_is_logged(log_watch: LogWatch) -> Iterator[None]:
    logger = logging.getLogger("hpcgate")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)
    leaks, log_watch.leaks[:] = log_watch.leaks[:], []
    assert not leaks, "secrets in the log: " + "; ".join(leaks)
