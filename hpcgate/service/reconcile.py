"""One round of asking a site about all its active jobs, and of writing down what is news.

The number of scheduler commands of a round does not depend on how many jobs there are: one listing, and one question to
accounting for those that left the queue. A source that does not answer changes freshness only.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, SiteError
from hpcgate.model.job import Observation, TaskObservation
from hpcgate.model.lease import Lease
from hpcgate.model.move import Move, Snapshot
from hpcgate.model.scheduler import Listing
from hpcgate.model.site import Site
from hpcgate.model.state import AT_SCHEDULER, FINAL, IllegalMove, Reason
from hpcgate.scheduler.evidence import read_exit
from hpcgate.service.decide import Denials, attempt_of, correct, decide, decide_absent, same_job
from hpcgate.transport.base import Transport

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

MOVES_PER_TRANSACTION: Final = 2000
#: How long one round may ask for exit records, seconds.
FOLDERS_S: Final = 10.0
#: Files of the event spool that one look takes: whoever floods it delays others, but stops nobody.
SPOOL_ENTRIES: Final = 1000


class Reconciler:
    """Reconciles one site.

    Args:
        site: the site.
        store, lifecycle, transports: the parts it works on.
        lost_grace_s: how long all sources must deny a job before it is LOST.
        clock: epoch seconds.
    """

    def __init__(
        self,
        site: Site,
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        *,
        lost_grace_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._site = site
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self._grace_s = lost_grace_s
        self._clock = clock
        #: The tasks of active jobs as they were last written, by job id and attempt.
        self._seen_tasks: dict[tuple[int, int], dict[tuple[str, int], TaskObservation]] = {}
        #: When the folder of a job that is absent was last asked about, by the clock of ``time.monotonic``.
        self._asked_at: dict[int, float] = {}
        self._unknown_words: set[str] = set()

    def poll(self, lease: Lease | None = None) -> int:
        """One round over all jobs at the scheduler.

        Args:
            lease: the site's lease; when another worker has taken it nothing is written.

        Returns:
            How many jobs are still at the scheduler.

        Raises:
            SiteError: the queue did not answer; nothing was changed but the site's freshness.
            LeaseLost: another worker reconciles this site now.
        """
        jobs = self._store.jobs.snapshots(self._site.name, AT_SCHEDULER)
        if not jobs:
            return 0
        transport = self._transports.get(self._site)
        try:
            listing = self._lifecycle.poll_jobs(self._site, [job.ref for job in jobs], transport)
        except HpcgateError as error:
            self._store.sites.failed(self._site.name, self._clock(), error.message)
            raise
        self._store.sites.polled(self._site.name, listing.at, commands=1)
        self._forget_all_but({job.ref.id for job in jobs})
        # What the queue knows is written first: the other sources may take long to answer, or break.
        absent, moves = self._decide_seen(jobs, listing)
        self._write(moves, lease)
        self._correct_lost(listing, lease)
        if listing.complete:
            more = self._decide_absentees(absent, transport)
            self._write(more, lease)
            moves += more
        return len(jobs) - sum(move.new in FINAL for move in moves)

    def _forget_all_but(self, active: set[int]) -> None:
        self._seen_tasks = {key: tasks for key, tasks in self._seen_tasks.items() if key[0] in active}
        self._asked_at = {job_id: at for job_id, at in self._asked_at.items() if job_id in active}

    def _decide_seen(self, jobs: Sequence[Snapshot], listing: Listing) -> tuple[list[Snapshot], list[Move]]:
        """The jobs that the queue does not show, and what follows for those that it does."""
        now = self._clock()
        moves: list[Move] = []
        absent: list[Snapshot] = []
        for job in jobs:
            seen = listing.observations.get(job.ref.native_id or "")
            if seen is not None and same_job(job, seen):
                moves.extend(self._decide(job, seen, now))
            else:
                # The jobs were read before the queue was asked, so none of these came only after the listing.
                absent.append(job)
        return absent, moves

    def _decide(self, job: Snapshot, seen: Observation, now: float) -> Iterable[Move]:
        if seen.state is None and seen.native_state and seen.native_state not in self._unknown_words:
            self._unknown_words.add(seen.native_state)
            _log.warning(
                "site %s: unknown native state %r; the job keeps its state", self._site.name, seen.native_state
            )
        try:
            move = decide(job, seen, now, self._news(job, seen))
        except IllegalMove as error:
            # A plugin that says what no scheduler can mean spoils this job's news, not everybody's.
            _log.error("site %s: job %d: %s; the job keeps its state", self._site.name, job.ref.id, error)
            return
        if move is not None:
            yield move

    def _news(self, job: Snapshot, seen: Observation) -> tuple[TaskObservation, ...]:
        """The tasks that changed since they were last written."""
        known = self._seen_tasks.get((job.ref.id, attempt_of(job, seen)), {})
        return tuple(task for task in seen.tasks if known.get((task.role, task.index)) != task)

    # --- jobs that are not in the queue

    def _decide_absentees(self, absent: Sequence[Snapshot], transport: Transport) -> list[Move]:
        if not absent:
            return []
        now = self._clock()
        accounted, denied = self._ask_accounting(absent, transport)
        moves: list[Move] = []
        unexplained: list[Snapshot] = []
        for job in absent:
            seen = accounted.get(job.ref.native_id or "")
            if seen is None or not same_job(job, seen):
                unexplained.append(job)
            elif seen.state in FINAL:
                moves.extend(self._decide(job, seen, now))
            else:
                # Accounting lags behind: it knows the job, but not yet how it ended.
                denied.discard(job.ref.native_id)
                unexplained.append(job)
        moves.extend(self._decide_by_folders(unexplained, denied, transport, now))
        return moves

    def _decide_by_folders(
        self, jobs: Sequence[Snapshot], denied: set[str | None], transport: Transport, now: float
    ) -> Iterable[Move]:
        """Looks into the folders of jobs that neither queue nor accounting can tell of.

        Each is one more question to the site: those that were asked about longest ago come first, and what is not
        asked within ``FOLDERS_S`` is asked in the next round, without harm to its time of grace.
        """
        until = time.monotonic() + FOLDERS_S
        for job in sorted(jobs, key=lambda each: self._asked_at.get(each.ref.id, -math.inf)):
            record, answered = self._ask_folder(job, transport)
            self._asked_at[job.ref.id] = time.monotonic()
            if record is not None:
                yield from self._decide(job, record, now)
            else:
                denials = Denials(queue=True, accounting=job.ref.native_id in denied, folder=answered)
                move = decide_absent(job, denials, now, self._grace_s)
                if move is not None:
                    yield move
            if time.monotonic() >= until:
                return

    def _ask_accounting(
        self, jobs: Sequence[Snapshot], transport: Transport
    ) -> tuple[dict[str, Observation], set[str | None]]:
        """What accounting knows by native id, and for which native ids it answered at all."""
        refs = [job.ref for job in jobs]
        try:
            rows = self._lifecycle.read_accounting(self._site, refs, transport)
        except HpcgateError as error:
            _log.warning("site %s: accounting did not answer: %s", self._site.name, error.message)
            return {}, set()
        return {row.native_id: row for row in rows or ()}, {ref.native_id for ref in refs}

    def _ask_folder(self, job: Snapshot, transport: Transport) -> tuple[Observation | None, bool]:
        if job.ref.array:
            return None, True
        try:
            return read_exit(job.ref, transport), True
        except SiteError as error:
            _log.warning("site %s: folder of job %d did not answer: %s", self._site.name, job.ref.id, error.message)
            return None, False

    # --- push: the event spool

    def read_event_spool(self, lease: Lease | None = None) -> bool:
        """Looks into the event spool and takes the exit records of the jobs that stand there.

        Returns:
            Whether a poll should follow soon: something happened that no exit record explains.

        Raises:
            SiteError: the spool did not answer.
            LeaseLost: another worker reconciles this site now.
        """
        spool = self._site.event_spool
        if spool is None:
            return False
        transport = self._transports.get(self._site)
        try:
            entries = [entry for entry in transport.list(spool) if not entry.name.startswith(".")]
        except FileNotFoundError:
            # Jobs leave word only where there is a folder. One for the jobs of several accounts is its operator's to
            # make, sticky and open to them; this one is for jobs of the gateway's own account at the site.
            transport.mkdir(spool, mode=0o700)
            return False
        # First of all, so that what happens from here on leaves a new file; a crash is made good by the next poll.
        names = self._take_files(transport, spool, [entry.name for entry in entries[:SPOOL_ENTRIES]])
        if not names:
            return False
        keys = {name.partition(".")[0] for name in names}
        # Whoever may write there may choose the names, and not all of them are text that a database takes.
        ours = [key for key in keys if key.isascii()]
        by_key = {job.ref.key: job for job in self._store.jobs.snapshots(self._site.name, AT_SCHEDULER, keys=ours)}
        now = self._clock()
        moves: list[Move] = []
        for key in sorted(keys & by_key.keys()):
            job = by_key[key]
            record, _ = self._ask_folder(job, transport)
            if record is not None:
                moves.extend(self._decide(job, record, now))
        self._write(moves, lease)
        ended = {move.job_id for move in moves if move.new in FINAL}
        return any(key not in by_key or by_key[key].ref.id not in ended for key in keys)

    def _take_files(self, transport: Transport, spool: str, names: Sequence[str]) -> list[str]:
        """Removes files from the event spool. One that cannot be removed would wake for ever, and does not count."""
        taken: list[str] = []
        for name in names:
            try:
                transport.remove(f"{spool}/{name}")
            except SiteError as error:
                _log.warning("site %s: event spool: %s", self._site.name, error.message)
                if error.transient:
                    break  # the others would wait for the same time-out
            else:
                taken.append(name)
        return taken

    # --- LOST, superseded by proof

    def _correct_lost(self, listing: Listing, lease: Lease | None) -> None:
        lost = self._store.jobs.lost(self._site.name)
        now = self._clock()
        moves = []
        for job in lost:
            seen = listing.observations.get(job.ref.native_id or "")
            if seen is not None and same_job(job, seen):
                move = correct(job, Reason.LOST, seen, now)
                if move is not None:
                    moves.append(move)
        self._write(moves, lease)

    def _write(self, moves: Sequence[Move], lease: Lease | None) -> None:
        for start in range(0, len(moves), MOVES_PER_TRANSACTION):
            chunk = moves[start : start + MOVES_PER_TRANSACTION]
            done = self._store.jobs.move(chunk, lease=lease)
            for move, carried_out in zip(chunk, done, strict=True):
                if carried_out and move.tasks:
                    known = self._seen_tasks.setdefault((move.job_id, move.new_attempt or move.attempt), {})
                    known.update({(task.role, task.index): task for task in move.tasks})
            if not all(done):
                # A lost race is no error: whoever won has written something newer, and the next round sees it.
                _log.debug("site %s: %d of %d moves were overtaken", self._site.name, done.count(False), len(chunk))
