"""Clusters as the configuration file has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.cluster import Cluster, SubCluster
from hpcgate.model.nodes import unfold


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class SubClusterTable:
    """``[clusters.NAME.subclusters.NAME]``"""

    #: ``main = "f[001-100]"`` is short for a table with this key alone.
    SHORT: ClassVar[str] = "nodes"

    nodes: str = _help("its nodes, e.g. `f[001-100],m1`. Default: those of no other sub-cluster", "")
    sockets: int | None = _help("sockets of a node", None)
    cores: int | None = _help("cores of a socket", None)
    threads: int | None = _help("hardware threads of a core", None)
    memory: int | None = _help("memory of a node, MiB", None)
    accelerators: int | None = _help("accelerators of a node", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTable:
    """``[clusters.NAME]``"""

    subclusters: Mapping[str, SubClusterTable] = field(
        metadata={"help": 'each a table, or a node list alone: `main = "f[001-100]"`'}
    )

    def cluster(self, name: str) -> Cluster:
        """The cluster of this table.

        Raises:
            InvalidSpec: a node list or number is wrong, two sub-clusters have the same node, or there is none.
            ModuleNotFoundError: ClusterShell is not installed.
        """
        if not self.subclusters:
            raise InvalidSpec.of("subclusters", 'must have an entry such as main = "f[001-100]"')
        errors: list[FieldError] = []
        homes: dict[str, str] = {}
        for key, table in self.subclusters.items():
            at = f"subclusters.{key}"
            errors += [FieldError(f"{at}.{number}", message) for number, message in _wrong_numbers(table)]
            try:
                hosts = unfold(table.nodes)
            except ValueError as error:
                errors.append(FieldError(f"{at}.nodes", str(error)))
                continue
            taken = next((host for host in hosts if host in homes), None)
            if taken is not None:
                errors.append(FieldError(f"{at}.nodes", f"{taken!r} is of sub-cluster {homes[taken]!r} already"))
            homes.update(dict.fromkeys(hosts, key))
        if errors:
            raise InvalidSpec(errors)
        subclusters = tuple(_subcluster(key, table) for key, table in self.subclusters.items())
        return Cluster(name=name, subclusters=subclusters, homes=homes)


def _wrong_numbers(table: SubClusterTable) -> list[tuple[str, str]]:
    least = {"sockets": 1, "cores": 1, "threads": 1, "memory": 1, "accelerators": 0}
    return [
        (key, f"must be at least {lowest}, not {value}")
        for key, lowest in least.items()
        if (value := getattr(table, key)) is not None and value < lowest
    ]


def _subcluster(name: str, table: SubClusterTable) -> SubCluster:
    return SubCluster(
        name=name,
        nodes=table.nodes,
        sockets=table.sockets,
        cores=table.cores,
        threads=table.threads,
        memory_mib=table.memory,
        accelerators=table.accelerators,
    )
