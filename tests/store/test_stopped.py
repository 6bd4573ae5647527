"""A process that is stopped, by a debugger or a frozen machine, in the midst of a transaction."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import is_stopped

from hpcgate.errors import DatabaseUnavailable
from hpcgate.store import sqlite, writer

_STOPS = """
import os, signal, sys
from hpcgate.errors import DatabaseUnavailable
from hpcgate.store.database import open_store

def rows():
    for number in range(4000):
        if number == 3000 and sys.argv[2] == "half-way":
            os.kill(os.getpid(), signal.SIGSTOP)
        yield f"site{number}", 1.0

store = open_store(sys.argv[1])
try:
    with store.transaction():
        store._session.execute_many("INSERT INTO site (site, polled_at, commands) VALUES (?, ?, 0)", rows())
        if sys.argv[2] == "between":
            os.kill(os.getpid(), signal.SIGSTOP)
        store.sites.polled("last", 1.0)
    print("written")
except DatabaseUnavailable:
    print("undone")
store.close()
"""

POINTS = ["between", "half-way"]


@contextmanager
def stopped_while_it_writes(url: str, point: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-W", "error", "-c", _STOPS, url, point]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            is_stopped(process.pid)
            yield process
        finally:
            process.kill()


def goes_on(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGCONT)
    said, complaint = process.communicate(timeout=30)
    assert process.returncode == 0, complaint
    return said.strip()


@pytest.mark.live
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("point", POINTS)
def test_postgresql_lets_the_others_write(url, opened, monkeypatch, point):
    """Also where the server takes it for active: half-way through a row of statements no time-out of its own counts."""
    store = opened()
    monkeypatch.setattr(writer, "SILENT_S", 0.3)
    with stopped_while_it_writes(url, point) as process:
        store.sites.polled("ares", 1.0)
        assert goes_on(process) == "undone"
    assert list(store.sites.all()) == ["ares"]


@pytest.mark.live
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_postgresql_leaves_alone_who_is_at_work(opened, monkeypatch):
    store, other = opened(), opened()
    monkeypatch.setattr(writer, "SILENT_S", 0.1)
    monkeypatch.setattr(writer, "WAIT_S", 0.2)
    at_work, failed = threading.Event(), []

    def work():
        with other.transaction():
            at_work.set()
            other._session.rows("SELECT pg_sleep(1.5)")
            other.sites.polled("helios", 1.0)

    def wait():
        at_work.wait(10)
        try:
            store.sites.polled("ares", 1.0)
        except DatabaseUnavailable as error:
            failed.append(error.message)

    threads = [threading.Thread(target=act) for act in (work, wait)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ["lock timeout" in message for message in failed] == [True]
    assert list(store.sites.all()) == ["helios"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("point", POINTS)
def test_sqlite_says_who_keeps_the_others_from_writing(url, opened, monkeypatch, point):
    """Nobody but its owner can take a lock on a file away: reading goes on, and writing once the process does."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.2)
    store = opened()
    with stopped_while_it_writes(url, point) as process:
        with pytest.raises(
            DatabaseUnavailable, match=f"hpcgate.db: process {process.pid}, which is stopped, has been writing for 0.2"
        ):
            store.sites.polled("ares", 1.0)
        assert store.sites.all() == {}
        assert goes_on(process) == "written"
    store.sites.polled("ares", 1.0)
    assert len(store.sites.all()) == 4002


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_tells_of_a_writer_that_is_not_stopped(opened, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    store, other = opened(), opened()
    with other.transaction(), pytest.raises(DatabaseUnavailable, match=f"process {os.getpid()} has been writing"):
        store.sites.polled("ares", 1.0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_store_may_be_closed_while_others_use_it(in_processes):
    """In a process of its own: what this is about is a crash of the interpreter."""
    said = in_processes(
        """
LONG = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000) SELECT x FROM c"
def work(store):
    try:
        while True:
            store._session.rows(LONG)
            store.sites.polled("ares", 1.0)
    except Exception as error:
        assert any(word in str(error) for word in ("closed", "interrupted", "not open")), repr(error)
for _ in range(3):
    store = open_store(url)
    threads = [threading.Thread(target=work, args=(store,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not store.sites.all():
        time.sleep(0.001)
    store.close()
    for thread in threads:
        thread.join()
print("fine")
""",
        1,
    )
    assert said == ["fine"]
