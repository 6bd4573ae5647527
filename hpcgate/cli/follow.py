"""Following a job's output by reading on, for gateways in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from hpcgate.cli.backend import JobBackend, Stream
from hpcgate.cli.waiting import has_ended

FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 0.5


def read_all(backend: JobBackend, job_id: int, stream: Stream, *, task: int | None = None) -> Iterator[bytes]:
    """What a stream holds now, in parts."""
    return _Reader(backend, job_id, stream, task).rest()


def follow_output(
    backend: JobBackend, job_id: int, streams: Sequence[Stream], *, task: int | None = None
) -> Iterator[tuple[Stream, bytes]]:
    """What a job writes while it writes it, until it has ended and all is read."""
    readers = [_Reader(backend, job_id, stream, task) for stream in streams]
    pause = FIRST_PAUSE_S
    while True:
        ended = has_ended(backend.get(job_id))  # asked before reading, so that the last words are read after the end
        quiet = True
        for reader in readers:
            for data in reader.rest():
                quiet = False
                yield reader.stream, data
        if ended:
            return
        pause = min(pause * 1.5, MAX_PAUSE_S) if quiet else FIRST_PAUSE_S
        time.sleep(pause)


class _Reader:
    """Reads one stream on from where it stopped the last time."""

    def __init__(self, backend: JobBackend, job_id: int, stream: Stream, task: int | None) -> None:
        self.stream: Stream = stream
        self._backend = backend
        self._job_id = job_id
        self._task = task
        self._offset = 0

    def rest(self) -> Iterator[bytes]:
        while True:
            chunk = self._backend.output(self._job_id, self.stream, offset=self._offset, task=self._task)
            if chunk.size < self._offset:  # a new attempt has begun the file anew
                self._offset = 0
                continue
            if not chunk.data:
                return
            self._offset = chunk.offset + len(chunk.data)
            yield chunk.data
