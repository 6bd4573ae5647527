"""What accounting knows: ``sacct``, for jobs that left the queue and for keys that are searched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from hpcgate.model.job import Usage
from hpcgate.scheduler.command import Answer
from hpcgate_slurm.command import UNIT, SlurmCommand, expect_success
from hpcgate_slurm.indices import indices
from hpcgate_slurm.mark import PREFIX, Mark
from hpcgate_slurm.rows import Row
from hpcgate_slurm.states import DEPENDENCY, NEVER_SATISFIED, look_up
from hpcgate_slurm.values import duration_s, epoch, memory_kib, nodes, number

COLUMNS: Final = (
    "JobID", "State", "ExitCode", "Submit", "Start", "End", "User", "UID", "NodeList", "MaxRSS", "TotalCPU",
    "Reason", "Comment", "SubmitLine",
)  # fmt: skip

_ID: Final = re.compile(r"(\d+)(?:_(\d+)|_\[([\d,:%-]+)\]|\+(\d+))?")
_ANY_STATE: Final = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO"
_CANCELED: Final = re.compile(r"CANCELLED by (\d+)")
_DEPENDS: Final = re.compile(r" --dependency=\S")
_SUBMITTED_WITH: Final = re.compile(rf"--comment=({PREFIX}\S+)")


@dataclass(frozen=True)
class Sacct(SlurmCommand[tuple[Row, ...]]):
    """What accounting has of jobs: one row for each run of a job or task, the last run last.

    Args:
        jobs: native ids; empty = all jobs since ``since``.
        since: epoch seconds; runs that ended before it are left out.
        key: only jobs with this key.
    """

    jobs: tuple[str, ...] = ()
    since: float | None = None
    key: str | None = None

    program = "sacct"

    def words(self) -> list[str]:
        """Steps are asked for too: they alone tell the largest resident set."""
        if self.jobs:
            which = [f"--jobs={','.join(self.jobs)}"]
        else:
            # Without states and an end, jobs that were canceled before they could start are left out.
            which = ["--allusers", "--allocations", "--endtime=now", f"--state={_ANY_STATE}"]
        if self.since is not None:
            start = datetime.fromtimestamp(max(self.since, 0), UTC)
            which.append(f"--starttime={start:%Y-%m-%dT%H:%M:%S}")
        return [
            *which, "--duplicates", "--parsable2", "--noheader", f"--delimiter={UNIT}",
            f"--format={','.join(COLUMNS)}",
        ]  # fmt: skip

    def parse(self, answer: Answer) -> tuple[Row, ...]:
        """Reads the rows."""
        expect_success(answer)
        runs: list[Row] = []
        steps: list[Usage] = []
        for line in answer.stdout.splitlines():
            cells = dict(zip(COLUMNS, line.split(UNIT), strict=False))
            if len(cells) < len(COLUMNS):
                continue  # the rest of a stranger's submit line that held a line break
            if "." in cells["JobID"]:
                steps.append(Usage(max_rss_kib=memory_kib(cells["MaxRSS"])))
                if runs:
                    runs[-1] = _with_step(runs[-1].with_usage_of(steps), cells["State"])
                continue
            steps = []
            runs.extend(_rows(cells))
        if self.key is not None:
            runs = [run for run in runs if run.key == self.key]
        return _in_order(runs)


def _rows(cells: Mapping[str, str]) -> Iterator[Row]:
    match = _ID.fullmatch(cells["JobID"])
    if not match:
        if "_[" in cells["JobID"]:
            return  # a list of indices that was cut off; the array stays incomplete
        raise ValueError(f"{cells['JobID']!r} is no job id")
    code, _, signal = cells["ExitCode"].partition(":")
    canceled = _CANCELED.match(cells["State"])
    line = _SUBMITTED_WITH.search(cells["SubmitLine"])
    mark = Mark.read(cells["Comment"])
    if mark is None and line:
        mark = Mark.read(line[1])
    row = Row(
        native_id=match[1],
        index=None if match[2] is None else int(match[2]),
        component=None if match[4] is None else int(match[4]),
        word=cells["State"],
        reason=_reason(cells),
        exit_code=number(code),
        signal=number(signal),
        submitted_at=epoch(cells["Submit"]),
        started_at=epoch(cells["Start"]),
        ended_at=epoch(cells["End"]),
        account=cells["User"] or None,
        # A row that accounting has not filled in yet says 0.
        owner=cells["UID"] if cells["UID"] not in ("", "0") or cells["User"] == "root" else None,
        canceler=canceled[1] if canceled else None,
        nodes=nodes(cells["NodeList"]),
        mark=mark,
        usage=Usage(cpu_time_s=duration_s(cells["TotalCPU"])),
    )
    if match[3] is None:
        yield row
        return
    for index in indices(match[3]):
        yield replace(row, index=index, usage=None)


def _with_step(run: Row, word: str) -> Row:
    """The run with why it failed, which one of its steps may know better."""
    out_of_memory = run.word == "FAILED" and look_up(word)[0] == "OUT_OF_MEMORY"
    return replace(run, word="OUT_OF_MEMORY") if out_of_memory else run


def _reason(cells: Mapping[str, str]) -> str:
    """Slurm's word. It may not have written down why it canceled a job itself, which nobody's uid stands beside."""
    reason, by_nobody = cells["Reason"], cells["State"] == "CANCELLED" and not nodes(cells["NodeList"])
    depends = reason == DEPENDENCY or (reason in ("", "None") and bool(_DEPENDS.search(cells["SubmitLine"])))
    return NEVER_SATISFIED if by_nobody and depends else reason


def _in_order(runs: Sequence[Row]) -> tuple[Row, ...]:
    """The last run of each job or task, with how many there were before it.

    Ids begin anew where a controller lost its state: what carries another key is another job.
    """
    by_place: dict[tuple[str, int | None, int | None, str | None], list[Row]] = {}
    for run in runs:
        by_place.setdefault((run.native_id, run.index, run.component, run.key), []).append(run)
    return tuple(
        replace(max(same, key=lambda run: run.submitted_at or 0.0), restarts=len(same) - 1)
        for same in by_place.values()
    )
