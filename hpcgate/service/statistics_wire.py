"""Statistics on the wire: as JSON, and as lines of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from hpcgate.model.codec import time_to_wire
from hpcgate.model.periods import date_of
from hpcgate.model.statistics import HISTOGRAMS, Counted, GroupBy, Key, names_of
from hpcgate.service.statistics import Answer, Group, Quota
from hpcgate.service.wire import balance_to_wire

Wire = dict[str, Any]


def answer_to_wire(answer: Answer) -> Wire:
    """An answer as JSON. Histograms are lists of numbers of jobs; ``bins`` says where each bin begins."""
    query = answer.query
    return {
        "group_by": query.group_by.value,
        "since": time_to_wire(query.since),
        "until": time_to_wire(query.until),
        "at": time_to_wire(answer.at),
        "groups": answer.groups,
        "bins": {
            name: {"unit": HISTOGRAMS[name].unit, "from": list(HISTOGRAMS[name].bounds)} for name in query.histograms
        },
        "total": _counted(answer.total, query.histograms),
        "items": [_group(answer, each) for each in answer.items],
    }


def _group(answer: Answer, group: Group) -> Wire:
    query = answer.query
    wire = {**_names(query.group_by, group.key), **_counted(group.counted, query.histograms)}
    if answer.with_quota:
        wire["quota"] = None if group.quota is None else _quota(group.quota)
    return wire


def _names(group_by: GroupBy, key: Key) -> Wire:
    if group_by is GroupBy.DAY:
        return {"day": date_of(int(key[0])).isoformat()}
    return dict(zip(names_of(group_by), key, strict=True))


def _counted(counted: Counted, histograms: Sequence[str] = ()) -> Wire:
    wire: Wire = {
        "jobs": counted.jobs,
        "running": counted.running,
        "short_jobs": counted.short_jobs,
        "run_hours": _hours(counted.run_s),
        "node_hours": _hours(counted.node_s),
        "core_hours": _hours(counted.core_s),
        "accelerator_hours": _hours(counted.accelerator_s),
        "wait_hours": _hours(counted.wait_s),
        "waited": counted.waited,
    }
    if histograms:
        nothing = {name: [0] * len(HISTOGRAMS[name].bounds) for name in histograms}
        wire["histograms"] = nothing | counted.histograms
    return wire


def _hours(seconds: int) -> float:
    return round(seconds / 3600, 4)


def _quota(quota: Quota) -> Wire:
    return {
        "weighting": quota.project.weighting.value,
        "own": None if quota.own is None else balance_to_wire(quota.own),
        "total": balance_to_wire(quota.total),
    }


# --- lines ----------------------------------------------------------------------------------------------------------


def answer_to_csv(answer: Answer) -> str:
    """An answer as CSV (RFC 4180): a line with names, and one for each group."""
    query = answer.query
    columns = [*names_of(query.group_by), *_counted(Counted())]
    bins = [(name, place) for name in query.histograms for place in range(len(HISTOGRAMS[name].bounds))]
    quotas = [f"quota_{name}" for name in _QUOTA] if answer.with_quota else []
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow([*columns, *(f"{name}_from_{HISTOGRAMS[name].bounds[place]}" for name, place in bins), *quotas])
    for each in answer.items:
        wire = _group(answer, each)
        counts = [wire["histograms"][name][place] for name, place in bins]
        lines.writerow([*(wire[name] for name in columns), *counts, *(_quota_cells(wire["quota"]) if quotas else ())])
    return text.getvalue()


#: What is said of the time of a project: weighted hours, of all users together.
_QUOTA = ("weighting", "granted_hours", "used_hours", "reserved_hours", "left_hours")


def _quota_cells(quota: Wire | None) -> list[Any]:
    if quota is None:
        return [""] * len(_QUOTA)
    figures = quota["total"]["time"]
    hours = ["" if figures[name] is None else _hours(figures[name]) for name in ("granted", "used", "reserved", "left")]
    return [quota["weighting"], *hours]
