"""Projects and shares that were made over the API, and who their members are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Generic, TypeVar

from peewee import IntegrityError

from hpcgate.errors import Conflict, NotFound
from hpcgate.model.allocation import Allocation, Grant
from hpcgate.model.codec import decode, encode
from hpcgate.store.session import EventDraft, Session

A = TypeVar("A", bound=Allocation)


class AllocationStore(Generic[A]):
    """Projects, or shares. Every change is an event of ``actor``, in the same transaction.

    Args:
        session: the database.
        model: their class.
    """

    def __init__(self, session: Session, model: type[A]) -> None:
        self._session = session
        self._kind = model.kind
        self._model = model

    def get(self, name: str) -> A | None:
        """The one of this name."""
        row = self._session.one("SELECT settings FROM allocation WHERE kind = ? AND name = ?", (self._kind, name))
        return None if row is None else decode(self._model, json.loads(row[0]))

    def default_at(self, site: str) -> A | None:
        """The one that is the default of a site."""
        row = self._session.one("SELECT settings FROM allocation WHERE default_at = ?", (site,))
        return None if row is None else decode(self._model, json.loads(row[0]))

    def all(self) -> list[A]:
        """All of them, by name."""
        found = self._session.rows("SELECT settings FROM allocation WHERE kind = ? ORDER BY name", (self._kind,))
        return [decode(self._model, json.loads(row[0])) for row in found]

    def add(self, item: A, actor: str) -> None:
        """Stores a new one.

        Raises:
            Conflict: the name is taken.
        """
        try:
            with self._session.transaction():
                values = (self._kind, item.name, item.default_at, json.dumps(encode(item)))
                self._session.execute(
                    "INSERT INTO allocation (kind, name, default_at, settings) VALUES (?, ?, ?, ?)", values
                )
                self._tell("created", actor, encode(item))
        except IntegrityError as error:
            raise Conflict(f"there is a {self._kind} {item.name!r} already") from error

    def replace(self, item: A, actor: str) -> None:
        """Changes one.

        Raises:
            NotFound: there is none of its name.
        """
        with self._session.transaction():
            before = self.get(item.name)
            if before is None:
                raise self._missing(item.name)
            values = (item.default_at, json.dumps(encode(item)), self._kind, item.name)
            sql = "UPDATE allocation SET default_at = ?, settings = ? WHERE kind = ? AND name = ?"
            self._session.execute(sql, values)
            self._tell("changed", actor, {"name": item.name, "old": encode(before), "new": encode(item)})

    def remove(self, name: str, actor: str) -> None:
        """Forgets one with its members.

        Raises:
            NotFound: there is none of this name.
        """
        with self._session.transaction():
            where = (self._kind, name)
            if not self._session.execute("DELETE FROM allocation WHERE kind = ? AND name = ?", where):
                raise self._missing(name)
            self._session.execute("DELETE FROM allocation_member WHERE kind = ? AND name = ?", where)
            self._tell("deleted", actor, {"name": name})

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"there is no {self._kind} {name!r}")

    # --- members

    def members(self, name: str) -> dict[str, Grant]:
        """The members of one."""
        sql = "SELECT principal, time_s, space_kb FROM allocation_member WHERE kind = ? AND name = ?"
        found = self._session.rows(sql, (self._kind, name))
        return {principal: Grant(time_s=time_s, space_kb=space_kb) for principal, time_s, space_kb in found}

    def member(self, name: str, principal: str) -> Grant | None:
        """What a member was granted; ``None`` = it is none."""
        sql = "SELECT time_s, space_kb FROM allocation_member WHERE kind = ? AND name = ? AND principal = ?"
        row = self._session.one(sql, (self._kind, name, principal))
        return None if row is None else Grant(time_s=row[0], space_kb=row[1])

    def of_member(self, principal: str) -> frozenset[str]:
        """The names of those of which somebody is a member."""
        sql = "SELECT name FROM allocation_member WHERE principal = ? AND kind = ?"
        return frozenset(row[0] for row in self._session.rows(sql, (principal, self._kind)))

    def put_member(self, name: str, principal: str, grant: Grant, actor: str) -> bool:
        """Makes somebody a member, or grants it something else; whether it is a new one."""
        with self._session.transaction():
            before = self.member(name, principal)
            self._session.execute(
                "INSERT INTO allocation_member (kind, name, principal, time_s, space_kb) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, name, principal) DO UPDATE SET time_s = excluded.time_s, "
                "space_kb = excluded.space_kb",
                (self._kind, name, principal, grant.time_s, grant.space_kb),
            )
            data = {"name": name, "member": principal, "old": before and encode(before), "new": encode(grant)}
            self._tell("granted", actor, data, owner=principal)
            return before is None

    def remove_member(self, name: str, principal: str, actor: str) -> None:
        """Takes a membership away.

        Raises:
            NotFound: there is none.
        """
        sql = "DELETE FROM allocation_member WHERE kind = ? AND name = ? AND principal = ?"
        with self._session.transaction():
            if not self._session.execute(sql, (self._kind, name, principal)):
                raise NotFound(f"{principal!r} is no member of {self._kind} {name!r}")
            self._tell("revoked", actor, {"name": name, "member": principal}, owner=principal)

    def _tell(self, what: str, actor: str, data: Mapping[str, object], owner: str | None = None) -> None:
        self._session.emit(EventDraft(f"{self._kind}.{what}", None, owner, actor, data))
