"""What only PostgreSQL has: a server that goes and comes, passwords, connections that are few."""

from __future__ import annotations

import threading
import time

import pytest
from support import eventually

from hpcgate.errors import ConfigError, DatabaseUnavailable
from hpcgate.store import listener, pool
from hpcgate.store import postgres as module
from hpcgate.store.database import open_store, read_schema
from hpcgate.store.dialect import StatementTimeout

pytestmark = [pytest.mark.live, pytest.mark.parametrize("database_url", ["postgres"], indirect=True)]


@pytest.fixture
def empty(postgres):
    """The name of a database without any table."""
    name = postgres.new_database()
    yield name
    postgres.drop(name)


# --- what is said ---------------------------------------------------------------------------------------------------


def refused(url):
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    with pytest.raises(ConfigError) as read:
        read_schema(url)
    for error in (caught.value, read.value):
        whole = error
        while whole is not None:  # what a traceback would show
            assert "hunter" not in f"{whole} {whole!r}"
            whole = whole.__cause__
    return caught.value.message


def test_a_wrong_password_is_said_and_not_shown(url, postgres):
    message = refused(postgres.url("postgres", password="hunter%2F2"))
    where = f"database postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
    assert message.startswith(f"{where} cannot be opened: ")
    assert "password authentication failed for user" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://ann:hunter2%@db/hpcgate",
        "postgresql://ann:hunter/2@db:x/hpcgate?no",
        "postgres://ann:hunter2@db/hpcgate?pool_size=3",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url, bad):
    assert "use postgresql://USER@HOST:PORT/NAME" in refused(bad)


def test_a_server_that_is_not_there_is_said(url):
    assert "Connection refused" in refused("postgresql://ann:hunter2@127.0.0.1:1/x")


def test_a_database_that_is_not_there_is_said(url, postgres):
    assert 'database "nowhere" does not exist' in refused(postgres.url("nowhere"))


def test_an_encoding_that_cannot_hold_all_text_is_refused(url, postgres):
    name = postgres.new_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "has the encoding LATIN1; make it with ENCODING 'UTF8'" in refused(postgres.url(name))
    postgres.drop(name)


def test_an_old_server_is_refused(url, monkeypatch):
    monkeypatch.setattr(module, "OLDEST_VERSION", 99)
    assert "hpcgate needs 99 or later" in refused(url)


def test_who_may_not_make_tables_is_told(url, postgres, empty):
    postgres.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
    postgres.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=empty)
    with pytest.raises(ConfigError, match="cannot be opened: permission denied for schema public"):
        open_store(postgres.url(empty, user="guest", password="hunter2"))


def test_the_password_may_come_from_elsewhere(url, postgres, monkeypatch, tmp_path):
    bare = url.replace(":a-password%2Fthat%3Ais%40quoted", "")
    assert "a-password" not in bare
    secret = tmp_path / "pgpass"
    secret.write_text(f"127.0.0.1:{postgres.port}:*:postgres:" + r"a-password/that\:is@quoted" + "\n")
    secret.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(secret))
    open_store(bare).close()


# --- schema ---------------------------------------------------------------------------------------------------------


def test_reading_the_schema_of_an_empty_database_changes_nothing(url, postgres, empty):
    assert not any(step.applied_at for step in read_schema(postgres.url(empty)))
    assert postgres.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database=empty) == [(0,)]


def test_first_starts_at_the_same_time(postgres, empty, in_processes):
    address = postgres.url(empty)
    said = in_processes(
        f"""
meet(4)
store = open_store({address!r})
print(len(store.schema_status()), all(step.applied_at for step in store.schema_status()), store.events.last())
store.close()
""",
        4,
    )
    assert len(set(said)) == 1
    assert said[0].endswith("True 0")


# --- connections ----------------------------------------------------------------------------------------------------


def test_every_connection_is_durable(url, postgres):
    name = url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        store = open_store(url)
        settings = "synchronous_commit", "client_encoding", "transaction_isolation"
        assert [store._session.rows(f"SHOW {each}")[0][0] for each in settings] == ["on", "UTF8", "read committed"]
        store.close()
    finally:
        postgres.run(f"ALTER DATABASE {name} RESET synchronous_commit")


def test_many_threads_share_few_connections(opened):
    store = opened(pool=3)
    failed = []

    def work():
        try:
            for _ in range(10):
                store.jobs.counts()
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert store._db._pool.open() <= 3


def test_a_thread_that_gets_no_connection_is_told(opened, monkeypatch):
    monkeypatch.setattr(pool, "WAIT_S", 0.05)
    store = opened(pool=1)
    failed = []

    def work():
        try:
            store.jobs.counts()
        except DatabaseUnavailable as error:
            failed.append(error.message)

    with store.transaction():
        store.jobs.counts()  # the transaction's own connection
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert failed == ["database: all 1 connections were in use for 0.05 s; raise gateway.database_pool"]
    assert store.jobs.counts() == {}


