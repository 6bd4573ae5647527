"""Fills a database with accounting records, fast: rows go straight into the tables, the indices are made afterwards."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from hpcgate.model.record import Record, RecordState, Resource, Source
from hpcgate.store import record_rows
from hpcgate.store.database import open_store

USERS: Final = 1000
PROJECTS: Final = 50
HOSTS: Final = 1000
RUNNING: Final = 2000
AGE_S: Final = 2 * 365 * 86_400
BATCH: Final = 20_000
CLUSTERS: Final = (("fritz", 80), ("alex", 15), ("woody", 5))
ENDED: Final = (("completed", 82), ("failed", 12), ("timeout", 4), ("cancelled", 2))
#: Tag number, type and name; one record in so many has it, the newest first. The last one stands on the oldest alone.
TAGS: Final = ((1, "jobClass", "idle", 10), (2, "app", "lammps", 100), (3, "user", "golden", 0))
#: Columns in the order of the rows that are made.
_TABLES: Final = {
    "record": record_rows.COLUMNS,
    "record_node": ("record_id", "hostname", "started_at"),
    "record_detail": ("record_id", "metadata", "statistics"),
    "record_tagged": ("record_id", "tag_id", "started_at"),
}

Put = Callable[[str, Sequence[Sequence[Any]]], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What the made records look like, for those who search them."""

    count: int
    oldest: int
    newest: int


def fill_records(url: str, count: int) -> Made:
    """Puts records into an empty database, which is made where it is missing. Sums over them are not made.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://...``.
        count: how many.
    """
    open_store(url).close()
    made = Made(count, int(time.time()) - AGE_S, int(time.time()) - 60)
    (_fill_sqlite if url.startswith("sqlite") else _fill_postgres)(url, made)
    return made


def _fill_sqlite(url: str, made: Made) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
        for setting in ("synchronous = off", "cache_size = -400000", "foreign_keys = off"):
            db.execute(f"PRAGMA {setting}")
        indices = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name LIKE 'record%'"
        ).fetchall()

        def put(table: str, rows: Sequence[Sequence[Any]]) -> None:
            columns = _TABLES[table]
            marks = ", ".join("?" * len(columns))
            db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

        db.execute("BEGIN IMMEDIATE")
        for name, _ in indices:
            db.execute(f"DROP INDEX {name}")
        _put_all(put, lambda sql: db.execute(sql), made)
        for _, sql in indices:
            db.execute(sql)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill_postgres(url: str, made: Made) -> None:
    import psycopg

    with psycopg.connect(url) as db:
        indices = db.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename LIKE 'record%' "
            "AND indexname NOT LIKE '%_pkey'"
        ).fetchall()

        def put(table: str, rows: Sequence[Sequence[Any]]) -> None:
            with db.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(_TABLES[table])}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

        db.execute("SET maintenance_work_mem = '512MB'")
        for name, _ in indices:
            db.execute(f"DROP INDEX {name}")
        _put_all(put, lambda sql: db.execute(sql), made)
        for _, sql in indices:
            db.execute(sql)
        db.commit()
        db.autocommit = True
        db.execute("VACUUM ANALYZE")


def _put_all(put: Put, run: Callable[[str], object], made: Made) -> None:
    for id_, type_, name, _ in TAGS:
        run(f"INSERT INTO record_tag (id, type, name, scope, owner) VALUES ({id_}, '{type_}', '{name}', 'global', '')")
    for batch in _batches(_records(made), BATCH):
        put("record", [record_rows.values(record) for record in batch])
        put("record_node", [(one.id, each.hostname, one.started_at) for one in batch for each in one.resources])
        put("record_detail", [(one.id, f'{{"jobName":"{one.name}"}}', None) for one in batch if one.id % 4 == 0])
        put("record_tagged", [(one.id, tag, one.started_at) for one in batch for tag in _tags_of(one, made)])
    run(f"UPDATE counter SET value = {made.count} WHERE name = 'record'")
    run(f"UPDATE counter SET value = {len(TAGS)} WHERE name = 'record_tag'")


def _batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _tags_of(record: Record, made: Made) -> Iterator[int]:
    for id_, _, _, every in TAGS:
        if record.id <= 5 if not every else (made.count - record.id) % every == 0:
            yield id_


def _records(made: Made) -> Iterator[Record]:
    chance = random.Random(made.count)
    running = min(RUNNING, made.count // 10)
    clusters, weights = zip(*CLUSTERS, strict=True)
    states, likely = zip(*ENDED, strict=True)
    for number in range(made.count):
        over = number < made.count - running
        first, nodes = chance.randrange(HOSTS), chance.choices((1, 2, 8), (80, 15, 5))[0]
        # Some began at the very same second.
        started_at = made.oldest + (made.newest - made.oldest) * (number // 3 * 3) // made.count
        user = chance.randrange(USERS)
        yield Record(
            id=number + 1,
            number=1_000_000 + number,
            array_number=1_000_000 + number // 50 * 50 if number % 5 == 0 else 0,
            name=f"name{chance.randrange(200)}" if number > 4 else f"first{number}",
            user=f"user{user}",
            project=f"project{user % PROJECTS}",
            cluster=chance.choices(clusters, weights)[0],
            subcluster=("main", "gpu")[number % 7 == 0],
            partition=("short", "long", "gpu", "debug")[chance.randrange(4)],
            state=RecordState(chance.choices(states, likely)[0]) if over else RecordState.RUNNING,
            monitoring=3 if over else 1,
            num_nodes=nodes,
            num_hwthreads=72 * nodes,
            submitted_at=started_at - chance.randrange(3600),
            started_at=started_at,
            duration_s=chance.randrange(10, 86_400) if over else 0,
            walltime_s=86_400,
            resources=tuple(Resource(hostname=f"n{(first + place) % HOSTS:04}") for place in range(nodes)),
            source=Source.REPORTED,
        )
