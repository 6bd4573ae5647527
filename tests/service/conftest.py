"""A real gateway on a real database, with a scheduler that does what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcgate.config import config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.testing.fakes import FakeScheduler


@pytest.fixture(autouse=True)
def _few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at all that are installed takes a good part of the time in which a gateway opens."""
    monkeypatch.setenv("HPCGATE_LOAD_PLUGINS", "local")


@pytest.fixture
def fake() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def make_gateway(
    request: pytest.FixtureRequest, tmp_path: Path, fake: FakeScheduler
) -> Iterator[Callable[..., Gateway]]:
    """Opens gateways on one database: call it twice for two processes' worth of them.

    A test that uses ``database_url`` runs on each kind of database.
    """
    opened: list[Gateway] = []
    several = "database_url" in request.fixturenames
    database = {"database": request.getfixturevalue("database_url")} if several else {}

    def make(**tables: Any) -> Gateway:
        data: dict[str, Any] = {
            "sites": {
                "fake": {
                    "scheduler": "fake",
                    "work_root": str(tmp_path / "work"),
                    "aliases": ["fake.example.org"],
                    "identity": {"shared_account": True},
                    "poll": {"min_s": 0.01, "max_s": 0.05, "spool_s": 0.01},
                }
            },
            **tables,
        }
        data["gateway"] = {**database, **data.get("gateway", {})}
        gateway = open_gateway(config_from(data, home=tmp_path / "home"), plugins=[("fake", fake)])
        opened.append(gateway)
        return gateway

    yield make
    for gateway in opened:
        gateway.close()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway()
