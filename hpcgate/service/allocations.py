"""What projects and shares have in common: those of the configuration and those of the database, and their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from hpcgate.errors import Conflict, Forbidden, InvalidSpec, ManagedByConfig, NotFound, nearest
from hpcgate.model.allocation import Allocation, Grant
from hpcgate.model.cursor import place_of, to_cursor
from hpcgate.model.principal import Principal, Role
from hpcgate.model.query import DEFAULT_LIMIT, MAX_LIMIT, Page
from hpcgate.model.scheduler import SchedulerInfo
from hpcgate.model.site import Site
from hpcgate.service.access import Verb, allows, require
from hpcgate.service.honesty import supports
from hpcgate.service.trail import about
from hpcgate.service.users import USER_NAME

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.store.allocations import AllocationStore
    from hpcgate.store.database import Store

A = TypeVar("A", bound=Allocation)

#: Lists by name, in cursors.
_CURSOR: Final = "name"


@dataclass(frozen=True, slots=True)
class Configured(Generic[A]):
    """What the configuration has: by name, and who the members of each are."""

    items: Mapping[str, A]
    members: Mapping[str, Mapping[str, Grant]]


class Allocations(Generic[A]):
    """Projects, or shares.

    Args:
        model: their class.
        configured: those of the configuration; they hide others of the same name.
        stored: those of the database.
        sites, store, lifecycle: the parts it works on.
    """

    def __init__(
        self,
        model: type[A],
        configured: Configured[A],
        stored: AllocationStore[A],
        sites: Mapping[str, Site],
        store: Store,
        lifecycle: Lifecycle,
    ) -> None:
        self._kind = model.kind
        self._configured = configured
        self._stored = stored
        self._sites = {alias: site for site in sites.values() for alias in (site.name, *site.aliases)}
        self._store = store
        self._lifecycle = lifecycle

    # --- for the gateway itself

    def find(self, name: str) -> A | None:
        """The one of this name, whoever asks."""
        return self._configured.items.get(name) or self._stored.get(name)

    def every(self) -> list[A]:
        """All of them, by name, whoever asks."""
        found = {item.name: item for item in self._stored.all()} | dict(self._configured.items)
        return [found[name] for name in sorted(found)]

    def granted(self, item: A, name: str) -> Grant | None:
        """What was granted to a user by name; ``None`` = nothing beside what every user of it has."""
        if item.managed_by_config:
            return self._configured.members[item.name].get(name)
        return self._stored.member(item.name, name)

    def is_member(self, principal: Principal, item: A) -> bool:
        """Whether it is the principal's own."""
        if item.everybody or not principal.groups.isdisjoint(item.groups):
            return True
        return self.granted(item, principal.name) is not None

    def joined(self, principal: Principal) -> tuple[str, ...]:
        """The names of those that a principal is a member of, by itself or by a group."""
        stored = self._stored.of_member(principal.name)
        configured = self._configured.members
        return tuple(
            item.name
            for item in self.every()
            if not principal.groups.isdisjoint(item.groups)
            or (principal.name in configured[item.name] if item.managed_by_config else item.name in stored)
        )

    def usable(self, principal: Principal, name: str) -> A:
        """One that the principal may use for jobs.

        Raises:
            InvalidSpec: there is none, or none that it may see.
            Forbidden: it may only look at it.
        """
        item = self.find(name)
        if item is None or not self.visible(principal, item):
            known = nearest(name, [each.name for each in self.every() if self.visible(principal, each)])
            raise InvalidSpec.of(self._kind, f"there is no {self._kind} {name!r}{known}")
        if not (self.is_member(principal, item) or principal.has(Role.ADMIN)):
            raise Forbidden(f"{principal.name!r} is no member of {self._kind} {name!r}")
        return item

    # --- for people

    def list(self, principal: Principal, *, cursor: str | None = None, limit: int = DEFAULT_LIMIT) -> Page[A]:
        """Those that the principal may see, by name."""
        require(principal, Verb.SEE_ALLOCATION)
        return _page([(each.name, each) for each in self.every() if self.visible(principal, each)], cursor, limit)

    def get(self, principal: Principal, name: str) -> A:
        """One of them.

        Raises:
            NotFound: there is none of that name, or none that the principal may see.
        """
        about(self._kind, name)
        item = self.find(name)
        if item is None or not self.visible(principal, item):
            raise NotFound(f"there is no {self._kind} {name!r}")
        return item

    def visible(self, principal: Principal, item: A) -> bool:
        """Whether the principal may see it."""
        return allows(principal, Verb.SEE_ALLOCATION, principal.name if self.is_member(principal, item) else "")

    def create(self, principal: Principal, item: A) -> A:
        """Makes one.

        Raises:
            Conflict: the name is taken.
            InvalidSpec: its site does not exist, or cannot honour what it says.
        """
        about(self._kind, item.name)
        require(principal, Verb.MANAGE_ALLOCATIONS)
        if item.name in self._configured.items:
            raise Conflict(f"there is a {self._kind} {item.name!r} already")
        with self._store.transaction():
            item = self._checked(item)
            self._stored.add(item, principal.actor)
        return item

    def update(self, principal: Principal, name: str, changes: Mapping[str, Any]) -> A:
        """Changes fields of one. Jobs that it has already keep what they were given.

        Raises:
            ManagedByConfig: it stands in the configuration.
        """
        with self._store.transaction():
            item = self._checked(replace(self._managed(principal, name), **changes))
            self._stored.replace(item, principal.actor)
        return item

    def remove(self, principal: Principal, name: str) -> None:
        """Removes one.

        Raises:
            ManagedByConfig: it stands in the configuration.
            Conflict: it has jobs that have not ended.
        """
        with self._store.transaction():
            item = self._managed(principal, name)
            if active := self._active(item):
                raise Conflict(f"{self._kind} {name!r} has {active} jobs that have not ended; cancel them first")
            self._stored.remove(name, principal.actor)
            self._forget(item)

    def _active(self, item: A) -> int:
        """How many of its jobs have not ended."""
        raise NotImplementedError

    def _forget(self, item: A) -> None:
        """Removes what is kept beside it."""

    def _managed(self, principal: Principal, name: str) -> A:
        """One that the principal may change."""
        item = self.get(principal, name)
        require(principal, Verb.MANAGE_ALLOCATIONS)
        if item.managed_by_config:
            raise ManagedByConfig(f"{self._kind} {name!r} stands in the configuration file; change it there")
        return item

    def _checked(self, item: A) -> A:
        """With the name of its site for an alias, and honoured by the scheduler there."""
        site = self._sites.get(item.site)
        if site is None:
            raise InvalidSpec.of("site", f"there is no site {item.site!r}{nearest(item.site, sorted(self._sites))}")
        unsupported(item, self._lifecycle.scheduler(site.scheduler))
        return replace(item, site=site.name)

    # --- members

    def members(
        self, principal: Principal, name: str, *, cursor: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> Page[tuple[str, Grant]]:
        """The members by name; one who may not see others' sees oneself."""
        item = self.get(principal, name)
        known = self._members(item)
        seen = {each: grant for each, grant in known.items() if allows(principal, Verb.SEE_ALLOCATION, each)}
        return _page([(each, (each, seen[each])) for each in sorted(seen)], cursor, limit)

    def _members(self, item: A) -> Mapping[str, Grant]:
        if item.managed_by_config:
            return self._configured.members[item.name]
        return self._stored.members(item.name)

    def member(self, principal: Principal, name: str, member: str) -> Grant:
        """What one member was granted.

        Raises:
            NotFound: there is no such member, or none that the principal may see.
        """
        grant = self._members(self.get(principal, name)).get(member)
        if grant is None or not allows(principal, Verb.SEE_ALLOCATION, member):
            raise NotFound(f"{member!r} is no member of {self._kind} {name!r}")
        return grant

    def put_member(self, principal: Principal, name: str, member: str, grant: Grant) -> bool:
        """Makes somebody a member, or grants it something else; whether it is a new one. It need not be a user yet."""
        with self._store.transaction():
            self._managed(principal, name)
            if not USER_NAME.match(member):
                raise InvalidSpec.of("member", f"{member!r} is no user name; letters, digits and . _ @ + -")
            about("user", member)
            return self._stored.put_member(name, member, grant, principal.actor)

    def remove_member(self, principal: Principal, name: str, member: str) -> None:
        """Takes a membership away. What the member has used stays used.

        Raises:
            NotFound: there is none.
        """
        with self._store.transaction():
            self._managed(principal, name)
            about("user", member)
            self._stored.remove_member(name, member, principal.actor)


def unsupported(item: Allocation, info: SchedulerInfo) -> None:
    """Refuses what the scheduler would refuse with every job.

    Raises:
        InvalidSpec: a field is set that it does not honour.
    """
    for name in item.passed_on:
        if getattr(item, name) is not None and not supports(name, info):
            raise InvalidSpec.of(name, f"scheduler {info.name!r} cannot honour it; leave it out")


T = TypeVar("T")


def _page(items: Iterable[tuple[str, T]], cursor: str | None, limit: int) -> Page[T]:
    """A part of a list that is ordered by name; the cursor is the last name of the part before."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidSpec.of("limit", f"{limit} is out of range; it must be from 1 to {MAX_LIMIT}")
    after = "" if cursor is None else place_of(cursor, _CURSOR)
    rest = [(name, item) for name, item in items if name > after]
    more = to_cursor(_CURSOR, rest[limit - 1][0]) if len(rest) > limit else None
    return Page(tuple(item for _, item in rest[:limit]), more)
