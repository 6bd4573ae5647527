from __future__ import annotations

from collections.abc import Iterator

import pytest
from client.scripted import Scripted, scripted

from hpcgate.client import Client


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture
def pauses() -> list[float]:
    """How long the client wanted to wait; it does not."""
    return []


@pytest.fixture
def client(server: Scripted, pauses: list[float]) -> Iterator[Client]:
    with Client(server.url, "secret-token", timeout_s=5) as client:
        client.http._pause = pauses.append
        yield client
