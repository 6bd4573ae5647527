"""``serve``: gunicorn with one process of threads, and the worker beside it."""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import ParseException
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from hpcgate.config import Config
from hpcgate.errors import ConfigError
from hpcgate.server import create_app
from hpcgate.server.companion import Companion, worker_of
from hpcgate.server.front import Front
from hpcgate.server.peer import is_loopback
from hpcgate.server.refusals import refusal
from hpcgate.server.slow import Reading, bound_writes
from hpcgate.server.tls import Tls
from hpcgate.service.accounts import runs_as_root
from hpcgate.service.logs import configure_logging

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

_log = logging.getLogger(__name__)

#: How long requests that are under way may take after SIGTERM, seconds. A submit that is cut goes on in the worker.
GRACE_S: Final = 2
#: And the worker, counted from SIGTERM.
WORKER_GRACE_S: Final = 2.5
KEEPALIVE_S: Final = 5
#: How long after SIGTERM a request may still come in over an idle connection, seconds.
LINGER_S: Final = 0.5
BACKLOG: Final = 1024
#: Some clients of dialects send proxy certificates of 20 KB in a header.
MAX_HEADER_BYTES: Final = 32_768
MAX_HEADERS: Final = 64
#: The most that gunicorn takes.
MAX_REQUEST_LINE_BYTES: Final = 8190


