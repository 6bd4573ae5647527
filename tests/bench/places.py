"""Temporary homes of gateways, and the processes that are started in them."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcgate.config import load_config
from hpcgate.gateway import Gateway, open_gateway
from tests.bench.timing import until

_LOCAL = """
[server]
max_streams = 600
[sites.local]
scheduler = "local"
identity = {{shared_account = true}}
[sites.local.settings]
cpus = {cpus}
linger_s = 0.5
kill_grace_s = 0.5
"""


class Home:
    """An ``HPCGATE_HOME`` with a site ``local``; a context manager that leaves neither process nor file behind.

    Args:
        cpus: cores of the site.
        database: URL of a database that stands elsewhere.
        tables: further tables of its configuration.
    """

    def __init__(self, *, cpus: int = 2, database: str | None = None, tables: str = "") -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hpcgate-bench-"))
        elsewhere = "" if database is None else f'[gateway]\ndatabase = "{database}"\n'
        (self.path / "hpcgate.toml").write_text(_LOCAL.format(cpus=cpus) + elsewhere + tables, encoding="utf-8")
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def environ(self) -> dict[str, str]:
        """For processes that work in it."""
        rest = {name: value for name, value in os.environ.items() if not name.startswith("HPCGATE_")}
        return {**rest, "HPCGATE_HOME": str(self.path), "PYTHONWARNINGS": "default"}

    def gateway(self) -> Gateway:
        """Opens its gateway in this process."""
        return open_gateway(load_config(self.path / "hpcgate.toml", self.environ))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts ``hpcgate ARGUMENTS``; what it says goes to a file."""
        with (self.path / "said").open("ab") as said:
            child = subprocess.Popen(
                [sys.executable, "-m", "hpcgate", *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def worker(self) -> subprocess.Popen[bytes]:
        """Starts a worker, and waits until it is at work."""
        before = self.said().count("worker for")
        child = self.start("worker")
        until(lambda: self.said().count("worker for") > before, 20)
        return child

    def serve(self, *arguments: str) -> Server:
        """Starts a server on a free port, and waits until it answers."""
        child = self.start("serve", "--port", "0", *arguments)
        found = until(lambda: re.search(r"serving http://127\.0\.0\.1:(\d+)", self.said()), 20)
        server = Server(child, int(found[1]), (self.path / "admin.token").read_text().strip())
        until(server.answers, 20)
        return server

    def said(self) -> str:
        """What its processes have said."""
        said = self.path / "said"
        return said.read_text(errors="replace") if said.exists() else ""

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Ends a process that was started here, with its children."""
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def own_processes(self) -> list[int]:
        """Whatever runs with this folder in its command line: spoolers, supervisors, workers."""
        place = str(self.path).encode()
        return [pid for pid in pids() if pid != os.getpid() and place in _command_line(pid)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.said():
            print(self.said()[-4000:], file=sys.stderr)
        for child in self._children:
            self.stop(child)
        deadline = time.monotonic() + 10
        while left := self.own_processes():
            number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            for pid in left:
                _send(pid, number)
            time.sleep(0.1)
        shutil.rmtree(self.path)


class Server:
    """A running ``hpcgate serve``, and one connection to it that is kept."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, token: str, *, prefix: str = "/api/v1") -> None:
        self.process = process
        self.port = port
        self.token = token
        self._prefix = prefix
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; its answer as data.

        Raises:
            RuntimeError: the answer is an error.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(method, self._prefix + path, data, headers)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            self._connection.close()  # kept for too long
            self._connection.request(method, self._prefix + path, data, headers)
            answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return bool(self.call("GET", "/me"))
        except OSError:
            return False

    def close(self) -> None:
        """Closes the connection; the server goes on."""
        self._connection.close()


@contextmanager
def serving(home: Home, *arguments: str) -> Iterator[Server]:
    """A server for a while."""
    server = home.serve(*arguments)
    try:
        yield server
    finally:
        server.close()
        home.stop(server.process)


# --- looking at processes ---------------------------------------------------------------------------------------------


def pids() -> list[int]:
    """All processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for each in pids():
        try:
            status = Path(f"/proc/{each}/stat").read_text()
        except OSError:
            continue
        parents.setdefault(int(status.rpartition(")")[2].split()[1]), []).append(each)
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def pss_mb(members: Sequence[int]) -> float:
    """Memory of processes, shared pages divided among those that share them; MB."""
    return sum(_kib(pid, "smaps_rollup", "Pss") for pid in members) * 1024 / 1e6


def rss_mb(pid: int) -> float:
    """Resident memory of one process; MB."""
    return _kib(pid, "status", "VmRSS") * 1024 / 1e6


def _kib(pid: int, file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def cpu_s(members: Sequence[int]) -> float:
    """CPU seconds that processes have taken so far."""
    ticks = 0
    for pid in members:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself
