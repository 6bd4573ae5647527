"""Records of every kind, as many as wanted, and what two gateways with the same ones must say alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from hpcgate.model.record import Monitoring, Record, RecordState, RecordTag, Resource, Sharing, Source, TagScope
from hpcgate.store.database import Store

TAGS = (
    RecordTag(type="Debug", name="x"),
    RecordTag(type="app", name="lammps", scope=TagScope.ADMIN),
    RecordTag(type="mine", name="later", scope=TagScope.PRIVATE, owner="user3"),
)
FINALS = [state for state in RecordState if state.final]


def samples(many: int) -> Iterator[Record]:
    """Records that have ended; some are elements of one array that begin together, some attempts of one second."""
    for each in range(many):
        hosts = [f"n{(each + more) % 500:03}" for more in range(1 + each % 3)]
        own = each % 4 == 0
        element = each % 8 == 0
        yield Record(
            number=777_000 if element else 4_000_000_000 + each,
            array_number=777_000 if element else 0,
            array_index=each // 8 if element else -1,
            attempt=2 if each % 12 == 4 else 1,
            user=f"user{each % 17}",
            project=f"p{each % 5}" if each % 3 else "",
            cluster=("fritz", "alex")[each % 2],
            subcluster=("main", "")[each % 2],
            partition="short" if each % 2 else "",
            site="fritz" if own else None,
            name=f"job ä {each}" if own else "",
            state=FINALS[each % len(FINALS)],
            sharing=list(Sharing)[each % 3],
            monitoring=Monitoring.OFF if each % 11 == 0 else Monitoring.ARCHIVED,
            smt=each % 2,
            num_nodes=len(hosts),
            num_hwthreads=each % 128,
            num_accelerators=each % 5,
            submitted_at=1_699_999_000 + each if own else None,
            started_at=1_700_000_000 if element else 1_700_000_000 + each * 60,
            duration_s=each % 5000,
            walltime_s=86_400,
            resources=tuple(Resource(hostname=host, hwthreads=(0, 1), accelerators=("00:01",)) for host in hosts),
            source=Source.GATEWAY if own else Source.REPORTED,
            tags=tuple(tag for bit, tag in enumerate(TAGS) if each >> bit & 1 and each % 3 == 0),
            metadata={"jobScript": f"#!/bin/sh\necho {each} ✓\n"} if each % 2 else None,
            statistics={"mem_used": {"unit": {"base": "B", "prefix": "G"}, "avg": each / 7, "min": 0, "max": each}}
            if each % 5 == 0
            else None,
        )


def fill(store: Store, many: int) -> None:
    """Stores samples, and one of a job that runs."""
    wanted = samples(many)
    while part := list(islice(wanted, 1000)):
        store.records.insert(part)
    running = Record(
        number=1, user="ann", cluster="fritz", started_at=1_800_000_000, resources=(Resource(hostname="n1"),)
    )
    store.records.insert([running])


def ended(store: Store) -> list[Record]:
    """All records that have ended, with all that belongs to them but the numbers that a gateway gives itself."""
    found: list[Record] = []
    last = 0
    while part := store.archiving.after(last, 1000):
        last = part[-1].id
        found += (
            replace(record, id=0, tags=tuple(replace(tag, id=0) for tag in record.tags))
            for record in part
            if record.state.final
        )
    return sorted(found, key=lambda record: (record.started_at, record.number, record.attempt, record.array_index))


def sums(store: Store) -> list[tuple[object, ...]]:
    """Jobs, and hours of nodes, cores and accelerators, by user, cluster and state."""
    return store._session.rows(
        "SELECT owner, cluster, state, count(*), sum(duration_s * num_nodes), sum(duration_s * num_hwthreads), "
        "sum(duration_s * num_accelerators) FROM record WHERE ended_at IS NOT NULL "
        "GROUP BY owner, cluster, state ORDER BY owner, cluster, state"
    )
