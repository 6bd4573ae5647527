"""More requests than connections to the database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from server.apitools import Api, token_for

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Role
from hpcgate.server import create_app
from hpcgate.store import pool
from hpcgate.testing.fakes import FakeScheduler

pytestmark = [pytest.mark.live, pytest.mark.parametrize("database_url", ["postgres"], indirect=True)]


def test_a_request_that_gets_no_connection_is_told_to_come_again(
    database_url: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(pool, "WAIT_S", 0.1)
    tables = {
        "gateway": {"database": database_url, "database_pool": 1},
        "sites": {"fake": {"scheduler": "fake", "identity": {"shared_account": True}}},
    }
    config = config_from(tables, home=tmp_path)
    with open_gateway(config, plugins=[("fake", FakeScheduler())]) as gateway:
        api = Api(create_app(gateway), token_for(gateway, "ann", Role.USER))
        held, done = threading.Event(), threading.Event()

        def hold():
            with gateway.store.transaction():
                held.set()
                done.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(30)
        try:
            answer = api.get("jobs")
        finally:
            done.set()
            thread.join()
        assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "database_pool" in answer.json["detail"]
        assert api.get("jobs").status_code == 200
