"""The process that serves: start, first admin, supervision of the worker, and an end that waits for nobody."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography import x509
from support import eventually

from hpcgate.config import config_from
from hpcgate.errors import ConfigError
from hpcgate.gateway import open_gateway
from hpcgate.server.companion import FIRST_PAUSE_S, STEADY_S, Companion
from hpcgate.server.serve import serve

pytestmark = pytest.mark.live


class Served:
    """A running ``hpcgate serve``."""

    def __init__(self, home: Path, *arguments: str, config: Path | None = None, verify: Any = True) -> None:
        chosen = () if config is None else ("--config", str(config))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HPCGATE_")}
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hpcgate", *chosen, "serve", "--port", "0", *arguments],
            env={**environ, "HPCGATE_HOME": str(home), "HOME": str(home.parent)},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url = eventually(lambda: self._find(r"serving (https?://\S+)"))
        token = (home / "admin.token").read_text().strip()
        credential = {"Authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=self.url, headers=credential, timeout=20, verify=verify)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)

    def _find(self, pattern: str) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError("".join(self.lines))
        return next((found.group(1) for line in list(self.lines) if (found := re.search(pattern, line))), None)

    def log(self) -> str:
        return "".join(self.lines)

    def children(self) -> dict[str, int]:
        """Command line -> process id."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found[(folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()] = int(folder.name)
        return found

    def worker(self) -> int | None:
        return next((pid for command, pid in self.children().items() if command.endswith("hpcgate worker")), None)

    def end(self, signum: int = signal.SIGTERM) -> float:
        began = time.monotonic()
        self.process.send_signal(signum)
        assert self.process.wait(20) == 0, self.log()
        return time.monotonic() - began

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path, log_watch):
    with contextlib.ExitStack() as stack:

        def run(*arguments: str, **options: Any) -> Served:
            served = Served(tmp_path / "home", *arguments, **options)
            log_watch.learn("a token", (served.home / "admin.token").read_text().strip())
            stack.callback(lambda: log_watch.look(served.log(), "hpcgate serve"))
            stack.callback(served.close)
            return served

        yield run


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_job_from_end_to_end_and_a_quick_end_with_open_streams(start):
    served = start()
    assert f"its token is in {served.home}/admin.token" in served.log()
    assert (served.home / "admin.token").stat().st_mode & 0o777 == 0o600
    assert served.client.get("/health/ready").json()["status"] == "ok"

    script = "#!/bin/sh\necho one; sleep 0.3; echo two; echo err >&2; exit 7\n"
    answer = served.client.post("/api/v1/jobs", json={"script": script})
    assert answer.status_code == 201
    job = answer.json()["id"]
    with served.client.stream("GET", f"/api/v1/jobs/{job}/stdout?follow=1") as stream:
        text = "".join(stream.iter_text())
    assert text.index("one") < text.index("two") < text.index("event: end")
    done = served.client.get(f"/api/v1/jobs/{job}").json()
    assert (done["state"], done["reason"], done["exit_code"]) == ("FAILED", "EXIT_NONZERO", 7)
    assert served.client.get(f"/api/v1/jobs/{job}/stderr").text == "err\n"

    lasting = served.client.post("/api/v1/jobs", json={"script": "#!/bin/sh\nsleep 1000\n"}).json()["id"]
    worker = served.worker()
    with contextlib.ExitStack() as stack:
        for path in ("/api/v1/events", f"/api/v1/jobs/{lasting}/stdout?follow=1", "/api/v1/events") * 3:
            stack.enter_context(served.client.stream("GET", path))
        poll = threading.Thread(target=lambda: served.client.get("/api/v1/events?wait=50"))
        poll.start()
        served.client.post(f"/api/v1/jobs/{lasting}/cancel")
        assert served.end() < 3
        poll.join()
    assert not alive(worker)
    assert "Traceback" not in served.log()
    assert not list(served.home.parent.glob(".gunicorn*"))


