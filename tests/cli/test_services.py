"""``hpcgate serve`` and ``hpcgate worker``: started, used, and stopped."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.clitools import Cli, spawned
from support import eventually

from hpcgate.cli.serve import serve
from hpcgate.client import Client


@pytest.fixture
def own_home(tmp_path: Path, clean_environ: dict[str, str]) -> Iterator[dict[str, str]]:
    from cli.clitools import CONFIG, runs_in

    (tmp_path / "hpcgate.toml").write_text(CONFIG)
    yield {**os.environ, "HPCGATE_HOME": str(tmp_path)}
    eventually(lambda: not runs_in(tmp_path))


def test_serve_makes_an_admin_runs_jobs_and_stops(own_home: dict[str, str]) -> None:
    home = Path(own_home["HPCGATE_HOME"])
    with spawned(own_home, "serve", "--port", "0") as process:
        said = b""
        while not (found := re.search(rb"serving (http://\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        assert (home / "admin.token").stat().st_mode & 0o777 == 0o600
        with Client(found[1].decode(), (home / "admin.token").read_text().strip()) as client:
            job = client.submit({"command": "sh", "args": ["-c", "echo out; exit 3"]})
            (job,) = client.wait([job["id"]], timeout=30)
            assert (job["state"], job["exit_code"]) == ("FAILED", 3)
            assert client.logs(job["id"]).data == b"out\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
    assert process.returncode == 0


def test_worker_looks_after_jobs_until_it_is_told_to_stop(own_home: dict[str, str], embedded: Cli) -> None:
    embedded.environ["HPCGATE_HOME"] = own_home["HPCGATE_HOME"]
    with spawned(own_home, "worker") as process:
        assert b"worker for local started" in process.stderr.readline()
        job_id = embedded.submit("--", "true")
        assert embedded.ok("wait", "--timeout", "30", job_id).code == 0
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (0, b"hpcgate: worker stopped\n")


def test_serve_without_its_extra_says_what_to_install(embedded: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve.name == "serve"
    for name in [name for name in sys.modules if name == "hpcgate.server.serve" or name.startswith("gunicorn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    monkeypatch.setitem(sys.modules, "gunicorn.app", None)
    monkeypatch.setitem(sys.modules, "gunicorn.app.base", None)
    result = embedded("serve")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "pip install 'hpcgate[server]'" in result.err


def test_serve_refuses_a_port_that_is_taken(embedded: Cli, server: dict[str, str]) -> None:
    port = server["HPCGATE_URL"].rpartition(":")[2]
    result = embedded("serve", "--port", port)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert port in result.err


def test_plugin_new_makes_a_distribution(embedded: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert embedded.ok("plugin", "new", "lsf").out == "hpcgate-lsf\n"
    assert (tmp_path / "hpcgate-lsf" / "pyproject.toml").exists()
    again = embedded("plugin", "new", "lsf")
    assert (again.code != 0, again.err.count("\n")) == (True, 1)
