"""Calls about projects and shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]


class AllocationCalls:
    """The routes of projects and shares, for ``Client``."""

    http: Http

    # --- projects

    def projects(self) -> Iterator[Wire]:
        """One's own projects, by name; all of them for operators. The rest is fetched while one goes on."""
        return self.http.every("/projects", limit=100)

    def project(self, name: str) -> Wire:
        """A project, with what is left of it under ``own`` and ``total``."""
        return self._ask("GET", _path("projects", name))

    def add_project(self, name: str, site: str, **fields: Any) -> Wire:
        """Makes a project.

        Args:
            name: unique name.
            site: where its jobs run.
            **fields: account, qos, weighting, hours, space_kb, total_hours, total_space_kb, default,
                default_walltime_s, groups.
        """
        return self._ask("POST", "/projects", {"name": name, "site": site, **fields})

    def update_project(self, name: str, **fields: Any) -> Wire:
        """Changes the given fields of a project, see ``add_project``; ``None`` takes a limit away."""
        return self._ask("PATCH", _path("projects", name), fields)

    def remove_project(self, name: str) -> None:
        """Removes a project that has no active jobs."""
        self.http.send("DELETE", _path("projects", name))

    def project_members(self, name: str) -> Iterator[Wire]:
        """The members of a project and what each of them has left."""
        return self.http.every(_path("projects", name, "members"), limit=100)

    def project_member(self, name: str, member: str) -> Wire:
        """A member of a project and what it has left."""
        return self._ask("GET", _path("projects", name, "members", member))

    def put_project_member(
        self, name: str, member: str, *, hours: float | None = None, space_kb: int | None = None
    ) -> Wire:
        """Makes somebody a member, or grants it something else; ``None`` = what the project says of each user."""
        body = {"hours": hours, "space_kb": space_kb}
        return self._ask("PUT", _path("projects", name, "members", member), body)

    def remove_project_member(self, name: str, member: str) -> None:
        """Takes a membership away."""
        self.http.send("DELETE", _path("projects", name, "members", member))

    # --- shares

    def shares(self) -> Iterator[Wire]:
        """The shares that one may use, by name; all of them for operators."""
        return self.http.every("/shares", limit=100)

    def share(self, name: str) -> Wire:
        """A share, with what its jobs take now under ``usage``."""
        return self._ask("GET", _path("shares", name))

    def add_share(self, name: str, site: str, **fields: Any) -> Wire:
        """Makes a share.

        Args:
            name: unique name.
            site: of which it is a slice.
            **fields: queue, capacity, max_capacity, cpus, open, groups.
        """
        return self._ask("POST", "/shares", {"name": name, "site": site, **fields})

    def update_share(self, name: str, **fields: Any) -> Wire:
        """Changes the given fields of a share, see ``add_share``."""
        return self._ask("PATCH", _path("shares", name), fields)

    def remove_share(self, name: str) -> None:
        """Removes a share that has no active jobs."""
        self.http.send("DELETE", _path("shares", name))

    def share_members(self, name: str) -> Iterator[Wire]:
        """The members of a share."""
        return self.http.every(_path("shares", name, "members"), limit=100)

    def share_member(self, name: str, member: str) -> Wire:
        """A member of a share."""
        return self._ask("GET", _path("shares", name, "members", member))

    def put_share_member(self, name: str, member: str) -> Wire:
        """Makes somebody a member of a share."""
        return self._ask("PUT", _path("shares", name, "members", member), {})

    def remove_share_member(self, name: str, member: str) -> None:
        """Takes a membership away."""
        self.http.send("DELETE", _path("shares", name, "members", member))

    def _ask(self, method: str, path: str, body: Wire | None = None) -> Wire:
        answer: Wire = self.http.json(method, path, body=body)
        return answer


def _path(*steps: str) -> str:
    return "".join(f"/{quote(step, safe='')}" for step in steps)
