"""What records add up to, over HTTP, beside a plain GROUP BY over all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any
from urllib.parse import urlencode

from hpcgate.store.database import open_store
from tests.bench.made_records import Made
from tests.bench.places import Server, cpu_s, tree
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import each_ms, p95

CALLS = 30
BY_USER_MS = 20.0
DAY_S = 86_400


def count_anew(url: str) -> None:
    """Makes the roll-ups of records that were put straight into the tables."""
    began, store = time.perf_counter(), open_store(url)
    try:
        if url.startswith("sqlite"):
            store._session.execute("PRAGMA synchronous = off")  # nothing here is worth a power cut
        cells = sum(each.cells for each in store.statistics.recount(write=True))
    finally:
        store.close()
    print(f"    {cells:,} sums made in {time.perf_counter() - began:.0f} s", flush=True)


def measure(server: Server, url: str, made: Made, name: str, report: Report) -> None:
    """All lines."""
    plain = Bare("a GROUP BY over all records", _plain_ms(url))
    for what, query, most in _questions(made):
        before = cpu_s(tree(server.process.pid))
        path = f"/stats?{urlencode(query, doseq=True)}"
        took = each_ms(CALLS, lambda path=path: server.call("GET", path))
        cpu_ms = 1000 * (cpu_s(tree(server.process.pid)) - before) / CALLS
        report.add(
            Line(
                name=f"sums {what}, {made.count:,}, {name}, median",
                value=median(took),
                unit="ms",
                bare=(plain,),
                target="" if most is None else f"<= {most:g} ms",
                ok=None if most is None else median(took) <= most,
                note=f"p95 {p95(took):.1f} ms, the server's CPU {cpu_ms:.1f} ms",
            )
        )


def _questions(made: Made) -> list[tuple[str, Mapping[str, Any], float | None]]:
    quarter = (made.newest - 90 * DAY_S) // DAY_S * DAY_S
    return [
        ("by user", {"group_by": "user"}, BY_USER_MS),
        ("by user, all 1,000 of them", {"group_by": "user", "limit": 1000}, None),
        ("by user, of 90 days to the second", {"group_by": "user", "since": quarter + 5}, None),
        ("by user, of one cluster", {"group_by": "user", "cluster": "alex"}, None),
        ("by project", {"group_by": "project"}, None),
        ("by cluster, with all histograms", {"group_by": "cluster", "histogram": "duration,nodes,cores,wait"}, None),
        ("by state, of one cluster", {"group_by": "state", "cluster": "fritz"}, None),
        ("by day", {"group_by": "day"}, None),
        ("by day, of one user", {"group_by": "day", "user": "user7"}, None),
        ("by user, of one project and cluster", {"group_by": "user", "project": "project7", "cluster": "fritz"}, None),
    ]


def _plain_ms(url: str) -> float:
    store = open_store(url)
    sql = "SELECT owner, count(*), sum(duration_s * num_nodes) FROM record GROUP BY owner"
    try:
        return median(each_ms(3, lambda: store._session.rows(sql)))
    finally:
        store.close()
