"""A gateway with this dialect and a batch system that does what the test says, asked without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcgate_dialect_rimrock import plugin
from werkzeug.test import Client, TestResponse

from hpcgate.config import config_from
from hpcgate.errors import Conflict
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.server import create_app
from hpcgate.testing.fakes import FakeScheduler

ADMIN = Principal(name="operator", roles=frozenset(Role))
HOST = "ares.cyfronet.pl"
HERE = {"REMOTE_ADDR": "127.0.0.1"}
SCRIPT = "#!/bin/bash\n#SBATCH -A grant\necho hello\nexit 0"
ERROR_KEYS = ["status", "exit_code", "standard_output", "error_output", "error_message", "tag"]
BRIEF_KEYS = ["job_id", "stdout_path", "stderr_path", "status", "tag"]


def proxy(text: str | bytes) -> str:
    """What `base64 | tr -d '\\n'` makes of a proxy file."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@dataclass
class Bench:
    """The gateway and who may come to it."""

    gateway: Gateway
    fake: FakeScheduler
    client: Client
    tokens: dict[str, str]
    _worker: Any = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str | None = "ann",
        proxy_text: str | bytes | None = None,
    ) -> TestResponse:
        """Sends a request as curl would; data that is no bytes goes as JSON."""
        text = proxy_text if proxy_text is not None else None if user is None else self.tokens[user]
        headers = {} if text is None else {"PROXY": proxy(text)}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.open(f"/rimrock{path}", method=method, data=data, headers=headers, environ_base=HERE)

    def start(self, user: str = "ann", **more: Any) -> dict[str, Any]:
        """A new job, as it is answered."""
        answer = self.ask("POST", "/api/jobs", {"host": HOST, "script": SCRIPT, **more}, user=user)
        assert answer.status_code == 201, answer.text
        return answer.json

    def step(self) -> None:
        """One round of the worker."""
        if self._worker is None:
            self._worker = self.gateway.worker()
        self._worker.step()

    def becomes(self, job_id: str, state: Any, **changes: Any) -> dict[str, Any]:
        """The job, once the batch system has said so."""
        self.fake.set_state(job_id.partition(".")[0], state, **changes)
        for _ in range(200):
            self.step()
            shown = self.ask("GET", f"/api/jobs/{job_id}").json
            if self.gateway.foreign.job(Principal(name="ann"), "rimrock", job_id, scope="ann").state is state:
                return shown
        raise AssertionError(f"still {shown}")


@contextmanager
def open_bench(home: Path, fake: FakeScheduler | None = None, **settings: Any) -> Iterator[Bench]:
    """A bench whose dialect has these settings."""
    fake = fake or FakeScheduler()
    site = {
        "scheduler": "fake",
        "aliases": [HOST, "prometheus.cyfronet.pl", "athena.cyfronet.pl"],
        "work_root": str(home.parent / "work"),
        "identity": {"shared_account": True},
        "poll": {"min_s": 0.005, "max_s": 0.01, "spool_s": 0.005},
    }
    tables = {"sites": {"ares": site}, "dialects": {"rimrock": {"settings": settings}}}
    plugins = [("fake", fake), ("dialect-rimrock", plugin)]
    with open_gateway(config_from(tables, home=home), plugins=plugins) as gateway:
        tokens = {}
        for name in ("ann", "bob"):
            with suppress(Conflict):  # the home is a copy of one that has them
                gateway.identities.add_user(ADMIN, name)
            tokens[name], _ = gateway.identities.create_token(ADMIN, name)
        front = create_app(gateway)
        try:
            yield Bench(gateway, fake, Client(front), tokens)
        finally:
            front.stop()


def in_shape(answer: TestResponse, status: int) -> dict[str, Any]:
    """The error, which has the six keys in their order."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json) == ERROR_KEYS
    assert (answer.json["status"], answer.json["tag"]) == ("ERROR", None)
    return answer.json
