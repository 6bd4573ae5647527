"""The ids under which dialects know our objects."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import IntegrityError

from hpcgate.errors import Conflict
from hpcgate.store.session import Session
from hpcgate.store.tables import ForeignIdRow


class ForeignIdStore:
    """(dialect, scope, foreign id) -> (kind, id)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, dialect: str, scope: str, ext_id: str, kind: str, id: int) -> None:  # noqa: A002
        """Notes a foreign id.

        Args:
            dialect: name of the dialect.
            scope: within which the id is unique there, e.g. a user or a project; may be ``""``.
            ext_id: the foreign id.
            kind: ``job`` or ``workflow``.
            id: our id.

        Raises:
            Conflict: it stands for something already.
        """
        new = {"dialect": dialect, "scope": scope, "ext_id": ext_id, "kind": kind, "id": id}
        try:
            with self._session.transaction():
                self._session.execute(ForeignIdRow.insert(new))
        except IntegrityError as error:
            raise Conflict(f"{dialect} id {ext_id!r} is taken (scope {scope!r})") from error

    def find(self, dialect: str, scope: str, ext_id: str) -> tuple[str, int] | None:
        """The (kind, id) that a foreign id stands for."""
        query = ForeignIdRow.select(ForeignIdRow.kind, ForeignIdRow.id).where(
            ForeignIdRow.dialect == dialect, ForeignIdRow.scope == scope, ForeignIdRow.ext_id == ext_id
        )
        found = self._session.rows(query)
        return (found[0][0], found[0][1]) if found else None

    def of(self, kind: str, id: int) -> list[tuple[str, str, str]]:  # noqa: A002
        """All (dialect, scope, foreign id) of one of our objects."""
        query = (
            ForeignIdRow.select(ForeignIdRow.dialect, ForeignIdRow.scope, ForeignIdRow.ext_id)
            .where(ForeignIdRow.kind == kind, ForeignIdRow.id == id)
            .order_by(ForeignIdRow.dialect, ForeignIdRow.scope, ForeignIdRow.ext_id)
        )
        return [(dialect, scope, ext_id) for dialect, scope, ext_id in self._session.rows(query)]

    def names(self, dialect: str, kind: str, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
        """The (scope, foreign id) of many of our objects."""
        if not ids:
            return {}
        query = (
            ForeignIdRow.select(ForeignIdRow.id, ForeignIdRow.scope, ForeignIdRow.ext_id)
            .where(ForeignIdRow.dialect == dialect, ForeignIdRow.kind == kind, ForeignIdRow.id.in_(list(ids)))
            .order_by(ForeignIdRow.id)
        )
        return {id_: (scope, ext_id) for id_, scope, ext_id in self._session.rows(query)}

    def within(self, dialect: str, scope: str, kind: str) -> dict[str, int]:
        """All foreign ids of a scope, and the objects of ours that they stand for, newest first."""
        query = (
            ForeignIdRow.select(ForeignIdRow.ext_id, ForeignIdRow.id)
            .where(ForeignIdRow.dialect == dialect, ForeignIdRow.scope == scope, ForeignIdRow.kind == kind)
            .order_by(ForeignIdRow.id.desc(), ForeignIdRow.ext_id)
        )
        return dict(self._session.rows(query))

    def remove(self, dialect: str, scope: str, ext_id: str) -> None:
        """Forgets a foreign id; what it stood for stays. One that is not there is fine."""
        with self._session.transaction():
            self._session.execute(
                ForeignIdRow.delete().where(
                    ForeignIdRow.dialect == dialect, ForeignIdRow.scope == scope, ForeignIdRow.ext_id == ext_id
                )
            )
