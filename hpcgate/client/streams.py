"""Calls that follow something: events as they happen, output as it is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from hpcgate.client.follow import OutputFollower
from hpcgate.client.problem import may_pass
from hpcgate.client.sse import messages
from hpcgate.errors import HpcgateError, InvalidSpec
from hpcgate.model.files import FileChunk

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]
Stream = Literal["stdout", "stderr"]
#: Longest single wait in one request; the server allows a little less than proxies do, 60 s.
LONG_POLL_S: Final = 25.0
#: The server sends a comment every 15 s; a much longer silence is a dead connection.
SILENCE_S: Final = 60.0
RESUME_PAUSE_S: Final = 1.0
MAX_RESUMES: Final = 10
CHUNK_BYTES: Final = 1 << 20


class StreamCalls:
    """The event, output and file routes of ``Client``."""

    http: Http

    # --- events

    def events(
        self, after: int | None = None, *, job_id: int | None = None, pause: Callable[[float], None] = time.sleep
    ) -> Iterator[Wire]:
        """Events as they happen, for ever. A broken connection is resumed; no event is left out or comes twice.

        Args:
            after: number of the last event that is known; by default only what happens from now on.
            job_id: only events of this job.
            pause: sleeps between two connections.

        Raises:
            SiteError: the server could not be reached ten times in a row.
        """
        seen = self.last_event() if after is None else after
        failures = 0
        while True:
            try:
                for event in self._stream(seen, job_id):
                    seen, failures = event["seq"], 0
                    yield event
            except HpcgateError as error:
                failures += 1
                if failures >= MAX_RESUMES or not may_pass(error):
                    raise
            pause(RESUME_PAUSE_S * min(2**failures, 30) if failures else 0.0)

    def _stream(self, after: int, job_id: int | None) -> Iterator[Wire]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self.http.stream("/events", params={"job": job_id}, headers=headers, silence_s=SILENCE_S) as response:
            for message in messages(response.iter_lines()):
                yield json.loads(message.data)

    def poll_events(
        self, after: int, *, wait_s: float = 0.0, job_id: int | None = None, limit: int | None = None
    ) -> list[Wire]:
        """Events after a number, oldest first; waits up to ``wait_s`` seconds for the first one."""
        params = {"after": after, "wait": wait_s, "job": job_id, "limit": limit}
        answer = self.http.json("GET", "/events", params=params, timeout_s=self.http.timeout_s + wait_s)
        items: list[Wire] = answer["items"]
        return items

    def last_event(self) -> int:
        """The number of the newest event."""
        return int(self.http.json("GET", "/events", params={"wait": 0})["next"])

    # --- output

    def logs(self, job_id: int, stream: Stream = "stdout", offset: int = 0, *, task: int | None = None) -> FileChunk:
        """A part of what a job has written, from ``offset`` on; empty when there is no more yet.

        Args:
            job_id: the job.
            stream: ``stdout`` or ``stderr``.
            offset: first byte; negative counts from the end.
            task: index of an array.
        """
        params = {"offset": offset, "task": task}
        headers = {"Accept": "*/*"}
        response = self.http.send("GET", f"/jobs/{job_id}/{stream}", params=params, headers=headers)
        begin, size = (int(response.headers[name]) for name in ("X-Offset", "X-Size"))
        return FileChunk(data=response.content, offset=begin, size=size)

    def follow(
        self, job_id: int, streams: tuple[Stream, ...] = ("stdout", "stderr"), *, task: int | None = None
    ) -> Iterator[tuple[Stream, bytes]]:
        """What a job writes while it writes it, byte for byte, until it has ended."""
        follower = OutputFollower(self.http, job_id, streams, task)
        try:
            yield from follower.parts()
        finally:
            follower.close()

    # --- files

    def files(self, job_id: int, path: str = "") -> list[Wire]:
        """The files in a job's work folder, or in a folder below it."""
        items: list[Wire] = self.http.json("GET", _file(job_id, path))["items"]
        return items

    def read_file(self, job_id: int, path: str) -> Iterator[bytes]:
        """A file of a job, in parts."""
        with self.http.stream(_file(job_id, path), headers={"Accept": "*/*"}) as response:
            yield from response.iter_bytes(CHUNK_BYTES)

    def put_file(self, job_id: int, path: str, data: bytes, *, executable: bool = False) -> Wire:
        """Puts a file into a job's work folder, with the folders above it; one that is there is replaced."""
        params = {"executable": "true"} if executable else {}
        made: Wire = self.http.json("PUT", _file(job_id, path), params=params, content=data)
        return made

    def remove_file(self, job_id: int, path: str) -> None:
        """Removes a file of a job, or a folder with all that is in it."""
        if not path:
            raise InvalidSpec.of("path", "names no file")
        self.http.json("DELETE", _file(job_id, path))

    def archive(self, job_id: int, path: str = "") -> Iterator[bytes]:
        """A job's work folder, or a folder below it, as a ZIP archive, in parts."""
        params = {"archive": "zip"}
        with self.http.stream(_file(job_id, path), params=params, headers={"Accept": "*/*"}) as response:
            yield from response.iter_bytes(CHUNK_BYTES)


def _file(job_id: int, path: str) -> str:
    from urllib.parse import quote

    if path.startswith("/") or ".." in path.split("/"):
        # On its way such a path would become another one, of another resource.
        raise InvalidSpec.of("path", f"{path!r} must be a relative path without '..'")
    return f"/jobs/{job_id}/files/{quote(path)}" if path else f"/jobs/{job_id}/files"
