"""Our records, clusters and users in their words, and what they report in ours. Nothing here asks anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from hpcgate.model.cluster import Cluster, SubCluster
from hpcgate.model.principal import User
from hpcgate.model.record import (
    Monitoring,
    NodeReport,
    NodeState,
    Record,
    RecordTag,
    Resource,
    Sharing,
    TagScope,
)
from hpcgate.service.record_files import EXCLUSIVE, job_of

Wire = dict[str, Any]

#: Where the name of a job is among its metadata.
JOB_NAME: Final = "jobName"


# --- what is reported


def started(body: Mapping[str, Any]) -> Record:
    """The record of a job that has started.

    Args:
        body: of ``StartBody``, checked.
    """
    metadata = body["metadata"]
    return Record(
        number=body["number"],
        user=body["user"],
        cluster=body["cluster"],
        subcluster=body["subcluster"],
        started_at=body["started_at"],
        array_number=body["array_number"],
        name=(metadata or {}).get(JOB_NAME, "")[:255].replace("\0", ""),
        project=body["project"],
        partition=body["partition"],
        sharing=sharing(body),
        smt=body["smt"],
        monitoring=body["monitoring"],
        num_nodes=body["num_nodes"],
        num_hwthreads=body["num_hwthreads"],
        num_accelerators=body["num_accelerators"],
        submitted_at=body["submitted_at"] or None,
        walltime_s=body["walltime_s"],
        resources=tuple(map(_resource, body["resources"])),
        tags=tags(body["tags"]),
        metadata=metadata,
        statistics=body["statistics"] or None,
    )


def sharing(body: Mapping[str, Any]) -> Sharing:
    """By the word, else by the number; a job that says neither has its nodes for itself."""
    if body["shared"]:
        return Sharing(body["shared"])
    return EXCLUSIVE[1 if body["exclusive"] is None else body["exclusive"]]


def _resource(body: Mapping[str, Any]) -> Resource:
    return Resource(
        hostname=body["hostname"],
        hwthreads=tuple(body["hwthreads"]),
        accelerators=tuple(body["accelerators"]),
        configuration=body["configuration"],
    )


def tags(bodies: Sequence[Mapping[str, Any]]) -> tuple[RecordTag, ...]:
    """The tags of a request, each once."""
    return tuple(
        dict.fromkeys(
            RecordTag(type=each["type"], name=each["name"], scope=TagScope(each["scope"] or TagScope.GLOBAL))
            for each in bodies
        )
    )


def node_state(words: Sequence[str]) -> NodeState:
    """What a node does, of all the words that its scheduler has for it."""
    said = {word.strip().lower() for word in words}
    if {"idle", "down"} <= said and said.isdisjoint(("allocated", "reserved")):
        return NodeState.DOWN
    order = (NodeState.ALLOCATED, NodeState.RESERVED, NodeState.IDLE, NodeState.DOWN, NodeState.MIXED)
    return next((state for state in order if state in said), NodeState.UNKNOWN)


def node_report(cluster: str, body: Mapping[str, Any]) -> NodeReport:
    """What is said of a node."""
    return NodeReport(
        cluster=cluster,
        hostname=body["hostname"],
        state=node_state(body["states"]),
        cpus=body["cpus"],
        memory_mib=body["memory_mib"],
        gpus=body["gpus"],
        jobs=body["jobs"],
    )


# --- what is answered


def job_wire(record: Record, now: float) -> Wire:
    """A job.

    Args:
        record: with its tags; with metadata and statistics where they are wanted.
        now: epoch seconds; a job that runs has lasted until then.
    """
    wire = job_of(record) | {
        "id": record.id,
        "monitoringStatus": record.monitoring,
        "duration": record.lasting(now),
        "tags": [tag_wire(each) for each in record.tags],
        "metaData": None if record.metadata is None else dict(record.metadata),
    }
    if record.monitoring == Monitoring.ARCHIVED:
        wire["statistics"] = dict(record.statistics or {})
    return wire


def tag_wire(tag: RecordTag) -> Wire:
    """A tag."""
    return {"id": tag.id, "type": tag.type, "name": tag.name, "scope": str(tag.scope)}


def user_wire(user: User, projects: Sequence[str]) -> Wire:
    """A user; we keep no other name of it."""
    return {
        "username": user.name,
        "name": user.name,
        "roles": sorted(map(str, user.roles)),
        "email": user.email or "",
        "projects": list(projects),
    }


def cluster_wire(cluster: Cluster) -> Wire:
    """A cluster, as ``cluster.json`` has it; there are no metrics here."""
    return {
        "name": cluster.name,
        "metricConfig": [],
        "subClusters": [_subcluster_wire(each) for each in cluster.subclusters],
    }


def _subcluster_wire(part: SubCluster) -> Wire:
    return {
        "name": part.name,
        "nodes": part.nodes,
        "processorType": "",
        "socketsPerNode": part.sockets or 0,
        "coresPerSocket": part.cores or 0,
        "threadsPerCore": part.threads or 0,
        "topology": _topology(part),
    }


def _topology(part: SubCluster) -> Wire:
    """Threads are numbered node by node as most systems do: core by core, all first threads before all second ones."""
    sockets, cores, threads = part.sockets or 0, part.cores or 0, part.threads or 1
    of_core = [[core + sockets * cores * thread for thread in range(threads)] for core in range(sockets * cores)]
    of_socket = [
        sorted(chain.from_iterable(of_core[socket * cores : (socket + 1) * cores])) for socket in range(sockets)
    ]
    return {
        "node": sorted(chain.from_iterable(of_core)),
        "socket": of_socket,
        "memoryDomain": of_socket,
        "core": of_core,
        "accelerators": [{"id": str(number)} for number in range(part.accelerators or 0)],
    }
