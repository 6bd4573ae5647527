"""Tags of records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hpcgate.model.record import RecordTag, TagScope
from hpcgate.store import rows
from hpcgate.store.session import Session, chunks
from hpcgate.store.tables import RecordTaggedRow

_SAME = "name = ? AND type = ? AND scope = ? AND owner = ?"


class RecordTagStore:
    """The tags, and which record has which. A tag is made when it is used first."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of(self, ids: Sequence[int]) -> dict[int, list[RecordTag]]:
        """The tags of records, all of them, in the order in which the tags were made."""
        found: dict[int, list[RecordTag]] = {}
        for chunk in chunks(ids):
            among, params = self._session.db.among("d.record_id", chunk)
            sql = (
                "SELECT d.record_id, t.id, t.type, t.name, t.scope, t.owner FROM record_tagged d "  # noqa: S608
                f"JOIN record_tag t ON t.id = d.tag_id WHERE {among} ORDER BY t.id"
            )
            for record_id, id_, type_, name, scope, owner in self._session.rows(sql, params):
                tag = RecordTag(id=id_, type=type_, name=name, scope=TagScope(scope), owner=owner)
                found.setdefault(record_id, []).append(tag)
        return found

    def having(self, tags: Iterable[RecordTag]) -> list[int]:
        """Ids of the records that have any of these tags."""
        sql = f"SELECT record_id FROM record_tagged WHERE tag_id IN (SELECT id FROM record_tag WHERE {_SAME})"  # noqa: S608
        return sorted({row[0] for tag in tags for row in self._session.rows(sql, _key(tag))})

    def put(self, record_id: int, started_at: int, tags: Iterable[RecordTag]) -> list[RecordTag]:
        """Gives tags to a record; one that it has already is fine. They, with their ids."""
        with self._session.transaction():
            stored = [self._stored(tag) for tag in dict.fromkeys(replace(each, id=0) for each in tags)]
            self._session.execute_many(
                f"{rows.insert(RecordTaggedRow)} ON CONFLICT DO NOTHING",
                [(record_id, tag.id, started_at) for tag in stored],
            )
            return stored

    def take(self, record_id: int, tags: Iterable[RecordTag]) -> int:
        """Takes tags from a record; how many it had."""
        sql = f"DELETE FROM record_tagged WHERE record_id = ? AND tag_id IN (SELECT id FROM record_tag WHERE {_SAME})"  # noqa: S608
        with self._session.transaction():
            return sum(self._session.execute(sql, (record_id, *_key(tag))) for tag in tags)

    def remove(self, tags: Iterable[RecordTag]) -> int:
        """Removes tags, from all records too; how many there were."""
        with self._session.transaction():
            return sum(self._session.execute(f"DELETE FROM record_tag WHERE {_SAME}", _key(tag)) for tag in tags)  # noqa: S608

    def _stored(self, tag: RecordTag) -> RecordTag:
        row = self._session.one(f"SELECT id FROM record_tag WHERE {_SAME}", _key(tag))  # noqa: S608
        if row is not None:
            return replace(tag, id=row[0])
        (id_,) = self._session.take("record_tag", 1)
        self._session.execute(
            "INSERT INTO record_tag (name, type, scope, owner, id) VALUES (?, ?, ?, ?, ?)", (*_key(tag), id_)
        )
        return replace(tag, id=id_)


def _key(tag: RecordTag) -> tuple[str, str, str, str]:
    return tag.name, tag.type, tag.scope.value, tag.owner
