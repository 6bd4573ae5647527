"""What jobs used, by user, project, cluster, sub-cluster, state or day, and what of that a project may use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.allocation import Project
from hpcgate.model.principal import Principal
from hpcgate.model.quota import Balance
from hpcgate.model.statistics import Counted, GroupBy, Key, StatisticsQuery, Sums
from hpcgate.service.access import Verb, require, sees_records

if TYPE_CHECKING:
    from hpcgate.service.projects import ProjectService
    from hpcgate.store.database import Store

#: Groups in an answer. To write more of them takes longer than to find them.
DEFAULT_GROUPS: Final = 100
MOST_GROUPS: Final = 100_000

#: What groups may be sorted by, beside their names: most first.
ORDERS: Final = {
    "jobs": "jobs",
    "running": "running",
    "short_jobs": "short_jobs",
    "run_hours": "run_s",
    "wait_hours": "wait_s",
    "node_hours": "node_s",
    "core_hours": "core_s",
    "accelerator_hours": "accelerator_s",
}
BY_NAME: Final = "name"


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be used of a project.

    Args:
        project: says how its time is weighted.
        own: of who asks; ``None`` = no member.
        total: of all users together.
    """

    project: Project
    own: Balance | None
    total: Balance


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that have something in common.

    Args:
        key: what that is, see ``model.statistics.names_of``.
        quota: of a project, where it was asked for; ``None`` = the gateway has none of that name, or not for who asks.
    """

    key: Key
    counted: Counted
    quota: Quota | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Statistics.

    Args:
        query: what was asked.
        at: until when jobs were counted that have not ended, epoch seconds.
        groups: how many there are.
        items: the first of them.
        total: over all of them.
        with_quota: whether quotas were asked for.
    """

    query: StatisticsQuery
    at: int
    groups: int
    items: Sequence[Group]
    total: Counted
    with_quota: bool


class StatisticsService:
    """Sums over the records that a principal may see.

    Args:
        store: where the records are.
        projects: knows what may be used of them, and whose they are.
        clock: epoch seconds.
    """

    def __init__(self, store: Store, projects: ProjectService, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._projects = projects
        self._clock = clock

    def get(
        self,
        principal: Principal,
        query: StatisticsQuery,
        *,
        order: str | None = None,
        limit: int = DEFAULT_GROUPS,
        quota: bool = False,
    ) -> Answer:
        """What the jobs that a query means add up to.

        Args:
            principal: who asks; as with records it sees its own, or everybody's.
            query: which jobs, and how they are grouped.
            order: of the groups: one of ``ORDERS`` or ``name``; days by name and others by node hours when not given.
            limit: most groups.
            quota: whether projects come with what may be used of them, also those that have no jobs.

        Raises:
            Forbidden: the principal sees no records.
            InvalidSpec: the window ends before it begins, quotas are asked for of what are no projects, or there is no
                roll-up for the query and too many records.
        """
        _check(query, quota=quota)
        sees = sees_records(principal, self._projects.joined)
        now = int(self._clock())
        sums = self._store.statistics.sums(query, sees, now)
        quotas = self._quotas(principal, query) if quota else {}
        keys = _ordered(sums, order or (BY_NAME if query.group_by is GroupBy.DAY else "node_hours"), quotas)
        items = [Group(key, sums.of(key), quotas.get(str(key[0]))) for key in keys[:limit]]
        return Answer(query=query, at=now, groups=len(keys), items=items, total=sums.total(), with_quota=quota)

    def _quotas(self, principal: Principal, query: StatisticsQuery) -> dict[str, Quota]:
        """Of the projects that are asked for and that the principal may see."""
        require(principal, Verb.SEE_ALLOCATION)
        return {
            project.name: Quota(project, self._projects.own_balance(principal, project), self._projects.total(project))
            for project in self._projects.every()
            if (not query.projects or project.name in query.projects) and self._projects.visible(principal, project)
        }


def _check(query: StatisticsQuery, *, quota: bool) -> None:
    errors = []
    if query.since is not None and query.until is not None and query.since > query.until:
        errors.append(FieldError("until", "is before since"))
    if quota and query.group_by is not GroupBy.PROJECT:
        errors.append(FieldError("quota", f"is known of projects; group by project, not by {query.group_by}"))
    if errors:
        raise InvalidSpec(errors)


def _ordered(sums: Sums, order: str, others: Iterable[str]) -> list[Key]:
    """The keys of all groups; ``others`` = names of groups that there are even without jobs."""
    empty = sorted((name,) for name in others if (name,) not in sums.rows)
    if order == BY_NAME:
        return sorted([*sums.rows, *empty])
    return sums.most(ORDERS[order]) + empty
