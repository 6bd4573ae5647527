"""A gateway with this dialect and a batch system that does what the test says, asked without a network."""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hpcgate_dialect_rimrock import plugin
from werkzeug.test import Client, TestResponse

from hpcgate.config import config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal, Role
from hpcgate.model.query import JobFilter
from hpcgate.server import create_app
from hpcgate.testing.fakes import FakeScheduler

ADMIN = Principal(name="operator", roles=frozenset(Role))
HOST = "ares.cyfronet.pl"
USERS = ("ann", "bob")
HERE = {"REMOTE_ADDR": "127.0.0.1"}
SCRIPT = "#!/bin/bash\n#SBATCH -A grant\necho hello\nexit 0"
ERROR_KEYS = ["status", "exit_code", "standard_output", "error_output", "error_message", "tag"]
BRIEF_KEYS = ["job_id", "stdout_path", "stderr_path", "status", "tag"]

_numbers = itertools.count()


def proxy(text: str | bytes) -> str:
    """What `base64 | tr -d '\\n'` makes of a proxy file."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@dataclass
class Bench:
    """The gateway and who may come to it.

    Args:
        names: of those whom tests call ann and bob.
        tokens: theirs, by what tests call them.
    """

    gateway: Gateway
    fake: FakeScheduler
    client: Client
    names: dict[str, str]
    tokens: dict[str, str]
    _worker: Any = None

    def fresh(self) -> Bench:
        """The same with users who have nothing yet, and a batch system that was asked nothing."""
        self.fake.canceled.clear()
        self.fake.calls.clear()
        number = next(_numbers)
        names = {name: f"{name}{number}" for name in USERS}
        return replace(self, names=names, tokens=_tokens(self.gateway, names))

    @property
    def home(self) -> Path:
        """That of the account that all jobs run as."""
        return Path(os.environ["HOME"])

    @property
    def newest(self) -> Job:
        """The job that came last."""
        return self.gateway.jobs.list(ADMIN, JobFilter(), limit=1).items[0]

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
        ann = Principal(name=self.names["ann"])
        for _ in range(200):
            self.step()
            if self.gateway.foreign.job(ann, "rimrock", job_id, scope=ann.name).state is state:
                return self.ask("GET", f"/api/jobs/{job_id}").json
        raise AssertionError(f"never {state}")


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
    with pytest.MonkeyPatch.context() as patch:
        # To look at all that are installed takes a good part of the time in which a gateway opens.
        patch.setenv("HPCGATE_LOAD_PLUGINS", "")
        opened = open_gateway(config_from(tables, home=home), plugins=plugins)
    with opened as gateway:
        front = create_app(gateway)
        try:
            names = {name: name for name in USERS}
            yield Bench(gateway, fake, Client(front), names, _tokens(gateway, names))
        finally:
            front.stop()


def _tokens(gateway: Gateway, names: Mapping[str, str]) -> dict[str, str]:
    for name in names.values():
        gateway.identities.add_user(ADMIN, name)
    return {called: gateway.identities.create_token(ADMIN, name)[0] for called, name in names.items()}


def in_shape(answer: TestResponse, status: int) -> dict[str, Any]:
    """The error, which has the six keys in their order."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json) == ERROR_KEYS
    assert (answer.json["status"], answer.json["tag"]) == ("ERROR", None)
    return answer.json
