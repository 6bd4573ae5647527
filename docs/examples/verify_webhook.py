"""A receiver of webhooks that believes only what is signed. It needs nothing but Python.

HPCGATE_WEBHOOK_SECRET=whsec_... python verify_webhook.py 8000
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

#: A message that is older, or from further in the future, is refused: somebody may have kept it, seconds.
TOLERANCE_S = 300
MAX_BODY_BYTES = 1 << 20


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raises ValueError unless the message was signed with the secret, lately, and is unchanged."""
    ident, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not ident or not at.isdigit() or abs(time.time() - int(at)) > TOLERANCE_S:
        raise ValueError("the message has no id, or is too old")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{ident}.{at}.".encode() + body, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(digest).decode()
    # There are two signatures for a day after the secret was changed; one of them has to be right.
    given = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(wanted.encode(), each.encode()) for each in given):
        raise ValueError("the signature is wrong")


class Receiver(BaseHTTPRequestHandler):
    """Answers at once and keeps what it has seen: a message may come twice, with the same id."""

    seen: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        """Answers first and works then: who takes too long is told again."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY_BYTES))
        try:
            verify(os.environ["HPCGATE_WEBHOOK_SECRET"], self.headers, body)
        except ValueError as error:
            self.answer(400, str(error))
            return
        self.answer(204, "")
        if self.headers["webhook-id"] not in self.seen:
            self.seen.add(self.headers["webhook-id"])
            message = json.loads(body)
            print(self.headers["webhook-id"], message["type"], json.dumps(message["data"]), flush=True)

    def answer(self, status: int, text: str) -> None:
        """Sends an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: what counts is printed."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver) as server:
        print("listening on", server.server_port, flush=True)
        server.serve_forever()
