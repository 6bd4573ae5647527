"""Figures of the whole gateway for those who watch it: what happened since they last asked, and how it stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpcgate.model.job import Event
from hpcgate.model.site import Site
from hpcgate.model.state import ACTIVE, AT_SCHEDULER, JobState

if TYPE_CHECKING:
    from hpcgate.store.database import Store

PAGE: Final = 1000
#: Events that are looked at in one go; what is left over is told the next time.
MOST: Final = 20_000


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened to one job.

    Args:
        type: ``created`` or ``state``.
        site: its site; ``""`` = none yet.
        state: the new one.
        reason: why, where there is one.
        waited_s: how long it was in the queue, where it has just begun to run.
    """

    type: str
    site: str
    state: str
    reason: str
    waited_s: float | None = None


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """How a site stands, over all accounts that ask it.

    Args:
        jobs: those that have not ended, by state.
        lag_s: seconds since it last told of its active jobs; 0 where it has none.
        down: whether it failed to answer the last time it was asked.
    """

    jobs: Mapping[JobState, int]
    commands: int
    polls: int
    failures: int
    polled_at: float | None
    lag_s: float
    stale: bool
    down: bool


class Figures:
    """Tells one listener what happened, each thing once, beginning when it was made.

    Args:
        sites: by name.
        store: the database.
        clock: epoch seconds.
    """

    def __init__(self, sites: Mapping[str, Site], store: Store, clock: Callable[[], float] = time.time) -> None:
        self._sites = sites
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._after = store.events.last()

    def happened(self) -> list[Happened]:
        """What happened since the last time."""
        found: list[Happened] = []
        with self._lock:
            for _ in range(MOST // PAGE):
                page = self._store.events.after(self._after, limit=PAGE)
                if not page:
                    break
                found += self._of(page)
                self._after = page[-1].seq
        return found

    def _of(self, events: Sequence[Event]) -> list[Happened]:
        began = {each.job_id for each in events if _begins(each)}
        jobs = {job.id: job for job in self._store.jobs.get_many(each for each in began if each is not None)}
        found = []
        for event in events:
            site = event.data.get("site") or ""
            if event.type == "job.created":
                found.append(Happened("created", site, JobState.CREATED.value, ""))
            elif event.type == "job.state":
                job = jobs.get(event.job_id or 0) if _begins(event) else None
                waited = None
                if job is not None and job.submitted_at is not None and job.started_at is not None:
                    waited = max(0.0, job.started_at - job.submitted_at)
                found.append(Happened("state", site, event.data["new"], event.data.get("reason") or "", waited))
        return found

    def last_event(self) -> int:
        """The number of the newest event."""
        return self._store.events.last()

    def outbox_depth(self) -> int:
        """Notices that wait to be handed on."""
        return self._store.outbox.depth()

    def unarchived(self) -> dict[str, int]:
        """Records that wait to be archived, and those that could not be."""
        return {
            "waiting": self._store.archiving.count_unwritten(failed=False),
            "failed": self._store.archiving.count_unwritten(failed=True),
        }

    def sites(self) -> dict[str, SiteFigures]:
        """How each site stands."""
        health, now = self._store.sites.all(), self._clock()
        found = {}
        for name, site in self._sites.items():
            counts = self._store.jobs.counts(site=name, states=ACTIVE)
            mine = health.get(name)
            # Where each account has to be asked by itself, each has a row of its own.
            rows = [row for key, row in health.items() if key == name or key.startswith(f"{name}@")]
            polled_at = max((row.polled_at for row in rows if row.polled_at is not None), default=None)
            waiting = any(counts.get(state, 0) for state in AT_SCHEDULER)
            found[name] = SiteFigures(
                jobs=counts,
                commands=sum(row.commands for row in rows),
                polls=sum(row.polls for row in rows),
                failures=sum(row.failures for row in rows),
                polled_at=polled_at,
                lag_s=max(0.0, now - polled_at) if waiting and polled_at is not None else 0.0,
                stale=mine is not None and mine.stale(now, site.poll),
                down=mine is not None and mine.failed_at is not None,
            )
        return found


def _begins(event: Event) -> bool:
    return event.type == "job.state" and event.data.get("new") == JobState.RUNNING.value
