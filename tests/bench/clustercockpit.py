"""The ClusterCockpit dialect over HTTP, beside the same records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

from hpcgate.model.principal import Principal, Role
from tests.bench.made_records import AGE_S, CLUSTERS, PROJECTS, RUNNING, Made
from tests.bench.places import Home, Server, cpu_s, tree
from tests.bench.report import Line, Report
from tests.bench.timing import each_ms, p95

#: What the configuration of a home needs for it.
TABLES: Final = "[dialects.clustercockpit]\n" + "".join(
    f'[clusters.{name}.subclusters]\nmain = "n[0000-0999]"\n' for name, _ in CLUSTERS
)
CALLS: Final = 40
CHANGES: Final = 100
ADMIN: Final = Principal(name="bench", roles=frozenset({Role.ADMIN}))

Query = Callable[[int], Mapping[str, Any]]


def measure(server: Server, home: Home, made: Made, name: str, report: Report) -> None:
    """All lines."""
    with home.gateway() as gateway:
        gateway.identities.add_user(ADMIN, "reporter", roles=[Role.API])
        token, _ = gateway.identities.create_token(ADMIN, "reporter")
    asked = Server(server.process, server.port, token, prefix="/clustercockpit/api")
    where = f"ClusterCockpit, {made.count:,}, {name}"

    def page(query: Mapping[str, Any]) -> Any:
        return asked.call("GET", f"/jobs/?{urlencode(query, doseq=True)}")

    for what, query in _queries(made).items():
        calls = [partial(page, query(number)) for number in range(CALLS)]
        _told(report, asked, f"page of 25 by {what}", where, calls, 15, 40)
    _told(report, asked, "page 1000", where, [partial(page, {"page": 1000})] * CALLS, 25)
    every = {"state": "running", "items-per-page": 10_000_000}
    running = len(page(every)["jobs"])
    assert running >= min(RUNNING, made.count // 10), running
    _told(report, asked, f"{running:,} running in one page", where, [partial(page, every)] * 10, 150)
    _changes(report, asked, made, where)
    asked.close()


def _queries(made: Made) -> dict[str, Query]:
    """Every filter of the list; the number of the call varies it."""

    def cluster(number: int) -> str:
        return CLUSTERS[number % len(CLUSTERS)][0]

    def window(number: int) -> str:
        begin = made.oldest + int(AGE_S * 0.9 * (number * 0.377 % 1))
        return f"{begin}-{begin + AGE_S // 200}"

    return {
        "no filter": lambda n: {},
        "state": lambda n: {"state": ("completed", "failed", "timeout", "cancelled")[n % 4]},
        "two states": lambda n: {"state": ["failed", "timeout"]},
        "cluster": lambda n: {"cluster": cluster(n)},
        "cluster + state": lambda n: {"cluster": cluster(n), "state": "failed"},
        "start-time": lambda n: {"start-time": window(n)},
        "all of them": lambda n: {"start-time": window(n), "cluster": cluster(n), "state": ["failed", "timeout"]},
        "project": lambda n: {"project": f"project{n % PROJECTS}"},
        "no filter, with-metadata": lambda n: {"with-metadata": "true"},
    }


def _changes(report: Report, asked: Server, made: Made, where: str) -> None:
    numbers, ids = count(7_000_000), []

    def start() -> None:
        body = {
            "jobId": next(numbers),
            "user": "user1",
            "project": "project1",
            "cluster": "fritz",
            "numNodes": 1,
            "startTime": made.newest,
            "resources": [{"hostname": "n0001"}],
        }
        ids.append(asked.call("POST", "/jobs/start_job/", body)["id"])

    def stop() -> None:
        asked.call("POST", f"/jobs/stop_job/{ids.pop()}", {"stopTime": made.newest + 60, "jobState": "completed"})

    _told(report, asked, "start_job", where, [start] * CHANGES, 8)
    _told(report, asked, "stop_job", where, [stop] * CHANGES, 8)


def _told(
    report: Report,
    asked: Server,
    what: str,
    where: str,
    calls: Iterable[Callable[[], Any]],
    most_ms: float,
    most_p95_ms: float | None = None,
) -> None:
    before = cpu_s(tree(asked.process.pid))
    took = [each_ms(1, call, warm=0)[0] for call in calls]
    cpu_ms = 1000 * (cpu_s(tree(asked.process.pid)) - before) / len(took)
    late = most_p95_ms is not None and p95(took) > most_p95_ms
    report.add(
        Line(
            name=f"{what}, {where}, median",
            value=median(took),
            unit="ms",
            target=f"<= {most_ms:g} ms" + ("" if most_p95_ms is None else f", p95 <= {most_p95_ms:g}"),
            ok=median(took) <= most_ms and not late,
            note=f"p95 {p95(took):.1f} ms, the server's CPU {cpu_ms:.1f} ms",
        )
    )
