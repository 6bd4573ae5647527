"""What is old goes: jobs and their files, events, records, tokens, Idempotency-Keys.

A worker does a little at a time, under a lease, so that nobody waits for it. What could not be removed stays, and is
tried again when the others have had their turn.
"""

from __future__ import annotations

import logging
import math
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import HpcgateError, TransportError
from hpcgate.model.job import Job
from hpcgate.model.move import Move
from hpcgate.model.record import KeepTagged
from hpcgate.model.site import Site
from hpcgate.service.leases import KeptLease
from hpcgate.store.retention import Due, OldJob

if TYPE_CHECKING:
    from hpcgate.config import RecordsTable, RetentionTable
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

DAY_S: Final = 86_400.0
#: Job folders, and jobs, in one batch of a site; events, and records, in one transaction.
BATCH: Final = 100
EVENTS_BATCH: Final = 5_000
RECORDS_BATCH: Final = 500
#: How long one round may remove folders at a site, seconds.
ROUND_S: Final = 5.0
#: How long a site that does not answer is left alone, seconds.
SILENT_S: Final = 300.0
_START: Final = (0.0, 0)


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What went, or would go.

    Args:
        jobs: with all that belongs to them but their events.
        files: folders of jobs that stay.
        kept: folders or jobs that could not be removed now.
        more: whether there is more to do at once.
    """

    jobs: int = 0
    files: int = 0
    events: int = 0
    records: int = 0
    tokens: int = 0
    idempotency: int = 0
    kept: int = 0
    more: bool = False

    def add(self, other: Pruned) -> None:
        """Sums up; ``more`` is that of the later one."""
        for item in fields(self):
            if item.name != "more":
                setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
        self.more = other.more


class Retention:
    """Removes what is older than the ``[retention]`` table says.

    Args:
        sites: by name.
        store, transports: the parts it works on.
        table: the ``[retention]`` table.
        holder: the name of this process in leases.
        records: the ``[records]`` table.
        clock: epoch seconds.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        store: Store,
        transports: Transports,
        table: RetentionTable,
        holder: str,
        records: RecordsTable | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sites = sites
        self._store = store
        self._transports = transports
        self._table = table
        self._records = records
        self._clock = clock
        self.lease = KeptLease(store, "retention", holder, clock)
        #: Where the next batch of a site begins, so that what cannot be removed keeps nothing else from going.
        self._reached: dict[tuple[str, Due], tuple[float, int]] = {}
        self._silent_until: dict[str, float] = {}

    def preview(self) -> Pruned:
        """What would go now. Nothing is changed."""
        would, now = Pruned(), self._clock()
        for site in self._store.retention.sites():
            counts = {why: self._store.retention.count(site, why, before) for why, before in self._due(now).items()}
            would.jobs += max(counts.get(Due.JOBS, 0), counts[Due.EXPIRED])
            would.files += counts.get(Due.FILES, 0)
        if self._table.events_days is not None:
            would.events = self._store.events.older(now - self._table.events_days * DAY_S)
        if (old := self._old_records(now)) is not None:
            would.records = self._store.records.count_old(**old)
        return would

    def step(self) -> Pruned | None:
        """Does a little of everything; ``None`` = another worker is at it."""
        if self.lease.hold() is None:
            return None
        done, now = Pruned(), self._clock()
        for site in self._store.retention.sites():
            for why, before in self._due(now).items():
                if self._is_silent(site):
                    break
                done.more |= self._prune_jobs(site, why, before, done)
        if self._table.events_days is not None:
            done.events = self._store.events.prune(now - self._table.events_days * DAY_S, limit=EVENTS_BATCH)
            done.more |= done.events == EVENTS_BATCH
        if self._records is not None and (old := self._old_records(now)) is not None:
            ids = self._store.records.old(**old, limit=RECORDS_BATCH)
            done.records = self._store.archiving.delete(ids, archives=self._records.archive is not None)
            done.more |= done.records == RECORDS_BATCH
        done.tokens = self._store.identities.prune_tokens(now - self._table.tokens_days * DAY_S)
        done.idempotency = self._store.jobs.prune_idempotency(now)
        return done

    def _due(self, now: float) -> dict[Due, float]:
        """What may go, and up to which moment; whole jobs first, whose files then need no turn of their own."""
        days = {Due.JOBS: self._table.jobs_days, Due.FILES: self._table.files_days}
        return {Due.EXPIRED: now, **{why: now - each * DAY_S for why, each in days.items() if each is not None}}

    def _old_records(self, now: float) -> dict[str, Any] | None:
        """Which records may go; ``None`` = none."""
        if self._records is None or self._records.keep_days is None:
            return None
        keep = KeepTagged(self._records.keep_tagged)
        return {"before": int(now - self._records.keep_days * DAY_S), "ended": True, "keep": keep}

    # --- jobs

    def _prune_jobs(self, site: str, why: Due, before: float, done: Pruned) -> bool:
        """Works off a batch; whether there is more."""
        place = (site, why)
        found = self._store.retention.due(site, why, before, after=self._reached.get(place, _START), limit=BATCH)
        gone, looked_at = self._without_folders(site, found)
        if why is Due.FILES:
            done.files += self._note_removed(gone)
        else:
            done.jobs += self._store.jobs.delete([job.id for job in gone], actor=None)
        done.kept += looked_at - len(gone)
        if looked_at < len(found):  # the site fell silent, or the time is over
            if looked_at:
                self._reached[place] = (found[looked_at - 1].moment, found[looked_at - 1].id)
            return not self._is_silent(site)
        if len(found) == BATCH:
            self._reached[place] = (found[-1].moment, found[-1].id)
            return True
        self._reached.pop(place, None)  # the next round begins with the oldest again
        return False

    def _without_folders(self, site: str, jobs: Sequence[OldJob]) -> tuple[list[OldJob], int]:
        """Removes the folders of jobs; those that have none now, and how many were looked at."""
        gone: list[OldJob] = []
        until = time.monotonic() + ROUND_S
        for number, job in enumerate(jobs):
            if time.monotonic() > until:
                return gone, number
            try:
                remove_folder(self._sites.get(site), self._transports, job.folder, job.key, job.account)
            except HpcgateError as error:
                _log.warning("site %s: the folder of job %d stays for now: %s", site, job.id, error.message)
                if isinstance(error, TransportError) and error.transient:
                    self._silent_until[site] = time.monotonic() + SILENT_S
                    return gone, number
            else:
                gone.append(job)
        return gone, len(jobs)

    def _is_silent(self, site: str) -> bool:
        return time.monotonic() < self._silent_until.get(site, -math.inf)

    def _note_removed(self, jobs: Sequence[OldJob]) -> int:
        return sum(self._store.jobs.move([files_removed(job) for job in jobs]))


def files_removed(job: OldJob | Job, actor: str | None = None) -> Move:
    """Notes that the folder of an ended job is no more."""
    return Move(
        job_id=job.id,
        old=job.state,
        attempt=job.attempt,
        new=job.state,
        changes={"folder": None, "stdout_path": None, "stderr_path": None},
        event="job.files_removed",
        actor=actor,
    )


def remove_folder(site: Site | None, transports: Transports, folder: str | None, key: str, account: str | None) -> None:
    """Removes the folder of a job, as the account that the job ran as. One of a site that is gone is left.

    Raises:
        HpcgateError: it could not be removed.
    """
    # Nothing but a folder that is named by the job's key is ever removed, whatever the row says.
    if folder is not None and posixpath.basename(folder) == key and site is not None:
        transports.get(site, account).remove(folder)
