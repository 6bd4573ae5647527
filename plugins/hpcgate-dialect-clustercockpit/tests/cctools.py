"""What the tests of the dialect share: a service with users, and how they speak to it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Self

from hpcgate_dialect_clustercockpit import plugin
from werkzeug.test import Client, TestResponse

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.server import create_app
from hpcgate.testing.fakes import FakeScheduler

OPERATOR = Principal(name="operator", roles=frozenset(Role))
TABLES: dict[str, Any] = {
    "sites": {"fake": {"scheduler": "fake", "identity": {"shared_account": True}}},
    "clusters": {
        "fritz": {
            "subclusters": {
                "main": {"nodes": "f[001-100]", "sockets": 2, "cores": 2, "threads": 2, "memory": 256_000},
                "big": "b[01-10]",
            }
        },
        "open": {"subclusters": {"all": ""}},
    },
}
#: A time in the past to count from.
T0 = 1_700_000_000
_NUMBERS = itertools.count(1000)


class Service:
    """A gateway and its server."""

    def __init__(self, home: Path, archive: Path | None = None, **settings: Any) -> None:
        tables = {**TABLES, "dialects": {"clustercockpit": {"settings": settings}}}
        if archive is not None:
            tables["records"] = {"archive": str(archive)}
        more = [("fake", FakeScheduler()), ("dialect-clustercockpit", plugin)]
        self.gateway = open_gateway(config_from(tables, home=home), plugins=more)
        try:
            self.front = create_app(self.gateway)
        except BaseException:
            self.gateway.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.front.stop()
        self.gateway.close()

    def login(self, name: str, *roles: str) -> User:
        self.gateway.identities.add_user(OPERATOR, name, roles=map(Role, roles))
        token, _ = self.gateway.identities.create_token(OPERATOR, name)
        return User(self, {"Authorization": f"Bearer {token}"})


class User:
    """Somebody who speaks to the dialect."""

    def __init__(self, service: Service, headers: dict[str, str]) -> None:
        self._client = Client(service.front)
        self.headers = headers

    @property
    def token(self) -> str:
        return self.headers["Authorization"].removeprefix("Bearer ")

    def __call__(self, method: str, path: str, body: Any = None, *, headers: Any = None, **more: Any) -> TestResponse:
        """Sends a request; a body that is no text goes as JSON."""
        if body is not None:
            more["data"] = body if isinstance(body, (str, bytes)) else json.dumps(body)
        environ = {"REMOTE_ADDR": "127.0.0.1", **more.pop("environ", {})}
        headers = self.headers if headers is None else headers
        return self._client.open(
            f"/clustercockpit{path}", method=method, headers=headers, environ_overrides=environ, buffered=True, **more
        )

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """The JSON of an answer with this status; of one that is an error, its message."""
        answer = self(method, path, body, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.content_type == "application/json"
        if status >= 400:
            return error_of(answer)
        return answer.json

    def start(self, **fields: Any) -> dict[str, Any]:
        """Reports a job; its id and what was sent."""
        body = job(**fields)
        return {"id": self.ask("POST", "/api/jobs/start_job/", body, status=201)["id"], **body}

    def listed(self, query: str = "", at: str = "/api/jobs/") -> list[dict[str, Any]]:
        return self.ask("GET", f"{at}?{query}")["jobs"]


def error_of(answer: TestResponse) -> str:
    """The message of an error, which has its shape."""
    assert list(answer.json) == ["status", "error"]
    assert answer.json["status"] == answer.status.partition(" ")[2].title()
    assert answer.json["error"]
    return answer.json["error"]


def job(**fields: Any) -> dict[str, Any]:
    """What a program sends of a job that has started."""
    return {
        "jobId": next(_NUMBERS),
        "user": "ada",
        "project": "p1",
        "cluster": "fritz",
        "numNodes": 1,
        "resources": [{"hostname": "f001"}],
        "startTime": T0,
        **fields,
    }
