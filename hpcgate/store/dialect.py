"""What the store needs of a database. There is one module for each: ``sqlite``, ``postgres``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from peewee import Database, Node

from hpcgate.errors import DatabaseUnavailable

Row = tuple[Any, ...]


class StatementTimeout(DatabaseUnavailable):
    """A statement ran longer than it may."""


class Dialect(Protocol):
    """A database, as many threads use it.

    Statements are SQL with ``?`` for parameters, in what all databases understand, or peewee queries. What breaks a
    constraint raises ``peewee.IntegrityError``, whatever the driver.
    """

    @property
    def name(self) -> str:
        """How error messages name the database; never with a password."""

    def read(self, statement: str | Node, params: Iterable[Any] = ()) -> list[Row]:
        """Runs a statement; all rows that it gives."""

    def write(self, statement: str | Node, params: Iterable[Any] = ()) -> int:
        """Runs a statement that changes rows; how many."""

    def write_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement once for each row of parameters."""

    def newest(self, arms: Sequence[str], limit: int, *, order: str = "id DESC", offset: int = 0) -> str:
        """Merges selects, each of which an index answers in order, so that no more is read than comes out.

        Args:
            arms: the selects.
            limit: at most so many rows.
            order: the order of each, and of all.
            offset: so many rows are left out first.
        """

    def among(self, column: str, numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
        """A condition that a column has one of some numbers, and its parameters."""

    def hidden(self, column: str) -> str:
        """A column in a condition for which no index is to be taken, where the database would not know better."""

    def atomic(self) -> AbstractContextManager[object]:
        """All or nothing, and nobody else writes meanwhile. Inside another one it is a savepoint."""

    def in_transaction(self) -> bool:
        """Whether the calling thread is in a transaction."""

    def time_limit(self, seconds: float) -> AbstractContextManager[None]:
        """Ends reading statements of this thread that are not done in time.

        Raises:
            StatementTimeout: one was not.
        """

    def schema(self) -> AbstractContextManager[Database]:
        """What migrations run on."""

    def migrating(self) -> AbstractContextManager[None]:
        """A transaction on ``schema`` for changes to it: one process at a time."""

    def version(self) -> tuple[int, ...]:
        """Changes whenever anything was committed; microseconds."""

    def release(self) -> None:
        """Gives back what the calling thread holds."""

    def close_all(self) -> None:
        """Closes the connections of all threads; none can be opened after that."""
