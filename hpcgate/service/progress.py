"""The tasks of jobs that run one after the other: read from the record that a job's driver keeps in its folder.

No scheduler knows of them. The record is read when something happened to the job: it moved, or left word in the event
spool; where there is no event spool, in every round. What becomes of tasks at the end of their job is in ``decide``.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Observation, TaskObservation
from hpcgate.model.move import Snapshot
from hpcgate.model.site import Site
from hpcgate.model.state import FINAL, JobState
from hpcgate.scheduler.evidence import read_tasks
from hpcgate.service.decide import attempt_of, ended_tasks, final_reason, waiting_tasks

if TYPE_CHECKING:
    from hpcgate.service.transports import Transports

_log = logging.getLogger(__name__)

#: How long one round may read task records, seconds.
RECORDS_S: Final = 10.0


class TaskRecords:
    """Reads the task records of one site.

    Args:
        site: the site.
        transports: the way there.
        grace_s: how long the end of a job waits for a folder that does not answer.
    """

    def __init__(self, site: Site, transports: Transports, grace_s: float) -> None:
        self._site = site
        self._transports = transports
        self._grace_s = grace_s
        #: Since when the folder of a job that has ended has not answered, by the clock of ``time.monotonic``.
        self._silent_since: dict[int, float] = {}
        self._until = 0.0

    def begin_round(self) -> None:
        """Sets the time that this round may take."""
        self._until = time.monotonic() + RECORDS_S

    def complete(self, job: Snapshot, seen: Observation, now: float) -> Observation | None:
        """An observation of a job with tasks, with what is news of them.

        Args:
            job: as the store has it.
            seen: what its scheduler said.
            now: epoch seconds.

        Returns:
            ``None`` where the job has ended and its folder does not answer yet: asked again in the next round.
        """
        attempt = attempt_of(job, seen)
        begun_anew = attempt > job.attempt
        ended = seen.state in FINAL
        moved = seen.state not in (None, job.state) or begun_anew
        if attempt < job.attempt or not (moved or self._site.event_spool is None):
            return seen
        waiting = waiting_tasks(job.ref.tasks) if begun_anew else ()
        if not ended and seen.state in (JobState.QUEUED, JobState.HELD):
            return replace(seen, tasks=waiting)
        if not ended and time.monotonic() > self._until:
            return replace(seen, tasks=waiting)
        known: tuple[TaskObservation, ...] | None
        try:
            known = self._read(job, attempt)
        except HpcgateError as error:
            if not ended:
                return replace(seen, tasks=waiting)
            if self._may_wait(job):
                _log.warning(
                    "site %s: the end of job %d waits for its folder: %s", self._site.name, job.ref.id, error.message
                )
                return None
            known = None
        self._silent_since.pop(job.ref.id, None)
        if not ended or seen.state is None:
            return replace(seen, tasks=_newest(waiting, known or ()))
        if known is None and seen.started_at is None and seen.exit_code is None and seen.signal is None:
            known = ()  # it never ran
        reason = final_reason(job, seen)
        return replace(seen, tasks=ended_tasks(known, job.ref.tasks, seen.state, reason, seen.ended_at or now))

    def _read(self, job: Snapshot, attempt: int) -> tuple[TaskObservation, ...] | None:
        return read_tasks(replace(job.ref, attempt=attempt), self._transports.get(self._site, job.ref.account))

    def _may_wait(self, job: Snapshot) -> bool:
        now = time.monotonic()
        return now - self._silent_since.setdefault(job.ref.id, now) < self._grace_s

    def look(self, job: Snapshot) -> tuple[tuple[TaskObservation, ...], bool]:
        """What a job that left word, and has not ended by itself, says of its tasks.

        Returns:
            The tasks that have begun, and whether the job runs, one of them with it.
        """
        try:
            known = self._read(job, job.attempt)
            stopped = self._transports.get(self._site, job.ref.account).stat(
                JobFolder(job.ref.folder).stopped(job.attempt)
            )
        except HpcgateError as error:
            _log.warning("site %s: folder of job %d did not answer: %s", self._site.name, job.ref.id, error.message)
            return (), False
        if not known:
            return (), False
        runs = known[-1].state is JobState.RUNNING and known[-1].ended_at is None
        return known, runs and stopped is None and job.state is JobState.RUNNING


def _newest(waiting: tuple[TaskObservation, ...], known: tuple[TaskObservation, ...]) -> tuple[TaskObservation, ...]:
    return known + waiting[len(known) :]
