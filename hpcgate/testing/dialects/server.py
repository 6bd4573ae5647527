"""A gateway with one dialect, served over HTTP from a thread of the test."""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx

from hpcgate.config import config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.server import create_app
from hpcgate.service.identities import IdentityService
from hpcgate.service.secrets import KeyRing
from hpcgate.testing.dialects.facts import Call, DialectFacts
from hpcgate.testing.fakes import FakeScheduler

ADMIN: Final = Principal(name="operator", roles=frozenset(Role))
MAX_BODY_BYTES: Final = 256 << 10
_TIMEOUT_S: Final = 30.0
#: For no connection at all, since the server speaks plain HTTP: to load the authorities takes longer than a request.
_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(WSGIRequestHandler):
    """Quiet, and reads what nobody wanted before it hangs up: else the answer may be lost with the connection."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base names it so
        """The front has its own log."""

    def handle(self) -> None:
        """One request."""
        super().handle()
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            while self.connection.recv(1 << 16):
                pass


@dataclass
class DialectServer:
    """The server, and who may come to it.

    Args:
        gateway: behind the server; in this process.
        root: URL of the server, without the dialect's prefix.
        facts: of the dialect.
        tokens: of users, by name; ``locked`` is one whose user is locked.
        log: everything that was logged since the server started.
    """

    gateway: Gateway
    root: str
    facts: DialectFacts
    tokens: dict[str, str]
    log: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def base(self) -> str:
        """URL of the dialect."""
        return f"{self.root}/{self.facts.name}"

    def ask(
        self,
        call: Call,
        user: str | None = None,
        *,
        token: str | None = None,
        job: str = "",
        base: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Sends a request as a user, with a token, or as nobody; redirects are not followed."""
        token = self.tokens[user] if user else token
        sent = {**(self.facts.credential(token) if token else {}), **call.headers, **(headers or {})}
        url = (self.base if base is None else base) + call.path.replace("{job}", job)
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, verify=_NO_AUTHORITIES) as client:
            return client.request(call.method, url, content=call.content, headers=sent)

    def ask_submit(self, user: str | None, **changes: Any) -> httpx.Response:
        """Sends ``submit`` for a user, or as nobody, with other parts of the request where they are given."""
        call = replace(self.facts.submit, **changes)
        if call.content is not None:
            content = call.content.replace(b"@USER@", (user or "").encode())
            call = replace(call, content=content.replace(b"@NUMBER@", str(next(self._numbers)).encode()))
        return self.ask(call, user and (self.facts.reporter or user))

    def submit(self, user: str) -> str:
        """The foreign id of a new job."""
        answer = self.ask_submit(user)
        assert answer.is_success, f"{answer.status_code}: {answer.text}"
        return self.facts.submitted(answer)

    def issuer(self, *, dialects: tuple[str, ...] = (), ago_s: float = 0.0) -> IdentityService:
        """Makes tokens as this gateway would, had it other dialects, or some time ago."""
        gateway = self.gateway
        return IdentityService(
            gateway.store.identities,
            gateway.store.logins,
            gateway.groups,
            KeyRing(gateway.config.secret_key_path),
            gateway.config.auth,
            gateway.config.home,
            dialects,
            clock=lambda: time.time() - ago_s,
        )


@contextmanager
def running(plugin: object, facts: DialectFacts, home: Path) -> Iterator[DialectServer]:
    """Serves a dialect until the block ends.

    Args:
        plugin: what the dialect's entry point names.
        facts: of the dialect.
        home: an empty folder for the gateway.
    """
    hosts = [f"{facts.name}.example.org", f"{facts.name}.example.com:8443"]
    table = {"hosts": hosts, "settings": dict(facts.settings)}
    site = {"scheduler": "fake", "identity": {"shared_account": True}}
    tables = {
        "sites": {facts.site: site},
        "server": {"max_body_bytes": MAX_BODY_BYTES},
        "dialects": {facts.name: table},
        **facts.config,
    }
    plugins = [("fake", FakeScheduler()), (f"dialect-{facts.name}", plugin)]
    with _kept_log() as log, open_gateway(config_from(tables, home=home), plugins=plugins) as gateway:
        tokens = {name: _token(gateway, name) for name in (*facts.users, "locked")}
        if facts.reporter is not None:
            tokens[facts.reporter] = _token(gateway, facts.reporter, Role.API)
        gateway.identities.update_user(ADMIN, "locked", locked=True)
        front = create_app(gateway)
        server = make_server("127.0.0.1", 0, front, server_class=_Server, handler_class=_Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield DialectServer(gateway, f"http://127.0.0.1:{server.server_port}", facts, tokens, log)
        finally:
            front.stop()
            server.shutdown()
            thread.join()
            server.server_close()


def _token(gateway: Gateway, name: str, *roles: Role) -> str:
    gateway.identities.add_user(ADMIN, name, roles=roles)
    token, _ = gateway.identities.create_token(ADMIN, name)
    return token


@contextmanager
def _kept_log() -> Iterator[list[str]]:
    """All that is logged, down to the smallest note, as it would stand in a file."""
    lines: list[str] = []
    keeper = logging.Handler()
    keeper.setFormatter(logging.Formatter("%(name)s %(message)s"))
    keeper.emit = lambda record: lines.append(keeper.format(record))  # type: ignore[method-assign]
    ours = logging.getLogger("hpcgate")
    level = ours.level
    ours.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(keeper)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(keeper)
        ours.setLevel(level)
