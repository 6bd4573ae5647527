"""The wire form of records, for the REST API and for the command line."""

from __future__ import annotations

from typing import Any

from hpcgate.model.codec import time_to_wire
from hpcgate.model.record import Record, RecordTag, Resource, TagScope

Wire = dict[str, Any]


def record_to_wire(record: Record, now: float, *, details: bool = False) -> Wire:
    """A record. What is not told is ``null``.

    Args:
        record: the record.
        now: epoch seconds, for how long one lasts that has not ended.
        details: whether metadata and statistics are shown.
    """
    wire: Wire = {
        "id": record.id,
        "number": record.number,
        "job_id": record.job_id,
        "attempt": record.attempt,
        "array_number": record.array_number or None,
        "array_index": None if record.array_index < 0 else record.array_index,
        "name": record.name or None,
        "user": record.user,
        "project": record.project or None,
        "cluster": record.cluster,
        "subcluster": record.subcluster or None,
        "partition": record.partition or None,
        "site": record.site,
        "state": record.state.value,
        "submitted_at": time_to_wire(record.submitted_at),
        "started_at": time_to_wire(record.started_at),
        "ended_at": time_to_wire(record.ended_at),
        "duration_s": record.lasting(now),
        "walltime_s": record.walltime_s or None,
        "num_nodes": record.num_nodes,
        "num_hwthreads": record.num_hwthreads,
        "num_accelerators": record.num_accelerators,
        "sharing": record.sharing.value,
        "smt": record.smt,
        "monitoring": record.monitoring,
        "resources": [_resource_to_wire(each) for each in record.resources],
        "tags": [tag_to_wire(each) for each in record.tags],
        "source": record.source.value,
    }
    if details:
        wire |= {"metadata": record.metadata, "statistics": record.statistics}
    return wire


def _resource_to_wire(resource: Resource) -> Wire:
    return {
        "hostname": resource.hostname,
        "hwthreads": list(resource.hwthreads),
        "accelerators": list(resource.accelerators),
        "configuration": resource.configuration or None,
    }


def tag_to_wire(tag: RecordTag) -> Wire:
    """A tag."""
    return {"id": tag.id, "type": tag.type, "name": tag.name, "scope": tag.scope.value}


def tag_from_wire(wire: Wire) -> RecordTag:
    """A tag as it is asked for."""
    return RecordTag(type=wire["type"], name=wire["name"], scope=TagScope(wire.get("scope", TagScope.GLOBAL)))
