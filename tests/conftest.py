"""What several folders of tests share: an sshd on loopback, an ordinary user to be there, an engine for containers, a
PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live.podman_host import new_podman
from live.postgres import Server, new_server, require_postgres
from live.sshd import new_account, new_sshd, require_sshd


@pytest.fixture(scope="session")
def account():
    """An ordinary user whose shell start-up files print things."""
    require_sshd()
    with new_account() as account:
        yield account


@pytest.fixture(scope="session")
def sshd(account):
    """A server that lets the account in. A test that breaks it starts one of its own, by ``new_sshd``."""
    with new_sshd() as server:
        yield server


@pytest.fixture(scope="session")
def podman():
    """An engine of this session's own."""
    with new_podman() as host:
        yield host


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server. A test that stops it starts it again."""
    require_postgres()
    with new_server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind, new for each test."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'hpcgate.db'}"
        return
    server = request.getfixturevalue("postgres")
    with server.lent() as name:
        yield server.url(name)
