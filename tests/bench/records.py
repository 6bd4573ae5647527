"""Lists of accounting records, their sums, start and stop, beside a hundred thousand or a million others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

from hpcgate.gateway import Gateway
from hpcgate.model.principal import Principal, Role
from hpcgate.model.record import Record, RecordFilter, RecordState, Resource
from hpcgate.service.record_wire import record_to_wire
from tests.bench import clustercockpit, sums
from tests.bench.made_records import AGE_S, HOSTS, PROJECTS, RUNNING, USERS, Made, fill_records
from tests.bench.options import Options
from tests.bench.places import Home, Server, cpu_s, serving, tree
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import each_ms, median_ms, p95

SIZE, FULL = 100_000, 1_000_000
CALLS = 40
MEDIAN_MS, P95_MS = 15.0, 40.0
PAGE_1000_MS, ALL_RUNNING_MS, CHANGE_MS = 25.0, 150.0, 8.0
REPORTER = Principal(name="bench", roles=frozenset({Role.API}))

Query = Callable[[int], Mapping[str, Any]]


def _queries(made: Made) -> dict[str, Query]:
    """What is asked for; the number of the call varies it."""

    def window(number: int) -> dict[str, Any]:
        begin = made.oldest + int(AGE_S * 0.9 * (number * 0.377 % 1))
        return {"started_from": begin, "started_to": begin + AGE_S // 200}

    def state(number: int) -> str:
        return ("completed", "failed", "running", "timeout", "cancelled")[number % 5]

    def cluster(number: int) -> str:
        return ("fritz", "alex", "woody")[number % 3]

    def project(number: int) -> str:
        return f"project{number % PROJECTS}"

    return {
        "no filter": lambda n: {},
        "state": lambda n: {"state": state(n)},
        "two states": lambda n: {"state": ["failed", "timeout"]},
        "cluster": lambda n: {"cluster": cluster(n)},
        "cluster + state": lambda n: {"cluster": cluster(n), "state": state(n)},
        "cluster + two states + window": lambda n: {**window(n), "cluster": cluster(n), "state": ["failed", "timeout"]},
        "window": window,
        "window + state": lambda n: {**window(n), "state": state(n)},
        "project": lambda n: {"project": project(n)},
        "project + cluster + state": lambda n: {"project": project(n), "cluster": cluster(n), "state": state(n)},
        "user": lambda n: {"user": f"user{n * 37 % USERS}"},
        "user + state": lambda n: {"user": f"user{n * 37 % USERS}", "state": state(n)},
        "partition": lambda n: {"partition": ("short", "debug")[n % 2]},
        "sub-cluster": lambda n: {"subcluster": "gpu"},
        "number": lambda n: {"number": 1_000_000 + made.count * n // CALLS},
        "array": lambda n: {"array_number": 1_000_000 + made.count * n // CALLS // 50 * 50},
        "name, common": lambda n: {"name": f"name{n}"},
        "name, rare and old": lambda n: {"name": "first"},
        "tag, common": lambda n: {"tag": "jobClass:idle"},
        "tag, rare and old": lambda n: {"tag": "golden"},
        "tag + cluster": lambda n: {"tag": "app:lammps", "cluster": cluster(n)},
        "node": lambda n: {"node": f"n{n * 7 % HOSTS:04}"},
        "nodes and duration": lambda n: {"min_nodes": 8, "min_duration_s": 80_000},
        "end": lambda n: {"ended_from": made.newest - 86_400 * (n + 1)},
    }


def measure(options: Options, report: Report) -> None:
    """All lines of this group, on SQLite and, where there is a server to be had, on PostgreSQL."""
    size = FULL if options.full else SIZE
    with ExitStack() as stack:
        for name, url in _databases(stack):
            report.title(f"a page of 25 over HTTP, out of {size:,} records on {name}")
            home = stack.enter_context(Home(database=url, tables=clustercockpit.TABLES))
            began = time.perf_counter()
            database = url or f"sqlite:///{home.path / 'hpcgate.db'}"
            made = fill_records(database, size)
            print(f"    {size:,} records made in {time.perf_counter() - began:.0f} s", flush=True)
            sums.count_anew(database)
            with serving(home, "--no-worker") as server:
                _pages(server, made, name, report)
                sums.measure(server, database, made, name, report)
                clustercockpit.measure(server, home, made, name, report)
            with home.gateway() as gateway:
                _others(gateway, made, name, report)


def _databases(stack: ExitStack) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = [("SQLite", None)]
    from tests.live.postgres import new_server, programs

    if programs() is not None and Path("/usr/sbin/runuser").exists():
        server = stack.enter_context(new_server())
        found.append(("PostgreSQL", server.url(server.new_database())))
    return found


def _pages(server: Server, made: Made, name: str, report: Report) -> None:
    empty = Bare("empty route", median_ms(100, lambda: server.call("GET", "/me")))
    for what, query in _queries(made).items():
        before = cpu_s(tree(server.process.pid))
        took = [_asked_ms(server, {"limit": 25, **query(number)}) for number in range(CALLS)]
        cpu_ms = 1000 * (cpu_s(tree(server.process.pid)) - before) / CALLS
        report.add(
            Line(
                name=f"records by {what}, {made.count:,}, {name}, median",
                value=median(took),
                unit="ms",
                bare=(empty,),
                target="<= 15 ms, p95 <= 40",
                ok=median(took) <= MEDIAN_MS and p95(took) <= P95_MS,
                note=f"p95 {p95(took):.1f} ms, the server's CPU {cpu_ms:.1f} ms",
            )
        )


def _asked_ms(server: Server, query: Mapping[str, Any]) -> float:
    path = f"/records?{urlencode(query, doseq=True)}"
    return each_ms(1, lambda: server.call("GET", path), warm=0)[0]


def _others(gateway: Gateway, made: Made, name: str, report: Report) -> None:
    """From the library: what has no route of its own in the native API."""
    records, now = gateway.records, time.time()

    def page(number: int, size: int, **asked: Any) -> list[Any]:
        found = records.numbered(REPORTER, RecordFilter(**asked), page=number, size=size)
        assert len(found) == size, len(found)
        return [record_to_wire(record, now) for record in found]

    running = min(RUNNING, made.count // 10)
    for what, call, most in (
        ("page 1000 of 25", lambda: page(1000, 25), PAGE_1000_MS),
        ("page 1000 of 25 by cluster", lambda: page(1000, 25, cluster="fritz"), PAGE_1000_MS),
        (f"{running:,} running in one page", lambda: page(1, running, states=(RecordState.RUNNING,)), ALL_RUNNING_MS),
        ("the nodes of what runs", lambda: records.used_nodes(REPORTER, int(now)), None),
    ):
        _told(report, f"{what}, library, {name}", each_ms(20, call), most)
    numbers, ids = count(5_000_000), []

    def start() -> None:
        report_ = Record(
            number=next(numbers),
            user="user1",
            cluster="fritz",
            started_at=made.newest,
            resources=(Resource(hostname="n0001"),),
        )
        ids.append(records.start(REPORTER, report_).id)

    def stop() -> None:
        records.stop(REPORTER, ids.pop(), ended_at=made.newest + 60, state=RecordState.COMPLETED)

    _told(report, f"start, library, {name}", each_ms(200, start), CHANGE_MS)
    _told(report, f"stop, library, {name}", each_ms(200, stop), CHANGE_MS)


def _told(report: Report, what: str, took: list[float], most: float | None) -> None:
    target = "" if most is None else f"<= {most:g} ms"
    ok = None if most is None else median(took) <= most
    note = f"p95 {p95(took):.1f} ms"
    report.add(Line(name=what, value=median(took), unit="ms", target=target, ok=ok, note=note))
