"""A gateway that speaks Rimrock, at a port of this machine, in the process of the test."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
from live.worker import running
from support import ROOT
from werkzeug.serving import WSGIRequestHandler, make_server

from hpcgate.config import Config
from hpcgate.server import create_app


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(config: Config) -> Iterator[httpx.Client]:
    """A client of one user, as long as the block lasts; the gateway has its worker beside it."""
    with running(config) as gateway:
        gateway.identities.add_user(ROOT, "ann")
        token, _ = gateway.identities.create_token(ROOT, "ann")
        credential = {"PROXY": base64.b64encode(token.encode()).decode()}
        front = create_app(gateway)
        server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/rimrock"
        try:
            with httpx.Client(base_url=url, headers=credential, timeout=30) as client:
                yield client
        finally:
            front.stop()
            server.shutdown()
            thread.join()
            server.server_close()
