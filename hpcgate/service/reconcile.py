"""One round of asking a site about all its active jobs, and of writing down what is news.

The number of scheduler commands of a round does not depend on how many jobs there are: one listing, and one question to
accounting for those that left the queue. A source that does not answer changes freshness only.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, LeaseLost
from hpcgate.model.files import JobFolder
from hpcgate.model.job import JobRef, Observation, TaskObservation
from hpcgate.model.lease import Lease
from hpcgate.model.move import Move, Snapshot
from hpcgate.model.scheduler import Listing
from hpcgate.model.site import Site
from hpcgate.model.state import AT_SCHEDULER, FINAL, IllegalMove, JobState, Reason
from hpcgate.scheduler.evidence import read_exit
from hpcgate.service.decide import Denials, attempt_of, correct, decide, decide_absent, same_job
from hpcgate.service.progress import TaskRecords
from hpcgate.service.spool import EventSpool
from hpcgate.service.submission import without
from hpcgate.service.usage import LateUsage

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

MOVES_PER_TRANSACTION: Final = 2000
#: How long one round may ask as one account after the other, seconds.
IDENTITIES_S: Final = 30.0
#: How long one round may ask for exit records, seconds.
FOLDERS_S: Final = 10.0


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
        self._spool = EventSpool(site, store, transports)
        self._grace_s = lost_grace_s
        self._clock = clock
        #: The tasks of active jobs as they were last written, by job id and attempt.
        self._seen_tasks: dict[tuple[int, int], dict[tuple[str, int], TaskObservation]] = {}
        #: When the folder of a job that is absent was last asked about, by the clock of ``time.monotonic``.
        self._asked_at: dict[int, float] = {}
        #: When the queue was last asked as an account, by the same clock.
        self._asked_as: dict[str, float] = {}
        self._unknown_words: set[str] = set()
        self._records = TaskRecords(site, transports, lost_grace_s)
        self._late = LateUsage(site, store, lifecycle, clock)

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
            self._ask_usage(lease)
            return 0
        self._records.begin_round()
        self._forget_all_but({job.ref.id for job in jobs})
        absent, moves = self._poll_as(None, jobs, lease)
        moves += self._poll_each(absent, lease)
        return len(jobs) - sum(move.new in FINAL for move in moves)

    def _poll_as(
        self, account: str | None, jobs: Sequence[Snapshot], lease: Lease | None
    ) -> tuple[list[Snapshot], list[Move]]:
        """Asks the queue as an account (``None`` = the one that polls) and writes what follows.

        Returns:
            The jobs that it cannot tell of since it does not see them, and the moves that were made.
        """
        health = freshness_of(self._site.name, account)
        try:
            transport = self._transports.get(self._site, account)
            listing = self._lifecycle.poll_jobs(self._site, _seen_from(account, jobs), transport)
        except HpcgateError as error:
            self._store.sites.failed(health, self._clock(), error.message, lease=lease)
            raise
        self._store.sites.polled(health, listing.at, commands=1, lease=lease)
        # What the queue knows is written first: the other sources may take long to answer, or break.
        absent, moves = self._decide_seen(jobs, listing)
        self._write(moves, lease)
        self._correct_lost(listing, lease)
        if not listing.complete:
            if account is None:
                self._ask_usage(lease)
            return absent, moves
        # In one question with those that have left the queue.
        late = self._late.due() if account is None else []
        more = self._decide_absentees(absent, account, late, lease)
        self._write(more, lease)
        return [], moves + more

    def _poll_each(self, hidden: Sequence[Snapshot], lease: Lease | None) -> list[Move]:
        """Asks as each account about its own jobs, where the account that polls does not see them.

        It is one listing an account. What a round has no time for, comes first in the next one; an account that
        cannot be entered makes nobody's news late but its own.
        """
        moves: list[Move] = []
        until = time.monotonic() + IDENTITIES_S
        groups: dict[str, list[Snapshot]] = {}
        for job in hidden:
            if job.ref.account is not None:
                groups.setdefault(job.ref.account, []).append(job)
        for account in sorted(groups, key=lambda each: self._asked_as.get(each, -math.inf)):
            self._asked_as[account] = time.monotonic()
            try:
                moves += self._poll_as(account, groups[account], lease)[1]
            except LeaseLost:
                raise
            except HpcgateError as error:
                _log.warning("site %s: did not answer account %r: %s", self._site.name, account, error.message)
            if time.monotonic() >= until:
                break
        if not hidden and self._site.identity.mode != "service":
            self._trust_poller_alone(lease)
        return moves

    def _trust_poller_alone(self, lease: Lease | None) -> None:
        """What one account could not be told once, is no matter now that the poller sees its jobs."""
        own = freshness_of(self._site.name, "")
        for name, health in self._store.sites.all().items():
            if name.startswith(own) and health.failed_at is not None:
                self._store.sites.polled(name, self._clock(), lease=lease)

    def _forget_all_but(self, active: set[int]) -> None:
        self._seen_tasks = {key: tasks for key, tasks in self._seen_tasks.items() if key[0] in active}
        self._asked_at = {job_id: at for job_id, at in self._asked_at.items() if job_id in active}

    def _decide_seen(self, jobs: Sequence[Snapshot], listing: Listing) -> tuple[list[Snapshot], list[Move]]:
        """The jobs that the queue does not show, and what follows for those that it does."""
        now = self._clock()
        present: list[tuple[Snapshot, Observation]] = []
        absent: list[Snapshot] = []
        for job in jobs:
            seen = listing.observations.get(job.ref.native_id or "")
            if seen is not None and same_job(job, seen):
                present.append((job, seen))
            else:
                # The jobs were read before the queue was asked, so none of these came only after the listing.
                absent.append(job)
        clean = self._prepared(present)
        return absent, [move for job, seen in clean for move in self._decide(job, seen, now)]

    def _prepared(self, seen: Sequence[tuple[Snapshot, Observation]]) -> Sequence[tuple[Snapshot, Observation]]:
        return self._without_secrets(self._with_wishes(seen))

    def _with_wishes(self, seen: Sequence[tuple[Snapshot, Observation]]) -> Sequence[tuple[Snapshot, Observation]]:
        """The jobs as somebody wished them canceled while the scheduler was asked: by whom, only the wish tells."""
        ended = [job.ref.id for job, each in seen if each.state is JobState.CANCELED and not job.canceling]
        wished = {job.ref.id: job.cancel_reason for job in self._store.jobs.canceling(ended)} if ended else {}
        return [
            (replace(job, canceling=True, cancel_reason=wished[job.ref.id]) if job.ref.id in wished else job, each)
            for job, each in seen
        ]

    def _without_secrets(self, seen: Sequence[tuple[Snapshot, Observation]]) -> Sequence[tuple[Snapshot, Observation]]:
        """Observations whose messages hold no secret of their job: schedulers repeat what they were given."""
        telling = [job.ref.id for job, each in seen if each.message and each.message != job.message]
        sealed = self._store.jobs.sealed(telling) if telling else set()
        if not sealed:
            return seen
        return [
            (job, replace(each, message=self._redacted(job, each.message))) if job.ref.id in sealed else (job, each)
            for job, each in seen
        ]

    def _redacted(self, job: Snapshot, message: str | None) -> str | None:
        try:
            return without(self._store.jobs.secrets(job.ref.id).values(), message) if message else message
        except HpcgateError as error:  # they cannot be read any more, so nobody can tell whether they are in it
            _log.warning("job %d: its message is left out: %s", job.ref.id, error.message)
            return None

    def _decide(self, job: Snapshot, seen: Observation, now: float) -> Iterable[Move]:
        if seen.state is None and seen.native_state and seen.native_state not in self._unknown_words:
            self._unknown_words.add(seen.native_state)
            _log.warning(
                "site %s: unknown native state %r; the job keeps its state", self._site.name, seen.native_state
            )
        try:
            whole = self._records.complete(job, seen, now) if job.ref.tasks else seen
            if whole is None:
                return
            move = decide(job, whole, now, self._news(job, attempt_of(job, whole), whole.tasks))
        except IllegalMove as error:
            # A plugin that says what no scheduler can mean spoils this job's news, not everybody's.
            _log.error("site %s: job %d: %s; the job keeps its state", self._site.name, job.ref.id, error)
            return
        if move is not None:
            yield move

    def _news(self, job: Snapshot, attempt: int, tasks: tuple[TaskObservation, ...]) -> tuple[TaskObservation, ...]:
        """The tasks that changed since they were last written."""
        known = self._seen_tasks.get((job.ref.id, attempt), {})
        return tuple(task for task in tasks if known.get((task.role, task.index)) != task)

    # --- jobs that are not in the queue

    def _decide_absentees(
        self, absent: Sequence[Snapshot], account: str | None, late: Sequence[Snapshot], lease: Lease | None
    ) -> list[Move]:
        if not absent and not late:
            return []
        now = self._clock()
        accounted, denied = self._ask_accounting([*absent, *late], account)
        self._store.jobs.move(self._late.answered(late, accounted), lease=lease)
        explained: list[tuple[Snapshot, Observation]] = []
        unexplained: list[Snapshot] = []
        for job in absent:
            seen = accounted.get(job.ref.native_id or "")
            if seen is None or not same_job(job, seen):
                unexplained.append(job)
            elif seen.state in FINAL:
                explained.append((job, seen))
            else:
                # Accounting lags behind: it knows the job, but not yet how it ended.
                denied.discard(job.ref.native_id)
                unexplained.append(job)
        moves = [move for job, seen in self._prepared(explained) for move in self._decide(job, seen, now)]
        moves.extend(self._decide_by_folders(unexplained, denied, now))
        return moves

    def _decide_by_folders(self, jobs: Sequence[Snapshot], denied: set[str | None], now: float) -> Iterable[Move]:
        """Looks into the folders of jobs that neither queue nor accounting can tell of.

        Each is one more question to the site: those that were asked about longest ago come first, and what is not
        asked within ``FOLDERS_S`` is asked in the next round, without harm to its time of grace.
        """
        until = time.monotonic() + FOLDERS_S
        for job in sorted(jobs, key=lambda each: self._asked_at.get(each.ref.id, -math.inf)):
            record, answered = self._ask_folder(job)
            self._asked_at[job.ref.id] = time.monotonic()
            if record is not None:
                for asked, clean in self._prepared([(job, record)]):
                    yield from self._decide(asked, clean, now)
            else:
                denials = Denials(queue=True, accounting=job.ref.native_id in denied, folder=answered)
                move = decide_absent(job, denials, now, self._grace_s)
                if move is not None:
                    yield move
            if time.monotonic() >= until:
                return

    def _ask_accounting(
        self, jobs: Sequence[Snapshot], account: str | None
    ) -> tuple[dict[str, Observation], set[str | None]]:
        """What accounting knows by native id, and for which native ids it answered at all.

        The account that polls may see everybody in the queue and not in accounting: of what it is not told, the jobs'
        own accounts are asked, whose word alone is that there is nothing.
        """
        known, answered = self._ask_accounting_as(account, jobs)
        foreign: dict[str, list[Snapshot]] = {}
        for job in jobs:
            if job.ref.account not in (None, account) and job.ref.native_id not in known:
                foreign.setdefault(job.ref.account or "", []).append(job)
        for owner, members in foreign.items():
            more, answered_too = self._ask_accounting_as(owner, members)
            known |= more
            answered = (answered - {job.ref.native_id for job in members}) | answered_too
        return known, answered

    def _ask_accounting_as(
        self, account: str | None, jobs: Sequence[Snapshot]
    ) -> tuple[dict[str, Observation], set[str | None]]:
        refs = _seen_from(account, jobs)
        try:
            rows = self._lifecycle.read_accounting(self._site, refs, self._transports.get(self._site, account))
        except HpcgateError as error:
            _log.warning("site %s: accounting did not answer: %s", self._site.name, error.message)
            return {}, set()
        return {row.native_id: row for row in rows or ()}, {ref.native_id for ref in refs}

    def _ask_folder(self, job: Snapshot) -> tuple[Observation | None, bool]:
        """The exit record, and whether the folder answered. It is the account's own, and so only that may look."""
        if job.ref.array:
            return None, True
        try:
            record = read_exit(job.ref, self._transports.get(self._site, job.ref.account))
        except HpcgateError as error:
            _log.warning("site %s: folder of job %d did not answer: %s", self._site.name, job.ref.id, error.message)
            return None, False
        return record, True

    # --- jobs that have ended, and whose usage is not known

    def wants_usage(self) -> bool:
        """Whether a poll would ask accounting about jobs that have ended."""
        return bool(self._late.due())

    def _ask_usage(self, lease: Lease | None) -> None:
        if late := self._late.due():
            self._decide_absentees([], None, late, lease)

    # --- push: the event spool

    def read_event_spool(self, lease: Lease | None = None) -> bool:
        """Looks into the event spool and takes the exit records of the jobs that stand there.

        Returns:
            Whether a poll should follow soon: something happened that neither an exit record nor the course of the
            job's tasks explains.

        Raises:
            SiteError: the spool did not answer.
            LeaseLost: another worker reconciles this site now.
        """
        told, wake = self._spool.take()
        now = self._clock()
        self._records.begin_round()
        answers = [(job, *self._ask_folder(job)) for job in told]
        self._spool.look_again(job for job, _, answered in answers if not answered)
        records = [(job, record) for job, record, _ in answers if record is not None]
        moves = [move for job, record in self._prepared(records) for move in self._decide(job, record, now)]
        explained = {move.job_id for move in moves if move.new in FINAL}
        ended = {job.ref.id for job, _ in records}
        for job in told:
            if job.ref.tasks and job.ref.id not in ended:
                tasks, runs = self._records.look(job)
                if news := self._news(job, job.attempt, tasks):
                    moves.append(Move(job_id=job.ref.id, old=job.state, attempt=job.attempt, new=job.state, tasks=news))
                    explained |= {job.ref.id} if runs else set()
        self._write(moves, lease)
        return wake or any(job.ref.id not in explained for job in told)

    # --- LOST, superseded by proof

    def _correct_lost(self, listing: Listing, lease: Lease | None) -> None:
        lost = self._store.jobs.lost(self._site.name)
        now = self._clock()
        moves = []
        for job in lost:
            seen = listing.observations.get(job.ref.native_id or "")
            if seen is not None and same_job(job, seen):
                whole = self._records.complete(job, seen, now) if job.ref.tasks else seen
                move = None if whole is None else correct(job, Reason.LOST, whole, now)
                if move is not None:
                    moves.append(move)
        self._write(moves, lease)

    def _write(self, moves: Sequence[Move], lease: Lease | None) -> None:
        for start in range(0, len(moves), MOVES_PER_TRANSACTION):
            chunk = moves[start : start + MOVES_PER_TRANSACTION]
            done = self._store.jobs.move(chunk, lease=lease)
            self._remove_secrets([move for move, carried_out in zip(chunk, done, strict=True) if carried_out])
            for move, carried_out in zip(chunk, done, strict=True):
                if carried_out and move.tasks:
                    known = self._seen_tasks.setdefault((move.job_id, move.new_attempt or move.attempt), {})
                    known.update({(task.role, task.index): task for task in move.tasks})
            if not all(done):
                # A lost race is no error: whoever won has written something newer, and the next round sees it.
                _log.debug("site %s: %d of %d moves were overtaken", self._site.name, done.count(False), len(chunk))

    def _remove_secrets(self, moves: Sequence[Move]) -> None:
        """Removes what the wrapper of a job leaves where it was ended from outside, and might be started again."""
        over = [
            move.job_id
            for move in moves
            if move.new in FINAL and move.new is not JobState.COMPLETED and move.changes.get("reason") != Reason.LOST
        ]
        sealed = self._store.jobs.sealed(over) if over else ()
        for job in self._store.jobs.get_many(sorted(sealed)):
            try:
                if job.folder is not None:
                    self._transports.get(self._site, job.account).remove(JobFolder(job.folder).secrets)
            except HpcgateError as error:
                _log.warning("site %s: secrets of job %d stay: %s", self._site.name, job.id, error.message)


def freshness_of(site: str, account: str | None) -> str:
    """Under what name it is kept how a site answers an account (``None`` = the one that polls)."""
    return site if account is None else f"{site}@{account}"


def _seen_from(account: str | None, jobs: Sequence[Snapshot]) -> list[JobRef]:
    """Handles of jobs for a transport of an account: its own jobs have no other account than the transport."""
    if account is None:
        return [job.ref for job in jobs]
    return [replace(job.ref, account=None) if job.ref.account == account else job.ref for job in jobs]
