"""A home for gateways that run as processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from support import eventually

CONFIG = """
[sites.local]
scheduler = "local"
identity = {shared_account = true}
[sites.local.settings]
cpus = 8
"""


class Processes:
    """The processes of one gateway home, found by what stands in /proc."""

    def __init__(self, home: Path) -> None:
        self._home = str(home).encode()

    def of(self, kind: str) -> list[int]:
        """Process ids whose kind is ``serve`` (arbiter and web), ``worker`` or ``spooler`` (and supervisors)."""
        return [pid for pid in self._ours() if self._kind(pid) == kind]

    def _ours(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    # The gateway has its home in the environment, the spooler in its arguments.
                    if self._home in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                        yield int(entry.name)

    @staticmethod
    def _kind(pid: int) -> str:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return ""
        if any(word.endswith(b"spooler.py") for word in words):
            return "spooler"
        return next((kind for kind in ("worker", "serve") if kind.encode() in words), "")

    def kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Server:
    """``hpcgate serve``, started again whenever it is gone."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._home = home
        self._environment = {**os.environ, "HPCGATE_HOME": str(home), "HPCGATE_CONFIG": str(home / "hpcgate.toml")}
        self._log = (home / f"serve-{self.port}.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hpcgate", "serve", "--port", str(self.port)],
                env=self._environment,
                stdout=self._log,
                stderr=self._log,
            )

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/live", timeout=2).status_code == 200
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()

    def token(self) -> str:
        """The admin's token, once the first start has made it."""
        file = self._home / "admin.token"
        eventually(lambda: file.exists() and file.read_text().endswith("\n"), 30)
        return file.read_text().strip()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "hpcgate.toml").write_text(CONFIG)
    return home


@pytest.fixture
def processes(home: Path) -> Iterator[Processes]:
    processes = Processes(home)
    yield processes
    for kind in ("serve", "worker", "spooler"):
        for pid in processes.of(kind):
            processes.kill(pid)


@pytest.fixture
def make_server(home: Path, processes: Processes) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def make() -> Server:
        servers.append(Server(home))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
