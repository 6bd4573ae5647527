"""Roll-ups of records, and an index that has all that is counted of jobs that have not ended."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from typing import Any, Final

from peewee import BigIntegerField, CompositeKey, Database, IntegerField, Model, PostgresqlDatabase, TextField

_KEY: Final = ("shape", "period", "owner", "project", "cluster", "subcluster", "state")
_SUMS: Final = ("jobs", "short_jobs", "run_s", "wait_s", "waited", "node_s", "core_s", "accelerator_s")
_HISTOGRAMS: Final = {
    "duration": (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 172_800),
    "nodes": (1, 2, 3, 5, 9, 17, 33, 65, 129, 257),
    "cores": (0, 1, 2, 5, 17, 65, 257, 1025, 4097),
    "wait": (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400),
}
_BINS: Final = tuple(f"{name}_{number}" for name, bounds in _HISTOGRAMS.items() for number in range(len(bounds)))
_SHAPES: Final = {
    1: {"project"},
    2: {"cluster", "subcluster", "state"},
    3: {"owner"},
    4: {"owner", "project"},
    5: {"project", "cluster", "subcluster", "state"},
    6: {"owner", "cluster", "subcluster", "state"},
}
_MOST_S: Final = 10**13
_LAST_S: Final = 253_402_300_799
_TOLD: Final = (
    "SELECT owner, project, cluster, subcluster, state, started_at, submitted_at, duration_s, num_nodes, "
    "num_hwthreads, num_accelerators FROM record WHERE ended_at IS NOT NULL"
)
_GOING_ON: Final = (
    "owner, project, cluster, subcluster, state, submitted_at, started_at, ended_at, num_nodes, num_hwthreads, "
    "num_accelerators"
)


def up(migrator: Any, db: Database) -> None:
    """Makes the table, and counts the records that are there."""
    postgres = isinstance(db, PostgresqlDatabase)

    class Meta:
        database = db
        table_name = "record_count"
        without_rowid = not postgres
        primary_key = CompositeKey(*_KEY)
        indexes = ((("shape", "owner", "period"), False), (("shape", "project", "period"), False))

    key = {name: IntegerField() if name in ("shape", "period") else TextField() for name in _KEY}
    values = {name: BigIntegerField() for name in (*_SUMS, *_BINS)}
    db.create_tables([type("CountRow", (Model,), {**key, **values, "Meta": Meta})])
    steps = [f"CREATE INDEX record_going_on ON record ({_GOING_ON}) WHERE ended_at IS NULL"]
    if postgres:
        # Room beside each row for what it will be next: rows are changed much more often than they are added.
        steps.append("ALTER TABLE record_count SET (fillfactor = 70)")
    for step in steps:
        db.execute_sql(step)  # type: ignore[no-untyped-call]
    _count(db)


def _count(db: Database) -> None:
    cells: dict[tuple[Any, ...], list[int]] = {}
    for owner, project, cluster, subcluster, state, *numbers in db.execute_sql(_TOLD).fetchall():  # type: ignore[no-untyped-call]
        told = {"owner": owner, "project": project, "cluster": cluster, "subcluster": subcluster, "state": state}
        values = _values(*numbers)
        at = datetime.fromtimestamp(min(max(0, numbers[0]), _LAST_S), UTC)
        for shape, columns in _SHAPES.items():
            for period in (0, at.year, at.year * 100 + at.month, (at.year * 100 + at.month) * 100 + at.day):
                key = (shape, period, *(value if name in columns else "" for name, value in told.items()))
                cells[key] = [a + b for a, b in zip(cells.get(key, [0] * len(values)), values, strict=True)]
    names = (*_KEY, *_SUMS, *_BINS)
    mark = "%s" if isinstance(db, PostgresqlDatabase) else "?"
    insert = f"INSERT INTO record_count ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"  # noqa: S608
    for key, values in cells.items():
        db.execute_sql(insert, (*key, *values))  # type: ignore[no-untyped-call]


def _values(
    started: int, submitted: int | None, duration: int, nodes: int, hwthreads: int, accelerators: int
) -> list[int]:
    ran = min(duration, _MOST_S)
    wait = None if submitted is None else min(max(0, started - submitted), _MOST_S)
    sums = [1, int(ran < 300), ran, wait or 0, int(wait is not None)]
    sums += [min(ran * width, _MOST_S) for width in (nodes, hwthreads, accelerators)]
    for name, value in {"duration": ran, "nodes": nodes, "cores": hwthreads, "wait": wait}.items():
        bins = [0] * len(_HISTOGRAMS[name])
        if value is not None:
            bins[max(0, bisect_right(_HISTOGRAMS[name], value) - 1)] = 1
        sums += bins
    return sums
