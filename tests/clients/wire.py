"""Requests byte by byte, as programs put them on the wire that are no packages: header by header, in their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(url: str, method: str, path: str, headers: Headers, body: bytes = b"") -> Answer:
    """Sends these headers and no others."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())


class Requests:
    """A program that uses python-requests.

    Args:
        url: where the server really is.
        host: where the program believes that it is.
        own: its own headers.
    """

    def __init__(self, url: str, host: str, own: Headers) -> None:
        self._url = url
        self._own = own
        self._common = {
            "Host": host,
            "User-Agent": "python-requests/2.28.1",
            "Accept-Encoding": "gzip, deflate",
            "Accept": "*/*",
            "Connection": "keep-alive",
        }

    def __call__(self, method: str, path: str, more: Headers | None = None, *, data: Any = None) -> Answer:
        body = b"" if data is None else json.dumps(data).encode()
        return self._send(method, path, more or {}, body, {} if data is None else {"Content-Type": "application/json"})

    def post_file(self, path: str, more: Headers, field: str, name: str, content: bytes) -> Answer:
        """``files={field: open(name, "rb")}``."""
        boundary = "db6d17baeee8a6996a4b4ecc7d389aad"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self._send("POST", path, more, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def _send(self, method: str, path: str, more: Headers, body: bytes, kind: Headers) -> Answer:
        length = {} if method == "GET" else {"Content-Length": str(len(body))}
        return send(self._url, method, path, {**self._common, **self._own, **more, **length, **kind}, body)


class Httplib:
    """A program that uses httplib of Python 2.

    Args:
        url: where the server really is.
        host: where the program believes that it is.
        own: its own headers.
    """

    def __init__(self, url: str, host: str, own: Headers) -> None:
        self._url, self._host, self._own = url, host, own

    def __call__(self, method: str, path: str, data: Any = None) -> Answer:
        body = b"" if data is None else json.dumps(data).encode()
        length = {} if data is None else {"Content-Length": str(len(body))}
        headers = {"Host": self._host, "Accept-Encoding": "identity", **length, **self._own}
        return send(self._url, method, path, headers, body)
