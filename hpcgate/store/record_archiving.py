"""Which records have to be written to the archive, and whole records for whoever writes or reads archives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from hpcgate.model.codec import decode, encode
from hpcgate.model.record import Monitoring, Record
from hpcgate.store.records import RecordStore
from hpcgate.store.session import Session, chunks, placeholders

#: Spelled out as the index has it: SQLite would not use it else.
_ENDED: Final = "monitoring IN (1, 2) AND ended_at IS NOT NULL"

#: The tables that hold what is to be written apart from that: by id, and whether it failed.
_BESIDE: Final = ("record_rewrite", "record_gone")

#: What says which run of a job a file of an archive is of: (number, cluster, started_at, attempt, array_index).
Run = tuple[int, str, int, int, int]


class RecordArchiving:
    """What is between the records of a database and archives of them."""

    def __init__(self, session: Session, records: RecordStore) -> None:
        self._session = session
        self._records = records

    # --- what is to be written

    def unwritten(self, *, failed: bool, after: int = 0, limit: int) -> list[int]:
        """Ids of records that have ended, or were changed or deleted since, and are not in the archive as they are.

        Args:
            failed: those that could not be written, or those that were not tried yet.
            after: the id before the first one.
            limit: at most so many, the lowest ids first.
        """
        beside = "".join(
            f"UNION SELECT record_id FROM {table} WHERE failed = ? AND record_id > ? "  # noqa: S608
            for table in _BESIDE
        )
        rows = self._session.rows(
            f"SELECT id FROM record WHERE {_ENDED} AND monitoring = ? AND id > ? {beside} ORDER BY 1 LIMIT ?",  # noqa: S608
            (Monitoring.FAILED if failed else Monitoring.OPEN, after, *(failed, after) * len(_BESIDE), limit),
        )
        return [row[0] for row in rows]

    def count_unwritten(self, *, failed: bool) -> int:
        """How many of them there are."""
        monitoring = Monitoring.FAILED if failed else Monitoring.OPEN
        counts = [
            (f"SELECT count(*) FROM record WHERE {_ENDED} AND monitoring = ?", (monitoring,)),  # noqa: S608
            *((f"SELECT count(*) FROM {table} WHERE failed = ?", (failed,)) for table in _BESIDE),  # noqa: S608
        ]
        return sum(int(row[0]) for sql, params in counts for row in self._session.rows(sql, params))

    def to_write(self, ids: Sequence[int]) -> list[Record]:
        """Whole records, also those that were deleted before they were archived."""
        return [*self.whole(ids), *self._gone(ids)]

    def delete(self, ids: Sequence[int], *, archives: bool) -> int:
        """Deletes records; how many there were.

        Args:
            ids: the records.
            archives: what is still to be written of them is kept until it is.
        """
        with self._session.transaction():
            if archives:
                self._keep(ids)
            return self._records.delete(ids)

    def rewrite(self, ids: Iterable[int], *, began: int | None = None) -> None:
        """Notes that archived records have changed; of others nothing is noted, since they are written anyway.

        Args:
            ids: the records.
            began: when they began, as the archive has it, where that was changed.
        """
        with self._session.transaction():
            for chunk in chunks(list(ids)):
                self._session.execute(
                    "INSERT INTO record_rewrite (record_id, failed, began) "  # noqa: S608
                    "SELECT id, CAST(? AS BOOLEAN), CAST(? AS BIGINT) FROM record "
                    f"WHERE id IN ({placeholders(chunk)}) AND monitoring = ? "
                    "ON CONFLICT (record_id) DO UPDATE SET failed = excluded.failed, "
                    "began = COALESCE(record_rewrite.began, excluded.began)",
                    (False, began, *chunk, Monitoring.ARCHIVED),
                )

    def moved(self, ids: Sequence[int]) -> dict[int, int]:
        """Those that are in the archive as having begun at another time; that time."""
        sql = "SELECT record_id, began FROM record_rewrite WHERE began IS NOT NULL AND record_id IN"
        return dict(row for chunk in chunks(ids) for row in self._session.rows(f"{sql} ({placeholders(chunk)})", chunk))

    def written(self, records: Sequence[Record]) -> list[Record]:
        """Notes that records are in the archive, but for those that have changed since they were read.

        Returns:
            Of these the ones that began at another time.
        """
        with self._session.transaction():
            now = {record.id: record for record in self.to_write([record.id for record in records])}
            same = [record.id for record in records if now.get(record.id) == record]
            for chunk in chunks(same):
                listed = placeholders(chunk)
                self._session.execute(
                    f"UPDATE record SET monitoring = ? WHERE id IN ({listed}) AND monitoring IN (1, 2)",  # noqa: S608
                    (Monitoring.ARCHIVED, *chunk),
                )
                for table in _BESIDE:
                    self._session.execute(f"DELETE FROM {table} WHERE record_id IN ({listed})", chunk)  # noqa: S608
        return [record for record in records if record.id in now and now[record.id].started_at != record.started_at]

    def not_written(self, ids: Iterable[int]) -> None:
        """Notes that records could not be written. One that is in the archive, older than it is, stays archived."""
        with self._session.transaction():
            for chunk in chunks(list(ids)):
                listed = placeholders(chunk)
                self._session.execute(
                    f"UPDATE record SET monitoring = ? WHERE id IN ({listed}) AND monitoring = ?",  # noqa: S608
                    (Monitoring.FAILED, *chunk, Monitoring.OPEN),
                )
                for table in _BESIDE:
                    self._session.execute(
                        f"UPDATE {table} SET failed = ? WHERE record_id IN ({listed})",  # noqa: S608
                        (True, *chunk),
                    )

    def _keep(self, ids: Sequence[int]) -> None:
        for chunk in chunks(ids):
            rows = self._session.rows(
                f"SELECT id FROM record WHERE {_ENDED} AND id IN ({placeholders(chunk)}) "  # noqa: S608
                f"UNION SELECT record_id FROM record_rewrite WHERE record_id IN ({placeholders(chunk)})",
                (*chunk, *chunk),
            )
            self._session.execute_many(
                "INSERT INTO record_gone (record_id, document, failed) VALUES (?, ?, ?)",
                [
                    (record.id, json.dumps(encode(record), separators=(",", ":")), False)
                    for record in self.whole([row[0] for row in rows])
                ],
            )

    def _gone(self, ids: Sequence[int]) -> list[Record]:
        sql = "SELECT document FROM record_gone WHERE record_id IN"
        return [
            decode(Record, json.loads(document))
            for chunk in chunks(ids)
            for (document,) in self._session.rows(f"{sql} ({placeholders(chunk)})", chunk)
        ]

    # --- whole records

    def whole(self, ids: Sequence[int]) -> list[Record]:
        """Records with all of their tags, metadata and statistics; those that are not there are left out."""
        tags, details = self._records.tags.of(ids), self._records.details(ids)
        found = []
        for record in self._records.get_many(ids):
            metadata, statistics = details.get(record.id, (None, None))
            mine = tuple(tags.get(record.id, ()))
            found.append(replace(record, tags=mine, metadata=metadata, statistics=statistics))
        return found

    def after(self, id: int, limit: int) -> list[Record]:  # noqa: A002
        """The next whole records by id."""
        rows = self._session.rows("SELECT id FROM record WHERE id > ? ORDER BY id LIMIT ?", (id, limit))
        return self.whole([row[0] for row in rows])

    def count(self) -> int:
        """How many records there are."""
        row = self._session.one("SELECT count(*) FROM record")
        assert row is not None, "a count has a row"
        return int(row[0])

    def present(self, runs: Sequence[Run]) -> set[Run]:
        """Which of these runs have a record."""
        found: set[Run] = set()
        for chunk in chunks(list({run[0] for run in runs})):
            sql = (
                "SELECT number, cluster, started_at, attempt, array_index FROM record "  # noqa: S608
                f"WHERE number IN ({placeholders(chunk)})"
            )
            found.update(map(tuple, self._session.rows(sql, chunk)))
        return found & set(runs)
