"""What records add up to, as SQL: the same figures, in the same order, as the columns of roll-ups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from hpcgate.model.periods import DAY_S, LAST_DAY
from hpcgate.model.record import RecordState
from hpcgate.model.statistics import CORES, DURATION, HISTOGRAMS, MOST_S, NODES, SHORT_S, WAIT, Histogram


def _between(begin: str, end: str) -> str:
    # Compared as floating-point numbers, which do not overflow.
    far = f"CAST({end} AS DOUBLE PRECISION) - {begin} > {MOST_S}"
    return f"CASE WHEN {begin} >= {end} THEN 0 WHEN {far} THEN {MOST_S} ELSE {end} - {begin} END"


#: A job that has not ended has not always begun.
_BEGAN: Final = f"state <> '{RecordState.PENDING}'"
#: How long a job waited; nothing where that is not known.
_WAITED: Final = f"CASE WHEN submitted_at IS NOT NULL AND {_BEGAN} THEN {_between('submitted_at', 'started_at')} END"
_RAN: Final = f"CASE WHEN duration_s > {MOST_S} THEN {MOST_S} ELSE duration_s END"
_NOW: Final = "CAST(? AS BIGINT)"
_SO_FAR: Final = f"CASE WHEN {_BEGAN} THEN {_between('started_at', _NOW)} ELSE 0 END"
#: The day of the start, counted from 1970-01-01; the first and the last have all that is said to be before and after.
DAY: Final = (
    f"CASE WHEN started_at < 0 THEN 0 WHEN started_at >= {LAST_DAY * DAY_S} THEN {LAST_DAY} "
    f"ELSE started_at / {DAY_S} END"
)
#: No limit at all, but SQLite does not put a select that has one in place of its names, for each of them again.
_ONCE: Final = f"LIMIT {2**63 - 1}"
#: What each histogram is of.
_BINNED: Final[Mapping[str, str]] = {
    DURATION.name: "ran",
    NODES.name: "num_nodes",
    CORES.name: "num_hwthreads",
    WAIT.name: "waited",
}


def of_ended(
    keys: Sequence[str], told: Iterable[str], where: str, histograms: Iterable[str], more: Iterable[str] = ()
) -> str:
    """What jobs add up to that have ended: the keys, the sums and the bins.

    Args:
        keys: what groups have in common: names among ``told``.
        told: what is selected of the records for that, as ``expression AS name``.
        where: which records.
        histograms: names of those whose bins are counted.
        more: further columns.
    """
    short = f"SUM(CASE WHEN ran < {SHORT_S} THEN 1 ELSE 0 END)"
    bins = [each for name in histograms for each in _bins(HISTOGRAMS[name])]
    return _select(keys, [*told, f"{_RAN} AS ran"], f"ended_at IS NOT NULL AND {where}", short, [*bins, *more])


def of_going_on(keys: Sequence[str], told: Iterable[str], where: str, histograms: Iterable[str]) -> str:
    """What jobs add up to that have not ended, as ``of_ended``; behind it, how many of them run.

    The first ``NOWS`` parameters are the present second.
    """
    running = f"SUM(CASE WHEN {_BEGAN} THEN 1 ELSE 0 END)"
    bins: list[str] = []
    for name in histograms:
        # Nobody knows yet how long they will have run.
        bins += ["0"] * len(DURATION.bounds) if name == DURATION.name else _bins(HISTOGRAMS[name])
    rows = [*told, "state", f"{_SO_FAR} AS ran"]
    return _select(keys, rows, f"ended_at IS NULL AND {where}", "0", [*bins, running])


#: How often the present second is a parameter.
NOWS: Final = _SO_FAR.count("?")


def _select(keys: Sequence[str], told: Sequence[str], where: str, short: str, rest: Sequence[str]) -> str:
    widths = ("num_nodes", "num_hwthreads", "num_accelerators")
    sums = [
        "COUNT(*)",
        short,
        "SUM(ran)",
        "SUM(COALESCE(waited, 0))",
        "COUNT(waited)",
        *(f"SUM({_times(name)})" for name in widths),
    ]
    rows = f"SELECT {', '.join((*told, *widths))}, {_WAITED} AS waited FROM record WHERE {where} {_ONCE}"  # noqa: S608
    columns = ", ".join((*keys, *sums, *rest))
    return f"SELECT {columns} FROM ({rows}) AS r GROUP BY {', '.join(keys)}"  # noqa: S608


def _bins(histogram: Histogram) -> Iterator[str]:
    value = _BINNED[histogram.name]
    ends = (*histogram.bounds[1:], None)
    for number, (begin, end) in enumerate(zip(histogram.bounds, ends, strict=True)):
        # What is below all of them is in the first one.
        terms = [f"{value} >= {begin}"] * (number > 0) + [f"{value} < {end}"] * (end is not None)
        yield f"SUM(CASE WHEN {' AND '.join(terms)} THEN 1 ELSE 0 END)"


def _times(column: str) -> str:
    return f"CASE WHEN CAST(ran AS DOUBLE PRECISION) * {column} > {MOST_S} THEN {MOST_S} ELSE ran * {column} END"
