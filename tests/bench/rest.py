"""The local scheduler through REST: single submits, and ten thousand jobs through one request."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from tests.bench import bare
from tests.bench.options import Options
from tests.bench.places import Home, Server, serving
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import each_ms, p95, until

COUNT = 10_000
PAGE = 200


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    report.title("local scheduler, through REST (`hpcgate serve` with its worker)")
    with Home(cpus=1) as home, serving(home) as server:
        blocker = server.call("POST", "/jobs", {"name": "blocker", "command": "sleep", "args": ["3600"]})
        until(lambda: server.call("GET", f"/jobs/{blocker['id']}")["state"] == "RUNNING", 20)
        _submit(server, report)
        _bulk(server, report)
        _list(server, report)
        _cancel(server, report)
        server.call("POST", f"/jobs/{blocker['id']}/cancel")
        until(lambda: not server.call("GET", "/jobs?active=true&limit=1")["items"], 30)


def _submit(server: Server, report: Report) -> None:
    empty = each_ms(200, lambda: server.call("GET", "/me"))
    body = {"name": "one", "command": "true"}
    took = each_ms(200, lambda: server.call("POST", "/jobs", body), warm=5)
    report.add(
        Line(
            name="empty authenticated route (GET /me), median of 200",
            value=median(empty),
            unit="ms",
            note=f"p95 {p95(empty):.1f} ms",
        )
    )
    spawn = bare.spawn_ms()
    report.add(
        Line(
            name="POST /jobs, 201 with the native id, median of 200",
            value=median(took),
            unit="ms",
            bare=(Bare("empty route", median(empty)), Bare("spawn of `true`", spawn)),
            target="<= spawn + 10 ms",
            ok=median(took) <= spawn + 10,
            note=f"p95 {p95(took):.1f} ms",
        )
    )


def _bulk(server: Server, report: Report) -> None:
    jobs = [{"name": f"bulk{number}", "command": "true", "labels": {"run": "bulk"}} for number in range(COUNT)]
    began = time.perf_counter()
    answer = server.call("POST", "/jobs/bulk", {"jobs": jobs})
    took = time.perf_counter() - began
    assert {item["status"] for item in answer["items"]} == {201}
    assert len(answer["items"]) == COUNT
    rate = COUNT / took
    report.add(
        Line(
            name="10,000 through one POST /jobs/bulk",
            value=rate,
            unit="jobs/s",
            bare=(Bare("shell loop of `true &`", bare.shell_loop_rate()),),
            target=">= 500 jobs/s",
            ok=rate >= 500,
            note=f"{took:.1f} s until the answer",
        )
    )


def _list(server: Server, report: Report) -> None:
    began = time.perf_counter()
    seen: set[int] = set()
    cursor: str | None = ""
    while cursor is not None:
        page: Any = server.call("GET", f"/jobs?label=run%3Dbulk&limit={PAGE}" + (f"&cursor={cursor}" if cursor else ""))
        seen.update(job["id"] for job in page["items"])
        cursor = page["next_cursor"]
    took = time.perf_counter() - began
    assert len(seen) == COUNT
    pages = COUNT // PAGE
    report.add(Line(name=f"all of them listed, {pages} pages of {PAGE}", value=took, unit="s"))


def _cancel(server: Server, report: Report) -> None:
    began = time.perf_counter()
    asked = server.call("POST", "/jobs/cancel", {"filter": {"labels": {"run": "bulk"}}})["count"]
    told_s = time.perf_counter() - began
    assert asked == COUNT

    def gone() -> bool:
        return not server.call("GET", "/jobs?label=run%3Dbulk&active=true&limit=1")["items"]

    until(gone, 120, every_s=0.1)
    took = time.perf_counter() - began
    report.add(
        Line(
            name="one cancel of all of them until all are CANCELED",
            value=took,
            unit="s",
            target="<= 20 s",
            ok=took <= 20,
            note=f"the answer came after {told_s:.1f} s",
        )
    )
