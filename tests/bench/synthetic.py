"""Fills a database with jobs of the past, fast: rows go straight into the tables, by the names of their columns."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpcgate.gateway import Gateway
from hpcgate.model.move import JobDraft
from hpcgate.model.spec import JobSpec

MOST_OWNERS: Final = 1000
NAMES: Final = 200
PROJECTS: Final = 50
WEEKS: Final = 52
PER_WEEK: Final = 40
SITES: Final = ("local", "ares", "pizdaint", "fritz")
BATCH: Final = 20_000
#: Old jobs have ended; the newest of the list are what is going on.
ENDED: Final = (("COMPLETED", 80), ("FAILED", 14), ("CANCELED", 6))
GOING_ON: Final = (("QUEUED", 60), ("RUNNING", 35), ("HELD", 5))
MOST_ACTIVE: Final = 2000
AGE_S: Final = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What the made jobs look like, for those who search them.

    Args:
        count: how many there are.
        oldest, newest: when the first and the last were created, epoch seconds.
        owners: they are user0, user1, ...; each has a hundred jobs, or more where there are a million.
    """

    count: int
    oldest: float
    newest: float
    owners: int


def fill(gateway: Gateway, path: Path, count: int) -> Shape:
    """Puts jobs into the (empty) database of a gateway.

    Every job has a common label and a common tag, forty of each week a label of that week; some labels stand on a
    handful of jobs at the very beginning, which is what makes searches slow that walk from the newest job on.

    Args:
        gateway: made the tables; it writes one job, the pattern of all others.
        path: its SQLite file.
        count: how many.
    """
    spec = JobSpec(
        name="pattern",
        command="simulate",
        args=("--steps", "1000", "--input", "mesh.h5"),
        environment={"OMP_NUM_THREADS": "4"},
        project="project0",
        labels={"team": "physics"},
        tags=("nightly",),
    )
    draft = JobDraft(key="0" * 26, owner="pattern", site="local", spec=spec, folder="/jobs/pattern")
    pattern = gateway.store.jobs.add([draft], actor="pattern").jobs[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = off")  # nothing here is worth a power cut
        db.execute("PRAGMA cache_size = -200000")
        return _Filler(db, pattern.id, count).run()


class _Filler:
    def __init__(self, db: sqlite3.Connection, pattern: int, count: int) -> None:
        self._db = db
        self._count = count
        self._owners = max(1, min(count // 100, MOST_OWNERS))
        self._every = max(1, count // (WEEKS * PER_WEEK))
        self._chance = random.Random(count)
        self._newest = time.time() - 1
        self._job = _row(db, "job", "id", pattern)
        self._spec = _row(db, "job_spec", "job_id", pattern)
        self._text = json.loads(self._spec["spec"])
        self._first = pattern + 1

    def run(self) -> Shape:
        for start in range(0, self._count, BATCH):
            batch = range(start, min(start + BATCH, self._count))
            self._db.execute("BEGIN IMMEDIATE")
            jobs = [self._job_row(number) for number in batch]
            _insert(self._db, "job", jobs)
            _insert(self._db, "job_spec", (self._spec_row(job) for job in jobs))
            _insert(self._db, "job_mark", (mark for job in jobs for mark in self._marks(job)))
            _insert(self._db, "event", (event for job in jobs for event in self._events(job)))
            self._db.execute("COMMIT")
        self._settle()
        return Shape(self._count, self._newest - AGE_S, self._newest, self._owners)

    def _created_at(self, number: int) -> float:
        return self._newest - AGE_S * (1 - number / self._count)

    def _job_row(self, number: int) -> dict[str, Any]:
        active = number >= self._count - min(MOST_ACTIVE, self._count // 10)
        state = self._pick(GOING_ON if active else ENDED)
        created = self._created_at(number)
        began = None if state in ("QUEUED", "HELD") else created + 60
        ended = None if active else created + 600
        id_ = self._first + number
        return {
            **self._job,
            "id": id_,
            "key": f"{id_:026d}",
            "owner": f"user{self._chance.randrange(self._owners)}",
            "site": self._pick(((SITES[0], 70), (SITES[1], 20), (SITES[2], 9), (SITES[3], 1))),
            "state": state,
            "name": f"name{self._chance.randrange(NAMES)}",
            "project": f"project{self._chance.randrange(PROJECTS)}" if self._chance.random() < 0.5 else None,
            "reason": {"FAILED": "EXIT_NONZERO", "CANCELED": "CANCELED_BY_USER"}.get(state),
            "exit_code": {"COMPLETED": 0, "FAILED": 1}.get(state),
            "native_id": str(id_),
            "evidence": "queue",
            "created_at": created,
            "submitted_at": created + 1,
            "started_at": began,
            "ended_at": ended,
            "updated_at": ended or began or created,
            "nodes": '["node1"]' if began else None,
        }

    def _spec_row(self, job: dict[str, Any]) -> dict[str, Any]:
        return {**self._spec, "job_id": job["id"], "spec": json.dumps({**self._text, "name": job["name"]})}

    def _marks(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        number = job["id"] - self._first
        marks = [("team", "physics"), ("", "nightly")]
        if number % self._every == 0:
            marks.append(("week", str(WEEKS * number // self._count)))
        if number < 5:
            marks += [("release", "first"), ("", "golden")]
        for key, value in marks:
            yield {"job_id": job["id"], "key": key, "value": value, "owner": job["owner"], "state": job["state"]}

    def _events(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        steps = (("job.created", None, "CREATED"), ("job.state", "CREATED", job["state"]))
        for step, (type_, old, new) in enumerate(steps):
            data = {"old": old, "new": new, "attempt": 1, "native_id": job["native_id"], "synthetic": False}
            yield {
                "seq": 10 + 2 * (job["id"] - self._first) + step,
                "at": job["created_at"],
                "type": type_,
                "job_id": job["id"],
                "owner": job["owner"],
                "actor": None,
                "data": json.dumps(data),
            }

    def _pick(self, weighted: Sequence[tuple[str, int]]) -> str:
        words, weights = zip(*weighted, strict=True)
        return str(self._chance.choices(words, weights)[0])

    def _settle(self) -> None:
        """Counters stand behind what was put in."""
        for counter, table, column in (("id", "job", "id"), ("event", "event", "seq")):
            self._db.execute(
                f"UPDATE counter SET value = (SELECT max({column}) FROM {table}) WHERE name = ?", (counter,)
            )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _row(db: sqlite3.Connection, table: str, key: str, value: int) -> dict[str, Any]:
    found = db.execute(f"SELECT * FROM {table} WHERE {key} = ?", (value,))
    names = [column[0] for column in found.description]
    return dict(zip(names, found.fetchone(), strict=True))


def _insert(db: sqlite3.Connection, table: str, found: Iterable[dict[str, Any]]) -> None:
    found = iter(found)
    first = next(found)
    sql = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({', '.join(':' + name for name in first)})"
    db.execute(sql, first)
    db.executemany(sql, found)
