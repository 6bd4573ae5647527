"""Groups of principals, as the configuration has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcgate.config import GroupTable
from hpcgate.errors import NotFound
from hpcgate.model.principal import Group, Principal, Role
from hpcgate.service.access import Verb, allows


class GroupService:
    """Who is a member of what, and what that allows.

    Args:
        tables: ``[groups.NAME]``, by name.
    """

    def __init__(self, tables: Mapping[str, GroupTable]) -> None:
        self._groups = {
            name: Group(
                name=name, members=frozenset(table.members), roles=frozenset(Role(role) for role in table.roles)
            )
            for name, table in sorted(tables.items())
        }

    def of(self, name: str) -> frozenset[str]:
        """The groups of a principal."""
        return frozenset(group.name for group in self._groups.values() if name in group.members)

    def roles_of(self, name: str) -> frozenset[Role]:
        """The roles that a principal has by its groups."""
        return self.roles_in(self.of(name))

    def roles_in(self, groups: frozenset[str]) -> frozenset[Role]:
        """The roles that members of these groups have."""
        return frozenset(role for each in groups for role in self._groups[each].roles)

    def list(self, principal: Principal) -> Sequence[Group]:
        """The groups that the principal may see: its own, or all."""
        return [group for group in self._groups.values() if _visible(principal, group)]

    def get(self, principal: Principal, name: str) -> Group:
        """One group.

        Raises:
            NotFound: there is none of that name, or none that the principal may see.
        """
        group = self._groups.get(name)
        if group is None or not _visible(principal, group):
            raise NotFound(f"there is no group {name!r}")
        return group


def _visible(principal: Principal, group: Group) -> bool:
    owner = principal.name if group.name in principal.groups or principal.name in group.members else ""
    return allows(principal, Verb.SEE_GROUP, owner)
