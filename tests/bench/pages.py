"""A page of 25 out of ten thousand, a hundred thousand and a million jobs, over HTTP."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlencode

from tests.bench.options import Options
from tests.bench.places import Home, Server, cpu_s, serving, tree
from tests.bench.report import Bare, Line, Report
from tests.bench.synthetic import AGE_S, NAMES, PROJECTS, WEEKS, Shape, fill
from tests.bench.timing import each_ms, median_ms, p95

SIZES = (10_000, 100_000)
FULL = (*SIZES, 1_000_000)
CALLS = 40
MEDIAN_MS, P95_MS = 15.0, 40.0
#: "Flat": the largest may cost so much more than the smallest.
FLAT = 1.5
#: Jobs in a time window.
IN_WINDOW = 600

Query = Callable[[int], Mapping[str, str]]


def _queries(shape: Shape) -> dict[str, Query]:
    """What is asked for; the number of the call varies it."""

    def window(number: int) -> dict[str, str]:
        begin = shape.oldest + AGE_S * 0.9 * (number * 0.377 % 1)
        return {"since": f"{begin:.3f}", "until": f"{begin + AGE_S * IN_WINDOW / shape.count:.3f}"}

    def owner(number: int) -> str:
        return f"user{number * 37 % shape.owners}"

    return {
        "no filter": lambda n: {},
        "state": lambda n: {"state": ("COMPLETED", "FAILED", "CANCELED", "RUNNING", "HELD")[n % 5]},
        "active": lambda n: {"active": "true"},
        "site": lambda n: {"site": ("local", "fritz")[n % 2]},
        "owner": lambda n: {"owner": owner(n)},
        "owner + state": lambda n: {"owner": owner(n), "state": "COMPLETED"},
        "project": lambda n: {"project": f"project{n % PROJECTS}"},
        "name": lambda n: {"name": f"name{n % NAMES}"},
        "tag, common": lambda n: {"tag": "nightly"},
        "tag, rare and old": lambda n: {"tag": "golden"},
        "label, common": lambda n: {"label": "team=physics"},
        "label, of one week": lambda n: {"label": f"week={n % WEEKS}"},
        "label, rare and old": lambda n: {"label": "release=first"},
        "label + owner": lambda n: {"label": "team=physics", "owner": owner(n)},
        "rare label + owner": lambda n: {"label": f"week={n % WEEKS}", "owner": owner(n)},
        "label + state": lambda n: {"label": "team=physics", "state": "HELD"},
        "rare label + state": lambda n: {"label": f"week={n % WEEKS}", "state": "CANCELED"},
        "time window": window,
        "old window + state": lambda n: {**window(n), "state": "CANCELED"},
    }


@dataclass(slots=True)
class _Place:
    """A database of one size and its server."""

    size: int
    home: Home
    server: Server
    queries: Mapping[str, Query]
    took: dict[str, list[float]] = field(default_factory=dict)
    cpu_ms: dict[str, float] = field(default_factory=dict)


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    sizes = FULL if options.full else SIZES
    report.title(f"a page of 25 over HTTP, out of {' and '.join(f'{size:,}' for size in sizes)} jobs")
    with ExitStack() as stack:
        places = [_place(stack, size) for size in sizes]
        largest = places[-1]
        empty = Bare("empty route", median_ms(100, lambda: largest.server.call("GET", "/me")))
        bare = Bare("bare SELECT of 25 rows", _bare_ms(largest.home))
        for name in largest.queries:
            _ask(places, name)
            report.add(_line(places, name, (empty, bare)))
        _beside(largest, report)


def _place(stack: ExitStack, size: int) -> _Place:
    home = stack.enter_context(Home())
    began = time.perf_counter()
    with home.gateway() as gateway:
        shape = fill(gateway, home.path / "hpcgate.db", size)
    print(f"    {size:,} jobs made in {time.perf_counter() - began:.0f} s", flush=True)
    return _Place(size, home, stack.enter_context(serving(home, "--no-worker")), _queries(shape))


def _ask(places: list[_Place], name: str) -> None:
    """Asks all places in turns, so that they have the same neighbours on the machine."""
    before = {place.size: cpu_s(tree(place.server.process.pid)) for place in places}
    for number in range(CALLS):
        for place in places:
            query = urlencode({"limit": 25, **place.queries[name](number)})
            place.took.setdefault(name, []).extend(
                each_ms(1, lambda place=place, query=query: place.server.call("GET", f"/jobs?{query}"), warm=0)
            )
    for place in places:
        place.cpu_ms[name] = 1000 * (cpu_s(tree(place.server.process.pid)) - before[place.size]) / CALLS


def _bare_ms(home: Home) -> float:
    """25 rows by their newest ids, in a SQLite connection that is kept."""
    with closing(sqlite3.connect(home.path / "hpcgate.db")) as db:
        sql = "SELECT * FROM job WHERE state = 'COMPLETED' ORDER BY id DESC LIMIT 25"
        return median_ms(100, lambda: db.execute(sql).fetchall())


def _line(places: list[_Place], name: str, bare: tuple[Bare, ...]) -> Line:
    smallest, largest = places[0].took[name], places[-1].took[name]
    growth = median(largest) / median(smallest)
    fast = median(largest) <= MEDIAN_MS and p95(largest) <= P95_MS
    each = "; ".join(
        f"{place.size:,}: {median(place.took[name]):.1f}, {p95(place.took[name]):.1f}, {place.cpu_ms[name]:.1f}"
        for place in places
    )
    return Line(
        name=f"page by {name}, {places[-1].size:,} jobs, median",
        value=median(largest),
        unit="ms",
        bare=bare,
        target="<= 15 ms, p95 <= 40, flat",
        ok=fast and growth <= FLAT,
        note=f"median, p95, server's CPU in ms out of {each}; x{growth:.2f} from the smallest to the largest",
    )


def _beside(place: _Place, report: Report) -> None:
    """What else must not grow with the number of jobs that have ended."""
    beside = f"beside {place.size:,} jobs"
    with place.home.gateway() as gateway:
        worker = gateway.worker()
        worker.step()
        report.add(Line(name=f"a round of an idle worker {beside}", value=median_ms(10, worker.step), unit="ms"))
    for path in ("/sites", "/events?after=1&limit=100"):
        took = median_ms(10, lambda path=path: place.server.call("GET", path))
        report.add(Line(name=f"GET {path} {beside}", value=took, unit="ms"))
