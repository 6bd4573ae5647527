"""A PostgreSQL server of the test's own on loopback, and databases in it that cost little."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

HOW_TO_GET = "needs PostgreSQL 13 or later and psycopg: run tests/live/provision.sh, install hpcgate[postgres]"
PASSWORD = "a-password/that:is@quoted"
QUOTED = "a-password%2Fthat%3Ais%40quoted"

_SETTINGS = {
    "fsync": "off",  # the machine will not lose power
    "full_page_writes": "off",
    "max_connections": "120",
    "shared_buffers": "32MB",
    "timezone": "UTC",
}

#: Deletes are cheaper than TRUNCATE where tables are small. Foreign keys follow the jobs.
_EMPTY = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
        AND tablename NOT IN ('schema_migration', 'counter') LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    UPDATE counter SET value = 0;
END $$
"""


def programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``, of the newest version there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def require_postgres() -> None:
    """Skips where no server can be started."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        pytest.skip(HOW_TO_GET)
    if programs() is None or (os.geteuid() == 0 and not _has_user()):
        pytest.skip(HOW_TO_GET)


def _has_user() -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam("postgres"))
    return False


@dataclass
class Server:
    """A running server.

    Args:
        folder: everything that belongs to it.
        port: on 127.0.0.1.
    """

    folder: Path
    port: int
    _numbers: Iterator[int] = field(default_factory=count)
    _lendable: list[str] = field(default_factory=list)

    def url(self, database: str, *, user: str = "postgres", password: str = QUOTED) -> str:
        """How hpcgate gets to a database."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs statements as the administrator; the rows of the last one."""
        import psycopg

        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[call-overload]
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def new_database(self, more: str = "") -> str:
        """Makes an empty database; its name."""
        name = f"hpcgate_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} {more}")
        return name

    @contextlib.contextmanager
    def lent(self) -> Iterator[str]:
        """A database with the present schema and nothing in it; its name. It is emptied and lent again."""
        name = self._lendable.pop() if self._lendable else self._new_with_schema()
        yield name
        self.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
            "AND pid <> pg_backend_pid()",
            _EMPTY,
            database=name,
        )
        self._lendable.append(name)

    def _new_with_schema(self) -> str:
        from hpcgate.store.database import open_store

        name = self.new_database()
        open_store(self.url(name)).close()
        return name

    def drop(self, database: str) -> None:
        """Removes a database, whoever uses it."""
        self.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def stop(self, mode: str = "fast") -> None:
        """Stops the server: ``fast`` ends all sessions, ``immediate`` is a crash."""
        self._ctl("stop", "-m", mode)

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self._ctl("start", "-l", str(self.folder / "log"))

    def _ctl(self, *argv: str) -> None:
        _as_postgres("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "60", *argv)


def _as_postgres(program: str, *argv: str) -> None:
    bin_ = programs()
    assert bin_ is not None
    command = [str(bin_ / program), *argv]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    # Into a file: the server inherits what it is given, and a pipe would not end before it does.
    with tempfile.TemporaryFile() as said:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, timeout=100, cwd="/"
        )
        said.seek(0)
        assert ran.returncode == 0, said.read().decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def new_server() -> Iterator[Server]:
    """Makes and starts a server for a while."""
    require_postgres()
    folder = Path(tempfile.mkdtemp(prefix="hpcgate-pg-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        _as_postgres(
            "initdb", "-D", str(folder / "data"), "-U", "postgres", "--no-sync", "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--locale=C.UTF-8",
        )  # fmt: skip
        server = Server(folder, _free_port())
        settings = {
            **_SETTINGS, "port": str(server.port), "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
        }  # fmt: skip
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        server.start()
        try:
            yield server
        finally:
            _end(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(server: Server) -> None:
    pid_file = server.folder / "data" / "postmaster.pid"
    if pid_file.exists():
        with contextlib.suppress(AssertionError):
            server.stop("immediate")
    if pid_file.exists():
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
