"""The listing: one ``squeue`` for the jobs of all accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hpcgate.errors import SchedulerError
from hpcgate.scheduler.command import Answer
from hpcgate_slurm.command import UNIT, SlurmCommand, expect_success
from hpcgate_slurm.documents import read_jobs
from hpcgate_slurm.mark import Mark
from hpcgate_slurm.rows import Row
from hpcgate_slurm.values import epoch, nodes, number

#: Columns and their widths. squeue cuts what is wider, so these are wider than what may stand there; a node list that
#: is cut is left out.
COLUMNS: Final = {
    "JobArrayID": 40,
    "State": 20,
    "Reason": 48,
    "SubmitTime": 12,
    "StartTime": 12,
    "EndTime": 12,
    "RestartCnt": 6,
    "exit_code": 12,
    "UserName": 40,
    "Comment": 256,
    "NodeList": 400,
}
FORMAT: Final = ",".join(f"{name}:{width}{UNIT}" for name, width in COLUMNS.items())

_ID: Final = re.compile(r"(\d+)(?:_(\d+)|\+(\d+))?")


@dataclass(frozen=True)
class Squeue(SlurmCommand[tuple[Row, ...]]):
    """All jobs that the controller knows, those among them that ended a short time ago (``MinJobAge``).

    Args:
        jobs: only these native ids; empty = all.
        version: as a JSON document of this version (``""`` = Slurm's own choice); ``None`` = as lines of text.
    """

    jobs: tuple[str, ...] = ()
    version: str | None = None

    program = "squeue"

    def words(self) -> list[str]:
        """One row for each task of an array."""
        some = [f"--jobs={','.join(self.jobs)}"] if self.jobs else []
        if self.version is not None:
            return ["--all", "--states=all", *some, f"--json={self.version}" if self.version else "--json"]
        return ["--all", "--array", "--noheader", "--states=all", *some, f"--Format={FORMAT}"]

    def parse(self, answer: Answer) -> tuple[Row, ...]:
        """Reads the rows. An id that is not known is no row; squeue complains where there is no other."""
        if self.jobs and answer.exit_status == 1 and "Invalid job id specified" in answer.stderr:
            return ()
        expect_success(answer)
        if self.version is None:
            return tuple(_rows(answer.stdout))
        rows = read_jobs(answer.stdout)
        # Old versions list all jobs whatever they are asked for.
        return tuple(row for row in rows if not self.jobs or row.native_id in self.jobs)


def _rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        if not line.strip() or (UNIT not in line and line.startswith("CLUSTER:")):
            continue
        cells = [cell.strip() for cell in line.split(UNIT)]
        if len(cells) != len(COLUMNS) + 1:
            raise SchedulerError(f"squeue printed a line that is not understood: {line[:200]!r}")
        yield _row(dict(zip(COLUMNS, cells, strict=False)))


def _row(cells: dict[str, str]) -> Row:
    match = _ID.fullmatch(cells["JobArrayID"])
    if not match:
        raise ValueError(f"{cells['JobArrayID']!r} is no job id")
    exit_code, signal = _ending(cells["exit_code"])
    node_list = cells["NodeList"]
    return Row(
        native_id=match[1],
        index=None if match[2] is None else int(match[2]),
        component=None if match[3] is None else int(match[3]),
        word=cells["State"],
        reason=cells["Reason"],
        exit_code=exit_code,
        signal=signal,
        submitted_at=epoch(cells["SubmitTime"]),
        started_at=epoch(cells["StartTime"]),
        ended_at=epoch(cells["EndTime"]),
        restarts=number(cells["RestartCnt"]),
        account=cells["UserName"] or None,
        nodes=nodes(node_list) if len(node_list) < COLUMNS["NodeList"] else (),
        mark=Mark.read(cells["Comment"]),
    )


def _ending(text: str) -> tuple[int | None, int | None]:
    """Exit code and signal, from a wait status or from ``CODE:SIGNAL``."""
    code, colon, signal = text.partition(":")
    if colon:
        return number(code), number(signal)
    status = number(code)
    return (None, None) if status is None else ((status >> 8) & 0xFF, status & 0x7F)
