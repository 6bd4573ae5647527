"""Projects: who has them, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpcgate.errors import Conflict, QuotaExceeded
from hpcgate.model.allocation import Grant, Project
from hpcgate.model.principal import Principal
from hpcgate.model.quota import Balance, Charge, Spent
from hpcgate.model.site import Site
from hpcgate.service.allocations import Allocations, Configured

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.store.database import Store


class ProjectService(Allocations[Project]):
    """Projects with a quota for each user.

    Args:
        configured: ``[projects.NAME]``.
        sites, store, lifecycle: the parts it works on.
    """

    def __init__(
        self, configured: Configured[Project], sites: Mapping[str, Site], store: Store, lifecycle: Lifecycle
    ) -> None:
        super().__init__(Project, configured, store.projects, sites, store, lifecycle)
        self._configured_defaults = {item.site: item for item in configured.items.values() if item.default}
        self._quota = store.quota

    def default_at(self, site: str) -> Project | None:
        """The project of jobs at a site that name none."""
        return self._configured_defaults.get(site) or self._store.projects.default_at(site)

    def limits(self, project: Project, principal: str) -> Grant:
        """What a user may use of a project: what was granted to it, else what every user has."""
        own = self.granted(project, principal) or Grant()
        return Grant(
            time_s=project.time_s if own.time_s is None else own.time_s,
            space_kb=project.space_kb if own.space_kb is None else own.space_kb,
        )

    def balance(self, project: Project, principal: str) -> Balance:
        """What a user has used, reserved and left of a project."""
        limits = self.limits(project, principal)
        return self._quota.spent(project.name, principal).of(limits.time_s, limits.space_kb)

    def total(self, project: Project) -> Balance:
        """What all users together have used, reserved and left of a project."""
        return self._quota.spent_by_all(project.name).of(project.total_time_s, project.total_space_kb)

    def own_balance(self, principal: Principal, project: Project) -> Balance | None:
        """The balance of who asks; ``None`` = the project is not its own."""
        return self.balance(project, principal.name) if self.is_member(principal, project) else None

    def _members(self, item: Project) -> Mapping[str, Grant]:
        """Also those that were granted nothing in particular, but have used it."""
        return dict.fromkeys(self._quota.spent_by_each(item.name), Grant()) | dict(super()._members(item))

    def _checked(self, item: Project) -> Project:
        item = super()._checked(item)
        other = self.default_at(item.site)
        if item.default and other is not None and other.name != item.name:
            raise Conflict(f"site {item.site!r} has the default project {other.name!r} already")
        return item

    def _active(self, item: Project) -> int:
        return self._quota.active(item.name)

    def _forget(self, item: Project) -> None:
        self._quota.forget(item.name)


class Purse:
    """The balances of one transaction: what its jobs may still reserve, each after those before it.

    Args:
        projects: knows what was granted.
        store: of the transaction.
    """

    def __init__(self, projects: ProjectService, store: Store) -> None:
        self._projects = projects
        self._quota = store.quota
        self._found: dict[str, Project | None] = {}
        self._own: dict[tuple[str, str], Spent] = {}
        self._all: dict[str, Spent] = {}

    def take(self, charge: Charge) -> QuotaExceeded | Conflict | None:
        """Sets aside what a job asks for; an error where there is not enough."""
        name, principal = charge.project, charge.principal
        if name not in self._found:
            self._found[name] = self._projects.find(name)
        project = self._found[name]
        if project is None:
            return Conflict(f"project {name!r} has just been removed")
        if (name, principal) not in self._own:
            self._own[name, principal] = self._quota.spent(name, principal)
        limits = self._projects.limits(project, principal)
        own = self._own[name, principal].of(limits.time_s, limits.space_kb)
        asked: list[tuple[str, int, int | None]] = [
            ("time", charge.time_s, own.time.left),
            ("space", charge.space_kb, own.space.left),
        ]
        if project.total_time_s is not None or project.total_space_kb is not None:
            if name not in self._all:
                self._all[name] = self._quota.spent_by_all(name)
            total = self._all[name].of(project.total_time_s, project.total_space_kb)
            asked += [
                ("total_time", charge.time_s, total.time.left),
                ("total_space", charge.space_kb, total.space.left),
            ]
        for quota, wanted, left in asked:
            if left is not None and wanted > max(left, 0):
                return _exceeded(project, principal, quota, wanted, left)
        reserved = Spent(reserved_s=charge.time_s, reserved_kb=charge.space_kb)
        self._own[name, principal] += reserved
        if name in self._all:
            self._all[name] += reserved
        return None


def _exceeded(project: Project, principal: str, quota: str, asked: int, left: int) -> QuotaExceeded:
    whose = "all its users together" if quota.startswith("total") else repr(principal)
    unit = "KiB" if quota.endswith("space") else f"s ({project.weighting} time)"
    message = f"project {project.name!r} has {left} {unit} left for {whose}; the job asks for {asked}"
    return QuotaExceeded(message, project=project.name, quota=quota, asked=asked, left=left)
