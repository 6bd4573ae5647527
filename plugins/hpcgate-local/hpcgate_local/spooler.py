"""A small batch system for one machine, in one file, with nothing but Python's standard library.

The plugin imports this file where the queue is on its own machine, and sends it elsewhere otherwise
(``python3 spooler.py VERB --spool DIR``, JSON in and out). Three kinds of processes share the work:

- **whoever submits** writes rows into ``spool.db`` (``Spool``): a queued job is a row, never a process;
- **one spooler** for each spool folder (``Spooler``) starts what fits, in the order of submission, and writes down
  how it ended. It is started on demand, is single by a lock, and leaves when nothing is left to do;
- **one supervisor** for each running job or array task (``Supervisor``) owns its process tree and its clock. It
  outlives the spooler, and leaves the outcome as a file.

Each of them may be killed at any moment. What makes that safe is one file for each run, ``runs/NAME``:

- its *lock* is taken by the spooler before the fork and inherited by the supervisor, so whoever can take it knows
  that no supervisor is left;
- its *content* is the claim. The supervisor writes it, synced, before any of the user's code runs.

======== ======= ============== ===============================================================
lock     claim   outcome file   meaning
======== ======= ============== ===============================================================
held     any     no             the run is being supervised: leave it alone
any      yes     yes            it ended as the outcome says
free     no      no             it never started: start it
free     yes     no             its supervisor was killed: end what is left of it; the result is not known
======== ======= ============== ===============================================================

The order of writing does the rest: row STARTING, fork, claim, user's code, outcome, row of the final state, files
away. Locks need a local file system.
"""

# Paths are text here: they come as JSON, and go to system calls.
# ruff: noqa: PTH100, PTH101, PTH103, PTH105, PTH108, PTH110, PTH111, PTH116, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import argparse
import builtins
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

VERSION = 1
HERE = os.path.abspath(__file__)

#: Variables that a job gets from the account that submitted it; ``LC_*`` and those that a site names come on top.
PASSED_ON = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "TMPDIR")

TICK_S = 1.0  # how often a spooler looks without being woken, while something runs
HOUSEKEEPING_S = 600.0
START_TIMEOUT_S = 10.0  # how long a new spooler waits for an old one to leave
SWEEP_S = 10.0  # how long it tries to end what a dead supervisor left behind
CLAIM_S = 5.0  # how long a run may take from its start to the supervisor's first word
KILL_EVERY_S = 0.05
LOG_BYTES = 1 << 20

SUPERVISOR_KILLED = "the process that supervised the job was killed; its result is not known"

