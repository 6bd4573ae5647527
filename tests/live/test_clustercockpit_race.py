"""Equal reports by ClusterCockpit's API at the same time, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support import ROOT
from werkzeug.test import Client, TestResponse

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Role
from hpcgate.server import create_app

AT_ONCE = 50
T0 = 1_700_000_000


@pytest.fixture
def report(database_url, tmp_path):
    """Sends a report to the dialect."""
    tables = {
        "gateway": {"database": database_url},
        "clusters": {"c1": {"subclusters": {"main": ""}}},
        "dialects": {"clustercockpit": {}},
    }
    with open_gateway(config_from(tables, home=tmp_path / "home")) as gateway:
        gateway.identities.add_user(ROOT, "sync", roles=[Role.API])
        headers = {"X-Auth-Token": gateway.identities.create_token(ROOT, "sync")[0]}
        front = create_app(gateway)

        def send(path: str, body: dict[str, Any]) -> TestResponse:
            environ = {"REMOTE_ADDR": "127.0.0.1"}
            path = f"/clustercockpit/api/jobs/{path}/"
            return Client(front).post(path, json=body, headers=headers, environ_overrides=environ, buffered=True)

        yield send
        front.stop()


def one_is_taken(report, number):
    """Many start the same job, and then stop it."""
    job = {"jobId": number, "user": "ada", "cluster": "c1", "numNodes": 1, "resources": [{"hostname": "n1"}]}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        starts = list(pool.map(lambda _: report("start_job", {**job, "startTime": T0}), range(AT_ONCE)))
        assert sorted(answer.status_code for answer in starts) == [201] + [422] * (AT_ONCE - 1)
        (taken,) = (answer.json["id"] for answer in starts if answer.status_code == 201)
        refused = [answer.json["error"] for answer in starts if answer.status_code == 422]
        assert all(text.endswith(f"already exists: dbid: {taken}") for text in refused)
        stops = list(pool.map(lambda _: report("stop_job", {"jobId": number, "stopTime": T0 + 1}), range(AT_ONCE)))
    assert sorted(answer.status_code for answer in stops) == [200] + [422] * (AT_ONCE - 1)


def test_of_equal_reports_one_is_taken(report):
    one_is_taken(report, 1)


@pytest.mark.full
def test_of_equal_reports_one_is_taken_however_often(report):
    for number in range(20):
        one_is_taken(report, number)
