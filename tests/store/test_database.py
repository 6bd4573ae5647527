import gc
import shutil
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from peewee import InterfaceError
from support import eventually

from hpcgate.errors import ConfigError, SchemaTooNew
from hpcgate.store import schema, tables
from hpcgate.store.database import open_store, read_schema
from hpcgate.store.sqlite import ThreadSqlite

STEPS = sorted(path.stem for path in (Path(schema.__file__).parent / "migrations").glob("0*.py"))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("mysql://ann:hunter2@db/hpcgate", r"mysql://\.\.\. is no database URL; use sqlite:///PATH or postgresql://"),
        ("/var/lib/hpcgate.db", "is no database URL; use sqlite:///PATH"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_bad_url_is_refused(bad, why):
    with pytest.raises(ConfigError, match=why) as caught:
        open_store(bad)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "x.db").write_text("this is not a database, and it is longer than the header of one" * 100)
    with pytest.raises(ConfigError, match=r"x\.db cannot be opened: file is not a database"):
        open_store(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'x.db'}")


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "home" / "x.db"
    open_store(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_relative_path_and_a_home_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    open_store("sqlite:///here.db").close()
    open_store("sqlite:///~/there.db").close()
    assert (tmp_path / "here.db").exists()
    assert (tmp_path / "home" / "there.db").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_connection_is_durable(store):
    def settings():
        (journal,), (synchronous,), (foreign_keys,) = (
            store._session.one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")
        )
        return journal, synchronous, foreign_keys

    seen = [settings()]
    thread = threading.Thread(target=lambda: seen.append(settings()))
    thread.start()
    thread.join()
    assert seen == [("wal", 2, 1)] * 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_tables_are_those_of_the_migrations(store):
    models = [each for each in vars(tables).values() if isinstance(each, type) and issubclass(each, tables.Model)]
    models.remove(tables.Model)
    made = {name for (name,) in store._session.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {model._meta.table_name for model in models} == made - {"schema_migration"}
    for model in models:
        name = model._meta.table_name
        columns = [(row[1], row[2], row[3]) for row in store._session.rows(f"PRAGMA table_info({name})")]
        wanted = [
            (f.column_name, f.ddl_datatype(store._db.get_sql_context()).sql, int(not f.null))
            for f in model._meta.sorted_fields
        ]
        assert columns == wanted, name


# --- transactions ---------------------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(store, draft):
    def fail():
        with store.transaction():
            store.jobs.add([draft()], actor="ann")
            store.sites.polled("ares", 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.jobs.counts() == {}
    assert store.sites.all() == {}
    assert store.events.last() == 0
    assert store.events.after(0, limit=10) == []


def test_an_inner_transaction_is_part_of_the_outer_one(store, draft):
    def fail():
        with store.transaction():
            store.jobs.add([draft()], actor="ann")
            raise ZeroDivisionError

    with store.transaction():
        kept = store.jobs.add([draft()], actor="ann").jobs[0]
        with pytest.raises(ZeroDivisionError):
            fail()
        also = store.jobs.add([draft()], actor="ann").jobs[0]
    assert [event.job_id for event in store.events.after(0, limit=10)] == [kept.id, also.id]
    assert [event.seq for event in store.events.after(0, limit=10)] == [1, 2]


def test_nothing_is_seen_before_the_commit(store, opened, draft):
    other = opened()
    with store.transaction():
        store.jobs.add([draft()], actor="ann")
        assert other.jobs.counts() == {}
        assert other.events.last() == 0
    assert sum(other.jobs.counts().values()) == 1


# --- connections ----------------------------------------------------------------------------------------------------


def test_version_changes_with_every_commit_of_anybody(store, opened, draft):
    other = opened()

    def commits(by):
        before = store.version()
        by.jobs.add([draft()], actor="ann")
        eventually(lambda: store.version() != before)

    assert store.version() == store.version()
    commits(other)
    commits(store)
    store.release()
    commits(other)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_close_closes_the_connections_of_all_threads(opened, draft):
    store = opened()
    ready, go_on = threading.Barrier(4), threading.Event()
    refused = []

    def work():
        store.jobs.counts()
        ready.wait(10)
        go_on.wait(10)
        with pytest.raises(InterfaceError, match="the store is closed"):
            store.jobs.counts()
        refused.append(True)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    assert len(store._db._opened) == 4
    store.close()
    assert len(store._db._opened) == 0
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    store.release()
    with pytest.raises(InterfaceError, match="the store is closed"):
        store.jobs.counts()
    gc.collect()


def test_a_connection_that_is_given_back_serves_the_next_thread(store):
    store.jobs.counts()
    store.release()
    before = _descriptors()

    def work():
        store.jobs.counts()
        store.release()

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert _descriptors() == before
    assert store.jobs.counts() == {}
    assert store.version() == store.version()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_connection_is_closed_only_between_two_statements(opened):
    """Closed in the middle of one by another thread, it takes the whole process with it."""
    count = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT count(x) FROM n"
    store = opened()
    begins, done = threading.Barrier(2), []

    def work():
        store.jobs.counts()
        begins.wait(10)
        with suppress(InterfaceError):
            while True:
                done.append(store._db.read(count))

    thread = threading.Thread(target=work)
    thread.start()
    begins.wait(10)
    store.close()
    thread.join()
    assert all(rows == [(3000000,)] for rows in done)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_most_of_the_connections_that_are_given_back_are_closed(store):
    threads, busy = 12, threading.Barrier(12)

    def work():
        store.jobs.counts()
        busy.wait(10)
        store.release()

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len(store._db._opened) <= 1
    assert len(store._db._spare) == 4


def _descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_connections_of_ended_threads_are_closed(store):
    for _ in range(5):
        thread = threading.Thread(target=store.jobs.counts)
        thread.start()
        thread.join()
    assert len(store._db._opened) <= 2


# --- schema ---------------------------------------------------------------------------------------------------------


def test_schema_status_tells_what_was_applied(store):
    assert [step.name for step in store.schema_status()] == STEPS
    assert all(step.applied_at and step.known and not step.breaks for step in store.schema_status())


@pytest.fixture
def later(store, tmp_path):
    """Upgrades the database as a later version would, by the steps that are given and its own."""
    upgraded = []

    def upgrade(**bodies):
        files = tmp_path / "later"
        shutil.copytree(Path(schema.__file__).parent / "migrations", files)
        for name, body in bodies.items():
            (files / f"{name[1:]}.py").write_text(_LATER_STEP + body)
        schema.migrate(store._db, files)
        upgraded.extend(name[1:] for name in bodies)

    yield upgrade
    for name in upgraded:  # the database may be used again
        store._session.execute("DELETE FROM schema_migration WHERE name = ?", (name,))
    store._session.execute("UPDATE counter SET value = 1 WHERE name = 'schema_floor'")
    with suppress(Exception):
        store._session.execute("ALTER TABLE lease DROP COLUMN more")


_LATER_STEP = """
from hpcgate.store.migrations import breaks_older

def up(migrator, db):
"""
_ADDS = '    db.execute_sql("ALTER TABLE lease ADD COLUMN more TEXT")'


def test_a_later_version_that_only_adds_is_worked_beside(url, store, later, opened, caplog, add):
    before = add()
    later(_0099_more=_ADDS)
    store.check_schema()
    assert store.leases.acquire("site:x", "me", 5, 1.0) is not None  # who was there already goes on
    old = opened()  # and so does who comes
    assert old.jobs.get(before.id) == before
    assert "was upgraded by a later version of hpcgate (0099_more); going on" in caplog.text
    (step,) = [step for step in read_schema(url) if not step.known]
    assert (step.name, step.breaks) == ("0099_more", False)


def test_a_later_version_that_breaks_this_one_is_refused(url, store, later):
    later(_0098_breaks="    breaks_older(db, 98)", _0099_more=_ADDS)
    with pytest.raises(SchemaTooNew, match=r"made by a later version of hpcgate \(it has 0098_breaks\)"):
        open_store(url)
    with pytest.raises(SchemaTooNew, match=r"it has step 98"):
        store.check_schema()
    assert [(step.name, step.breaks) for step in read_schema(url) if not step.known] == [
        ("0098_breaks", True),
        ("0099_more", False),
    ]


def test_the_step_of_this_version_leaves_what_was_there(tmp_path):
    """A database that an earlier version has filled is brought here with all it holds."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    old = tmp_path / "old"
    shutil.copytree(Path(schema.__file__).parent / "migrations", old)
    for path in old.glob("0*.py"):
        if path.name > "0004":
            path.unlink()
    db = ThreadSqlite(tmp_path / "old.db")
    schema.migrate(db, old)
    values = "1, 'KEY1', 'ann', 'ares', 'COMPLETED', 1, 3, 'x', FALSE, FALSE, '/jobs/1', 5.0, 6.0, 0.0, 0, 7.0"
    db.write(
        "INSERT INTO job (id, key, owner, site, state, attempt, revision, name, is_array, canceling, folder, "
        f"created_at, updated_at, claim_until, absences, ended_at) VALUES ({values})"
    )
    db.write('INSERT INTO job_spec (job_id, spec) VALUES (1, \'{"command": "true"}\')')
    db.close_all()
    store = open_store(url)
    job = store.jobs.get(1)
    assert (job.owner, job.ended_at, job.expires_at, job.retry_of) == ("ann", 7.0, None, None)
    store.close()


def test_opening_again_changes_nothing(url, store, add):
    job = add()
    again = open_store(url)
    assert again.jobs.get(job.id) == job
    assert len(again.schema_status()) == len(store.schema_status())
    again.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_opening_again_keeps_the_locks_of_the_first(url, store):
    # POSIX locks belong to the process: whoever closes any descriptor of the file drops all of them, and the next
    # process that ends believes to be the last and takes the write-ahead log away.
    second = open_store(url)
    path = url.removeprefix("sqlite:///")
    look = f"import sqlite3; c = sqlite3.connect({path!r}); c.execute('SELECT * FROM site').fetchall(); c.close()"
    subprocess.run([sys.executable, "-c", look], check=True)
    second.close()
    assert Path(f"{path}-wal").exists()


def test_reading_the_schema_changes_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with pytest.raises(ConfigError, match=r"x\.db does not exist"):
        read_schema(url)
    assert not list(tmp_path.iterdir())
    (tmp_path / "x.db").touch()
    assert {step.applied_at for step in read_schema(url)} == {None}
    open_store(url).close()
    assert all(step.applied_at for step in read_schema(url))


def test_two_first_starts_at_the_same_time(in_processes):
    said = in_processes(
        """
meet(4)
store = open_store(url)
print(len(store.schema_status()), all(step.applied_at for step in store.schema_status()), store.events.last())
store.close()
""",
        4,
    )
    assert said == [f"{len(STEPS)} True 0"] * 4
