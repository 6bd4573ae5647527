"""What a job used, asked for after its end.

The exit record that a job leaves ends it before accounting is asked, and tells neither its CPU time nor its memory nor
all of its nodes. Accounting is asked afterwards, and answers when it has heard of the end; it may never know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hpcgate.model.job import Observation
from hpcgate.model.move import Move, Snapshot
from hpcgate.model.scheduler import Capability
from hpcgate.model.site import Site
from hpcgate.model.state import FINAL, Evidence
from hpcgate.service.decide import attempt_of, same_job

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.store.database import Store

#: How long after its end a job's usage is asked for, seconds.
GIVE_UP_S: Final = 3600.0
#: Jobs of one question; one transaction takes their answers.
MOST: Final = 2000
#: Jobs of one question while accounting has told nothing yet: it may be off, and then each may cost a look for nothing.
FEW: Final = 50


class LateUsage:
    """The jobs of one site whose usage is still to be told.

    What is to be asked is read from the store, so that nothing is forgotten when a worker ends.

    Args:
        site: the site.
        store, lifecycle: the parts it works on.
        clock: epoch seconds.
    """

    def __init__(self, site: Site, store: Store, lifecycle: Lifecycle, clock: Callable[[], float]) -> None:
        self._site = site
        self._store = store
        self._lifecycle = lifecycle
        self._clock = clock
        #: When each job was asked about last, epoch seconds by job id.
        self._asked_at: dict[int, float] = {}
        self._tells = False

    def due(self) -> list[Snapshot]:
        """The jobs that accounting should be asked about now: each soon after its end, and then ever more seldom."""
        if Capability.ACCOUNTING not in self._lifecycle.scheduler(self._site.scheduler).capabilities:
            return []
        now = self._clock()
        found = self._store.jobs.without_usage(self._site.name, since=now - GIVE_UP_S, limit=MOST)
        self._asked_at = {job.ref.id: self._asked_at[job.ref.id] for job in found if job.ref.id in self._asked_at}
        due = [job for job in found if job.state in FINAL and self._is_due(job, now)]
        return due if self._tells else due[:FEW]

    def _is_due(self, job: Snapshot, now: float) -> bool:
        asked_at = self._asked_at.get(job.ref.id)
        if asked_at is None:
            return True
        return now - asked_at >= max(self._site.poll.min_s, asked_at - job.updated_at)

    def answered(self, jobs: Sequence[Snapshot], rows: Mapping[str, Observation]) -> list[Move]:
        """What the answer adds to jobs. Their state stands, whatever accounting thinks of it.

        Args:
            jobs: what was asked about.
            rows: what accounting knows, by native id.
        """
        now = self._clock()
        self._asked_at |= dict.fromkeys((job.ref.id for job in jobs), now)
        moves = []
        for job in jobs:
            seen = rows.get(job.ref.native_id or "")
            if seen is not None and _tells_of_end(job, seen):
                self._tells = True
                if changes := _changes(job, seen):
                    moves.append(_addition(job, changes))
        return moves


def _tells_of_end(job: Snapshot, seen: Observation) -> bool:
    """Whether it is accounting's own word about this run, and the run has ended for it too."""
    return (
        seen.evidence is Evidence.ACCOUNTING
        and seen.state in FINAL
        and same_job(job, seen)
        and attempt_of(job, seen) == job.attempt
    )


def _changes(job: Snapshot, seen: Observation) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if seen.usage is not None and (seen.usage.cpu_time_s is not None or seen.usage.max_rss_kib is not None):
        changes["usage"] = seen.usage
    if seen.nodes and seen.nodes != job.nodes:
        changes["nodes"] = seen.nodes
    if not changes:
        return {}
    times = {"started_at": seen.started_at, "ended_at": seen.ended_at}
    return changes | {name: at for name, at in times.items() if at is not None}


def _addition(job: Snapshot, changes: Mapping[str, Any]) -> Move:
    usage = changes.get("usage")
    told = {
        "attempt": job.attempt,
        "cpu_time_s": usage.cpu_time_s if usage else None,
        "max_rss_kib": usage.max_rss_kib if usage else None,
        **{name: value for name, value in changes.items() if name != "usage"},
    }
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=job.state,
        changes=changes,
        event="job.usage",
        event_data=told,
    )
