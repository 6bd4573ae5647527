"""The server on a real gateway and database, with a batch system that does what the test says."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server.apitools import Api, token_for
from werkzeug.serving import WSGIRequestHandler, make_server

from hpcgate.config import Config, config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.principal import Role
from hpcgate.server import create_app
from hpcgate.server.front import Front
from hpcgate.testing.fakes import FakeScheduler


@pytest.fixture(autouse=True)
def _few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at all that are installed takes a good part of the time in which a gateway opens."""
    monkeypatch.setenv("HPCGATE_LOAD_PLUGINS", "local")


@pytest.fixture
def fake() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a migrated database, three users and their tokens; each test gets a copy."""
    home = tmp_path_factory.mktemp("seed") / "home"
    with open_gateway(_config(home, {}), plugins=[("fake", FakeScheduler())]) as gateway:
        for name, roles in (("ann", (Role.USER,)), ("bob", (Role.USER,)), ("root", (Role.ADMIN, Role.USER))):
            (home / f"{name}.token").write_text(token_for(gateway, name, *roles))
    return home


def _config(home: Path, tables: dict[str, Any]) -> Config:
    fake = {
        "scheduler": "fake",
        "work_root": str(home.parent / "work"),
        "aliases": ["fake.example.org"],
        "identity": {"shared_account": True},
        "poll": {"min_s": 0.01, "max_s": 0.05, "spool_s": 0.01},
    }
    return config_from({"sites": {"fake": fake}, **tables}, home=home)


@pytest.fixture
def make_gateway(tmp_path: Path, fake: FakeScheduler, seed: Path) -> Iterator[Callable[..., Gateway]]:
    opened: list[Gateway] = []
    home = tmp_path / "home"
    shutil.copytree(seed, home)

    def make(plugins: Any = (), **tables: Any) -> Gateway:
        gateway = open_gateway(_config(home, tables), plugins=[("fake", fake), *plugins])
        opened.append(gateway)
        return gateway

    yield make
    for gateway in opened:
        gateway.close()


@pytest.fixture
def login(tmp_path: Path) -> Callable[..., Api]:
    """The API of a server as one of the users."""

    def make(front: Front, name: str, **environ: Any) -> Api:
        return Api(front, (tmp_path / "home" / f"{name}.token").read_text(), **environ)

    return make


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway()


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Callable[[Gateway], Front]:
    """Builds servers and stops them at the end."""

    def build(gateway: Gateway) -> Front:
        front = create_app(gateway)
        request.addfinalizer(front.stop)
        return front

    return build


@pytest.fixture
def listen(request: pytest.FixtureRequest) -> Callable[[Front], int]:
    """Has a server answer on a port of this machine."""

    def start(front: Front) -> int:
        server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop() -> None:
            front.stop()
            server.shutdown()
            thread.join()
            server.server_close()

        request.addfinalizer(stop)
        return server.server_port

    return start


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@pytest.fixture
def front(gateway: Gateway, serve: Callable[[Gateway], Front]) -> Front:
    return serve(gateway)


@pytest.fixture
def ann(front: Front, login: Callable[..., Api]) -> Api:
    return login(front, "ann")


@pytest.fixture
def bob(front: Front, login: Callable[..., Api]) -> Api:
    return login(front, "bob")


@pytest.fixture
def root(front: Front, login: Callable[..., Api]) -> Api:
    return login(front, "root")


@pytest.fixture
def anybody(front: Front) -> Api:
    return Api(front, None)


@pytest.fixture
def work(gateway: Gateway) -> Callable[[], None]:
    """One round of the worker."""
    worker = gateway.worker()

    def step() -> None:
        worker.step()

    return step


# --- one server for all tests that are refused, and so change nothing


@pytest.fixture(scope="session")
def shared_gateway(seed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(seed, home)
    with open_gateway(_config(home, {}), plugins=[("fake", FakeScheduler())]) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def shared_front(shared_gateway: Gateway) -> Iterator[Front]:
    front = create_app(shared_gateway)
    yield front
    front.stop()


@pytest.fixture
def refused(shared_front: Front, seed: Path) -> Api:
    """A user of the shared server."""
    return Api(shared_front, (seed / "ann.token").read_text())


@pytest.fixture
def refused_admin(shared_front: Front, seed: Path) -> Api:
    return Api(shared_front, (seed / "root.token").read_text())


@pytest.fixture
def stranger(shared_front: Front) -> Api:
    return Api(shared_front, None)
