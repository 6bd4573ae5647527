"""What several folders of tests share: an sshd on loopback, an ordinary user to be there, an engine for containers, a
PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator

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
