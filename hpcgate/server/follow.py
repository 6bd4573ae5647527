"""A job's output as it is written, as server-sent events."""

from __future__ import annotations

import codecs
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import HpcgateError, SiteError
from hpcgate.model.codec import job_to_wire
from hpcgate.model.job import Job
from hpcgate.model.state import AT_SCHEDULER, FINAL, JobState
from hpcgate.server.errors import problem_of
from hpcgate.server.sse import HELLO, KEEPALIVE, KEEPALIVE_S, frame
from hpcgate.server.streams import EventHub, Subscription

if TYPE_CHECKING:
    from hpcgate.service.jobs import JobService

_log = logging.getLogger(__name__)

#: Between two looks at the file while the job writes; a quiet job is looked at less and less often, seconds.
LOOK_S: Final = 0.2
QUIET_S: Final = 1.0
FAILED_S: Final = 2.0
#: The job itself is read again at least this often, whatever the events say, seconds.
REFRESH_S: Final = 5.0
CHUNK_BYTES: Final = 256 << 10

_MAY_WRITE: Final = (AT_SCHEDULER - {JobState.QUEUED, JobState.HELD}) | {JobState.STAGING_OUT} | FINAL


class Decoder:
    """Bytes to text across chunk borders: no character is ever torn, and what is no UTF-8 is replaced.

    Args:
        offset: of the first byte.

    Attributes:
        end: of the bytes that were given so far.
    """

    def __init__(self, offset: int) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.end = offset

    @property
    def offset(self) -> int:
        """Up to where the text goes; bytes of an unfinished character are not counted."""
        return self.end - len(self._decoder.getstate()[0])

    def text(self, data: bytes, *, final: bool = False) -> str:
        """The characters that ``data`` completes; with ``final``, also what stays unfinished."""
        self.end += len(data)
        return self._decoder.decode(data, final)


@dataclass(slots=True)
class LogFollower:
    """Follows one stream of one job.

    Args:
        jobs: reads job and output.
        hub: wakes it when something happens to the job.
        subscription: an open one, for this job.
        stream: ``stdout`` or ``stderr``.
        offset: first byte; negative counts from the end.
        task: index of an array task.
    """

    jobs: JobService
    hub: EventHub
    subscription: Subscription
    job_id: int
    stream: str
    offset: int
    task: int | None

    def frames(self) -> Iterator[bytes]:
        """``log`` messages with text, then one ``end`` message with the job as it ended.

        A file that became shorter (a new attempt began it anew, or the job rotates it) is told by a ``truncated``
        message, and read from its beginning. A site that does not answer for a while is told by ``stale`` messages;
        anything else that goes wrong by one
        ``error`` message, which is the last.
        """
        yield HELLO
        try:
            yield from self._watch()
        except HpcgateError as error:
            yield frame("error", problem_of(error).to_wire())

    def _watch(self) -> Iterator[bytes]:
        self.hub.join(self.subscription)
        decoder: Decoder | None = None
        job, read_at, sent_at, pause = self._job(), time.monotonic(), time.monotonic(), LOOK_S
        while not self.subscription.ended.is_set():
            messages: list[bytes] = []
            wait = pause
            if job.state in _MAY_WRITE:
                try:
                    decoder, messages, more = self._look(decoder)
                    pause = LOOK_S if messages else min(pause * 1.25, QUIET_S)
                    wait = 0.0 if more else pause
                except SiteError as error:
                    if not error.transient:
                        raise
                    messages, more, wait = [frame("stale", problem_of(error).to_wire())], True, FAILED_S
                if job.state.final and not more:
                    yield from messages
                    yield from self._end(job, decoder)
                    return
            for message in messages or self._keepalive(sent_at):
                yield message
                sent_at = time.monotonic()
            self.hub.release()
            happened = self.subscription.take(wait) if wait else None
            if happened is not None or time.monotonic() - read_at > REFRESH_S:
                job, read_at, pause = self._job(), time.monotonic(), LOOK_S

    def _look(self, decoder: Decoder | None) -> tuple[Decoder, list[bytes], bool]:
        """What is new in the file; whether there is more that can be read at once."""
        start = decoder.end if decoder is not None else self.offset
        chunk = self.jobs.output(
            self.subscription.principal,
            self.job_id,
            self.stream,
            offset=start,
            length=CHUNK_BYTES,
            task=self.task,
        )
        if not chunk.data and chunk.size < start:
            # It was emptied, or another one took its place: what is in it now has not been sent.
            return Decoder(0), [frame("truncated", {"size": chunk.size}, 0)], True
        decoder = decoder or Decoder(chunk.offset)
        if not chunk.data:
            return decoder, [], False
        begin = decoder.offset
        text = decoder.text(chunk.data)
        return decoder, self._log(begin, text, decoder), len(chunk.data) == CHUNK_BYTES

    def _log(self, begin: int, text: str, decoder: Decoder) -> list[bytes]:
        data: dict[str, Any] = {"offset": begin, "text": text}
        return [frame("log", data, decoder.offset)] if text else []

    def _end(self, job: Job, decoder: Decoder | None) -> Iterator[bytes]:
        if decoder is not None:
            begin = decoder.offset
            yield from self._log(begin, decoder.text(b"", final=True), decoder)
        yield frame("end", job_to_wire(job, detail=False))

    def _keepalive(self, sent_at: float) -> list[bytes]:
        return [KEEPALIVE] if time.monotonic() - sent_at > KEEPALIVE_S else []

    def _job(self) -> Job:
        return self.jobs.get(self.subscription.principal, self.job_id)
