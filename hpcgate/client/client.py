"""``Client``: every native route as a method. Answers are the JSON of the API as dicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from hpcgate.client.admin import AdminCalls
from hpcgate.client.allocations import AllocationCalls
from hpcgate.client.http import Http
from hpcgate.client.jobs import JobCalls
from hpcgate.client.records import RecordCalls
from hpcgate.client.streams import LONG_POLL_S, StreamCalls
from hpcgate.client.webhooks import WebhookCalls
from hpcgate.model.state import JobState

TIMEOUT_S: Final = 60.0


class Client(JobCalls, RecordCalls, StreamCalls, WebhookCalls, AdminCalls, AllocationCalls):
    """A client of one hpcgate server. A context manager; ``close`` ends it. Threads may share it.

    What goes wrong comes as the exceptions of ``hpcgate.errors``, as from the library; an answer that did not come is
    a ``TransportError``. Requests that are safe to repeat are repeated a few times before that.

    Args:
        url: of the server, e.g. ``https://gate.example.org``.
        token: bearer token; ``None`` = none is sent.
        timeout_s: longest wait for an answer, seconds.

    Raises:
        ConfigError: the URL is none, or the token would go over plain HTTP to another machine.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.http = Http(url, token, timeout_s=timeout_s)

    def __repr__(self) -> str:
        return f"Client({self.http.url!r})"

    def close(self) -> None:
        """Closes all connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, job_ids: Sequence[int], timeout: float | None = None) -> list[dict[str, Any]]:
        """Waits until all jobs have ended.

        Args:
            job_ids: the jobs.
            timeout: longest wait, seconds; ``None`` = as long as it takes.

        Returns:
            The jobs in that order, as they are then; after a timeout some may not have ended.
        """
        end = None if timeout is None else time.monotonic() + timeout
        seen = self.last_event()  # asked before the jobs, so that no change falls between
        jobs = {job_id: self.get(job_id) for job_id in job_ids}
        while True:
            waiting = {job_id for job_id, job in jobs.items() if not JobState(job["state"]).final}
            left = LONG_POLL_S if end is None else min(LONG_POLL_S, end - time.monotonic())
            if not waiting or left <= 0:
                return [jobs[job_id] for job_id in job_ids]
            events = self.poll_events(seen, wait_s=left)
            seen = events[-1]["seq"] if events else seen
            for job_id in waiting & {event["job_id"] for event in events}:
                jobs[job_id] = self.get(job_id)
