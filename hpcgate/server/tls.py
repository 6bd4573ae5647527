"""HTTPS without a proxy: the certificate, read anew when its files change, so that a renewal needs no restart."""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path
from typing import Any, Final

from hpcgate.config import Config
from hpcgate.errors import ConfigError

_log = logging.getLogger(__name__)

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Tls:
    """Contexts for gunicorn, which asks for one with each connection.

    Args:
        config: its ``[server]`` table names the files.

    Raises:
        ConfigError: they cannot be read, or do not belong together.
    """

    def __init__(self, config: Config) -> None:
        server = config.server
        assert server.tls_cert is not None
        self._cert = Path(server.tls_cert).expanduser()
        self._key = Path(server.tls_key or server.tls_cert).expanduser()
        self._least = _VERSIONS[server.tls_min_version]
        self._lock = threading.Lock()
        self._seen = self._state()
        try:
            self._context = self._load()
        except OSError as error:
            raise ConfigError(f"{config.where('server')} tls_cert, tls_key: {self._said(error)}") from error

    def settings(self) -> dict[str, Any]:
        """What gunicorn has to know."""
        return {
            "certfile": str(self._cert),
            "keyfile": str(self._key),
            "ssl_context": lambda conf, default: self.context(),
        }

    def context(self) -> ssl.SSLContext:
        """The one for a new connection. Files that are no good (half of a renewal) leave the old one in use."""
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._context = self._load()
                    _log.info("the certificate %s was read anew", self._cert)
                except OSError as error:  # of TLS too
                    _log.error("the certificate stays as it was: %s", self._said(error))
            return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._least
        context.options |= ssl.OP_NO_RENEGOTIATION
        # A key with a pass phrase must not make the server wait for a terminal.
        context.load_cert_chain(self._cert, self._key, password=lambda: b"")
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _state(self) -> tuple[object, ...]:
        return tuple(map(_stamp, (self._cert, self._key)))

    def _said(self, error: OSError) -> str:
        if isinstance(error, ssl.SSLError):
            return f"{self._cert} and {self._key} are no certificate (PEM) and its key without a pass phrase: {error}"
        unreadable = next((each for each in (self._cert, self._key) if _stamp(each) is None), self._key)
        return f"{unreadable} cannot be read: {error.strerror}"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
