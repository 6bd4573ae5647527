"""``hpcgate stats``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

import click

from hpcgate.cli.arguments import as_json
from hpcgate.cli.backend import Wire
from hpcgate.cli.bars import Column, print_bars
from hpcgate.cli.output import note, print_json
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.values import MOMENT
from hpcgate.model.record import RecordState
from hpcgate.model.statistics import HISTOGRAMS, GroupBy, StatisticsQuery, names_of

F = TypeVar("F", bound=Callable[..., Any])

#: What a table shows of each group, beside its name.
MEASURES: Final = {
    "jobs": "JOBS",
    "running": "RUNNING",
    "short_jobs": "SHORT",
    "run_hours": "RUN H",
    "node_hours": "NODE H",
    "core_hours": "CORE H",
    "accelerator_hours": "ACC H",
    "wait_hours": "WAIT H",
}
#: The bars of days are of what they would be sorted by otherwise.
DEFAULT_BAR: Final = "node_hours"
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def _several(name: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name}", f"{name}s", metavar="NAME", multiple=True, help=f"{text}; may be repeated.")


@click.command()
@click.option(
    "--by",
    "group_by",
    type=click.Choice([each.value for each in GroupBy]),
    default=GroupBy.USER.value,
    show_default=True,
    help="What the jobs of a line have in common; a day is that of the start, UTC.",
)
@_several("cluster", "Only jobs of this cluster")
@_several("subcluster", "Only jobs of this sub-cluster")
@_several("user", "Only jobs of this user")
@_several("project", "Only jobs of this project")
@click.option(
    "--state",
    "states",
    type=click.Choice([each.value for each in RecordState], case_sensitive=False),
    multiple=True,
    help="Only jobs in this state; may be repeated.",
)
@click.option("--since", type=MOMENT, help="Only jobs started then or later: 2026-01-31, 30d (ago), RFC 3339.")
@click.option("--until", type=MOMENT, help="Only jobs started before.")
@click.option(
    "--histogram",
    "histograms",
    type=click.Choice(list(HISTOGRAMS)),
    multiple=True,
    help="Also how many jobs have how much of this; may be repeated.",
)
@click.option(
    "--sort", "order", type=click.Choice([*MEASURES, "name"]), help="Most of this first, drawn as bars; or by name."
)
@click.option("--limit", "-n", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Most lines.")
@click.option("--quota", is_flag=True, help="With --by project: what has been used of each one's quota.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@as_json
@pass_session
def stats(
    session: Session,
    /,
    group_by: str,
    since: float | None,
    until: float | None,
    order: str | None,
    limit: int,
    quota: bool,
    as_csv: bool,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Show what jobs have used.

    That is hours, numbers of jobs, and how long they waited. Whose jobs are counted is as with records. Those that
    have not ended count with what they have used so far.

    \b
    Examples:
      hpcgate stats --since 30d
      hpcgate stats --by day --cluster fritz --since 2026-01-01 --until 2026-02-01
      hpcgate stats --by project --quota
      hpcgate stats --by state --histogram duration
      hpcgate stats --by user --sort core_hours --limit 100000 --csv > users.csv
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    states = tuple(map(RecordState, wanted.pop("states")))
    query = StatisticsQuery(
        group_by=GroupBy(group_by), states=states, since=_second(since), until=_second(until), **wanted
    )
    if as_csv:
        sys.stdout.write(session.backend.statistics_csv(query, order=order, limit=limit, quota=quota))
        return
    answer = session.backend.statistics(query, order=order, limit=limit, quota=quota)
    if as_json:
        print_json(answer)
        return
    _print(answer, DEFAULT_BAR if order in (None, "name") else order, quota=quota)


def _second(at: float | None) -> int | None:
    return None if at is None else -int(-at // 1)


def _print(answer: Wire, measure: str, *, quota: bool) -> None:
    items, total = answer["items"], answer["total"]
    names = names_of(GroupBy(answer["group_by"]))
    columns = [Column(name.upper()) for name in names]
    columns += [Column(title, right=True) for title in MEASURES.values()]
    columns += [Column("QUOTA", right=True)] if quota else []
    rows = [
        [*(item[name] or "-" for name in names), *_cells(item), *([_quota(item)] if quota else [])] for item in items
    ]
    bars = [_share(item) if quota else _part(item[measure], max(each[measure] for each in items)) for item in items]
    if len(items) > 1:
        rows.append(["total", *[""] * (len(names) - 1), *_cells(total), *([""] if quota else [])])
        bars.append(None)
    print_bars(columns, rows, bars, "OF QUOTA" if quota else MEASURES[measure])
    for name in answer["bins"]:
        click.echo()
        _print_histogram(name, answer["bins"][name]["from"], total["histograms"][name])
    if answer["groups"] > len(items):
        note(f"these are {len(items)} of {answer['groups']}; see more with --limit")


def _cells(item: Wire) -> list[str]:
    return [f"{item[name]:,.1f}" if name.endswith("hours") else f"{item[name]:,}" for name in MEASURES]


def _part(value: float, most: float) -> float:
    return value / most if most else 0.0


def _quota(item: Wire) -> str:
    if item["quota"] is None:
        return "-"
    time = item["quota"]["total"]["time"]
    used = f"{time['used'] / 3600:,.1f}"
    return used if time["granted"] is None else f"{used} of {time['granted'] / 3600:,.1f}"


def _share(item: Wire) -> float | None:
    """How much of its quota a project has used; nothing where there is no limit."""
    time = item["quota"] and item["quota"]["total"]["time"]
    return min(1.0, _part(time["used"], time["granted"])) if time and time["granted"] is not None else None


def _print_histogram(name: str, bounds: Sequence[int], counts: Sequence[int]) -> None:
    show = _time if HISTOGRAMS[name].unit == "seconds" else str
    last = f"{show(bounds[-1])} or more"
    if show is str:
        labels = [str(begin) if end == begin + 1 else f"{begin} to {end - 1}" for begin, end in pairwise(bounds)]
    else:
        labels = [f"{show(begin)} to {show(end)}" for begin, end in pairwise(bounds)]
    columns = [Column(name.upper()), Column("JOBS", right=True)]
    rows = [[label, f"{count:,}"] for label, count in zip([*labels, last], counts, strict=True)]
    print_bars(columns, rows, [_part(count, max(counts)) for count in counts], "")


def _time(seconds: int) -> str:
    size, unit = next((each for each in _UNITS if seconds >= each[0] and seconds % each[0] == 0), (1, "s"))
    return f"{seconds // size} {unit}"
