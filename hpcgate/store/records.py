"""Accounting records. All that changes them is here, and tells the sums over them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from hpcgate.errors import Conflict, DuplicateRecord, InvalidSpec, NotFound
from hpcgate.model.record import (
    MACHINE_TAGS,
    REQUEUE_AFTER_S,
    KeepTagged,
    Monitoring,
    Record,
    RecordFilter,
    RecordState,
    Visibility,
)
from hpcgate.store import record_rows, record_search, rollups, rows
from hpcgate.store.record_search import Place
from hpcgate.store.record_tags import RecordTagStore
from hpcgate.store.session import Session, chunks, placeholders
from hpcgate.store.tables import RecordNodeRow

_EVERYBODY: Final = Visibility()
#: Fields that ``change`` leaves alone: what makes a record this one, and what does not stand in its row.
_FIXED: Final = frozenset({"id", "tags", "metadata", "statistics"})


class RecordStore:
    """The records of a database."""

    def __init__(self, session: Session, tags: RecordTagStore) -> None:
        self._session = session
        self.tags = tags

    # --- changes

    def start(self, draft: Record) -> Record:
        """Stores the record of a job that has begun.

        Raises:
            DuplicateRecord: one of the same number and cluster began later than a day before this one.
        """
        with self._session.transaction():
            before = self._session.one(
                "SELECT id FROM record WHERE number = ? AND cluster = ? AND started_at > ? "
                "ORDER BY started_at DESC, id DESC LIMIT 1",
                (draft.number, draft.cluster, draft.started_at - REQUEUE_AFTER_S),
            )
            if before is not None:
                raise DuplicateRecord(
                    f"a record of job {draft.number} of cluster {draft.cluster!r} that began at {draft.started_at} "
                    f"or less than a day before is there already: record {before[0]}",
                    before[0],
                )
            return self.insert([draft])[0]

    def insert(self, drafts: Sequence[Record]) -> list[Record]:
        """Stores records, whatever is there already, with their tags, metadata and statistics. They, with their ids."""
        if not drafts:
            return []
        with self._session.transaction():
            ids = self._session.take("record", len(drafts))
            new = [replace(draft, id=id_) for draft, id_ in zip(drafts, ids, strict=True)]
            self._session.execute_many(record_rows.INSERT, map(record_rows.values, new))
            self._add_nodes(new)
            self._session.execute_many(
                "INSERT INTO record_detail (record_id, metadata, statistics) VALUES (?, ?, ?)",
                [
                    (record.id, _dump(record.metadata), _dump(record.statistics))
                    for record in new
                    if record.metadata is not None or record.statistics is not None
                ],
            )
            new = [
                replace(record, tags=tuple(self.tags.put(record.id, record.started_at, record.tags)))
                if record.tags
                else record
                for record in new
            ]
            rollups.apply(self._session, new, [])
            return new

    def stop(self, id: int, *, ended_at: int, state: RecordState, archived: bool) -> Record:  # noqa: A002
        """Notes that a job has ended.

        Args:
            id: the record.
            ended_at: epoch seconds.
            state: how.
            archived: nothing is archived, so that nobody need wait for it.

        Raises:
            NotFound: there is no such record.
            Conflict: it has ended already.
            InvalidSpec: it would have ended before it began, or the state is none of an ended job.
        """
        with self._session.transaction():
            record = self.get(id)
            if record.state.final:
                raise Conflict(f"record {id} (job {record.number}) has ended already: it is {record.state}")
            if not state.final:
                raise InvalidSpec.of("state", f"{state} is no state of a job that has ended")
            if ended_at < record.started_at:
                message = f"{ended_at} is before the job began ({record.started_at})"
                raise InvalidSpec.of("ended_at", message)
            done = Monitoring.ARCHIVED if archived and record.monitoring == Monitoring.OPEN else record.monitoring
            return self._change(record, state=state, duration_s=ended_at - record.started_at, monitoring=done)

    def change(self, id: int, **fields: Any) -> Record:  # noqa: A002
        """Sets fields of a record; it, as it is now.

        Raises:
            NotFound: there is no such record.
        """
        assert not fields.keys() & _FIXED, fields
        with self._session.transaction():
            return self._change(self.get(id), **fields)

    def set_details(self, id: int, **details: Mapping[str, Any]) -> None:  # noqa: A002
        """Sets the ``metadata`` or the ``statistics`` of a record, or both."""
        assert details.keys() <= {"metadata", "statistics"}, details
        with self._session.transaction():
            for name, value in details.items():
                self._session.execute(
                    f"INSERT INTO record_detail (record_id, {name}) VALUES (?, ?) "  # noqa: S608
                    f"ON CONFLICT (record_id) DO UPDATE SET {name} = excluded.{name}",
                    (id, _dump(value)),
                )

    def delete(self, ids: Iterable[int]) -> int:
        """Removes records, with all that belongs to them; how many there were. Ids are never given again."""
        deleted = 0
        with self._session.transaction():
            for chunk in chunks(list(ids)):
                gone = self._read(chunk)
                rollups.apply(self._session, [], gone)
                sql = f"DELETE FROM record WHERE id IN ({placeholders(chunk)})"  # noqa: S608
                deleted += self._session.execute(sql, chunk)
        return deleted

    # --- reading

    def get(self, id: int) -> Record:  # noqa: A002
        """A record, without its tags and details.

        Raises:
            NotFound: there is none with this id.
        """
        found = self._read([id]) if 0 < id < 2**63 else []
        if not found:
            raise NotFound(f"there is no record {id}")
        return found[0]

    def get_many(self, ids: Sequence[int]) -> list[Record]:
        """Records in the order of ``ids``; those that are not there (any more) are left out."""
        found = {record.id: record for chunk in chunks(ids) for record in self._read(chunk)}
        return [found[id_] for id_ in ids if id_ in found]

    def find(self, number: int, *, cluster: str | None = None, started_at: int | None = None) -> Record | None:
        """The record of a job by what its batch system calls it: of several the latest that runs, else the latest.

        Args:
            number: the batch system's number.
            cluster: the cluster; any when not given.
            started_at: when it began; any time when not given.
        """
        where, params = "r.number = ?", [number]  # type: tuple[str, list[Any]]
        if cluster is not None:
            where, params = f"{where} AND r.cluster = ?", [*params, cluster]
        if started_at is not None:
            where, params = f"{where} AND r.started_at = ?", [*params, started_at]
        sql = (
            f"{record_rows.SELECT} WHERE {where} "
            "ORDER BY CASE WHEN r.ended_at IS NULL THEN 0 ELSE 1 END, r.started_at DESC, r.id DESC LIMIT 1"
        )
        row = self._session.one(sql, params)
        return None if row is None else record_rows.record(row)

    def of_jobs(self, job_ids: Sequence[int]) -> list[Record]:
        """The records of all runs of some of the gateway's own jobs."""
        found: list[Record] = []
        for chunk in chunks(job_ids):
            sql = f"{record_rows.SELECT} WHERE r.job_id IN ({placeholders(chunk)})"
            found += map(record_rows.record, self._session.rows(sql, chunk))
        return found

    def reported(self, number: int, cluster: str, started_at: int) -> Record | None:
        """The record that a client has made of a job which is perhaps the gateway's own, by when it began."""
        sql = (
            f"{record_rows.SELECT} WHERE r.number = ? AND r.cluster = ? AND r.started_at > ? AND r.started_at < ? "
            "AND r.job_id IS NULL ORDER BY r.started_at DESC, r.id DESC LIMIT 1"
        )
        near = (started_at - REQUEUE_AFTER_S, started_at + REQUEUE_AFTER_S)
        row = self._session.one(sql, (number, cluster, *near))
        return None if row is None else record_rows.record(row)

    def places(
        self,
        filter: RecordFilter,  # noqa: A002
        sees: Visibility = _EVERYBODY,
        *,
        now: int,
        below: Place | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[Place]:
        """Where the records stand that a filter lets through, the latest first; as ``record_search.find``."""
        return record_search.find(self._session, filter, sees, now=now, below=below, offset=offset, limit=limit)

    def count(self, filter: RecordFilter, sees: Visibility = _EVERYBODY, *, now: int) -> int:  # noqa: A002
        """How many records a filter lets through."""
        return record_search.count(self._session, filter, sees, now=now)

    def details(
        self, ids: Sequence[int], *, metadata: bool = True
    ) -> dict[int, tuple[dict[str, str] | None, dict[str, Any] | None]]:
        """(metadata, statistics) of those records that have any; only the latter where long metadata is not wanted."""
        found = {}
        column = "metadata" if metadata else "NULL"
        for chunk in chunks(ids):
            among, params = self._session.db.among("record_id", chunk)
            sql = f"SELECT record_id, {column}, statistics FROM record_detail WHERE {among}"  # noqa: S608
            for id_, said, figures in self._session.rows(sql, params):
                found[id_] = _load(said), _load(figures)
        return found

    def old(self, before: int, *, ended: bool, keep: KeepTagged, limit: int) -> list[int]:
        """Ids of records from before a moment, the oldest first.

        Args:
            before: epoch seconds.
            ended: whether it is the end that counts, so that none is among them that has not ended, or that has still
                to be archived; else the beginning.
            keep: which stay because they are tagged.
            limit: at most so many.
        """
        moment, where, params = _old(before, ended=ended, keep=keep)
        sql = f"SELECT r.id FROM record r WHERE {where} ORDER BY {moment}, r.id LIMIT ?"  # noqa: S608
        return [row[0] for row in self._session.rows(sql, [*params, limit])]

    def count_old(self, before: int, *, ended: bool, keep: KeepTagged) -> int:
        """How many there are."""
        _, where, params = _old(before, ended=ended, keep=keep)
        return int(self._session.rows(f"SELECT count(*) FROM record r WHERE {where}", params)[0][0])  # noqa: S608

    def used_nodes(self, before: int) -> dict[str, list[str]]:
        """The nodes of jobs that run and began before a moment, by cluster, in order."""
        sql = (
            "SELECT DISTINCT r.cluster, n.hostname FROM record r JOIN record_node n ON n.record_id = r.id "
            "WHERE r.ended_at IS NULL AND r.state = 'running' AND r.started_at < ? ORDER BY r.cluster, n.hostname"
        )
        found: dict[str, list[str]] = {}
        for cluster, hostname in self._session.rows(sql, (before,)):
            found.setdefault(cluster, []).append(hostname)
        return found

    # --- the place in the event log

    def position(self) -> int:
        """Number of the last event that was looked at for records."""
        return self._session.counter("records")

    def advance(self, old: int, new: int) -> bool:
        """Moves the place; ``False`` = somebody else has moved it, and nothing may be stored."""
        sql = "UPDATE counter SET value = ? WHERE name = 'records' AND value = ?"
        return bool(self._session.execute(sql, (new, old)))

    # --- parts

    def _read(self, ids: Sequence[int]) -> list[Record]:
        among, params = self._session.db.among("r.id", ids)
        return [record_rows.record(row) for row in self._session.rows(f"{record_rows.SELECT} WHERE {among}", params)]

    def _change(self, before: Record, **fields: Any) -> Record:
        """Sets fields of a record that was read in the same transaction."""
        after = replace(before, **fields)
        old, new = record_rows.values(before), record_rows.values(after)
        changed = [(name, now) for name, was, now in zip(record_rows.COLUMNS, old, new, strict=True) if was != now]
        if changed:
            sets = ", ".join(f"{name} = ?" for name, _ in changed)
            self._session.execute(
                f"UPDATE record SET {sets} WHERE id = ?",  # noqa: S608
                (*(value for _, value in changed), before.id),
            )
            if before.started_at != after.started_at or _hosts(before) != _hosts(after):
                self._move(after)
            rollups.apply(self._session, [after], [before])
        return after

    def _move(self, record: Record) -> None:
        """Has a record found where it stands now: by its nodes and its tags."""
        moment = (record.started_at, record.id)
        self._session.execute("UPDATE record_tagged SET started_at = ? WHERE record_id = ?", moment)
        self._session.execute("DELETE FROM record_node WHERE record_id = ?", (record.id,))
        self._add_nodes([record])

    def _add_nodes(self, records: Sequence[Record]) -> None:
        self._session.execute_many(
            rows.insert(RecordNodeRow),
            [(record.id, host, record.started_at) for record in records for host in _hosts(record)],
        )


def _old(before: int, *, ended: bool, keep: KeepTagged) -> tuple[str, str, list[Any]]:
    """The column that counts, what must hold, and the parameters."""
    moment = "r.ended_at" if ended else "r.started_at"
    where, params = f"{moment} < ?", [before]  # type: tuple[str, list[Any]]
    if ended:
        where = f"{where} AND NOT ((r.monitoring + 0) IN (1, 2))"
    if keep is not KeepTagged.NONE:
        tagged = "SELECT 1 FROM record_tagged d JOIN record_tag t ON t.id = d.tag_id WHERE d.record_id = r.id"
        if keep is KeepTagged.USER:
            tagged = f"{tagged} AND t.type NOT IN ({placeholders(MACHINE_TAGS)})"
            params += MACHINE_TAGS
        where = f"{where} AND NOT EXISTS ({tagged})"
    return moment, where, params


def _hosts(record: Record) -> list[str]:
    return list(dict.fromkeys(each.hostname for each in record.resources))


def _dump(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value), separators=(",", ":"))


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)
