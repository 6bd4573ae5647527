"""Accounting records: what programs report, and what people ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import FieldError, InvalidSpec, NotFound
from hpcgate.model.cursor import numbers_of, to_cursor
from hpcgate.model.principal import Principal
from hpcgate.model.query import Page
from hpcgate.model.record import (
    KeepTagged,
    NodeReport,
    Record,
    RecordFilter,
    RecordState,
    RecordTag,
    Source,
    TagScope,
    Visibility,
)
from hpcgate.service.access import Verb, require, require_to_report, require_to_tag, sees_records
from hpcgate.service.record_checks import LATEST, check_record, metadata_errors, node_errors, tag_errors
from hpcgate.service.trail import about

if TYPE_CHECKING:
    from hpcgate.store.database import Store

#: Records that are removed in one transaction.
BATCH: Final = 500
#: The list of records, in cursors.
_CURSOR: Final = "record"


class Records:
    """The accounting of all clusters.

    Args:
        store: where the records are.
        projects: the names of the projects that a principal is a member of.
        archives: whether records that have ended are archived; else nobody need wait for that.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        projects: Callable[[Principal], tuple[str, ...]],
        *,
        archives: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._projects = projects
        self._archives = archives
        self._clock = clock

    # --- what is reported

    def start(self, principal: Principal, draft: Record) -> Record:
        """Stores the record of a job that has begun.

        Raises:
            Forbidden: the principal reports no jobs.
            InvalidSpec: a field is wrong.
            DuplicateRecord: there is one of the same number and cluster that began later than a day before this one.
        """
        require_to_report(principal, Verb.REPORT_RECORDS)
        draft = replace(
            draft,
            id=0,
            job_id=None,
            attempt=1,
            site=None,
            state=RecordState.RUNNING,
            duration_s=0,
            source=Source.REPORTED,
            tags=tuple(_owned(principal, tag) for tag in draft.tags),
        )
        check_record(draft)
        for tag in draft.tags:
            require_to_tag(principal, tag, draft.user)
        record = self._store.records.start(draft)
        about("record", record.id)
        return record

    def stop(self, principal: Principal, id: int, *, ended_at: int, state: RecordState) -> Record:  # noqa: A002
        """Notes that a job has ended.

        Raises:
            Forbidden: the principal reports no jobs.
            NotFound: there is no such record.
            Conflict: the job has ended already.
            InvalidSpec: it would have ended before it began, or the state is none of an ended job.
        """
        require_to_report(principal, Verb.REPORT_RECORDS)
        about("record", id)
        if not 0 <= ended_at <= LATEST:
            raise InvalidSpec.of("ended_at", f"{ended_at} is out of range; it must be 0 to {LATEST}")
        record = self._store.records.stop(id, ended_at=ended_at, state=state, archived=not self._archives)
        return self._shown(principal, [record], details=True)[0]

    def report_nodes(self, principal: Principal, reports: Sequence[NodeReport]) -> None:
        """Takes down what nodes do, in place of what was said of them before.

        Raises:
            Forbidden: the principal reports no nodes.
            InvalidSpec: a field is wrong.
        """
        require_to_report(principal, Verb.REPORT_RECORDS)
        errors = [
            FieldError(f"nodes[{place}].{error.field}", error.message)
            for place, report in enumerate(reports)
            for error in node_errors(report)
        ]
        if errors:
            raise InvalidSpec(errors)
        self._store.node_states.put([replace(each, at=each.at or self._clock()) for each in reports])

    # --- what is asked

    def get(self, principal: Principal, id: int, *, details: bool = True) -> Record:  # noqa: A002
        """A record.

        Args:
            principal: who asks.
            id: of the record.
            details: whether it comes with its tags, metadata and statistics.

        Raises:
            NotFound: there is none, or none that the principal may see.
        """
        record = self._seen(principal, id)
        return self._shown(principal, [record], details=True)[0] if details else record

    def find(
        self, principal: Principal, number: int, *, cluster: str | None = None, started_at: int | None = None
    ) -> Record:
        """The record of a job by what its batch system calls it: of several the latest that runs, else the latest.

        It comes without its tags, metadata and statistics.

        Raises:
            NotFound: there is none, or none that the principal may see.
        """
        record = self._store.records.find(number, cluster=cluster, started_at=started_at)
        if record is None or not _covers(sees_records(principal, self._projects), record):
            where = "" if cluster is None else f" of cluster {cluster!r}"
            when = "" if started_at is None else f" that began at {started_at}"
            raise NotFound(f"there is no record of a job {number}{where}{when}")
        about("record", record.id)
        return record

    def list(
        self,
        principal: Principal,
        filter: RecordFilter,  # noqa: A002
        *,
        cursor: str | None = None,
        limit: int,
        details: bool = False,
        statistics: bool = False,
    ) -> Page[Record]:
        """A part of the list of records that the principal may see, the latest first.

        Args:
            principal: who asks.
            filter: which records.
            cursor: ``next_cursor`` of the part before.
            limit: most records in this part, at least 1.
            details: whether they come with metadata and statistics.
            statistics: whether they come with statistics, also without ``details``.

        Raises:
            InvalidSpec: the cursor is none of ours, or no index answers this combination and it took too long.
        """
        below = None
        if cursor is not None:
            started_at, id_ = numbers_of(cursor, _CURSOR, 2)
            below = started_at, id_
        sees = sees_records(principal, self._projects)
        places = self._store.records.places(filter, sees, now=self._now(), below=below, limit=limit + 1)
        records = self._store.records.get_many([id_ for _, id_ in places[:limit]])
        following = to_cursor(_CURSOR, *places[limit - 1]) if len(places) > limit else None
        return Page(tuple(self._shown(principal, records, details=details, statistics=statistics)), following)

    def numbered(
        self,
        principal: Principal,
        filter: RecordFilter,  # noqa: A002
        *,
        page: int,
        size: int,
        details: bool = False,
        statistics: bool = False,
    ) -> tuple[Record, ...]:
        """A page of the same list by its number, from 1.

        Raises:
            InvalidSpec: no index answers this combination and it took too long.
        """
        sees = sees_records(principal, self._projects)
        offset = (max(page, 1) - 1) * size
        places = self._store.records.places(filter, sees, now=self._now(), offset=offset, limit=size)
        records = self._store.records.get_many([id_ for _, id_ in places])
        return tuple(self._shown(principal, records, details=details, statistics=statistics))

    def count(self, principal: Principal, filter: RecordFilter) -> int:  # noqa: A002
        """How many records there are in all; raises ``InvalidSpec`` where that takes too long."""
        return self._store.records.count(filter, sees_records(principal, self._projects), now=self._now())

    def used_nodes(self, principal: Principal, before: int) -> Mapping[str, Sequence[str]]:
        """The nodes of jobs that run and began before a moment, by cluster.

        Raises:
            Forbidden: the principal does not see everybody's.
        """
        require_to_report(principal, Verb.REPORT_RECORDS)
        return self._store.records.used_nodes(before)

    def nodes(self, principal: Principal, cluster: str | None = None) -> Sequence[NodeReport]:
        """What was said last about nodes."""
        require(principal, Verb.SEE_SITES)
        return self._store.node_states.all(cluster)

    # --- what is changed

    def tag(self, principal: Principal, id: int, tags: Sequence[RecordTag]) -> Record:  # noqa: A002
        """Gives tags to a record; one that it has already is fine.

        Raises:
            NotFound: there is none, or none that the principal may see.
            Forbidden: the principal may not give tags of that scope.
            InvalidSpec: a tag has no type or no name.
        """
        record = self._seen(principal, id)
        wanted = self._checked(principal, tags, record.user)
        with self._store.transaction():
            self._store.records.tags.put(id, record.started_at, wanted)
            self._rewrite([id])
        return self.get(principal, id)

    def untag(self, principal: Principal, id: int, tags: Sequence[RecordTag]) -> Record:  # noqa: A002
        """Takes tags from a record; one that it has not is fine.

        Raises:
            NotFound: there is none, or none that the principal may see.
            Forbidden: the principal may not take away tags of that scope.
        """
        record = self._seen(principal, id)
        wanted = self._checked(principal, tags, record.user)
        with self._store.transaction():
            self._store.records.tags.take(id, wanted)
            self._rewrite([id])
        return self.get(principal, id)

    def remove_tags(self, principal: Principal, tags: Sequence[RecordTag]) -> int:
        """Removes tags from all records, and for good; how many there were.

        Raises:
            Forbidden: the principal may not.
        """
        wanted = self._checked(principal, tags, "")
        with self._store.transaction():
            if self._archives:
                self._rewrite(self._store.records.tags.having(wanted))
            return self._store.records.tags.remove(wanted)

    def edit_metadata(self, principal: Principal, id: int, changes: Mapping[str, str]) -> Record:  # noqa: A002
        """Sets keys of a record's metadata; the others stay.

        Raises:
            Forbidden: the principal reports no jobs.
            NotFound: there is no such record.
            InvalidSpec: a value is too long, or no text.
        """
        require_to_report(principal, Verb.REPORT_RECORDS)
        about("record", id)
        if errors := list(metadata_errors(changes)):
            raise InvalidSpec(errors)
        with self._store.transaction():
            self._store.records.get(id)
            before, _ = self._store.records.details([id]).get(id, (None, None))
            self._store.records.set_details(id, metadata={**(before or {}), **changes})
            self._rewrite([id])
        return self.get(principal, id)

    def delete(self, principal: Principal, id: int) -> None:  # noqa: A002
        """Removes a record. What was archived of it stays.

        Raises:
            Forbidden: the principal may not.
            NotFound: there is none.
        """
        require_to_report(principal, Verb.DELETE_RECORDS)
        about("record", id)
        if not self._remove([id]):
            raise NotFound(f"there is no record {id}")

    def delete_before(
        self, principal: Principal, before: int, *, keep: KeepTagged = KeepTagged.NONE, dry_run: bool = False
    ) -> int:
        """Removes the records of jobs that began before a moment, also of those that run; how many.

        Args:
            principal: who asks.
            before: epoch seconds.
            keep: which stay because they are tagged.
            dry_run: only tells how many would go.

        Raises:
            Forbidden: the principal may not.
        """
        require_to_report(principal, Verb.DELETE_RECORDS)
        if dry_run:
            return self._store.records.count_old(before, ended=False, keep=keep)
        deleted = 0
        while ids := self._store.records.old(before, ended=False, keep=keep, limit=BATCH):
            deleted += self._remove(ids)
        return deleted

    # --- parts

    def _now(self) -> int:
        return int(self._clock())

    def _rewrite(self, ids: Sequence[int]) -> None:
        """Lets what was archived be written again as it is now."""
        if self._archives:
            self._store.archiving.rewrite(ids)

    def _remove(self, ids: Sequence[int]) -> int:
        return self._store.archiving.delete(ids, archives=self._archives)

    def _seen(self, principal: Principal, id: int) -> Record:  # noqa: A002
        about("record", id)
        record = self._store.records.get(id)
        if not _covers(sees_records(principal, self._projects), record):
            raise NotFound(f"there is no record {id}")
        return record

    def _checked(self, principal: Principal, tags: Sequence[RecordTag], owner: str) -> Sequence[RecordTag]:
        owned = tuple(_owned(principal, tag) for tag in tags)
        if errors := list(tag_errors(owned)):
            raise InvalidSpec(errors)
        for tag in owned:
            require_to_tag(principal, tag, owner)
        return owned

    def _shown(
        self, principal: Principal, records: Sequence[Record], *, details: bool, statistics: bool = False
    ) -> Sequence[Record]:
        """Records with what lies beside their rows: two statements for however many."""
        sees, ids = sees_records(principal, self._projects), [record.id for record in records]
        tags = self._store.records.tags.of(ids)
        beside = self._store.records.details(ids, metadata=details) if details or statistics else {}
        shown = []
        for record in records:
            if record.id in tags or record.id in beside:  # most have nothing there, and a copy is not cheap
                metadata, figures = beside.get(record.id, (None, None))
                seen = tuple(tag for tag in tags.get(record.id, ()) if sees.shows(tag))
                record = replace(record, tags=seen, metadata=metadata, statistics=figures)
            shown.append(record)
        return shown


def _owned(principal: Principal, tag: RecordTag) -> RecordTag:
    return replace(tag, owner=principal.name if tag.scope is TagScope.PRIVATE else "", id=0)


def _covers(sees: Visibility, record: Record) -> bool:
    return sees.user is None or record.user == sees.user or record.project in sees.projects
