"""The command line on the local scheduler: in this process, and through a real server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.clitools import CONFIG, Cli, runs_in
from support import eventually
from werkzeug.serving import make_server

from hpcgate.config import load_config
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Role
from hpcgate.server import create_app


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    (home / "hpcgate.toml").write_text(CONFIG)
    yield home
    # The batch system leaves when it has nothing to do; a folder must not vanish under it.
    eventually(lambda: not runs_in(home))


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[dict[str, str]]:
    """A server on the same gateway, with a worker; yields the environment that leads to it."""
    config = load_config(home / "hpcgate.toml", {"HPCGATE_HOME": str(home)})
    stop = threading.Event()
    with open_gateway(config) as gateway:
        # The same name as the embedded user, so that both see the same jobs.
        principal = gateway.os_principal()
        gateway.identities.add_user(principal, principal.name, roles=[Role.ADMIN, Role.USER])
        token, _ = gateway.identities.create_token(principal, principal.name, ttl_s=3600)
        front = create_app(gateway)
        http = make_server("127.0.0.1", 0, front, threaded=True)
        serving = threading.Thread(target=http.serve_forever)
        working = threading.Thread(target=gateway.worker().run, args=(stop,))
        serving.start()
        working.start()
        yield {"HPCGATE_URL": f"http://127.0.0.1:{http.server_port}", "HPCGATE_TOKEN": token}
        stop.set()
        front.stop()
        http.shutdown()
        http.server_close()
        serving.join()
        working.join()


@pytest.fixture
def clean_environ(monkeypatch: pytest.MonkeyPatch, home: Path) -> dict[str, str]:
    """What leads commands to the gateway in this process."""
    for name in ("HPCGATE_URL", "HPCGATE_TOKEN", "HPCGATE_CONFIG", "HPCGATE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HPCGATE_HOME", str(home))
    monkeypatch.setenv("TZ", "UTC")
    return {"HPCGATE_HOME": str(home)}


@pytest.fixture
def embedded(
    clean_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Cli:
    """Commands on a gateway in this process."""
    return Cli(capfdbinary, monkeypatch, dict(clean_environ))


@pytest.fixture
def remote(embedded: Cli, server: dict[str, str]) -> Cli:
    """Commands on a server, whose gateway is that of ``embedded``."""
    return Cli(embedded.capture, embedded.patch, {**embedded.environ, **server})


@pytest.fixture(params=["embedded", "remote"])
def cli(request: pytest.FixtureRequest) -> Cli:
    """Commands, both ways."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a script that runs the lines given."""

    def write(lines: str) -> Path:
        path = tmp_path / "job.sh"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        return path

    return write
