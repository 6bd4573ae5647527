"""A store on a database of its own, and what puts jobs into it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from store.processes import run

from hpcgate.model.job import Job
from hpcgate.model.move import JobDraft, Move
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.store.database import Store, open_store


class Reversing:
    """A cipher good enough to see where it is used."""

    def encrypt(self, data: bytes) -> bytes:
        return b"sealed:" + base64.b64encode(data)[::-1]

    def decrypt(self, data: bytes) -> bytes:
        return base64.b64decode(data.removeprefix(b"sealed:")[::-1])


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., Store]]:
    """Opens stores on one database."""
    with ExitStack() as stack:

        def open_one(**more: Any) -> Store:
            store = open_store(url, **more)
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    return opened(cipher=Reversing(), topics=("hooks", "mail"))


@pytest.fixture
def draft() -> Callable[..., JobDraft]:
    """Makes drafts; what is not a field of a draft is one of its spec."""
    numbers = count(1)

    def make(**fields: Any) -> JobDraft:
        number = next(numbers)
        of_draft = {
            name: fields.pop(name) for name in tuple(fields) if name in JobDraft.__dataclass_fields__ and name != "spec"
        }
        spec = fields.pop("spec", None) or JobSpec(**{"command": "true", **fields})
        values = {"key": f"KEY{number:08}", "owner": "ann", "site": "ares", "folder": f"/jobs/{number}"}
        return JobDraft(**{**values, **of_draft}, spec=spec)

    return make


@pytest.fixture
def add(store: Store, draft: Callable[..., JobDraft]) -> Callable[..., Job]:
    """Stores one job."""
    return lambda **fields: store.jobs.add([draft(**fields)], actor="ann").jobs[0]


@pytest.fixture
def goto(store: Store) -> Callable[..., Job]:
    """Moves a job, wherever it is, and gives it back."""

    def move(job_id: int, new: JobState, **fields: Any) -> Job:
        job = store.jobs.get(job_id)
        assert store.jobs.move([Move(job_id=job_id, old=job.state, attempt=job.attempt, new=new, **fields)]) == [True]
        return store.jobs.get(job_id)

    return move


@pytest.fixture
def in_processes(url: str, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs code in several processes at once; see ``store.processes``."""
    return lambda code, many: run(code, url, many, tmp_path / "meeting")
