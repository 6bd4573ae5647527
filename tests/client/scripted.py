"""A web server on loopback that answers what a test has written down."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    #: Hang up without a word: whether the request had an effect cannot be known.
    lost: bool = False
    #: Promise more bytes than are sent, and hang up.
    cut: bool = False


def answer(body: Any = None, status: int = 200, **headers: str) -> Answer:
    kind = "application/json" if status < 400 else "application/problem+json"
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": kind, **names})


def problem(status: int, code: str, detail: str = "no", **more: Any) -> Answer:
    return answer({"status": status, "code": code, "title": "t", "detail": detail, **more}, status)


LOST = Answer(lost=True)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Scripted:
    """What it will answer, and what it was asked."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[Request] = []
        self.url = ""

    def will(self, *answers: Answer) -> None:
        self.answers.extend(answers)


@contextmanager
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append(Request(self.command, self.path, headers, json.loads(body) if body else None))
            found = script.answers.popleft() if script.answers else problem(500, "test", "nothing is written down")
            if found.lost:
                self.close_connection = True
                return
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body) + (10 if found.cut else 0)))
            self.end_headers()
            self.wfile.write(found.body)
            self.close_connection = found.cut

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield script
        server.shutdown()
        thread.join()
