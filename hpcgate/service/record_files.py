"""Records and clusters as the files of a ClusterCockpit job archive have them, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from hpcgate.model.cluster import Cluster, SubCluster
from hpcgate.model.record import (
    Monitoring,
    Record,
    RecordState,
    RecordTag,
    Resource,
    Sharing,
    Source,
    TagScope,
)

#: The version of the layout that is written.
VERSION: Final = 3
META: Final = "meta.json"
CLUSTER: Final = "cluster.json"

_MOST_ELEMENTS: Final = 100_000
_MORE_DIGITS: Final = 7

#: ``exclusive``, the older word for whom a job shares its nodes with; those of ``shared`` are ours.
EXCLUSIVE: Final = (Sharing.MULTI_USER, Sharing.NONE, Sharing.SINGLE_USER)
#: ``GB``, ``MF/s``, ``GHz`` ... and any other text without a prefix.
_UNIT: Final = re.compile(r"(?s)(?:([KMGTPE])(?=(?:B|B/s|F/s|Flops/s|Hz|W|J)\Z))?(.*)")
_NO_RATE: Final = {"unit": {"base": "F/s", "prefix": "G"}, "value": 0}
_NO_BANDWIDTH: Final = {"unit": {"base": "B/s", "prefix": "G"}, "value": 0}
#: What accounting tells of the gateway's own jobs; a cluster must have some metrics.
_METRICS: Final = (
    {"name": "cpu_used", "unit": {"base": ""}, "scope": "node", "timestep": 60},
    {"name": "mem_used", "unit": {"base": "B", "prefix": "G"}, "scope": "node", "timestep": 60},
)


def places_of(record: Record) -> tuple[PurePosixPath, PurePosixPath]:
    """Where the ``meta.json`` of a record is, from the top of an archive, and where it is if another run is there.

    The elements of an array have one number, and may begin in the same second; so may two attempts. The layout has no
    place for that: the second name has seven more digits, since its readers expect a number.
    """
    folder = _folder(record.cluster, record.number)
    again = (record.attempt - 1) * _MOST_ELEMENTS + record.array_index + 1
    return folder / str(record.started_at) / META, folder / f"{record.started_at}{again:0{_MORE_DIGITS}}" / META


def may_be_at(meta: Mapping[str, Any], place: PurePosixPath) -> bool:
    """Whether a place is one of those where such a ``meta.json`` may be."""
    start = str(int(meta["startTime"]))
    name = place.parent.name
    more = name.removeprefix(start)
    right = name == start or (name.startswith(start) and len(more) == _MORE_DIGITS and more.isdecimal())
    return right and place.parent.parent == _folder(meta["cluster"], int(meta["jobId"]))


def run_of(meta: Mapping[str, Any]) -> tuple[int, int]:
    """Which of the runs of the same cluster, number and start a ``meta.json`` is of: attempt and element."""
    more = meta.get("hpcgate") or {}
    return int(more.get("attempt", 1)), int(more.get("index", -1))


def _folder(cluster: str, number: int) -> PurePosixPath:
    return PurePosixPath(cluster, str(number // 1000), f"{number % 1000:03}")


def job_of(record: Record) -> dict[str, Any]:
    """What the files and the REST API of ClusterCockpit say of a job in the same words."""
    job = {
        "jobId": record.number,
        "user": record.user,
        "project": record.project,
        "cluster": record.cluster,
        "subCluster": record.subcluster,
        "partition": record.partition,
        "arrayJobId": record.array_number,
        "numNodes": record.num_nodes,
        "numHwthreads": record.num_hwthreads,
        "numAcc": record.num_accelerators,
        "exclusive": EXCLUSIVE.index(record.sharing),
        "shared": record.sharing.value,
        "smt": record.smt,
        "jobState": record.state.value,
        "walltime": record.walltime_s,
        "resources": [_resource(each) for each in record.resources],
        "startTime": record.started_at,
    }
    if record.submitted_at is not None:
        job["submitTime"] = record.submitted_at
    return job


def _resource(resource: Resource) -> dict[str, Any]:
    wire: dict[str, Any] = {"hostname": resource.hostname}
    if resource.hwthreads:
        wire["hwthreads"] = list(resource.hwthreads)
    if resource.accelerators:
        wire["accelerators"] = list(resource.accelerators)
    if resource.configuration:
        wire["configuration"] = resource.configuration
    return wire


def meta_of(record: Record) -> dict[str, Any]:
    """A record with its tags, metadata and statistics as a ``meta.json``."""
    meta = job_of(record) | {
        "monitoringStatus": Monitoring.ARCHIVED if record.monitoring != Monitoring.OFF else Monitoring.OFF,
        "duration": record.duration_s,
        "tags": [_tag(each) for each in record.tags],
        "statistics": {name: _statistic(value) for name, value in (record.statistics or {}).items()},
    }
    if record.metadata is not None:
        meta["metaData"] = dict(record.metadata)
    # What the layout has no key for; other readers pass over it.
    meta["hpcgate"] = {"name": record.name, "attempt": record.attempt, "source": record.source.value}
    if record.array_index >= 0:
        meta["hpcgate"]["index"] = record.array_index
    if record.site is not None:
        meta["hpcgate"]["site"] = record.site
    return meta


def _statistic(value: Any) -> Any:
    """A statistic as readers of this version want it: with its unit in parts. Older clients send it as text."""
    if not isinstance(value, Mapping) or not isinstance(value.get("unit"), str):
        return value
    prefix, base = _UNIT.fullmatch(value["unit"]).groups()  # type: ignore[union-attr]  # it matches every text
    return {**value, "unit": {"base": base, "prefix": prefix} if prefix else {"base": base}}


def _tag(tag: RecordTag) -> dict[str, Any]:
    wire: dict[str, Any] = {"id": 0, "type": tag.type, "name": tag.name, "scope": tag.scope.value}
    if tag.scope is TagScope.PRIVATE:
        # There, the scope of a private tag is its owner; a user may be called ``admin`` all the same.
        wire |= {"scope": tag.owner, "owner": tag.owner}
    return wire


def record_of(meta: Mapping[str, Any]) -> Record:
    """A record from a ``meta.json`` that its schema allows.

    It has no number of its own, and is of no job of this gateway: what it was of may be of another gateway.
    """
    more = meta.get("hpcgate") or {}
    attempt, index = run_of(meta)
    submitted_at = meta.get("submitTime")
    metadata = meta.get("metaData")
    return Record(
        number=int(meta["jobId"]),
        user=meta["user"],
        project=meta["project"],
        cluster=meta["cluster"],
        subcluster=meta.get("subCluster", ""),
        partition=meta.get("partition", ""),
        array_number=int(meta.get("arrayJobId", 0)),
        num_nodes=int(meta["numNodes"]),
        num_hwthreads=int(meta.get("numHwthreads", 0)),
        num_accelerators=int(meta.get("numAcc", 0)),
        sharing=Sharing(meta["shared"]) if "shared" in meta else EXCLUSIVE[int(meta.get("exclusive", 1))],
        monitoring=Monitoring.OFF if meta.get("monitoringStatus") == Monitoring.OFF else Monitoring.ARCHIVED,
        smt=int(meta.get("smt", 0)),
        state=RecordState(meta["jobState"]),
        submitted_at=None if submitted_at is None else int(submitted_at),
        started_at=int(meta["startTime"]),
        duration_s=int(meta["duration"]),
        walltime_s=int(meta.get("walltime", 0)),
        resources=tuple(_resource_of(each) for each in meta["resources"]),
        tags=tuple(dict.fromkeys(_tag_of(each) for each in meta.get("tags") or ())),
        metadata=metadata if metadata is None else dict(metadata),
        statistics=dict(meta.get("statistics") or {}) or None,
        name=more.get("name") or (metadata or {}).get("jobName", ""),
        site=more.get("site"),
        attempt=attempt,
        array_index=index,
        source=Source(more.get("source", Source.REPORTED)),
    )


def _resource_of(wire: Mapping[str, Any]) -> Resource:
    return Resource(
        hostname=wire["hostname"],
        hwthreads=tuple(map(int, wire.get("hwthreads") or ())),
        accelerators=tuple(wire.get("accelerators") or ()),
        configuration=wire.get("configuration", ""),
    )


def _tag_of(wire: Mapping[str, Any]) -> RecordTag:
    scope, owner = wire.get("scope") or TagScope.GLOBAL.value, wire.get("owner", "")
    if owner or scope not in (TagScope.GLOBAL, TagScope.ADMIN):
        return RecordTag(type=wire["type"], name=wire["name"], scope=TagScope.PRIVATE, owner=owner or scope)
    return RecordTag(type=wire["type"], name=wire["name"], scope=TagScope(scope))


def cluster_file(name: str, cluster: Cluster | None) -> dict[str, Any]:
    """A cluster as a ``cluster.json``; of one without a table in the configuration only the name is known."""
    subclusters = cluster.subclusters if cluster is not None else (SubCluster(name=name),)
    return {"name": name, "metricConfig": list(_METRICS), "subClusters": [_subcluster(each) for each in subclusters]}


def _subcluster(subcluster: SubCluster) -> dict[str, Any]:
    sockets, cores, threads = (max(1, each or 1) for each in (subcluster.sockets, subcluster.cores, subcluster.threads))
    whole = cores * threads
    by_socket = [list(range(each * whole, (each + 1) * whole)) for each in range(sockets)]
    topology: dict[str, Any] = {
        "node": list(range(sockets * whole)),
        "socket": by_socket,
        "memoryDomain": by_socket,
        "core": [list(range(first, first + threads)) for first in range(0, sockets * whole, threads)],
    }
    if subcluster.accelerators:
        topology["accelerators"] = [
            {"id": str(number), "type": "", "model": ""} for number in range(subcluster.accelerators)
        ]
    return {
        "name": subcluster.name,
        "nodes": subcluster.nodes,
        "processorType": "",
        "socketsPerNode": sockets,
        "coresPerSocket": cores,
        "threadsPerCore": threads,
        "flopRateScalar": _NO_RATE,
        "flopRateSimd": _NO_RATE,
        "memoryBandwidth": _NO_BANDWIDTH,
        "topology": topology,
    }
