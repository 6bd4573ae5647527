"""Keeps the records of the gateway's own jobs, behind the event log.

An event only says which jobs to look at: their records are then made what the jobs are now, so that nothing depends on
how often, or how late, an event is seen. The place in the log moves in the transaction that writes the records.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import InvalidSpec
from hpcgate.model.cluster import Cluster
from hpcgate.model.job import Event, Job, Task
from hpcgate.model.record import Monitoring, Record, Source
from hpcgate.model.site import Site
from hpcgate.model.state import FINAL, JobState
from hpcgate.service.duty import Part
from hpcgate.service.run_records import Place, records_of

if TYPE_CHECKING:
    from hpcgate.store.database import Store

#: Events that are looked at in one transaction.
BATCH: Final = 200
#: Elements of an array that are read at a time.
_TASKS: Final = 1000
#: Events after which the records of a job may have to say something else.
_TELLING: Final = frozenset({"job.requeued", "job.corrected", "job.usage"})
#: States whose coming makes or ends a record.
_STATES: Final = frozenset({JobState.RUNNING, JobState.SUSPENDED, *FINAL})
#: What does not stand in the row of a record.
_BESIDE: Final = ("id", "tags", "metadata", "statistics")
#: What a record keeps that says it otherwise, once it was made.
_KEPT: Final = frozenset({*_BESIDE, "source", "user", "name", "smt", "sharing"})


def at_sites(sites: Mapping[str, Site], clusters: Mapping[str, Cluster]) -> Place:
    """Where jobs of sites run: on the cluster that the site names, or that has its name, described or not."""

    def place(site: str, nodes: Sequence[str]) -> tuple[str, str]:
        known = sites.get(site)
        name = (known.cluster if known is not None else None) or site or "none"
        try:
            return name, clusters[name].place(nodes).name
        except (KeyError, InvalidSpec):
            # It ran there, whatever the configuration says of its nodes.
            return name, ""

    return place


class Recorder(Part):
    """Writes the records of own jobs.

    Args:
        store: where jobs and records are.
        place: knows clusters.
        archives: whether records that have ended are archived; else nobody need wait for that.
        clock: epoch seconds.
    """

    def __init__(
        self, store: Store, place: Place, *, archives: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._store = store
        self._place = place
        self._archives = archives
        self._clock = clock

    # --- as a part of a worker

    def pending(self) -> bool:
        """Whether there are events that were not looked at yet."""
        return self._store.records.position() < self._store.events.last()

    def next_due(self) -> float:
        """Nothing is due but after an event."""
        return math.inf

    def step(self) -> float:
        """Looks at all events; seconds until there is something to do again."""
        self.catch_up()
        return math.inf

    # --- what is done

    def catch_up(self) -> None:
        """Looks at all events. Whoever does it at the same time does it as well, and each event counts once."""
        while self._look():
            pass

    def _look(self) -> bool:
        """Looks at the next events; ``False`` = there are none."""
        place = self._store.records.position()
        events = self._store.events.after(place, limit=BATCH)
        if not events:
            return False
        with self._store.transaction():
            if self._store.records.advance(place, events[-1].seq):
                self.settle({event.job_id for event in events if event.job_id is not None and _tells(event)})
        return True

    def settle(self, job_ids: Iterable[int]) -> None:
        """Makes the records of jobs what the jobs are now, in the transaction of the caller."""
        jobs = self._store.jobs.get_listed(sorted(job_ids))
        known: dict[int, dict[tuple[int, int], Record]] = defaultdict(dict)
        for record in self._store.records.of_jobs([job.id for job in jobs]):
            known[record.job_id or 0][record.attempt, record.array_index] = record
        self._store.records.insert([record for job in jobs for record in self._missing(job, known[job.id])])

    def _missing(self, job: Job, known: Mapping[tuple[int, int], Record]) -> list[Record]:
        """Brings the records of a job up to date; those that there are still to be."""
        attempts = self._store.jobs.attempts(job.id)
        tasks = [task for attempt in attempts for task in self._elements(job, attempt.attempt)]
        new = []
        for wanted in records_of(job, attempts, tasks, self._place, self._clock()):
            if wanted.state.final and not self._archives:
                wanted = replace(wanted, monitoring=Monitoring.ARCHIVED)
            there = known.get((wanted.attempt, wanted.array_index)) or self._reported(wanted)
            if there is None:
                new.append(wanted)
            else:
                self._update(there, wanted)
        return new

    def _elements(self, job: Job, attempt: int) -> list[Task]:
        if job.spec.array is None:
            return []
        found: list[Task] = []
        while True:
            last = (found[-1].role, found[-1].index) if found else None
            part = self._store.jobs.tasks(job.id, attempt=attempt, after=last, limit=_TASKS)
            found += part
            if len(part) < _TASKS:
                return found

    def _reported(self, wanted: Record) -> Record | None:
        """A record that a client has made of the same run."""
        if wanted.array_number:
            return None  # the elements of an array have one number here, and each its own there
        return self._store.records.reported(wanted.number, wanted.cluster, wanted.started_at)

    def _update(self, there: Record, wanted: Record) -> None:
        """Brings a record up to date. What a client has said of a job's end stands, and so does all that it told."""
        if there.source is Source.REPORTED:
            names = {"job_id", "attempt", "site"}
            if not there.state.final and wanted.state.final:
                names |= {"state", "monitoring"}
                ended_at = wanted.started_at + wanted.duration_s
                wanted = replace(wanted, duration_s=max(0, ended_at - there.started_at))
                names.add("duration_s")
        else:
            names = {field.name for field in fields(Record)} - _KEPT
            if there.state.final == wanted.state.final:
                names.discard("monitoring")  # where the archive is with it is the archive's to say
            if not wanted.state.final:
                names.discard("started_at")  # of one whose beginning was not told it would move on
            if len(wanted.resources) < len(there.resources):
                # A job's own word of its end names one node alone; the queue has named them all, accounting will.
                names -= {"resources", "num_nodes", "subcluster"}
        changes = {name: value for name in names if (value := getattr(wanted, name)) != getattr(there, name)}
        if changes:
            self._store.records.change(there.id, **changes)
        if wanted.statistics is not None and there.source is Source.GATEWAY:
            self._store.records.set_details(there.id, statistics=wanted.statistics)
        if self._archives and wanted.state.final:
            self._store.archiving.rewrite([there.id], began=there.started_at if "started_at" in changes else None)


def _tells(event: Event) -> bool:
    return event.type in _TELLING or (event.type == "job.state" and event.data.get("new") in _STATES)
