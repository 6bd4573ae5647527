"""What the tests of the dialect share: a service with users, and how they speak to it."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any, Self

import pytest
from hpcgate_dialect_bsp import plugin
from werkzeug.test import Client, TestResponse

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal, Role
from hpcgate.model.state import JobState
from hpcgate.server import create_app
from hpcgate.service.reconcile import Reconciler
from hpcgate.testing.fakes import FakeScheduler

OPERATOR = Principal(name="operator", roles=frozenset(Role))
ANN = Principal(name="ann")
DAINT, NSG = "bsp_pizdaint_01", "bsp_nsg_01"
GRANTED_S, GRANTED_KB = 36_000, 100_000
#: Each test is somebody else's, who has nothing yet.
MEMBERS = [f"ann{number}" for number in range(1000)]
TABLES: dict[str, Any] = {
    "sites": {"fake": {"scheduler": "fake", "identity": {"shared_account": True}}},
    "groups": {"lab": {"members": MEMBERS}},
    "projects": {
        DAINT: {"site": "fake", "hours": 10, "space_kb": GRANTED_KB, "default": True},
        NSG: {"site": "fake", "hours": 10, "space_kb": GRANTED_KB, "total_hours": 20, "groups": ["lab"]},
        "hhnb_daint_cscs": {"site": "fake", "hours": 10, "groups": ["nobody-is-in-it"]},
        "native": {"site": "fake", "hours": 10, "groups": ["lab"]},
    },
    "dialects": {
        "bsp": {
            "cors_origins": ["https://portal.example.org"],
            "settings": {
                "hpc": {
                    "pizdaint": {
                        "site": "fake",
                        "kind": "command",
                        "title": "Piz Daint",
                        "projects": [DAINT, "hhnb_daint_cscs", "not-made-yet"],
                        "default_project": DAINT,
                    },
                    "NSG": {
                        "site": "fake",
                        "kind": "tool",
                        "projects": [NSG],
                        "default_project": NSG,
                        "tools": {"PY_TG": "python3", "NEURON74_TG": "python3 -B"},
                        "max_nodes": 72,
                        "max_cores": 24,
                        "max_hours": 48,
                    },
                    "BARE": {"site": "fake", "kind": "command", "projects": [DAINT], "min_cores": 12},
                }
            },
        }
    },
}


class Service:
    """A gateway, its server, and its batch system."""

    def __init__(self, home: Path, tables: dict[str, Any]) -> None:
        self.fake = FakeScheduler()
        self.fake.cancel_ends = False
        self._members = iter(MEMBERS)
        with pytest.MonkeyPatch.context() as patch:
            # To look at all that are installed takes a good part of the time in which a gateway opens.
            patch.setenv("HPCGATE_LOAD_PLUGINS", "")
            self.gateway = open_gateway(
                config_from(tables, home=home), plugins=[("fake", self.fake), ("dialect-bsp", plugin)]
            )
        try:
            self.front = create_app(self.gateway)
        except BaseException:
            self.gateway.close()
            raise
        parts = (self.gateway.store, self.gateway._lifecycle, self.gateway._transports)
        self._reconciler = Reconciler(self.gateway.sites["fake"], *parts, lost_grace_s=0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.front.stop()
        self.gateway.close()

    def member(self) -> User:
        """Somebody new, of the group."""
        return self.newcomer(next(self._members))

    def newcomer(self, name: str) -> User:
        """Somebody new."""
        self.gateway.identities.add_user(OPERATOR, name)
        token, _ = self.gateway.identities.create_token(OPERATOR, name)
        return User(self, name, token)

    def nobody(self) -> User:
        """Somebody without a token."""
        return User(self, "", None)

    def job(self, wire: dict[str, Any]) -> Job:
        return self.gateway.store.jobs.get(wire["id"])

    def says(self, wire: dict[str, Any], state: JobState, **seen: Any) -> None:
        """The batch system says so of a job, and the gateway hears it."""
        self.fake.set_state(self.job(wire), state, **seen)
        self._reconciler.poll()

    def leaves(self, wire: dict[str, Any], **files: bytes) -> Path:
        """Puts files into the work folder of a job, as it would; ``__`` in a name stands for a dot."""
        work = Path(self.job(wire).folder or "", "work")
        work.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (work / name.replace("__", ".")).write_bytes(content)
        return work


class User:
    """Somebody who speaks to the dialect."""

    def __init__(self, service: Service, name: str, token: str | None) -> None:
        self.service, self.name, self.token = service, name, token
        self._client = Client(service.front)
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, *, headers: Any = (), **more: Any) -> TestResponse:
        environ = {"REMOTE_ADDR": "127.0.0.1"}
        headers = {**self.headers, **dict(headers)}
        return self._client.open(
            f"/bsp{path}", method=method, headers=headers, environ_overrides=environ, buffered=True, **more
        )

    def get(self, path: str, status: int = 200, **more: Any) -> Any:
        answer = self("GET", path, **more)
        assert answer.status_code == status, answer.text
        return answer.json

    def delete(self, path: str, status: int = 200) -> Any:
        answer = self("DELETE", path)
        assert answer.status_code == status, answer.text
        return answer.json

    def submit(self, path: str = "/jobs/pizdaint/", status: int = 201, **more: Any) -> Any:
        answer = self("POST", path, **submitting(**more))
        assert answer.status_code == status, answer.text
        return answer.json

    def quota(self, hpc: str = "pizdaint", project: str = DAINT) -> tuple[int, float]:
        found = self.get(f"/quotas/{hpc}/{project}/")
        return found["time_left"], found["space_left"]


def submitting(
    payload: Any = None, file: bytes | None = None, name: str | None = None, **fields: Any
) -> dict[str, Any]:
    """The headers and the body of a submit; ``fields`` are those of the payload."""
    text = payload if isinstance(payload, str) else json.dumps({"command": "true", "runtime": 1, **fields})
    headers = {"Payload": text}
    if name is not None:
        headers["Content-Disposition"] = f"attachment; filename={name}"
    return {"headers": headers, "data": file}


def at(job: dict[str, Any], what: str = "jobs") -> str:
    """The path of a job, or of its files."""
    return f"/{what}/{job['project_hpc'].lower()}/{job['project_name']}/{job['job_id']}/"


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    """A symbolic link as an entry of a zip."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


MODEL = zipped(("model/init.py", b"print(6 * 7)\n"), ("model/data/cells.txt", b"3\n"))
