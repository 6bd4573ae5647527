"""Clusters and their sub-clusters, as accounting records name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcgate.errors import InvalidSpec, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class SubCluster:
    """Nodes of one kind.

    Args:
        name: within its cluster.
        nodes: its node list as written, e.g. ``f[001-100]``; empty = what belongs to no other sub-cluster.
        sockets: of a node.
        cores: of a socket.
        threads: of a core.
        memory_mib: of a node, MiB.
        accelerators: of a node.

    What is ``None`` was not told.
    """

    name: str
    nodes: str = ""
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    memory_mib: int | None = None
    accelerators: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster.

    Args:
        name: unique.
        subclusters: at least one, in the order of the configuration.
        homes: host -> the name of its sub-cluster.
    """

    name: str
    subclusters: tuple[SubCluster, ...]
    homes: Mapping[str, str] = field(repr=False)

    def subcluster(self, name: str) -> SubCluster:
        """The sub-cluster of that name.

        Raises:
            InvalidSpec: there is none.
        """
        for each in self.subclusters:
            if each.name == name:
                return each
        hint = nearest(name, [each.name for each in self.subclusters])
        raise InvalidSpec.of("subcluster", f"cluster {self.name!r} has no sub-cluster {name!r}{hint}")

    def place(self, hosts: Sequence[str], named: str = "") -> SubCluster:
        """The sub-cluster of a job: the one that is named, else that of its first host.

        A first sub-cluster without a node list takes the hosts that belong nowhere.

        Raises:
            InvalidSpec: there is no sub-cluster of that name, or the host belongs to none.
        """
        if named:
            return self.subcluster(named)
        home = self.homes.get(hosts[0]) if hosts else None
        if home is not None:
            return self.subcluster(home)
        if not self.subclusters[0].nodes:
            return self.subclusters[0]
        whose = f"host {hosts[0]!r} is of" if hosts else "without a host there is"
        raise InvalidSpec.of("subcluster", f"{whose} no sub-cluster of cluster {self.name!r}; name one of them")
