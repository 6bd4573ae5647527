"""Following both output streams of a job at the same time, over two event streams of the server."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from hpcgate.client.problem import error_from_wire, may_pass
from hpcgate.client.sse import Message, messages
from hpcgate.errors import HpcgateError

if TYPE_CHECKING:
    import httpx

    from hpcgate.client.http import Http

Stream = Literal["stdout", "stderr"]
#: The server sends a comment every 15 s; a much longer silence is a dead connection.
SILENCE_S: Final = 60.0
PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 15.0
MAX_FAILURES: Final = 10
#: What the server puts where bytes are no text. The text is no faithful copy then.
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class OutputFollower:
    """One thread per stream reads; ``parts`` hands out what they read, as it comes.

    Args:
        http: the connection.
        job_id: the job.
        streams: which streams.
        task: index of an array.
    """

    def __init__(self, http: Http, job_id: int, streams: Sequence[Stream], task: int | None) -> None:
        self._http = http
        self._job_id = job_id
        self._task = task
        self._parts: queue.SimpleQueue[tuple[Stream, bytes] | HpcgateError | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._open: dict[Stream, httpx.Response] = {}
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._follow, args=(stream,), name=f"follow-{stream}", daemon=True)
            for stream in streams
        ]
        for thread in self._threads:
            thread.start()

    def parts(self) -> Iterator[tuple[Stream, bytes]]:
        """Parts of the streams in the order of their coming, until all have ended.

        Raises:
            HpcgateError: one of them cannot be followed any more.
        """
        running = len(self._threads)
        while running:
            part = self._parts.get()
            if part is None:
                running -= 1
            elif isinstance(part, HpcgateError):
                raise part
            else:
                yield part

    def close(self) -> None:
        """Ends the threads, also those that wait for the server."""
        self._stop.set()
        with self._lock:
            for response in self._open.values():
                _hang_up(response)
        for thread in self._threads:
            thread.join()

    # --- in the threads

    def _follow(self, stream: Stream) -> None:
        try:
            self._until_end(stream)
        except HpcgateError as error:
            self._parts.put(error)
        else:
            self._parts.put(None)

    def _until_end(self, stream: Stream) -> None:
        offset = failures = 0
        while not self._stop.is_set():
            before = offset
            try:
                for message in self._messages(stream, offset):
                    if message.event == "end":
                        return
                    offset = self._take(stream, message, offset)
            except HpcgateError as error:
                failures = failures + 1 if offset == before else 1
                if failures >= MAX_FAILURES or not may_pass(error):
                    raise
            self._stop.wait(min(PAUSE_S * 2 ** max(0, failures - 1), MAX_PAUSE_S))

    def _messages(self, stream: Stream, offset: int) -> Iterator[Message]:
        params = {"follow": "true", "offset": offset, "task": self._task}
        path, headers = f"/jobs/{self._job_id}/{stream}", {"Accept": "text/event-stream"}
        with self._http.stream(path, params=params, headers=headers, silence_s=SILENCE_S) as response:
            with self._lock:
                if self._stop.is_set():
                    return
                self._open[stream] = response
            try:
                yield from messages(response.iter_lines())
            finally:
                with self._lock:
                    del self._open[stream]

    def _take(self, stream: Stream, message: Message, offset: int) -> int:
        """Hands out the bytes of a message; returns where the stream goes on."""
        data: dict[str, Any] = json.loads(message.data)
        if message.event == "error":
            raise error_from_wire(data)
        if message.event == "truncated":  # what comes now is another file's beginning
            return 0
        if message.event != "log":  # the site does not answer for a while; the server goes on trying
            return offset
        text = data["text"]
        content = self._bytes(stream, data["offset"], int(message.id or 0)) if _REPLACEMENT in text else text.encode()
        self._parts.put((stream, content))
        return int(data["offset"]) + len(content)

    def _bytes(self, stream: Stream, start: int, end: int) -> bytes:
        """The very bytes from ``start`` to ``end``, where the text is no faithful copy of them."""
        content = b""
        while start + len(content) < end:
            headers = {"Accept": "*/*", "Range": f"bytes={start + len(content)}-{end - 1}"}
            path = f"/jobs/{self._job_id}/{stream}"
            content += self._http.send("GET", path, params={"task": self._task}, headers=headers).content
        return content


def _hang_up(response: httpx.Response) -> None:
    """Wakes a thread that waits for bytes: closing alone would not."""
    connection = response.extensions["network_stream"].get_extra_info("socket")
    if connection is not None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the server has hung up first
