"""An event stream over real connections that are killed again and again: each event once, and in order."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from server.apitools import SCRIPT, Api, token_for

KILLS = 100
BATCHES = 34
JOBS = 10
EVENTS_PER_JOB = 3


def frames(connection: socket.socket) -> Iterator[dict]:
    """The complete messages of a stream, as they come."""
    text = b""
    while data := connection.recv(4096):
        text += data
        *blocks, text = text.split(b"\n\n")
        for block in blocks:
            for line in block.splitlines():
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))


@pytest.mark.parametrize("what", ["everything", "one job"])
def test_a_stream_that_is_killed_a_hundred_times_has_each_event_once_and_in_order(
    make_gateway, serve, listen, database_url, what
):
    gateway = make_gateway(gateway={"database": database_url})
    front = serve(gateway)
    token = token_for(gateway, "ann")
    ann = Api(front, token)
    port = listen(front)
    rounds = KILLS if what == "everything" else KILLS // 10
    followed = ann.submit()["id"] if what == "one job" else None
    wanted = threading.Semaphore(0)

    def write() -> None:
        for _ in range(BATCHES * rounds // KILLS):
            wanted.acquire()
            if followed is None:
                assert ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * JOBS}).status_code == 200
            else:
                _events_of(gateway, followed, JOBS * EVENTS_PER_JOB)

    def read(seen: int, count: int) -> list[int]:
        """So many events behind ``seen``; then the connection is reset, whatever is on its way."""
        connection = socket.create_connection(("127.0.0.1", port), 20)
        with closing(connection):
            job = "" if followed is None else f"?job={followed}"
            connection.sendall(
                f"GET /api/v1/events{job} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                f"Last-Event-ID: {seen}\r\n\r\n".encode()
            )
            stream = frames(connection)
            found = [next(stream)["seq"] for _ in range(count)]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return found

    begin = gateway.events.last()
    found: list[int] = []
    writer = threading.Thread(target=write)
    writer.start()
    for kill in range(rounds):
        if kill % 3 == 0:
            wanted.release()
        found += read(found[-1] if found else begin, 1 + kill % 11)
    writer.join()
    every = list(range(begin + 1, gateway.events.last() + 1))
    found += read(found[-1], len(every) - len(found))
    assert found == every
    assert len(every) == BATCHES * rounds // KILLS * JOBS * EVENTS_PER_JOB


def _events_of(gateway, job: int, count: int) -> None:
    """Events that say nothing, in several transactions."""
    from hpcgate.store.session import EventDraft

    for _ in range(count // 3):
        with gateway.store.transaction():
            for _ in range(3):
                gateway.store._session.emit(EventDraft("job.requested", job, "ann"))
