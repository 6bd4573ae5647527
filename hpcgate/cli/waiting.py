"""Waiting for jobs to end, with a progress bar where somebody watches."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from hpcgate.cli.backend import JobBackend, Wire
from hpcgate.model.state import JobState

#: Longest single wait for an event; proxies commonly cut at 60 s.
POLL_S: Final = 25.0


def wait_for(backend: JobBackend, job_ids: Sequence[int], timeout_s: float | None = None) -> list[Wire]:
    """Waits until all jobs have ended, or the time is over.

    Returns:
        The jobs as they are then, in the order of ``job_ids``.
    """
    with backend.live(), _progress(len(job_ids)) as progress:
        return _wait(backend, job_ids, timeout_s, progress)


def has_ended(job: Mapping[str, Any]) -> bool:
    """Whether a job of the wire form is in a final state."""
    return JobState(job["state"]).final


def _wait(backend: JobBackend, job_ids: Sequence[int], timeout_s: float | None, progress: Progress) -> list[Wire]:
    end = None if timeout_s is None else time.monotonic() + timeout_s
    seen = backend.last_event()  # asked before the jobs, so that no change falls between
    jobs = {job_id: backend.get(job_id) for job_id in job_ids}
    while True:
        progress.show(list(jobs.values()))
        left = POLL_S if end is None else min(POLL_S, end - time.monotonic())
        waiting = {job_id for job_id, job in jobs.items() if not has_ended(job)}
        if not waiting or left <= 0:
            return [jobs[job_id] for job_id in job_ids]
        events = backend.events(seen, wait_s=left)
        if events:
            seen = events[-1]["seq"]
        for job_id in waiting & {event["job_id"] for event in events}:
            jobs[job_id] = backend.get(job_id)


class Progress(Protocol):
    """Shows how far the jobs are."""

    def show(self, jobs: Sequence[Wire]) -> None:
        """Called at the start and after every change."""


class _Silent:
    def show(self, jobs: Sequence[Wire]) -> None:
        pass


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar, bar.add_task("waiting", total=total))


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def show(self, jobs: Sequence[Wire]) -> None:
        states = Counter(job["state"] for job in jobs)
        text = ", ".join(f"{count} {state}" for state, count in states.items())
        self._bar.update(self._task, completed=sum(map(has_ended, jobs)), description=text)
