"""How soon an end is told, and what open streams cost everybody else."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from statistics import median

from tests.bench.options import Options
from tests.bench.places import Home, Server, cpu_s, pss_mb, serving, tree
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import each_ms, p95, until

JOBS = 15
#: The last thing that a job does is to say when.
SAY_WHEN = "sleep 0.3; date +%s.%N"
STREAMS = (100, 500)
ROUNDS = 2
CALLS = 150


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    report.title("push")
    with Home() as home, serving(home) as server:
        _end_to_event(server, report)
        _streams(server, report)


# --- end of a job -> event --------------------------------------------------------------------------------------------


def _end_to_event(server: Server, report: Report) -> None:
    late = []
    with _listener(server) as arrived:
        for _ in range(JOBS):
            job = server.call("POST", "/jobs", {"command": "sh", "args": ["-c", SAY_WHEN]})
            while True:
                event, at = arrived.get(timeout=30)
                if event["job_id"] == job["id"] and event["data"].get("new") == "COMPLETED":
                    break
            late.append(at - float(_stdout(server, job["id"])))
    bare = Bare("wait() of the parent", median(_wait_s() for _ in range(JOBS)))
    report.add(
        Line(
            name=f"end of a local job to its SSE event, median of {JOBS}",
            value=median(late),
            unit="s",
            bare=(bare,),
            target="<= 0.3 s",
            ok=median(late) <= 0.3,
            note=f"slowest {max(late):.2f} s",
        )
    )


def _stdout(server: Server, job_id: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", f"/api/v1/jobs/{job_id}/stdout", headers={"Authorization": f"Bearer {server.token}"})
        return connection.getresponse().read()
    finally:
        connection.close()


def _wait_s() -> float:
    with subprocess.Popen(["sh", "-c", SAY_WHEN], stdout=subprocess.PIPE) as process:
        out, _ = process.communicate()
        return time.time() - float(out)


@contextmanager
def _listener(server: Server) -> Iterator[SimpleQueue[tuple[dict[str, object], float]]]:
    """Events of a stream, each with the time of its arrival."""
    arrived: SimpleQueue[tuple[dict[str, object], float]] = SimpleQueue()
    stream = _open_stream(server)

    def read() -> None:
        with stream.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"data:"):
                    arrived.put((json.loads(line[5:]), time.time()))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield arrived
    finally:
        stream.shutdown(socket.SHUT_RDWR)
        thread.join()
        stream.close()


def _open_stream(server: Server) -> socket.socket:
    """An event stream whose head has been read."""
    stream = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    request = (
        "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    )
    stream.sendall(request.encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += stream.recv(1)
    assert b" 200 " in head.split(b"\r\n")[0], head
    stream.settimeout(None)
    return stream


# --- open streams -----------------------------------------------------------------------------------------------------


def _streams(server: Server, report: Report) -> None:
    """With none, some and many streams in turns, so that all of them have the same neighbours on the machine."""
    took: dict[int, list[float]] = {count: [] for count in (0, *STREAMS)}
    notes: dict[int, str] = {}
    for _ in range(ROUNDS):
        streams: list[socket.socket] = []
        try:
            for count, calls in took.items():
                streams += [_open_stream(server) for _ in range(count - len(streams))]
                calls += each_ms(CALLS, lambda: server.call("GET", "/jobs"))
                notes[count] = _burden(server)
        finally:
            for stream in streams:
                stream.close()
        # The server finds out when it next writes to them.
        until(lambda: _open_streams(server) == 0, 60, every_s=0.1)
    for count in STREAMS:
        ratio = p95(took[count]) / p95(took[0])
        report.add(
            Line(
                name=f"GET /jobs beside {count} open streams, p95",
                value=p95(took[count]),
                unit="ms",
                bare=(Bare("with none", p95(took[0])),),
                target="<= x1.2",
                ok=ratio <= 1.2,
                note=f"medians {median(took[count]):.1f} and {median(took[0]):.1f} ms; with them {notes[count]}",
            )
        )


def _burden(server: Server) -> str:
    members = tree(server.process.pid)
    before, began = cpu_s(members), time.monotonic()
    time.sleep(1)
    busy = (cpu_s(members) - before) / (time.monotonic() - began)
    return f"{pss_mb(members):.0f} MB PSS, {100 * busy:.0f} % of a core"


def _open_streams(server: Server) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return int(float(next(line for line in text.splitlines() if line.startswith("hpcgate_open_streams ")).split()[1]))