def serve(
    config: Config,
    host: str,
    port: int,
    worker: bool = True,
    *,
    open_gateway: Callable[[Config], Gateway],
    say: Callable[[str], None] | None = None,
) -> None:
    """Serves until SIGTERM or Ctrl-C, then ends the process.

    Args:
        config: what to serve.
        host: address to listen on.
        port: 0 = any free one.
        worker: whether a worker runs beside it.
        open_gateway: opens the gateway; once here to check everything, and once in the process that serves.
        say: tells people what happens; stderr by default.

    Raises:
        ConfigError: the configuration is wrong, the address cannot be used, or tokens would travel in the clear.
        SystemExit: when it has ended.
    """
    say = say or _say
    _refuse_exposure(config, host)
    tls = Tls(config) if config.server.tls_cert is not None else None
    listener = _listen(host, port)
    shown = _url(listener, "https" if tls else "http")
    try:
        _first_look(config, open_gateway, say)
    except BaseException:
        listener.close()
        raise
    configure_logging(config.server)
    settings = _settings(config, listener.detach()) | (tls.settings() if tls else {})
    settings["when_ready"] = lambda arbiter: say(f"hpcgate: serving {shown} (API page: {shown}/docs)")
    companion = worker_of(config) if worker else None
    _Application(lambda: create_app(open_gateway(config)), settings, companion).run()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse_exposure(config: Config, host: str) -> None:
    server = config.server
    if is_loopback(host) or server.tls_cert is not None or server.insecure_http or server.trusted_proxies:
        return
    raise ConfigError(
        f"{config.where('server')} {host} can be reached from other machines, and this server speaks plain HTTP: put a "
        "proxy with TLS before it and name it in trusted_proxies, or give it a certificate (tls_cert, tls_key), or set "
        "insecure_http in a network that you trust"
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    bound_writes(listener)
    return listener


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _first_look(config: Config, open_gateway: Callable[[Config], Gateway], say: Callable[[str], None]) -> None:
    """Everything that can be wrong is found before a process is started, and the first admin is made."""
    with open_gateway(config) as gateway:
        create_app(gateway)
        made = gateway.identities.bootstrap()
        roots = sorted(name for name, site in gateway.sites.items() if runs_as_root(site))
    for name in roots:
        say(
            f"hpcgate: warning: the jobs of site {name!r} run as root, so whoever may submit one there owns the "
            "machine; serve as an ordinary account, or give the site another one"
        )
    if made is not None:
        say(f"hpcgate: first start: made the user 'admin'; its token is in {made}")


def _settings(config: Config, descriptor: int) -> dict[str, Any]:
    server = config.server
    return {
        "bind": f"fd://{descriptor}",
        "workers": 1,
        "worker_class": StreamingWorker,
        "threads": server.threads + server.max_streams,
        "worker_connections": 4 * (server.threads + server.max_streams),
        "graceful_timeout": GRACE_S,
        "keepalive": KEEPALIVE_S,
        "backlog": BACKLOG,
        "limit_request_line": MAX_REQUEST_LINE_BYTES,
        "limit_request_fields": MAX_HEADERS,
        "limit_request_field_size": MAX_HEADER_BYTES,
        # Whose forwarding headers are believed is decided in one place: server.peer.
        "forwarded_allow_ips": "",
        "control_socket_disable": True,
        "loglevel": "warning",
        "accesslog": None,
        "pre_fork": lambda arbiter, worker: _share_memory(),
        "worker_exit": lambda arbiter, worker: _close(worker),
    }


def _share_memory() -> None:
    """Keeps the collector away from what both processes have, so that the pages stay shared."""
    gc.collect()
    gc.freeze()


def _close(worker: StreamingWorker) -> None:
    front = getattr(worker, "wsgi", None)
    if isinstance(front, Front):
        front.stop()
        if worker.nr_conns == 0:
            # Else a request still uses the database; the end of the process closes it as well.
            front.serving.gateway.close()


class StreamingWorker(ThreadWorker):  # type: ignore[misc]
    """The process that answers. SIGTERM, SIGINT and SIGQUIT end it in the same orderly way, open streams first."""

    def load_wsgi(self) -> None:
        """Gets a thread ready that will end the streams: a signal handler must not wait for locks."""
        super().load_wsgi()
        self._reading = Reading(self.wsgi.serving.gateway.config.server.request_timeout_s)
        self._told: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._stop_when_told, name="hpcgate-stop", daemon=True).start()

    def _stop_when_told(self) -> None:
        self._told.get()
        self.wsgi.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the streams and takes no more requests."""
        if self.alive and hasattr(self, "_told"):
            self._told.put(None)
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """The same: there is no reason to be rude."""
        self.handle_exit(sig, frame)

    def handle(self, conn: Any) -> Any:
        """Reads a request and answers it."""
        self._reading.begins(conn)
        try:
            return super().handle(conn)
        finally:
            self._reading.over(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answers a request whose head was read."""
        names = {name: value for name, value in req.headers if name in ("CONTENT-LENGTH", "TRANSFER-ENCODING")}
        if names.get("CONTENT-LENGTH", "0") == "0" and "TRANSFER-ENCODING" not in names:
            self._reading.over(conn)
        return super().handle_request(req, conn)

    def notify(self) -> None:
        """Called about once a second."""
        super().notify()
        if hasattr(self, "_reading") and (late := self._reading.cut()):
            _log.warning("%d requests took too long to come in and were cut", late)

    def _cap_keepalive(self, deadline: float) -> None:
        """Idle connections are let go sooner than gunicorn would (in the versions that wait for them at all)."""
        super()._cap_keepalive(min(deadline, time.monotonic() + LINGER_S))

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answers what cannot be parsed with a problem; anything else is gunicorn's to log and answer.

        What was sent is never logged: a header that is not well-formed may hold a token all the same.
        """
        if isinstance(exc, ssl.SSLError):
            _log.info("%s does not speak TLS as it should: %s", addr[0] if addr else "-", exc.reason)
            return
        if req is not None or not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        _log.warning("%s sent no request: %s", addr[0] if addr else "-", type(exc).__name__)
        with suppress(OSError):  # it is gone, or reads nothing
            write_nonblock(client, refusal(exc))

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """A connection whose answer or stream ends after SIGTERM is closed, not kept for another request."""
        return bool(self.alive and super()._keepalive_after(conn, keepalive))


class _Arbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's main process, which also looks after the worker."""

    def __init__(self, app: BaseApplication, companion: Companion | None) -> None:
        self._companion = companion
        super().__init__(app)

    def manage_workers(self) -> None:
        """Called at least once a second."""
        super().manage_workers()
        if self._companion is not None:
            self._companion.tend()

    def reap_workers(self) -> None:
        """Collects dead children, the worker first: gunicorn waits for just any child."""
        if self._companion is not None:
            self._companion.reap()
        super().reap_workers()

    def stop(self, graceful: bool = True) -> None:
        """Ends the children, all at the same time."""
        deadline = time.monotonic() + WORKER_GRACE_S
        if self._companion is not None:
            self._companion.terminate()
        super().stop(graceful)
        if self._companion is not None:
            self._companion.finish(max(0.0, deadline - time.monotonic()))


class _Application(BaseApplication):  # type: ignore[misc]
    """What gunicorn asks for settings and for the WSGI callable."""

    def __init__(self, build: Callable[[], Front], settings: Mapping[str, Any], companion: Companion | None) -> None:
        self._build = build
        self._own_settings = settings
        self._companion = companion
        super().__init__()

    def load_config(self) -> None:
        """Takes our settings alone: no file, no environment, no command line."""
        for name, value in self._own_settings.items():
            if name in self.cfg.settings:  # older versions know fewer
                self.cfg.set(name, value)

    def load(self) -> Front:
        """In the process that serves, after the fork: it has connections of its own."""
        return self._build()

    def run(self) -> None:
        """Until a signal ends it."""
        _Arbiter(self, self._companion).run()
