"""What tests of webhooks and mail share: workers, and receivers that do what a test says, over HTTP or HTTPS."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support import ANN

from hpcgate.gateway import Gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest

OPERATOR = Principal(name="operator", roles=frozenset(Role))


@contextmanager
def working(*gateways: Gateway):
    """Workers that run beside the test."""
    stop = threading.Event()
    threads = [threading.Thread(target=gateway.worker().run, args=(stop,)) for gateway in gateways]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def submit(gateway, who=ANN, **fields):
    return gateway.jobs.submit(who, JobRequest(spec=JobSpec(command="true", **fields), site="fake")).job


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """A server on an address of its own. ``answer`` gets the number of the request and says status and headers."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[int], tuple[int, dict[str, str]]] = lambda number: (204, {})
        self.silent = threading.Event()
        self._ending = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(headers, body))
                if receiver.silent.is_set():
                    receiver._ending.wait(60)
                    self.close_connection = True
                    return
                status, more = receiver.answer(len(receiver.received))
                self.send_response(status)
                for name, value in {"Content-Length": "0", **more}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler, bind_and_activate=True)
        self._server.daemon_threads = False
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "https" if tls is not None else "http"
        self.port = self._server.server_port
        self.url = f"{scheme}://{address}:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.received]

    def close(self) -> None:
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def untouchable(address: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[int, list[Any]]]:
    """A port where nobody may connect: (port, who did all the same)."""
    touched: list[Any] = []
    with socket.create_server((address, port)) as server:
        server.settimeout(0.02)
        ending = threading.Event()

        def listen() -> None:
            while not ending.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                touched.append(peer)
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield server.getsockname()[1], touched
        finally:
            ending.set()
            thread.join()