_HEAD = b"POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
NO_HTTP = [
    (b"nonsense\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad_request"),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer s3cr3t\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 100 + b"\r\n", 431, "headers_too_large"),
    (_HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
    (_HEAD + b"Transfer-Encoding: odd\r\n\r\n", 501, "not_supported"),
    (_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400, "malformed_body"),
    (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx", 400, "malformed_body"),
]


def test_streams_have_places_of_their_own(start, tmp_path):
    """However many tabs are open, the API answers; the next one is asked to come back."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "hpcgate.toml").write_text("[server]\nthreads = 1\nmax_streams = 3\n")
    served = start()
    job = served.client.post("/api/v1/jobs", json={"script": "#!/bin/sh\nsleep 1000\n"}).json()["id"]
    kinds = ("/api/v1/events", f"/api/v1/jobs/{job}/stdout?follow=1", "/api/v1/events?wait=50")
    with contextlib.ExitStack() as stack:
        for path in kinds[:2]:
            stack.enter_context(served.client.stream("GET", path))
        poll = threading.Thread(target=lambda: served.client.get(kinds[2], timeout=60))
        poll.start()
        eventually(lambda: "hpcgate_open_streams 3.0" in served.client.get("/metrics").text)
        for path in kinds:
            refused = served.client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
            assert int(refused.headers["Retry-After"]) > 0
        assert served.client.get(f"/api/v1/jobs/{job}").status_code == 200
        served.client.post(f"/api/v1/jobs/{job}/cancel")
        poll.join()
        eventually(lambda: served.client.get("/api/v1/events?wait=0.01").status_code == 200)


def test_what_is_no_http_is_a_problem_too(start):
    served = start("--no-worker")
    for sent, status, code in NO_HTTP:
        with socket.create_connection(("127.0.0.1", served.client.base_url.port), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode()), (sent[:200], head, body)
        assert b"Content-Type: application/problem+json" in head
        told = json.loads(body)
        assert (told["status"], told["code"]) == (status, code), sent[:200]
    assert "Traceback" not in served.log()
    assert "s3cr3t" not in served.log()


def test_a_header_may_hold_a_proxy_certificate(start):
    served = start("--no-worker")
    answer = served.client.get("/api/v1/me", headers={"PROXY": "x" * 20_000})
    assert answer.status_code == 200


SETTINGS = """
[server]
threads = 4
max_streams = 1
request_timeout_s = 1.0
"""


def test_clients_that_take_their_time_hold_nobody_up(start, tmp_path):
    (tmp_path / "slow.toml").write_text(SETTINGS)
    served = start("--no-worker", config=tmp_path / "slow.toml")
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    body = _HEAD + b"Content-Length: 1000\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        drips = []
        for begin in (head, body) * 5:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.client.base_url.port), 10))
            connection.sendall(begin)
            drips.append(connection)
        ended = set()

        def all_ended() -> bool:
            for drip in set(drips) - ended:
                try:
                    drip.sendall(b"X")  # never silent: a time-out between two bytes would not see them
                    drip.setblocking(False)
                    drip.recv(10_000)
                    ended.add(drip)
                except BlockingIOError:
                    drip.setblocking(True)
                except OSError:
                    ended.add(drip)
            time.sleep(0.05)
            return len(ended) == len(drips)

        eventually(all_ended)
        assert served.client.get("/health/live").status_code == 200
    assert "took too long to come in and were cut" in served.log()
    assert "Traceback" not in served.log()


def certificate(folder: Path, authority: trustme.CA, name: str) -> int:
    """Writes a certificate for this machine and its key; its serial number."""
    made = authority.issue_cert("127.0.0.1", common_name=name)
    # The key first: half of a renewal must not be believed.
    made.private_key_pem.write_to_path(folder / "key.pem")
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(folder / "cert.pem", append=number > 0)
    return x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).serial_number


def shown_by(served: Served, context: ssl.SSLContext) -> int:
    with (
        socket.create_connection(("127.0.0.1", served.client.base_url.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True)).serial_number


TLS = """
[server]
tls_cert = "{0}/cert.pem"
tls_key = "{0}/key.pem"
tls_min_version = "1.3"
insecure_http = false
"""


def test_it_speaks_https_and_a_certificate_is_renewed_while_it_runs(start, tmp_path):
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    first = certificate(tmp_path, authority, "first")
    (tmp_path / "tls.toml").write_text(TLS.format(tmp_path))
    served = start("--no-worker", config=tmp_path / "tls.toml", verify=context)
    assert served.url.startswith("https://127.0.0.1:")
    answer = served.client.get("/api/v1/me")
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert shown_by(served, context) == first

    old = ssl.create_default_context()
    authority.configure_trust(old)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, OSError)):
        shown_by(served, old)
    with socket.create_connection(("127.0.0.1", served.client.base_url.port), 10) as plain:
        plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" not in plain.recv(1000)

    (tmp_path / "cert.pem").write_text("half of it")
    assert shown_by(served, context) == first
    assert "the certificate stays as it was" in served.log()
    second = certificate(tmp_path, authority, "second")
    assert shown_by(served, context) == second != first
    served.process.send_signal(signal.SIGHUP)
    eventually(lambda: served.client.get("/health/live").status_code == 200)
    assert served.end() < 3
    assert "Traceback" not in served.log()


def test_ctrl_c_is_an_orderly_end_too(start):
    served = start("--no-worker")
    assert served.worker() is None
    with served.client.stream("GET", "/api/v1/events"):
        assert served.end(signal.SIGINT) < 3
    assert "Traceback" not in served.log()


def test_a_killed_worker_comes_back_and_dies_with_the_server(start):
    served = start()
    first = eventually(served.worker)
    eventually(lambda: "worker for local started" in served.log())
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: served.worker() not in (None, first) and served.worker())
    assert "the worker died with status -9" in served.log()
    eventually(lambda: served.log().count("worker for local started") == 2)
    assert served.client.get("/health/live").status_code == 200
    processes = [*served.children().values()]
    served.process.kill()
    served.process.wait()
    eventually(lambda: not any(map(alive, processes)))
    assert second in processes


def test_a_killed_web_process_is_replaced(start):
    served = start("--no-worker")
    (web,) = eventually(served.children).values()
    os.kill(web, signal.SIGKILL)
    eventually(lambda: served.children() and web not in served.children().values())
    assert served.client.get("/health/ready").json()["status"] == "ok"
    assert served.end() < 3


# --- what is refused before anything starts


def config(tmp_path, **tables):
    return config_from(tables, home=tmp_path / "home")


def test_an_address_that_others_reach_wants_tls(tmp_path):
    with pytest.raises(ConfigError, match="plain HTTP: put a proxy with TLS before it"):
        serve(config(tmp_path), "0.0.0.0", 0, open_gateway=open_gateway)
    assert not (tmp_path / "home").exists()


def test_a_certificate_that_is_none_ends_it_at_once(tmp_path):
    (tmp_path / "cert.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"no certificate \(PEM\) and its key"):
        serve(
            config(tmp_path, server={"tls_cert": str(tmp_path / "cert.pem")}), "0.0.0.0", 0, open_gateway=open_gateway
        )
    with pytest.raises(ConfigError, match=r"none\.pem cannot be read: No such file"):
        serve(
            config(tmp_path, server={"tls_cert": str(tmp_path / "none.pem")}), "127.0.0.1", 0, open_gateway=open_gateway
        )
    with pytest.raises(ConfigError, match="tls_key: is of no use without tls_cert"):
        config(tmp_path, server={"tls_key": "x"})


def test_an_address_that_is_taken_is_told_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            serve(config(tmp_path), "127.0.0.1", port, open_gateway=open_gateway)
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host\.invalid"):
        serve(config(tmp_path, server={"insecure_http": True}), "no.such.host.invalid", 0, open_gateway=open_gateway)
    assert not (tmp_path / "home").exists()


def test_a_wrong_configuration_ends_before_anything_listens(tmp_path):
    with pytest.raises(ConfigError, match="there is no such dialect"):
        serve(config(tmp_path, dialects={"klingon": {}}), "127.0.0.1", 0, open_gateway=open_gateway)


# --- the companion by itself


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def died(process: Companion) -> bool:
    process.reap()
    return process.pid is None


def test_a_companion_that_keeps_dying_is_started_less_and_less_often():
    clock = Clock()
    process = Companion([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ), clock)
    for pause in (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S):
        process.tend()
        assert process.pid is not None
        eventually(lambda: died(process))
        clock.now += pause - 0.01
        process.tend()
        assert process.pid is None
        clock.now += 0.02
    process.tend()
    assert process.pid is not None
    process.terminate()
    process.finish(5)


def test_a_companion_that_lived_long_is_started_again_soon():
    clock = Clock()
    process = Companion([sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ), clock)
    for _ in range(3):
        process.tend()
        os.kill(process.pid, signal.SIGKILL)
        clock.now += STEADY_S + 1
        eventually(lambda: died(process))
        clock.now += FIRST_PAUSE_S
    process.tend()
    assert process.pid is not None
    process.terminate()
    process.finish(5)


def test_a_companion_that_does_not_listen_is_killed():
    ready = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    process = Companion([sys.executable, "-c", ready], dict(os.environ))
    process.tend()
    pid = process.pid
    eventually(lambda: int(re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16) & (1 << 14))
    process.terminate()
    process.finish(0.1)
    assert not alive(pid)
    process.tend()
    assert process.pid is None