SCHEMA = """
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the native id, never reused
    key TEXT NOT NULL UNIQUE,               -- the gateway's key: the same key is the same job
    state TEXT NOT NULL,                    -- QUEUED HELD STARTING RUNNING COMPLETED FAILED CANCELED
    attempt INTEGER NOT NULL,
    cpus INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    first INTEGER, last INTEGER, step INTEGER, width INTEGER,   -- array: indices, and how many at a time
    next INTEGER NOT NULL,                  -- array: the index to start next
    ended INTEGER NOT NULL DEFAULT 0,       -- array: tasks of this attempt that have ended
    startable INTEGER NOT NULL,             -- whether it waits for room
    held INTEGER NOT NULL,
    wanted TEXT,                            -- 'cancel' or 'requeue' while it runs; 'settle' when all tasks have ended
    secrets TEXT,                           -- path of a file to remove at the end
    submitted_at REAL NOT NULL, started_at REAL, ended_at REAL,
    exit_code INTEGER, signal INTEGER, reason TEXT, message TEXT, cpu_time_s REAL, max_rss_kib INTEGER
);
CREATE INDEX job_startable ON job (id) WHERE startable;
CREATE INDEX job_wanted ON job (id) WHERE wanted IS NOT NULL;
CREATE INDEX job_active ON job (id) WHERE ended_at IS NULL;
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX job_secrets ON job (id) WHERE secrets IS NOT NULL;
CREATE TABLE spec (job_id INTEGER PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE run (                          -- one start of a job (idx -1) or of one index of an array
    job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, idx INTEGER NOT NULL,
    state TEXT NOT NULL,
    started_at REAL, ended_at REAL,
    exit_code INTEGER, signal INTEGER, reason TEXT, cpu_time_s REAL, max_rss_kib INTEGER,
    PRIMARY KEY (job_id, attempt, idx)
) WITHOUT ROWID;
CREATE INDEX run_active ON run (job_id) WHERE ended_at IS NULL;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

JOB_COLUMNS = (
    "id", "key", "state", "attempt", "first", "wanted", "submitted_at", "started_at", "ended_at",
    "exit_code", "signal", "reason", "message", "cpu_time_s", "max_rss_kib",
)  # fmt: skip
TASK_COLUMNS = (
    "job_id", "idx", "state", "started_at", "ended_at", "exit_code", "signal", "reason", "cpu_time_s", "max_rss_kib",
)  # fmt: skip

Record = dict[str, Any]


class Refused(Exception):
    """What was asked cannot be done to this job as it stands."""


# --- the queue ------------------------------------------------------------------------------------------------------


class Spool:
    """A spool folder, as those see it who submit, ask and cancel. Holds nothing open between calls.

    Args:
        root: the folder, private to one account; ``~/`` is its home.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.expanduser(root)
        self.runs = os.path.join(self.root, "runs")
        self._database = os.path.join(self.root, "spool.db")
        self._fifo = os.path.join(self.root, "wake")

    # -- verbs

    def submit(self, jobs: Sequence[Record], settings: Record) -> builtins.list[int | str]:
        """Queues jobs in one synced transaction; a key that is there already is that job, never a second one.

        Args:
            jobs: each with ``key cpus memory_mib attempt hold array folder`` and what ``Supervisor`` reads of it;
                ``~/`` in ``folder`` is the home of the spool's account.
            settings: what the spooler goes by: ``cpus memory_mib linger_s history_s event_spool``. Cores and memory
                that are not given are those of this machine.

        Returns:
            The native id of each, in order; or words, where a job could never start here.
        """
        most = {
            "cpus": settings.get("cpus") or machine_cpus(),
            "memory_mib": settings.get("memory_mib") or machine_memory_mib(),
        }
        refusals = [_why_never(job, most) for job in jobs]
        fitting = [job for job, why in zip(jobs, refusals) if why is None]  # noqa: B905 - as in `_select`
        ids = iter(self._queue(fitting, {**settings, **most}) if fitting else ())
        return [next(ids) if why is None else why for why in refusals]

    def _queue(self, jobs: Sequence[Record], settings: Record) -> builtins.list[int]:
        jobs = [{**job, "folder": os.path.expanduser(job["folder"])} for job in jobs]
        for job in jobs:
            if job.get("secrets"):
                self._keep_secrets(job)
        now = time.time()
        with self._connection() as db, _transaction(db):
            db.executemany(
                "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
                " WHERE value != excluded.value",
                [(name, json.dumps(value)) for name, value in settings.items()],
            )
            ids = [self._insert(db, job, now) for job in jobs]
        # The jobs are queued, whatever becomes of this; should it fail, the next `list` will say so.
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.wake()
        return ids

    def _insert(self, db: sqlite3.Connection, job: Record, now: float) -> int:
        first, last, step, width = job["array"] or (None, None, None, None)
        cursor = db.execute(
            "INSERT OR IGNORE INTO job (key, state, attempt, cpus, memory_mib, first, last, step, width, next,"
            " startable, held, secrets, submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job["key"], "HELD" if job["hold"] else "QUEUED", job["attempt"], job["cpus"], job["memory_mib"],
                first, last, step, width, first or 0, not job["hold"], bool(job["hold"]),
                _secrets_path(job) if job.get("secrets") else None, now,
            ),
        )  # fmt: skip
        if cursor.rowcount:
            spec = {name: value for name, value in job.items() if name != "secrets"}
            spec["has_secrets"] = bool(job.get("secrets"))
            spec["passed_on"] = passed_on(os.environ, job.get("pass", ()))
            db.execute("INSERT INTO spec VALUES (?, ?)", (cursor.lastrowid, json.dumps(spec)))
            return int(cursor.lastrowid or 0)
        if job.get("secrets"):  # written anew just now: to be removed, even if the job ended long ago
            db.execute("UPDATE job SET secrets = ? WHERE key = ?", (_secrets_path(job), job["key"]))
        return int(db.execute("SELECT id FROM job WHERE key = ?", (job["key"],)).fetchone()[0])

    def _keep_secrets(self, job: Record) -> None:
        # Before the row: a queued job always has its secrets. Never in the database.
        os.makedirs(job["folder"], 0o700, exist_ok=True)
        data = b"".join(
            f"{name}={value}\0".encode("utf-8", "surrogateescape") for name, value in job["secrets"].items()
        )
        write_file(_secrets_path(job), data)

    def list(self, keep_s: float) -> Record:
        """Every job that has not ended, and those that ended in the last ``keep_s`` seconds.

        Returns:
            ``jobs`` and, for arrays, those of their ``tasks`` that have started.
        """
        with self._connection() as db:
            db.execute("BEGIN")  # one snapshot: a job that ends meanwhile is not told twice
            jobs, tasks = [], []
            for where in ("ended_at IS NULL", f"ended_at > {time.time() - keep_s!r}"):
                jobs += _select(db, JOB_COLUMNS, f"FROM job WHERE {where}")
                tasks += _select(
                    db,
                    [f"run.{name}" for name in TASK_COLUMNS],
                    f"FROM job JOIN run ON run.job_id = job.id AND run.attempt = job.attempt"
                    f" WHERE job.{where} AND job.first IS NOT NULL",
                )
        if not self.listening() and any(job["ended_at"] is None and job["state"] != "HELD" for job in jobs):
            self.wake()
        return {"node": socket.gethostname(), "jobs": jobs, "tasks": tasks}

    def find(self, keys: Sequence[str]) -> Record:
        """The jobs with these keys, however long ago they ended; those that never were are left out."""
        with self._connection() as db:
            db.execute("BEGIN")
            jobs, tasks = [], []
            for part in _parts(keys):
                marks = ", ".join("?" * len(part))
                jobs += _select(db, JOB_COLUMNS, f"FROM job WHERE key IN ({marks})", part)
                tasks += _select(
                    db,
                    [f"run.{name}" for name in TASK_COLUMNS],
                    f"FROM job JOIN run ON run.job_id = job.id AND run.attempt = job.attempt"
                    f" WHERE job.key IN ({marks}) AND job.first IS NOT NULL",
                    part,
                )
        return {"node": socket.gethostname(), "jobs": jobs, "tasks": tasks}

    def cancel(self, keys: Sequence[str]) -> None:
        """Cancels jobs: a queued one at once, a running one by its supervisor. One that has ended stays as it is."""
        now = time.time()
        with self._connection() as db, _transaction(db):
            db.executemany(
                "UPDATE job SET state = 'CANCELED', reason = 'CANCELED_BY_USER', ended_at = ?, startable = 0"
                " WHERE key = ? AND state IN ('QUEUED', 'HELD')",
                [(now, key) for key in keys],
            )
            db.executemany(
                "UPDATE job SET wanted = 'cancel', startable = 0 WHERE key = ? AND state IN ('STARTING', 'RUNNING')",
                [(key,) for key in keys],
            )
            running = db.execute("SELECT 1 FROM job WHERE wanted = 'cancel' LIMIT 1").fetchone()
        self._remove_secrets()
        if running:
            self.wake()

    def cancel_tasks(self, key: str, indices: Sequence[int]) -> None:
        """Cancels tasks of an array: waiting ones at once, running ones by their supervisors. The others go on.

        Raises:
            Refused: it is no array, or has ended, or one of the tasks is just starting.
        """
        with self._connection() as db, _transaction(db):
            job = db.execute(
                "SELECT id, attempt, first, last, step, next, state FROM job"
                " WHERE key = ? AND first IS NOT NULL AND ended_at IS NULL",
                (key,),
            ).fetchone()
            if job is None:
                raise Refused(f"has no tasks that could be canceled: it is {self._state(db, key)}")
            job_id, attempt, first, last, step, following, state = job
            waiting = [index for index in indices if index >= following and index in range(first, last + 1, step)]
            canceled = db.executemany(
                "INSERT OR IGNORE INTO run (job_id, attempt, idx, state, ended_at, reason)"
                " VALUES (?, ?, ?, 'CANCELED', ?, 'CANCELED_BY_USER')",
                [(job_id, attempt, index, time.time()) for index in waiting],
            ).rowcount
            db.execute("UPDATE job SET ended = ended + ? WHERE id = ?", (max(canceled, 0), job_id))
            active = {
                row[0]
                for row in db.execute("SELECT idx FROM run WHERE job_id = ? AND ended_at IS NULL", (job_id,)).fetchall()
            }
            (ended,) = db.execute("SELECT ended FROM job WHERE id = ?", (job_id,)).fetchone()
            if ended == len(range(first, last + 1, step)) and not active:
                # Nobody else will end it: none of its tasks ends any more.
                self._settle(db, job_id, begun=state not in ("QUEUED", "HELD"))
        for index in active.intersection(indices):
            self._stop_run(job_id, attempt, index)
        self._remove_secrets()
        self.wake()

    @staticmethod
    def _settle(db: sqlite3.Connection, job_id: int, *, begun: bool) -> None:
        if begun:  # the spooler looks how its tasks have ended
            db.execute("UPDATE job SET wanted = COALESCE(wanted, 'settle'), startable = 0 WHERE id = ?", (job_id,))
        else:
            db.execute(
                "UPDATE job SET state = 'CANCELED', reason = 'CANCELED_BY_USER', ended_at = ?, startable = 0"
                " WHERE id = ?",
                (time.time(), job_id),
            )

    def _stop_run(self, job_id: int, attempt: int, index: int) -> None:
        """Tells the supervisor of a run to stop it; waits a moment for one that is just starting."""
        path, until = os.path.join(self.runs, run_name(job_id, attempt, index)), time.monotonic() + CLAIM_S
        while time.monotonic() < until:
            claim = read_claim(path)
            if claim and "pid" in claim:
                Process(claim["pid"], claim["ticks"]).send(STOPS_BY_WISH["cancel"])
                return
            with self._connection() as db:
                run = "SELECT 1 FROM run WHERE job_id = ? AND attempt = ? AND idx = ? AND ended_at IS NULL"
                if db.execute(run, (job_id, attempt, index)).fetchone() is None:
                    return
            time.sleep(0.02)
        raise Refused(f"cannot cancel task {index}: it is just starting; try again")

    def hold(self, key: str) -> None:
        """Keeps a queued job, or the tasks of an array that have not started, from starting.

        Raises:
            Refused: it has started, or ended, or is not here.
        """
        with self._connection() as db, _transaction(db):
            held = db.execute(
                "UPDATE job SET held = 1, startable = 0, state = CASE state WHEN 'QUEUED' THEN 'HELD' ELSE state END"
                " WHERE key = ? AND (startable OR held) AND ended_at IS NULL",
                (key,),
            )
            if not held.rowcount:
                raise Refused(f"cannot be held any more: it is {self._state(db, key)}")

    def release(self, key: str) -> None:
        """Lets a held job start.

        Raises:
            Refused: it has ended, or is not here.
        """
        with self._connection() as db, _transaction(db):
            released = db.execute(
                "UPDATE job SET held = 0, startable = wanted IS NULL AND (first IS NULL OR next <= last),"
                " state = CASE state WHEN 'HELD' THEN 'QUEUED' ELSE state END"
                " WHERE key = ? AND held AND ended_at IS NULL",
                (key,),
            )
            if not released.rowcount and self._state(db, key) not in ("QUEUED", "STARTING", "RUNNING"):
                raise Refused(f"cannot be released: it is {self._state(db, key)}")
        self.wake()

    def requeue(self, key: str) -> None:
        """Stops a running job and queues it again, an array with all of its tasks.

        Raises:
            Refused: it does not run.
        """
        with self._connection() as db, _transaction(db):
            asked = db.execute(
                "UPDATE job SET wanted = COALESCE(wanted, 'requeue'), startable = 0"
                " WHERE key = ? AND state IN ('STARTING', 'RUNNING')",
                (key,),
            )
            if not asked.rowcount:
                raise Refused(f"cannot be requeued: it is {self._state(db, key)}, not RUNNING")
        self.wake()

    def signal(self, key: str, number: int) -> None:
        """Sends a signal to every process of a running job.

        Raises:
            Refused: it does not run.
        """
        with self._connection() as db:
            state = self._state(db, key)
            active = db.execute(
                "SELECT run.job_id, run.attempt, run.idx FROM run JOIN job ON job.id = run.job_id"
                " WHERE job.key = ? AND run.ended_at IS NULL",
                (key,),
            ).fetchall()
        reached = 0
        for row in active:
            claim = read_claim(os.path.join(self.runs, run_name(*row)))
            if claim and "pid" in claim and start_ticks(claim["pid"]) == claim["ticks"]:
                reached += sum(process.send(number) for process in descendants({claim["pid"]}))
        if not reached:
            raise Refused(f"cannot be signalled: it is {state} and has no processes")

    def status(self) -> Record:
        """What a site check wants to know."""
        with self._connection() as db:
            counts = dict(db.execute("SELECT state, count(*) FROM job WHERE ended_at IS NULL GROUP BY state"))
            used = db.execute(
                "SELECT COALESCE(sum(cpus), 0), COALESCE(sum(memory_mib), 0)"
                " FROM run JOIN job ON job.id = run.job_id WHERE run.ended_at IS NULL"
            ).fetchone()
        return {
            "node": socket.gethostname(),
            "python": sys.version.split()[0],
            "cpus": machine_cpus(),
            "memory_mib": machine_memory_mib(),
            "cpus_used": used[0],
            "memory_used_mib": used[1],
            "listening": self.listening(),
            "counts": counts,
        }

    @staticmethod
    def _state(db: sqlite3.Connection, key: str) -> str:
        row = db.execute("SELECT state FROM job WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else "unknown here"

    # -- files

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        db = self.connect()
        try:
            yield db
        finally:
            db.close()

    def connect(self) -> sqlite3.Connection:
        """An open connection to the database, which is made where there is none."""
        if not os.path.exists(self._fifo):
            self._set_up()
        # mode=rw: a database that was taken away is an error, not an empty queue.
        db = sqlite3.connect(f"file:{quote(self._database)}?mode=rw", uri=True, timeout=30, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _set_up(self) -> None:
        os.makedirs(self.runs, 0o700, exist_ok=True)
        status = os.stat(self.root)
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the spool folder belongs to another account", self.root)
        os.chmod(self.root, 0o700)
        with open(os.path.join(self.root, "setup.lock"), "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.closing(sqlite3.connect(self._database, timeout=30, isolation_level=None)) as db:
                if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    db.execute("PRAGMA journal_mode = WAL")
                    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
            # Last, because its presence says that all is there.
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._fifo, 0o600)

    def _remove_secrets(self) -> None:
        with self._connection() as db:
            remove_secrets(db)

    # -- the spooler process

    def listening(self) -> bool:
        """Whether a spooler waits at the other end of the FIFO; if so, it is woken."""
        try:
            fifo = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        try:
            os.write(fifo, b".")
        except (BlockingIOError, BrokenPipeError):
            pass  # it has enough to read, or is just leaving and will look once more
        finally:
            os.close(fifo)
        return True

    def wake(self) -> None:
        """Makes the spooler look at the database; starts one where there is none."""
        if not self.listening():
            # A fresh interpreter: this process may be large, threaded, and hold what a spooler should not inherit.
            subprocess.run(
                [sys.executable, "-I", "-S", HERE, "start", "--spool", self.root],
                env=passed_on(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=True,
                timeout=4 * START_TIMEOUT_S,
            )

    def open_fifo(self) -> int:
        """The end of the FIFO at which the spooler listens."""
        # O_RDWR, so that it is never without a writer: no end of file to spin on.
        return os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def lock(self) -> int | None:
        """The lock that makes the spooler single; ``None`` = another one holds it and listens."""
        fd = os.open(os.path.join(self.root, "spooler.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _try_lock(fd):
            # The holder may be leaving: only one that listens is sure to see what was just submitted.
            if self.listening():
                os.close(fd)
                return None
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.root}: another spooler holds the lock but does not listen")
            time.sleep(0.01)
        os.truncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        return fd

    def spooler_pid(self) -> int:
        """The number of the process that took the lock last."""
        return int(Path(self.root, "spooler.lock").read_bytes())


# --- the spooler ----------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """One start of a job, or of one index of an array (``idx`` -1 = no array)."""

    job_id: int
    attempt: int
    idx: int
    key: str
    cpus: int
    memory_mib: int

    @property
    def name(self) -> str:
        """Of its run file."""
        return run_name(self.job_id, self.attempt, self.idx)

    @property
    def mark(self) -> str:
        """The value of ``HPCGATE_RUN`` in the environment of all its processes; unique on earth."""
        return f"{self.key}.{self.attempt}.{self.idx}"


class Spooler:
    """The one process that starts jobs of a spool folder and writes down how they ended.

    All it knows is in the database and the run files; what it remembers is a cache of that.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._fifo = spool.open_fifo()
        self._db = spool.connect()
        self._settings: Record = {}
        self._active: dict[Run, str] = {}  # -> STARTING or RUNNING
        self._not_before: dict[Run, float] = defaultdict(float)  # when another try to start a run is due
        self._told: set[tuple[Run, str]] = set()
        self._supervisors: set[int] = set()  # own children
        self._leaving = False
        self._housekeeping_at = 0.0

    def serve(self) -> None:
        """Works until nothing is left to do."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._leave)
        signal.set_wakeup_fd(self._fifo, warn_on_full_buffer=False)
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a killed supervisor leaves behind becomes a child of this process
        self._load()
        idle_since = time.monotonic()
        while not self._leaving:
            busy = self._round()
            now = time.monotonic()
            idle_since = now if busy else idle_since
            linger_s = self._settings.get("linger_s", TICK_S) - (now - idle_since)
            if not busy and linger_s <= 0:
                if self._may_leave():
                    break
                idle_since = now
            self._wait(TICK_S if busy else linger_s)
        self._db.close()

    def _leave(self, *_: object) -> None:
        self._leaving = True

    def _may_leave(self) -> bool:
        # Whoever submits from here on finds nobody listening and starts another; whoever did before is seen now.
        signal.set_wakeup_fd(-1)
        os.close(self._fifo)
        if not self._round():
            return True
        self._fifo = self._spool.open_fifo()
        signal.set_wakeup_fd(self._fifo, warn_on_full_buffer=False)
        return False

    def _wait(self, seconds: float) -> None:
        if select.select([self._fifo], [], [], max(seconds, 0))[0]:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._fifo, 4096):
                    pass

    def _round(self) -> bool:
        """Looks at everything once.

        Returns:
            Whether something is left to do or to wait for.
        """
        self._settings = {name: json.loads(value) for name, value in self._db.execute("SELECT * FROM setting")}
        if time.monotonic() >= self._housekeeping_at:
            self._housekeep()
        self._reap()
        self._look_after_runs()
        self._pass_on_wishes()
        self._start_what_fits()
        return (
            bool(self._active) or self._db.execute("SELECT 1 FROM job WHERE startable LIMIT 1").fetchone() is not None
        )

    def _load(self) -> None:
        rows = self._db.execute(
            "SELECT run.job_id, run.attempt, run.idx, job.key, job.cpus, job.memory_mib, run.state"
            " FROM run JOIN job ON job.id = run.job_id WHERE run.ended_at IS NULL"
        )
        self._active = {Run(*row[:-1]): row[-1] for row in rows}
        known = {run.name for run in self._active}
        for path in Path(self._spool.runs).iterdir():
            if path.name.partition(".")[0] not in known:
                path.unlink()
        log(f"spooler {os.getpid()} serves {self._spool.root}, {len(self._active)} runs taken over")

    def _housekeep(self) -> None:
        self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
        remove_secrets(self._db)
        old = time.time() - self._settings.get("history_s", float("inf"))
        with _transaction(self._db):
            self._db.execute("DELETE FROM spec WHERE job_id IN (SELECT id FROM job WHERE ended_at IS NOT NULL)")
            self._db.execute("DELETE FROM run WHERE job_id IN (SELECT id FROM job WHERE ended_at < ?)", (old,))
            self._db.execute("DELETE FROM job WHERE ended_at < ?", (old,))
        if os.fstat(2).st_size > LOG_BYTES:
            os.ftruncate(2, 0)

    # -- what has become of the runs

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._supervisors.discard(pid)

    def _look_after_runs(self) -> None:
        started: list[tuple[Run, float]] = []
        ended: list[tuple[Run, Record]] = []
        for run, state in list(self._active.items()):
            path = os.path.join(self._spool.runs, run.name)
            gone = supervisor_gone(path)  # before the outcome: one written in between is seen below
            claim, outcome = read_claim(path), read_json(path + ".exit")
            if outcome is not None:
                ended.append((run, outcome))
            elif gone and claim is None:
                if time.monotonic() >= self._not_before[run]:
                    self._fork_supervisor(run)
            elif gone:
                ended.append((run, self._give_up(run, claim or {})))
            elif state == "STARTING" and claim and "at" in claim:
                started.append((run, claim["at"]))
        if started or ended:
            self._write_down(started, ended)

    def _give_up(self, run: Run, claim: Record) -> Record:
        """What is known of a run whose supervisor was killed, after all that is left of it has been ended."""
        log(f"run {run.name}: supervisor {claim.get('pid')} was killed")
        deadline = time.monotonic() + SWEEP_S
        # A dying process lets go of its locks before its children get another parent: only then are they found.
        while _alive(claim.get("pid"), claim.get("ticks")) and time.monotonic() < deadline:
            time.sleep(0.005)
        while victims := self._leftovers(run, claim):
            for process in victims:
                process.send(signal.SIGKILL)
            self._reap()
            if time.monotonic() > deadline:
                log(f"run {run.name}: {sorted(process.pid for process in victims)} cannot be ended")
                break
            time.sleep(0.01)
        outcome = {
            "native_id": str(run.job_id),
            "reason": "NODE_FAIL",
            "message": SUPERVISOR_KILLED,
            "started_at": claim.get("at"),
            "ended_at": time.time(),
            "node": socket.gethostname(),
        }
        with contextlib.suppress(OSError):  # a copy for others; the row is what counts
            write_json(_folder_file(self._spec(run)["folder"], "exit", run), outcome)
        return outcome

    def _leftovers(self, run: Run, claim: Record) -> list[Process]:
        alive = [process for process in processes() if process.state != "Z"]
        mark = f"HPCGATE_RUN={run.mark}".encode()
        leader = claim.get("child") if claim.get("boot") == boot_id() else None
        reused = leader and any(p.pid == leader[0] and p.ticks != leader[1] for p in alive)
        roots = {
            process.pid
            for process in alive
            if (leader and not reused and process.session == leader[0] and process.ticks >= leader[1])
            or (process.parent == os.getpid() and process.pid not in self._supervisors)
            or process.has_in_environment(mark)
        }
        roots -= self._supervisors | {os.getpid()}
        return [process for process in alive if process.pid in roots] + descendants(roots)

    def _write_down(self, started: list[tuple[Run, float]], ended: list[tuple[Run, Record]]) -> None:
        with _transaction(self._db):
            for run, at in started:
                self._write_start(run, at)
            for run, outcome in ended:
                self._write_end(run, outcome)
        for run, _ in started:
            self._active[run] = "RUNNING"
        for run, _ in ended:
            del self._active[run]
            self._not_before.pop(run, None)
            self._told -= {(run, wish) for wish in STOPS_BY_WISH}
            for suffix in ("", ".exit"):
                remove_file(os.path.join(self._spool.runs, run.name + suffix))
        # After the commit: whoever is woken finds the news.
        for run in {run for run, _ in started} | {run for run, _ in ended}:
            tell(self._settings.get("event_spool"), run.key)

    def _write_start(self, run: Run, at: float) -> None:
        self._db.execute(
            "UPDATE run SET state = 'RUNNING', started_at = ? WHERE job_id = ? AND attempt = ? AND idx = ?",
            (at, run.job_id, run.attempt, run.idx),
        )
        self._db.execute(
            "UPDATE job SET state = 'RUNNING', started_at = COALESCE(started_at, ?) WHERE id = ?", (at, run.job_id)
        )

    def _write_end(self, run: Run, outcome: Record) -> None:
        end = {
            "state": judge(outcome),
            **{name: outcome.get(name) for name in ("started_at", "ended_at", "exit_code", "signal", "reason")},
            **{name: outcome.get(name) for name in ("cpu_time_s", "max_rss_kib")},
        }
        if end["state"] == "FAILED" and end["reason"] is None:
            end["reason"] = "EXIT_NONZERO" if end["signal"] is None else "SIGNALED"
        wanted = self._db.execute("SELECT wanted FROM job WHERE id = ?", (run.job_id,)).fetchone()[0]
        stopped = outcome.get("stopped") == "requeue" or (wanted is not None and end["reason"] == "NODE_FAIL")
        if stopped:
            end.update(state="CANCELED", reason="CANCELED_BY_USER")
        _update(self._db, "run", end, "job_id = ? AND attempt = ? AND idx = ?", (run.job_id, run.attempt, run.idx))
        if run.idx >= 0:
            self._db.execute(
                "UPDATE job SET state = 'RUNNING', started_at = COALESCE(started_at, ?), ended = ended + 1"
                " WHERE id = ?",
                (end["started_at"], run.job_id),
            )
            self._close_array(run.job_id)
        elif stopped and wanted != "cancel":
            self._queue_again(run.job_id)
        else:
            self._finish(run.job_id, {**end, "message": outcome.get("message")})

    def _finish(self, job_id: int, end: Record) -> None:
        # Secrets first: should this process die before the commit, the next one comes by here again.
        (secrets,) = self._db.execute("SELECT secrets FROM job WHERE id = ?", (job_id,)).fetchone()
        if secrets is not None:
            remove_file(secrets)
        changes = {**end, "wanted": None, "startable": 0, "secrets": None}
        _update(self._db, "job", changes, "id = ?", (job_id,))

    def _close_array(self, job_id: int) -> None:
        """Ends an array, or queues it again, if that was the last of its tasks."""
        db = self._db
        first, last, step, ended, attempt, wanted = db.execute(
            "SELECT first, last, step, ended, attempt, wanted FROM job WHERE id = ?", (job_id,)
        ).fetchone()
        total = len(range(first, last + 1, step))
        if db.execute("SELECT 1 FROM run WHERE job_id = ? AND ended_at IS NULL LIMIT 1", (job_id,)).fetchone():
            return
        tasks = "FROM run WHERE job_id = ? AND attempt = ?"
        stopped = db.execute(f"SELECT 1 {tasks} AND state = 'CANCELED' LIMIT 1", (job_id, attempt)).fetchone()
        cut_short = ended < total or stopped is not None
        if not wanted and ended < total:
            return
        if wanted == "requeue" and cut_short:
            self._queue_again(job_id)
            return
        end: Record = {"state": "COMPLETED", "exit_code": 0}
        bad = db.execute(f"SELECT count(*), min(idx) {tasks} AND state = 'FAILED'", (job_id, attempt)).fetchone()
        if (wanted == "cancel" and cut_short) or (not bad[0] and stopped is not None):
            end.update(state="CANCELED", reason="CANCELED_BY_USER", exit_code=None)
        elif bad[0]:
            code, number, reason = db.execute(
                f"SELECT exit_code, signal, reason {tasks} AND idx = ?", (job_id, attempt, bad[1])
            ).fetchone()
            end.update(state="FAILED", exit_code=code, signal=number, reason=reason)
            end["message"] = f"{bad[0]} of {total} tasks failed, the first of them at index {bad[1]}"
        end["ended_at"], end["cpu_time_s"], end["max_rss_kib"] = db.execute(
            f"SELECT COALESCE(max(ended_at), {time.time()!r}), sum(cpu_time_s), max(max_rss_kib) {tasks}",
            (job_id, attempt),
        ).fetchone()
        self._finish(job_id, end)

    def _queue_again(self, job_id: int) -> None:
        self._db.execute(
            "UPDATE job SET attempt = attempt + 1, state = CASE held WHEN 1 THEN 'HELD' ELSE 'QUEUED' END,"
            " startable = NOT held, wanted = NULL, started_at = NULL, next = COALESCE(first, 0), ended = 0"
            " WHERE id = ?",
            (job_id,),
        )

    # -- what is wanted of them

    def _pass_on_wishes(self) -> None:
        """Tells the supervisors of jobs that are to be cancelled or requeued."""
        for job_id, wanted in self._db.execute("SELECT id, wanted FROM job WHERE wanted IS NOT NULL").fetchall():
            runs = [run for run in self._active if run.job_id == job_id]
            if not runs:  # an array between two of its tasks
                with _transaction(self._db):
                    self._close_array(job_id)
            for run in runs:
                claim = read_claim(os.path.join(self._spool.runs, run.name))
                if claim and "pid" in claim and (run, wanted) not in self._told:
                    Process(claim["pid"], claim["ticks"]).send(STOPS_BY_WISH[wanted])
                    self._told.add((run, wanted))

    # -- starting

    def _start_what_fits(self) -> None:
        """Starts jobs in the order of submission. One that does not fit keeps all later ones waiting: none starves."""
        cpus = self._settings.get("cpus", 1) - sum(run.cpus for run in self._active)
        memory = self._settings.get("memory_mib", 0) - sum(run.memory_mib for run in self._active)
        if cpus <= 0 or self._db.execute("SELECT 1 FROM job WHERE startable LIMIT 1").fetchone() is None:
            return
        chosen: list[Run] = []
        with _transaction(self._db):
            jobs = self._db.execute(
                "SELECT id, attempt, key, cpus, memory_mib, first, last, step, width, next"
                " FROM job WHERE startable ORDER BY id"
            )
            for job_id, attempt, key, job_cpus, job_memory, *array in jobs:
                running = sum(run.job_id == job_id for run in self._active)
                for index in _indices(array, running, self._canceled(job_id, attempt, array)):
                    alone = not self._active and not chosen  # a site that has become smaller than the job
                    if (job_cpus > cpus or job_memory > memory) and not alone:
                        break
                    chosen.append(Run(job_id, attempt, index, key, job_cpus, job_memory))
                    cpus, memory = cpus - job_cpus, memory - job_memory
                else:
                    continue
                break
            for run in chosen:
                self._mark_starting(run)
        for run in chosen:
            self._active[run] = "STARTING"
            self._fork_supervisor(run)

    def _canceled(self, job_id: int, attempt: int, array: Sequence[Any]) -> set[int]:
        """The tasks of an array that were canceled before their turn came."""
        if array[0] is None:
            return set()
        ahead = "SELECT idx FROM run WHERE job_id = ? AND attempt = ? AND idx >= ?"
        return {row[0] for row in self._db.execute(ahead, (job_id, attempt, array[4])).fetchall()}

    def _mark_starting(self, run: Run) -> None:
        self._db.execute(
            "INSERT INTO run (job_id, attempt, idx, state) VALUES (?, ?, ?, 'STARTING')",
            (run.job_id, run.attempt, run.idx),
        )
        self._db.execute(
            "UPDATE job SET state = CASE state WHEN 'QUEUED' THEN 'STARTING' ELSE state END,"
            " next = ? + COALESCE(step, 0),"
            " startable = first IS NOT NULL AND ? + step <= last WHERE id = ?",
            (max(run.idx, 0), run.idx, run.job_id),
        )

    def _fork_supervisor(self, run: Run) -> None:
        self._not_before[run] = time.monotonic() + TICK_S
        lock = os.open(os.path.join(self._spool.runs, run.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _try_lock(lock):  # it lives after all
            os.close(lock)
            return
        spec = self._spec(run)
        # Blocked before the fork, so that no wish is lost while the supervisor gets ready.
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        pid = os.fork()
        if pid == 0:
            supervise(self._spool, run, spec, lock)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        self._supervisors.add(pid)
        os.close(lock)

    def _spec(self, run: Run) -> Record:
        data = self._db.execute("SELECT data FROM spec WHERE job_id = ?", (run.job_id,)).fetchone()[0]
        return dict(json.loads(data))


def _indices(array: Sequence[Any], running: int, canceled: set[int]) -> Sequence[int]:
    """What of a job could start now: -1 for a job that is no array."""
    first, last, step, width, following = array
    if first is None:
        return (-1,)
    indices: Sequence[int] = range(following, last + 1, step)
    if canceled:
        indices = [index for index in indices if index not in canceled]
    return indices if width is None else indices[: max(width - running, 0)]


# --- the supervisor -------------------------------------------------------------------------------------------------

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOPS_BY_WISH = {"cancel": signal.SIGTERM, "requeue": signal.SIGUSR1}
WISHES = {number: wish for wish, number in STOPS_BY_WISH.items()}
WATCHED = frozenset({signal.SIGCHLD, *WISHES})


def supervise(spool: Spool, run: Run, spec: Record, lock: int) -> None:
    """The life of a supervisor, in the child of a fork. Does not return."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        # Unlike a variable, an open file would tell others that a spooler listens here.
        os.closerange(3, lock)
        os.closerange(lock + 1, 4096)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        Supervisor(run, spec, lock, spool).work()
        spool.wake()
    except BaseException:  # noqa: BLE001 - nothing above may see it: above is a copy of the spooler
        log(f"supervisor of {run.name}: {traceback.format_exc()}")
        os._exit(1)
    os._exit(0)


class Supervisor:
    """Owns the process tree of one run: starts it, watches its time, ends it when it must, says how it ended.

    Args:
        spec: as submitted; read are ``folder script argv environment passed_on cwd stdout stderr walltime_s
            kill_grace_s id key cpus array``.
        lock: the locked run file.
    """

    def __init__(self, run: Run, spec: Record, lock: int, spool: Spool) -> None:
        self._run, self._spec, self._lock, self._spool = run, spec, lock, spool
        self._folder: str = spec["folder"]
        self._child: int | None = None
        self._status: int | None = None  # of the child, once it has ended
        self._started_at = self._ended_at = 0.0
        self._cpu_time_s, self._max_rss_kib = 0.0, 0
        self._why: str | None = None  # cancel, requeue or timeout
        self._kill_at: float | None = None

    def work(self) -> None:
        """From the claim to the outcome."""
        path = os.path.join(self._spool.runs, self._run.name)
        self._claim(path)
        try:
            self._launch()
            self._spool.listening()
        except (OSError, subprocess.SubprocessError) as error:
            outcome = self._outcome(reason="LAUNCH_FAILED", message=self._explain(error))
        else:
            self._watch()
            outcome = self._outcome()
        if self._why != "requeue":  # an attempt that was put back has no end of its own
            self._leave_record("exit", outcome)
        self._keep_outcome(path + ".exit", {**outcome, "stopped": self._why})

    def _keep_outcome(self, path: str, outcome: Record) -> None:
        """Writes down how it ended, however long that takes: nobody else knows, and a full disk is no failed job."""
        said = None
        while True:
            try:
                write_json(path, outcome)
            except OSError as error:
                if said != error.errno:
                    log(f"run {self._run.name}: how it ended cannot be written down, tried again: {error}")
                said = error.errno
                time.sleep(TICK_S)
            else:
                return

    def _leave_record(self, kind: str, record: Record) -> None:
        """Writes a start or exit record for the gateway; what this batch system itself goes by is in the spool."""
        try:
            write_json(_folder_file(self._folder, kind, self._run), record)
        except OSError as error:
            log(f"run {self._run.name}: no {kind} record: {error}")

    # -- the start

    def _claim(self, path: str) -> None:
        self._started_at = time.time()
        claim = {"pid": os.getpid(), "ticks": start_ticks(os.getpid()), "boot": boot_id(), "at": self._started_at}
        try:
            self._note(claim)
            os.fsync(self._lock)
        except OSError:
            os.ftruncate(self._lock, 0)  # half a claim would say that the job may have begun
            raise
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)

    def _note(self, fact: Record) -> None:
        """Adds a line to the claim; all of it, or an error."""
        line = json.dumps(fact).encode() + b"\n"
        if os.write(self._lock, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _launch(self) -> None:
        spec, work = self._spec, os.path.join(self._folder, "work")
        os.makedirs(self._folder, 0o700, exist_ok=True)
        os.makedirs(work, 0o700, exist_ok=True)
        start = {"native_id": str(self._run.job_id), "started_at": self._started_at, "node": socket.gethostname()}
        self._leave_record("start", start)
        argv = spec["argv"]
        if spec["script"] is not None:
            argv = [os.path.join(self._folder, "script")]
            write_file(argv[0], spec["script"].encode("utf-8", "surrogateescape"), mode=0o700)
        cwd = os.path.join(work, os.path.expanduser(spec["cwd"] or ""))
        environment = self._environment()
        stdout, stderr = self._stream("stdout", cwd), self._stream("stderr", cwd)
        me = os.getpid()

        def last_steps() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:
                os._exit(71)
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)  # whoever started the spooler may have ignored them
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

        with (
            open(stdout, "wb", buffering=0) as out,
            open(stderr, "ab" if stdout == stderr else "wb", buffering=0) as err,
        ):
            for file in (out, err):
                flags = fcntl.fcntl(file, fcntl.F_GETFL)
                fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_APPEND)
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=last_steps,  # a small process with one thread: none of the usual objections
            )
        process.returncode = 0  # reaped below, by wait4
        self._child = process.pid
        try:
            self._note({"child": [process.pid, start_ticks(process.pid)]})
        except OSError as error:  # it runs; should this process be killed, the job's environment tells what is its
            log(f"run {self._run.name}: its process is not noted: {error}")

    def _environment(self) -> dict[str, str]:
        spec, run = self._spec, self._run
        environment = {**spec["passed_on"], **spec["environment"]}
        if spec["has_secrets"]:
            with open(_secrets_path(spec), "rb") as file:
                records = file.read().decode("utf-8", "surrogateescape").split("\0")
            environment.update((name, value) for name, _, value in (each.partition("=") for each in records) if name)
        environment.update(
            HPCGATE_JOB_ID=str(spec["id"]),
            HPCGATE_JOB_KEY=run.key,
            HPCGATE_ATTEMPT=str(run.attempt),
            HPCGATE_NATIVE_ID=str(run.job_id),
            HPCGATE_CPUS=str(run.cpus),
            HPCGATE_RUN=run.mark,
        )
        if run.idx >= 0:
            environment["HPCGATE_ARRAY_INDEX"] = str(run.idx)
        return environment

    def _stream(self, name: str, cwd: str) -> str:
        path = self._spec[name]
        path = os.path.join(self._folder, name) if path is None else os.path.join(cwd, os.path.expanduser(path))
        return path if self._run.idx < 0 else f"{path}.{self._run.idx}"

    def _explain(self, error: Exception) -> str:
        name = getattr(error, "filename", None)
        text = getattr(error, "strerror", None) or str(error)
        script = self._spec["script"]
        if script is not None and name == os.path.join(self._folder, "script"):
            return f"the script cannot be run by its interpreter {script.splitlines()[0][2:].strip()!r}: {text}"
        return f"{name!r} cannot be used: {text}" if name else f"the job cannot be started: {text}"

    # -- the watch

    def _watch(self) -> None:
        """Until every process of the tree is gone. As a subreaper, a process without children has no descendants."""
        walltime_s = self._spec["walltime_s"]
        ends_at = time.monotonic() + walltime_s if walltime_s else None
        while self._reap():
            if self._status is not None and self._kill_at is None:
                self._stop(None)  # the job has ended; what it left behind ends with it
            now = time.monotonic()
            if ends_at is not None and now >= ends_at:
                ends_at = None
                self._stop("timeout")
            if self._kill_at is not None and now >= self._kill_at:
                send_to_all(descendants({os.getpid()}), signal.SIGKILL)
                self._kill_at = now + KILL_EVERY_S  # again: some may just have forked
            due = [at - time.monotonic() for at in (ends_at, self._kill_at) if at is not None]
            got = signal.sigtimedwait(WATCHED, max(min(due), 0)) if due else signal.sigwaitinfo(WATCHED)
            if got is not None and got.si_signo in WISHES:
                self._stop(WISHES[signal.Signals(got.si_signo)])

    def _reap(self) -> bool:
        """Collects the dead.

        Returns:
            Whether somebody is left.
        """
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._cpu_time_s += used.ru_utime + used.ru_stime
            self._max_rss_kib = max(self._max_rss_kib, used.ru_maxrss)
            if pid == self._child:
                self._status, self._ended_at = status, time.time()

    def _stop(self, why: str | None) -> None:
        """Begins to end the tree: TERM now, KILL after the grace time."""
        if self._status is None and (self._why is None or why == "cancel"):
            self._why = why
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._spec["kill_grace_s"]
            send_to_all(descendants({os.getpid()}), signal.SIGTERM)

    def _outcome(self, reason: str | None = None, message: str | None = None) -> Record:
        reasons = {"timeout": "TIMEOUT", "cancel": "CANCELED_BY_USER"}
        status = self._status
        if self._why == "timeout":
            message = f"it ran longer than its walltime of {self._spec['walltime_s']} s"
        return {
            "native_id": str(self._run.job_id),
            "exit_code": os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
            "reason": reason or reasons.get(self._why or ""),
            "message": message,
            "started_at": self._started_at,
            "ended_at": self._ended_at or time.time(),
            "cpu_time_s": round(self._cpu_time_s, 6),
            "max_rss_kib": self._max_rss_kib or None,
            "node": socket.gethostname(),
        }


# --- processes, as /proc shows them ---------------------------------------------------------------------------------


class Process(NamedTuple):
    """A process, told from a later one with the same number by when it started (in clock ticks since the boot)."""

    pid: int
    ticks: int
    parent: int = 0
    session: int = 0
    state: str = ""

    def send(self, number: int) -> bool:
        """Sends a signal to this very process; ``False`` = it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # From here on the handle cannot come to mean another process.
            if start_ticks(self.pid) != self.ticks:
                return False
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    def has_in_environment(self, record: bytes) -> bool:
        """Whether it was started with this ``NAME=VALUE`` in its environment."""
        try:
            return record in Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another account's
            return False


def look_at(pid: int) -> Process | None:
    """The process with this number; ``None`` = there is none."""
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything.
    fields = data[data.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0].decode())


def _alive(pid: int | None, ticks: int | None) -> bool:
    """Whether this very process still runs; one that has ended but was not collected does not."""
    found = look_at(pid) if pid is not None else None
    return found is not None and found.ticks == ticks and found.state not in ("Z", "X")


def start_ticks(pid: int) -> int | None:
    """When a process started; ``None`` = there is none."""
    process = look_at(pid)
    return process.ticks if process else None


def processes() -> list[Process]:
    """All processes of this machine that can be seen."""
    return [found for name in os.listdir("/proc") if name.isdigit() and (found := look_at(int(name)))]


def descendants(roots: set[int]) -> list[Process]:
    """Children, grandchildren and so on of ``roots``, zombies left out."""
    children: dict[int, list[Process]] = {}
    for process in processes():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    front = list(roots)
    while front:
        for process in children.get(front.pop(), ()):
            found.append(process)
            front.append(process.pid)
    return [process for process in found if process.state != "Z"]


def send_to_all(targets: Iterable[Process], number: int) -> None:
    """Sends a signal to each; a stopped process is continued, or it would not see it."""
    for process in targets:
        process.send(number)
        process.send(signal.SIGCONT)


def prctl(option: int, value: int) -> None:
    """The system call of that name, which Python does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def boot_id() -> str:
    """Another text after each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def machine_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def machine_memory_mib() -> int:
    """The memory of this machine, MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


# --- files and rows -------------------------------------------------------------------------------------------------


def run_name(job_id: int, attempt: int, idx: int) -> str:
    """Name of a run file."""
    return f"{job_id}-{attempt}" if idx < 0 else f"{job_id}-{attempt}-{idx}"


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def supervisor_gone(path: str) -> bool:
    """Whether nobody holds the lock of a run file (or there is no file)."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return _try_lock(fd)
    finally:
        os.close(fd)


def read_claim(path: str) -> Record | None:
    """What a supervisor wrote into its run file; ``None`` = nothing. A claim that was cut short is a claim."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError:
        return None
    claim: Record = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            claim.update(json.loads(line))
    return claim if lines else None


def read_json(path: str) -> Record | None:
    """A file that was written by ``write_json``; ``None`` = there is none."""
    try:
        return dict(json.loads(Path(path).read_bytes()))
    except FileNotFoundError:
        return None


def write_json(path: str, data: Record) -> None:
    """Writes a record atomically and synced."""
    write_file(path, json.dumps(data).encode())


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Writes a file atomically and synced."""
    fresh = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(fresh, path)
    except BaseException:
        remove_file(fresh)  # on a full disk each try would leave another one
        raise


def _why_never(job: Record, most: Record) -> str | None:
    for name, unit in (("cpus", "cores"), ("memory_mib", "MiB")):
        if job[name] > most[name]:
            return f"it needs {job[name]} {unit}; the machine has {most[name]} for jobs"
    return None


def _folder_file(folder: str, kind: str, run: Run) -> str:
    index = "" if run.idx < 0 else f".{run.idx}"
    return os.path.join(folder, f"{kind}.{run.attempt}{index}")


def _secrets_path(job: Record) -> str:
    return os.path.join(job["folder"], "secrets")


def remove_file(path: str) -> None:
    """Removes a file, unless it is gone already."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def remove_secrets(db: sqlite3.Connection) -> None:
    """Removes the secrets of jobs that were canceled before they began."""
    over = db.execute("SELECT id, secrets FROM job WHERE secrets IS NOT NULL AND ended_at IS NOT NULL").fetchall()
    for _, path in over:
        remove_file(path)
    if over:
        with _transaction(db):
            db.executemany("UPDATE job SET secrets = NULL WHERE id = ?", [(job_id,) for job_id, _ in over])


def tell(event_spool: str | None, key: str) -> None:
    """Leaves word for the gateway that something happened to a job."""
    if event_spool:
        path = os.path.join(os.path.expanduser(event_spool), f"{key}.{os.getpid()}.{time.monotonic_ns()}")
        with contextlib.suppress(FileNotFoundError):  # nobody has made the folder: nobody wants to be told
            # Others may write there too: a fresh file or none.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def judge(outcome: Record) -> str:
    """The final state that an outcome means. Without an exit code of 0 there is no COMPLETED."""
    reason = outcome.get("reason")
    if reason is None and outcome.get("exit_code") == 0 and outcome.get("signal") is None:
        return "COMPLETED"
    return "CANCELED" if reason == "CANCELED_BY_USER" else "FAILED"


def passed_on(environ: Any, more: Iterable[str] = ()) -> dict[str, str]:
    """The part of an environment that reaches jobs."""
    names = {*PASSED_ON, *more}
    return {name: value for name, value in environ.items() if name in names or name.startswith("LC_")}


def log(message: str) -> None:
    """A line on standard error, which is ``spooler.log`` for spoolers and supervisors."""
    with contextlib.suppress(OSError):  # on a full disk too, what was to be told goes on
        os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}\n".encode("utf-8", "replace"))


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _select(db: sqlite3.Connection, columns: Sequence[str], rest: str, values: Sequence[Any] = ()) -> list[Record]:
    names = [column.rpartition(".")[2] for column in columns]
    rows = db.execute(f"SELECT {', '.join(columns)} {rest}", values)
    return [dict(zip(names, row)) for row in rows]  # noqa: B905 - other hosts may have Python 3.9


def _update(db: sqlite3.Connection, table: str, changes: Record, where: str, values: Sequence[Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(f"UPDATE {table} SET {names} WHERE {where}", (*changes.values(), *values))  # noqa: S608 - own words


def _parts(keys: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


# --- as a command ---------------------------------------------------------------------------------------------------

QUESTIONS = ("submit", "list", "find", "cancel", "cancel_tasks", "hold", "release", "requeue", "signal", "status")


def main(argv: Sequence[str] | None = None) -> int:
    """``VERB --spool DIR``: the arguments of the verb come as a JSON object, the answer goes out as one."""
    parser = argparse.ArgumentParser(description="A small batch system for one machine.")
    parser.add_argument("verb", choices=(*QUESTIONS, "start", "run"), help="start = in the background, run = here")
    parser.add_argument("--spool", required=True, help="spool folder")
    arguments = parser.parse_args(argv)
    spool = Spool(arguments.spool)
    if arguments.verb == "start":
        return start(spool)
    if arguments.verb == "run":
        return run(spool)
    try:
        answer = {"answer": getattr(spool, arguments.verb)(**json.load(sys.stdin))}
    except Refused as refusal:
        answer = {"refused": str(refusal)}
    json.dump(answer, sys.stdout)
    return 0


def run(spool: Spool) -> int:
    """Serves a spool folder in this process, unless another one does."""
    spool.connect().close()
    lock = spool.lock()
    if lock is not None:
        Spooler(spool).serve()
        os.close(lock)
    return 0


def start(spool: Spool) -> int:
    """Starts a spooler that nothing ties to this process; returns when one listens, or has found nothing to do."""
    spool.connect().close()
    result, say = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(result)
            _serve_detached(spool, say)
        os._exit(0)
    os.close(say)
    os.wait()
    while not spool.listening():
        if select.select([result], [], [], 0.005)[0]:
            if os.read(result, 1):
                break
            print(f"the spooler did not come up; see {spool.root}/spooler.log", file=sys.stderr)
            return 1
    return 0


def _serve_detached(spool: Spool, say: int) -> None:
    try:
        _detach(spool)
        run(spool)
        with contextlib.suppress(BrokenPipeError):  # whoever started it went on long ago
            os.write(say, b".")
    except BaseException:  # noqa: BLE001 - the last thing that it does
        log(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def _detach(spool: Spool) -> None:
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    log_file = os.open(os.path.join(spool.root, "spooler.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, source in ((0, null), (1, null), (2, log_file)):
        os.dup2(source, fd)
    for fd in (null, log_file):
        if fd > 2:
            os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
