"""The same work without hpcgate."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.bench.timing import median_ms


def spawn_ms(count: int = 40) -> float:
    """Starting a process and waiting for it."""
    return median_ms(count, lambda: subprocess.run(["/bin/true"], check=True))


def shell_loop_rate(count: int = 500) -> float:
    """Processes per second that a shell loop starts in the background."""
    began = time.perf_counter()
    subprocess.run(["sh", "-c", f"i=0; while [ $i -lt {count} ]; do /bin/true & i=$((i+1)); done; wait"], check=True)
    return count / (time.perf_counter() - began)


def synced_append_ms(count: int = 40) -> float:
    """Appending a line to a file and syncing it to disk."""
    with tempfile.NamedTemporaryFile(prefix="hpcgate-bench-") as file:

        def append() -> None:
            file.write(b"x" * 200)
            file.flush()
            os.fsync(file.fileno())

        return median_ms(count, append)


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """A SQLite file with one table of jobs and one of events, as safe as hpcgate's."""
    with (
        tempfile.TemporaryDirectory(prefix="hpcgate-bench-") as folder,
        closing(sqlite3.connect(Path(folder, "bare.db"), isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode = wal")
        db.execute("PRAGMA synchronous = full")
        db.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, state TEXT, started_at REAL, spec TEXT)")
        db.execute("CREATE INDEX job_state ON job (state, id)")
        db.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, job_id INTEGER, data TEXT)")
        yield db


def fill(db: sqlite3.Connection, count: int) -> None:
    """Jobs in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO job VALUES (?, 'QUEUED', NULL, ?)", ((number, "x" * 200) for number in range(count)))
    db.execute("COMMIT")


def change_all(db: sqlite3.Connection, count: int) -> None:
    """A new state and an event for every job, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    db.executemany("UPDATE job SET state = 'ENDED', started_at = 1.0 WHERE id = ?", ((n,) for n in range(count)))
    db.executemany("INSERT INTO event (job_id, data) VALUES (?, ?)", ((n, "x" * 150) for n in range(count)))
    db.execute("COMMIT")


def python_ms(code: str, count: int = 15) -> float:
    """A whole Python process that runs ``code``."""
    return process_ms([sys.executable, "-c", code], count)[0]


def process_ms(argv: Sequence[str], count: int = 15, env: Mapping[str, str] | None = None) -> tuple[float, float]:
    """A whole process: median of its time on the clock, and the mean of its CPU time."""
    before = _children_cpu_s()
    took = median_ms(count, lambda: subprocess.run(argv, check=True, capture_output=True, env=env), warm=0)
    return took, 1000 * (_children_cpu_s() - before) / count


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