def test_a_closed_store_opens_nothing(opened, postgres, url):
    store = opened()
    store.version()
    store.jobs.counts()
    store.close()
    with pytest.raises(DatabaseUnavailable, match="the store is closed"):
        store.jobs.counts()
    name = url.rpartition("/")[2]
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    eventually(lambda: postgres.run(sessions) == [(0,)])


def test_a_statement_that_takes_too_long_is_ended(opened):
    store = opened()
    with pytest.raises(StatementTimeout), store._db.time_limit(0.05):
        store._session.rows("SELECT pg_sleep(30)")
    with store.transaction():
        with pytest.raises(StatementTimeout), store._db.time_limit(0.05):
            store._session.rows("SELECT pg_sleep(30)")
        with store._db.time_limit(0.05):
            store.jobs.counts()
        assert store._session.rows("SHOW statement_timeout") == [("1min",)]
        store.sites.polled("ares", 1.0)
    assert store.sites.health("ares").polled_at == 1.0


def test_commits_are_heard_of_at_once(opened, draft):
    """Without asking: no statement runs while nothing is committed."""
    store, other = opened(), opened()
    before = store.version()
    took = []
    for _ in range(20):
        other.jobs.add([draft()], actor="ann")
        start = time.monotonic()
        while store.version() == before:
            time.sleep(0.0005)
        took.append(time.monotonic() - start)
        before = store.version()
    assert sorted(took)[10] < 0.05, took


def test_who_stops_within_a_transaction_is_put_out(opened, monkeypatch, draft):
    monkeypatch.setattr(module, "_SET", module._SET.replace("'10s'", "'300ms'"))
    paused, store = opened(), opened()

    def pause():
        with paused.transaction():
            paused.jobs.add([draft()], actor="ann")
            eventually(lambda: store.sites.polled("ares", 1.0) or True)  # waits for the writer's lock
            paused.jobs.counts()

    with pytest.raises(DatabaseUnavailable):
        pause()
    assert store.jobs.counts() == {}
    assert store.events.last() == 0
    paused.jobs.add([draft()], actor="ann")


# --- a server that goes and comes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_nothing_is_lost_when_the_server_restarts(opened, postgres, draft, mode):
    """Two threads write all the while: what was said to be stored is there, what failed is not there by halves."""
    store = opened(topics=("hooks",))
    stop, stored, failed = threading.Event(), [], []

    def write():
        while not stop.is_set():
            try:
                stored.extend(store.jobs.add([draft(), draft()], actor="ann").jobs)
            except DatabaseUnavailable as error:
                failed.append(error)
                stop.wait(0.01)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(stored) > 20)
        postgres.stop(mode)
        with pytest.raises(DatabaseUnavailable, match=r"Connection refused|shutting down|terminat|closed"):
            store.jobs.counts()
        version = store.version()
        eventually(lambda: store.version() != version)  # who watches looks now and then all the same
        postgres.start()
        before = len(stored)
        eventually(lambda: len(stored) > before + 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed
    assert store.jobs.get_many([job.id for job in stored]) == stored
    jobs = sum(store.jobs.counts().values())
    assert jobs % 2 == 0
    assert len(stored) <= jobs <= len(stored) + 4, "a commit whose answer was lost may be there"
    assert [event.seq for event in store.events.after(0, limit=10_000)] == list(range(1, jobs + 1))
    assert store.outbox.depth() == jobs
    version = store.version()
    store.sites.polled("ares", 1.0)
    eventually(lambda: store.version() != version)


def test_an_idle_connection_that_the_server_closed_is_not_used(opened, postgres, url):
    store = opened()
    store.jobs.counts()
    name = url.rpartition("/")[2]
    theirs = f"FROM pg_stat_activity WHERE datname = '{name}'"
    postgres.run(f"SELECT pg_terminate_backend(pid) {theirs}")
    eventually(lambda: postgres.run(f"SELECT count(*) {theirs}") == [(0,)])
    assert store.jobs.counts() == {}


def test_commits_are_heard_of_again_after_the_server_was_away(opened, postgres, monkeypatch):
    """Not only looked for once a second: what is looked for less often than the test waits is heard."""
    monkeypatch.setattr(listener, "AGAIN_S", 0.1)
    store, other = opened(), opened()
    store.version()
    postgres.stop("immediate")
    away = store.version()
    eventually(lambda: store.version() != away)
    postgres.start()

    def listens():
        before = store.version()
        other.sites.polled("ares", 1.0)
        monkeypatch.setattr(listener, "AGAIN_S", 1000.0)  # from here on nobody looks for himself
        return eventually(lambda: store.version() != before or None, 5)

    eventually(lambda: postgres.run("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"))
    assert listens()
    assert listens()
