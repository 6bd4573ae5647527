"""A client of the native API for tests, and how its answers are looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.test import Client, TestResponse

from hpcgate.gateway import Gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.server.front import Front

ADMIN = Principal(name="operator", roles=frozenset(Role))
SCRIPT = "#!/bin/sh\necho hello\n"


class Api:
    """A client of the native API, as one user."""

    def __init__(self, front: Front, token: str | None, **environ: Any) -> None:
        self._client = Client(front)
        self._token = token
        self._environ = environ

    def __call__(self, method: str, path: str, body: Any = None, **kwargs: Any) -> TestResponse:
        headers = dict(kwargs.pop("headers", {}))
        if self._token is not None:
            headers.setdefault("Authorization", f"Bearer {self._token}")
        if body is not None:
            kwargs["json"] = body
        kwargs.setdefault("buffered", True)
        path = path if path.startswith("/") else f"/api/v1/{path}"
        environ = {**self._environ, "REMOTE_ADDR": self._environ.get("REMOTE_ADDR", "127.0.0.1")}
        return self._client.open(path, method=method, headers=headers, environ_overrides=environ, **kwargs)

    @property
    def headers(self) -> dict[str, str]:
        """What says who it is."""
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> TestResponse:
        return self("POST", path, body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self("DELETE", path, **kwargs)

    def submit(self, **fields: Any) -> dict[str, Any]:
        """A job, as the answer to its submit shows it."""
        response = self.post("jobs", {"script": SCRIPT, **fields})
        assert response.status_code == 201, response.text
        return response.json

    @contextmanager
    def events(self, path: str, **kwargs: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of an event stream as they come."""
        response = self.get(path, buffered=False, **kwargs)
        assert response.status_code == 200, response.text
        assert response.mimetype == "text/event-stream"
        try:
            yield messages(response.iter_encoded())
        finally:
            response.close()


def messages(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Frames of an event stream; comments are left out."""
    text = ""
    for chunk in chunks:
        text += chunk.decode()
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
            found = {name: value for name, _, value in lines}
            if "data" in found:
                yield {**found, "data": json.loads(found["data"])}


def token_for(gateway: Gateway, name: str, *roles: Role) -> str:
    gateway.identities.add_user(ADMIN, name, roles=roles or (Role.USER,))
    token, _ = gateway.identities.create_token(ADMIN, name)
    return token


def exchange_form(subject: str, **fields: str) -> dict[str, str]:
    """What a client sends to act for a user."""
    named = {"subject_token": subject, "subject_token_type": "urn:hpcgate:token-type:user-name"}
    return {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", **named, **fields}


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer, checked for its shape."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body = json.loads(response.data)
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:hpcgate:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body


def fields(body: dict[str, Any]) -> dict[str, str]:
    return {error["field"]: error["message"] for error in body["errors"]}
