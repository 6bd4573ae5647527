"""What every part of the store works through: statements, the transaction, and the events written at its end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from peewee import Node

from hpcgate.errors import InvalidSpec
from hpcgate.store.dialect import Dialect, Row, StatementTimeout

T = TypeVar("T")

#: Parameters in one statement.
_CHUNK: Final = 500


@dataclass(slots=True)
class EventDraft:
    """An event that has no number yet."""

    type: str
    job_id: int | None
    owner: str | None
    actor: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Values in parts that fit into one statement."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def placeholders(values: Sequence[object]) -> str:
    """Parameter marks for ``IN (...)``."""
    return ", ".join("?" * len(values))


class _Pending(threading.local):
    """The events of the calling thread's transaction."""

    def __init__(self) -> None:
        self.events: list[EventDraft] = []


class Session:
    """A database with its transaction.

    Statements are written with ``?`` for parameters and in what SQLite and PostgreSQL both understand.

    Args:
        db: the connections.
        topics: names of the queues that get a row for every event.
    """

    def __init__(self, db: Dialect, topics: Sequence[str] = ()) -> None:
        self.db = db
        self._topics = tuple(topics)
        self._pending = _Pending()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. An inner one is part of the outer; its failure undoes what it did itself."""
        events = self._pending.events
        outermost, before = not self.db.in_transaction(), len(events)
        try:
            with self.db.atomic():
                yield
                if outermost:
                    self._write(events)
        except BaseException:
            del events[before:]
            raise
        if outermost:
            events.clear()

    def execute(self, statement: str | Node, params: Sequence[Any] = ()) -> int:
        """Runs SQL, or a peewee query, that changes rows; how many."""
        return self.db.write(statement, params)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs one statement for many rows of parameters."""
        self.db.write_many(sql, rows)

    def rows(self, statement: str | Node, params: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement, or of a peewee query."""
        return self.db.read(statement, params)

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """The first row of a statement."""
        found = self.rows(sql, params)
        return found[0] if found else None

    @contextmanager
    def filtering(self, limit_s: float, too_long: str) -> Iterator[None]:
        """Reads by a filter that came from outside, which may hold any text and ask for anything.

        Args:
            limit_s: how long a statement may take.
            too_long: what is wrong with a filter by which it takes longer, and what would be right.

        Raises:
            InvalidSpec: it took longer, or its text is none.
        """
        try:
            with self.db.time_limit(limit_s):
                yield
        except UnicodeEncodeError as error:
            raise InvalidSpec.of("filter", "holds text that is not valid Unicode") from error
        except StatementTimeout as error:
            raise InvalidSpec.of("filter", too_long) from error

    def emit(self, event: EventDraft) -> None:
        """Notes an event; it is written, and gets its number, at the end of the transaction."""
        self._pending.events.append(event)

    def counter(self, name: str) -> int:
        """Where a counter stands."""
        row = self.one("SELECT value FROM counter WHERE name = ?", (name,))
        assert row is not None, name
        return int(row[0])

    def take(self, counter: str, count: int) -> range:
        """The next ``count`` numbers of a counter; the counter stays locked until the transaction ends."""
        row = self.one("UPDATE counter SET value = value + ? WHERE name = ? RETURNING value", (count, counter))
        assert row is not None, counter
        return range(row[0] - count + 1, row[0] + 1)

    def _write(self, events: Sequence[EventDraft]) -> None:
        # Last of all: whoever has the counter commits before the next one gets numbers, so that numbers are in the
        # order of commits on a database with many writers as well.
        if not events:
            return
        numbers = self.take("event", len(events))
        self.execute_many(
            "INSERT INTO event (seq, at, type, job_id, owner, actor, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (seq, event.at, event.type, event.job_id, event.owner, event.actor, json.dumps(dict(event.data)))
                for seq, event in zip(numbers, events, strict=True)
            ],
        )
        if self._topics:
            wanted = [(topic, seq, event) for seq, event in zip(numbers, events, strict=True) for topic in self._topics]
            self.execute_many(
                "INSERT INTO outbox (id, topic, seq, job_id, due_at, tries) VALUES (?, ?, ?, ?, ?, 0)",
                [
                    (number, topic, seq, event.job_id, event.at)
                    for number, (topic, seq, event) in zip(self.take("outbox", len(wanted)), wanted, strict=True)
                ],
            )
