"""Jobs: what services see of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from hpcgate.errors import NotFound
from hpcgate.model.cursor import numbers_of, to_cursor
from hpcgate.model.job import Attempt, Job, Task
from hpcgate.model.lease import Lease
from hpcgate.model.move import JobDraft, Move, Snapshot
from hpcgate.model.query import JobFilter, Page
from hpcgate.model.state import AT_SCHEDULER, FINAL, JobState
from hpcgate.store import adding, filters, moves, quota, rows
from hpcgate.store.adding import Added as Added
from hpcgate.store.adding import Idempotency as Idempotency
from hpcgate.store.cipher import Cipher, unseal
from hpcgate.store.session import EventDraft, Session, chunks, placeholders

#: The list of jobs, in cursors.
_CURSOR: Final = "job"


class JobStore:
    """The jobs of a database."""

    def __init__(self, session: Session, cipher: Cipher | None) -> None:
        self._session = session
        self._cipher = cipher
        #: Is told the ids of jobs that are about to go, in the transaction that deletes them.
        self.before_delete: Callable[[Sequence[int]], None] = lambda ids: None

    # --- new jobs ---

    def add(
        self,
        drafts: Sequence[JobDraft],
        *,
        actor: str,
        idempotency: Idempotency | None = None,
        places: Sequence[int] | None = None,
    ) -> Added:
        """Stores jobs, all or none.

        Args:
            drafts: the jobs.
            actor: the principal who asked for them.
            idempotency: the Idempotency-Key of the request. When the same request was here before, the jobs that it
                stored are given back and nothing is written.
            places: where each draft stands in the request; one after the other when not given.

        Raises:
            IdempotencyMismatch: the key was used for another request.
            Conflict: a key or a foreign id is taken.
            ConfigError: there are secrets and the store has no cipher.
        """
        with self._session.transaction():
            if idempotency is not None and (before := self.replay(idempotency)) is not None:
                return before
            jobs = adding.insert(self._session, self._cipher, drafts, actor) if drafts else []
            where = tuple(places) if places is not None else tuple(range(len(jobs)))
            if idempotency is not None:
                stored = {job.id: place for job, place in zip(jobs, where, strict=True)}
                adding.remember(self._session, idempotency, stored, time.time())
            return Added(tuple(jobs), replayed=False, places=where)

    def replay(self, idempotency: Idempotency) -> Added | None:
        """What an earlier request with this Idempotency-Key stored; ``None`` = there was none.

        Raises:
            IdempotencyMismatch: the key was used for another request.
        """
        before = adding.stored_before(self._session, idempotency, time.time())
        if before is None:
            return None
        jobs = self.get_many(before)
        return Added(tuple(jobs), replayed=True, places=tuple(before[job.id] for job in jobs))

    def prune_idempotency(self, now: float) -> int:
        """Forgets Idempotency-Keys that are older than a day; how many."""
        sql = "DELETE FROM idempotency WHERE created_at <= ?"
        with self._session.transaction():
            return self._session.execute(sql, (now - adding.KEPT_S,))

    # --- reading ---

    def get(self, id: int) -> Job:  # noqa: A002
        """A job. Secrets have their names and ``***``.

        Raises:
            NotFound: there is none with this id.
        """
        # What is no 64-bit number is no id, and SQLite would not even take it.
        row = self._session.one(f"{rows.SELECT_JOB} WHERE j.id = ?", (id,)) if 0 < id < 2**63 else None
        if row is None:
            raise NotFound(f"there is no job {id}")
        return rows.job(row)

    def get_many(self, ids: Iterable[int]) -> list[Job]:
        """Jobs in the order of ``ids``; those that are not there (any more) are left out."""
        return self._read(rows.SELECT_JOB, list(ids))

    def get_listed(self, ids: Iterable[int]) -> list[Job]:
        """The same as lists show them: without scripts and the contents of input files."""
        return self._read(rows.SELECT_LISTED_JOB, list(ids))

    def by_key(self, key: str) -> Job | None:
        """The job with this key."""
        row = self._session.one(f"{rows.SELECT_JOB} WHERE j.key = ?", (key,))
        return None if row is None else rows.job(row)

    def secrets(self, id: int) -> Mapping[str, str]:  # noqa: A002
        """The secret environment of a job, in the clear. For those who submit it, never for an answer.

        Raises:
            NotFound: there is no such job.
            ConfigError: there are secrets and the store has no cipher.
        """
        row = self._session.one("SELECT secrets FROM job_spec WHERE job_id = ?", (id,))
        if row is None:
            raise NotFound(f"there is no job {id}")
        return unseal(self._cipher, row[0])

    def page(self, filter: JobFilter, *, cursor: str | None, limit: int) -> Page[Job]:  # noqa: A002
        """A part of the list of jobs, newest first.

        Lists read neither scripts nor the contents of input files, which may be megabytes each: a spec that has a
        script shows ``specs.UNREAD_SCRIPT`` in its place. ``get`` has them.

        Args:
            filter: which jobs.
            cursor: ``next_cursor`` of the part before.
            limit: most jobs in this part, at least 1.

        Raises:
            InvalidSpec: the cursor is none of ours, or no index answers this combination and it took too long.
        """
        below = None if cursor is None else numbers_of(cursor, _CURSOR, 1)[0]
        ids = filters.find_ids(self._session, filter, below=below, limit=limit + 1)
        jobs = self._read(rows.SELECT_LISTED_JOB, ids[:limit])
        return Page(tuple(jobs), to_cursor(_CURSOR, ids[limit - 1]) if len(ids) > limit else None)

    def count(self, filter: JobFilter) -> int:  # noqa: A002
        """How many jobs the filter lets through."""
        return filters.count(self._session, filter)

    def counts(
        self, site: str | None = None, owner: str | None = None, states: frozenset[JobState] = frozenset(JobState)
    ) -> Mapping[JobState, int]:
        """How many jobs are in each state; states without any are left out.

        The cost grows with the jobs that are counted: whoever asks often asks for ``ACTIVE`` alone.
        """
        wanted = [state.value for state in states]
        where, params = f"state IN ({placeholders(wanted)})", list[str](wanted)
        for column, value in (("site", site), ("owner", owner)):
            if value is not None:
                where += f" AND {column} = ?"
                params.append(value)
        sql = f"SELECT state, count(*) FROM job WHERE {where} GROUP BY state"  # noqa: S608
        return {JobState(state): number for state, number in self._session.rows(sql, params)}

    def snapshots(
        self,
        site: str,
        states: frozenset[JobState],
        *,
        keys: Iterable[str] | None = None,
        canceling: bool = False,
    ) -> list[Snapshot]:
        """The jobs of a site that are in one of ``states``, slim, oldest first.

        Args:
            site: its name.
            states: the states.
            keys: only jobs with these keys.
            canceling: only those that somebody wants canceled.
        """
        wanted = [state.value for state in states]
        where = f"site = ? AND state IN ({placeholders(wanted)})" + (" AND canceling" if canceling else "")
        found: list[Snapshot] = []
        for chunk in [None] if keys is None else chunks(sorted(keys)):
            of_keys = "" if chunk is None else f" AND key IN ({placeholders(chunk)})"
            sql = f"{rows.SELECT_SNAPSHOT} WHERE {where}{of_keys}"
            found += map(rows.snapshot, self._session.rows(sql, (site, *wanted, *(chunk or ()))))
        return sorted(found, key=lambda each: each.ref.id)

    def canceling(self, ids: Sequence[int]) -> list[Snapshot]:
        """Those of some jobs that a scheduler has and that somebody wants canceled."""
        wanted = [state.value for state in AT_SCHEDULER]
        found: list[Snapshot] = []
        for chunk in chunks(ids):
            where = f"id IN ({placeholders(chunk)}) AND canceling AND state IN ({placeholders(wanted)})"
            found += map(rows.snapshot, self._session.rows(f"{rows.SELECT_SNAPSHOT} WHERE {where}", (*chunk, *wanted)))
        return found

    def lost(self, site: str) -> list[Snapshot]:
        """The jobs of a site that were given up as LOST, which later proof (from their folders, too) may supersede."""
        sql = f"{rows.SELECT_SNAPSHOT} WHERE site = ? AND reason = 'LOST' AND folder IS NOT NULL ORDER BY id"
        return [rows.snapshot(row) for row in self._session.rows(sql, (site,))]

    def without_usage(self, site: str, *, since: float, limit: int) -> list[Snapshot]:
        """Jobs of a site that an exit record has ended, and of which nobody has told what they used; newest end first.

        Args:
            site: its name.
            since: epoch seconds; jobs whose end was written down before are left out.
            limit: at most so many.
        """
        sql = (
            f"{rows.SELECT_SNAPSHOT} WHERE site = ? AND updated_at >= ? AND evidence = 'exit_file' "
            "AND cpu_time_s IS NULL AND max_rss_kib IS NULL ORDER BY updated_at DESC LIMIT ?"
        )
        return [rows.snapshot(row) for row in self._session.rows(sql, (site, since, limit))]

    def first_owner(self, sites: Sequence[str]) -> str | None:
        """The owner of the oldest job of some sites; ``None`` = they have none."""
        # By state, for there is an index of sites and states: each is one look into it.
        sql = "SELECT min(id) FROM job WHERE site = ? AND state = ?"
        found = [self._session.one(sql, (site, state.value)) for site in sites for state in JobState]
        oldest = [row[0] for row in found if row is not None and row[0] is not None]
        if not oldest:
            return None
        row = self._session.one("SELECT owner FROM job WHERE id = ?", (min(oldest),))
        return None if row is None else str(row[0])

    def sealed(self, ids: Sequence[int]) -> set[int]:
        """Those of some jobs that have a secret environment."""
        found: set[int] = set()
        for chunk in chunks(sorted(ids)):
            sql = f"SELECT job_id FROM job_spec WHERE job_id IN ({placeholders(chunk)}) AND secrets IS NOT NULL"  # noqa: S608
            found.update(row[0] for row in self._session.rows(sql, chunk))
        return found

    def tasks(
        self, job_id: int, *, attempt: int | None = None, after: tuple[str, int] | None = None, limit: int
    ) -> list[Task]:
        """Tasks of a job, ordered by role and index.

        Args:
            job_id: the job.
            attempt: of this attempt; the current one when not given.
            after: (role, index) of the last task of the part before.
            limit: at most so many.
        """
        of_attempt = "(SELECT attempt FROM job WHERE id = ?)" if attempt is None else "?"
        sql = (
            f"{rows.SELECT_TASK} WHERE job_id = ? AND attempt = {of_attempt} AND (role, idx) > (?, ?) "
            "ORDER BY role, idx LIMIT ?"
        )
        found = self._session.rows(sql, (job_id, job_id if attempt is None else attempt, *(after or ("", -1)), limit))
        return [rows.task(row) for row in found]

    def attempts(self, job_id: int) -> list[Attempt]:
        """All attempts of a job, the first one first. The last is the current one: it shows what the job shows.

        An attempt that is over keeps what was last known of it; its ``ended_at`` is, at the latest, the moment at
        which the next attempt was noticed.

        Raises:
            NotFound: there is no such job.
        """
        current = self._session.one(f"{rows.SELECT_CURRENT_ATTEMPT} WHERE id = ?", (job_id,))
        if current is None:
            raise NotFound(f"there is no job {job_id}")
        over = self._session.rows(f"{rows.SELECT_ATTEMPT} WHERE job_id = ? ORDER BY attempt", (job_id,))
        return [rows.attempt(row) for row in (*over, current)]

    # --- changes ---

    def move(self, moves_: Sequence[Move], *, lease: Lease | None = None) -> list[bool]:
        """Carries out moves, each only if the job is still where the move expects it; one transaction.

        ``updated_at`` and ``revision`` are always set; other fields only as ``changes`` says. A new attempt begins
        without the outcome and the place of the one before. A claim that is over but that nobody else took counts
        as held; ``held_claim=""`` asks for a job that nobody has claimed.

        Args:
            moves_: what to do, in this order.
            lease: whose writes these are.

        Returns:
            Per move, whether it was carried out. One that was not has left no trace.

        Raises:
            LeaseLost: somebody else has the lease; nothing was written.
            ValueError: a move changes a field that no move may change, or its new attempt is none; nothing was written.
        """
        return moves.carry_out(self._session, moves_, lease)

    def delete(self, ids: Iterable[int], *, actor: str | None) -> int:
        """Deletes jobs that have ended, with all that belongs to them but their events; how many.

        Jobs that are active, or not there, are passed over. Ids are never given again.
        """
        final = [state.value for state in FINAL]
        deleted = 0
        with self._session.transaction():
            for chunk in chunks(list(ids)):
                self.before_delete(chunk)
                quota.release(self._session, chunk)
                sql = f"DELETE FROM job WHERE id IN ({placeholders(chunk)}) AND state IN ({placeholders(final)}) RETURNING id, owner, key"  # noqa: S608, E501
                gone = self._session.rows(sql, (*chunk, *final))
                self._session.execute_many(
                    "DELETE FROM external_id WHERE kind = 'job' AND id = ?", [(row[0],) for row in gone]
                )
                for id_, owner, key in sorted(gone):
                    self._session.emit(EventDraft("job.deleted", id_, owner, actor, {"key": key}))
                deleted += len(gone)
        return deleted

    # --- parts ---

    def _read(self, select: str, ids: Sequence[int]) -> list[Job]:
        found: dict[int, Job] = {}
        for chunk in chunks(ids):
            for row in self._session.rows(f"{select} WHERE j.id IN ({placeholders(chunk)})", chunk):
                found[row[0]] = rows.job(row)
        return [found[id_] for id_ in ids if id_ in found]
