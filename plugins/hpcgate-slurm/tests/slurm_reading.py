"""What the parsers make of answers to commands that people type: their columns are put in the plugin's own order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from hpcgate_slurm import accounting, arrays, queue
from hpcgate_slurm.accounting import Sacct
from hpcgate_slurm.command import UNIT
from hpcgate_slurm.queue import Squeue
from hpcgate_slurm.site import Facts, JsonParsers, ShowConfig, Sinfo
from hpcgate_slurm.submit import Sbatch
from hpcgate_slurm.verbs import Scancel, Scontrol

from hpcgate.errors import HpcgateError, JobRejected
from hpcgate.model.state import Evidence
from hpcgate.scheduler.command import Answer

#: What squeue's letters are in the plugin's listing.
LETTERS = {
    "i": "JobArrayID", "T": "State", "r": "Reason", "V": "SubmitTime", "S": "StartTime", "e": "EndTime",
    "u": "UserName", "k": "Comment", "N": "NodeList",
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """One recorded answer."""

    command: str
    exit_status: int
    stdout: str
    stderr: str


def reading(said: Said) -> object:
    """Jobs as ``{id: "STATE reason ..."}``, and words for what else was understood, refused or failed."""
    line = said.command if said.command.startswith("sbatch") else said.command.partition(" | ")[0]
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "timeout":
        words = words[2:]
    program, rest = words[0], words[1:]
    try:
        return _READERS[program](rest, said)
    except JobRejected:
        return "rejected"
    except HpcgateError as error:
        return f"failed, {'transient' if getattr(error, 'transient', False) else 'for good'}"


def _answer(said: Said, stdout: str | None = None) -> Answer:
    program = shlex.split(said.command)[0]
    return Answer(program, said.exit_status, said.stdout if stdout is None else stdout, said.stderr)


def _sbatch(words, said):
    if words == ["--version"]:
        return said.stdout.split()[-1]
    return f"taken {Sbatch().parse(_answer(said))}"


def _squeue(words, said):
    jobs = next((words[at + 1] for at, word in enumerate(words) if word == "-j"), "")
    asked = tuple(each for each in jobs.split(",") if each)
    if "--json=list" in words:
        return JsonParsers().parse(_answer(said))
    if "--json" in words:
        return _jobs(Squeue(jobs=asked, version="").parse(_answer(said)), Evidence.QUEUE)
    letters = [part[1:] for part in words[words.index("-o") + 1].split("|")]
    lines = []
    for line in said.stdout.splitlines():
        told = {LETTERS.get(letter, ""): cell for letter, cell in zip(letters, line.split("|"), strict=True)}
        told["JobArrayID"] = told["JobArrayID"].partition("_[")[0]
        lines.append("".join(told.get(column, "") + UNIT for column in queue.COLUMNS))
    return _jobs(Squeue(jobs=asked).parse(_answer(said, "\n".join(lines))), Evidence.QUEUE)


def _sacct(words, said):
    if "--json" in words:
        return "not asked for"
    head, *lines = said.stdout.splitlines()
    names = head.split("|")
    rows = []
    for line in lines:
        cells = line.split("|")
        if len(cells) > len(names):
            # A job name that holds the separator: the reason for one that none can hold.
            at, more = names.index("JobName"), len(cells) - len(names)
            cells[at : at + more + 1] = ["|".join(cells[at : at + more + 1])]
        told = dict(zip(names, cells, strict=True))
        # Without a node a failed job would be what a refused submit leaves behind.
        told.setdefault("NodeList", "n1")
        rows.append(UNIT.join(told.get(name, "") for name in accounting.COLUMNS))
    return _jobs(Sacct().parse(_answer(said, "\n".join(rows))), Evidence.ACCOUNTING)


def _jobs(rows, evidence: Evidence) -> Mapping[str, str]:
    found = {}
    for native_id, each in arrays.gather(rows).items():
        seen = arrays.observe(each, evidence)
        told = (
            str(seen.state), seen.phase, seen.reason, seen.exit_code, seen.signal and f"signal {seen.signal}",
            seen.native_reason if not seen.reason and not (seen.state and seen.state.final) else None,
            seen.tasks and f"[{' '.join(f'{task.index}:{task.state}' for task in seen.tasks)}]",
        )  # fmt: skip
        found[native_id] = " ".join(str(word) for word in told if word not in (None, ()))
    return found


def _scancel(words, said):
    Scancel().parse(_answer(said))
    return "done"


def _scontrol(words, said):
    if words[:2] == ["show", "config"]:
        # Some recordings kept a few lines of it.
        text = said.stdout if "SLURM_VERSION" in said.stdout else f"SLURM_VERSION = ?\n{said.stdout}"
        facts = Facts(ShowConfig().parse(_answer(said, text)))
        return {"private": facts.private_jobs, "accounting": facts.accounting, "MinJobAge": facts.seconds("MinJobAge")}
    if words[0] == "show":
        return "not asked for"
    Scontrol(verb=words[0]).parse(_answer(said))
    return "done"


def _sinfo(words, said):
    if "--json" in words:
        return "not asked for"
    lines = []
    for line in said.stdout.splitlines():
        name, state, limit, count, _, cpus, *_ = line.split("|")
        lines.append(UNIT.join((name, state, limit, f"0/0/0/{count}", cpus)))
    return [(each.name, each.default, each.max_walltime_s) for each in Sinfo().parse(_answer(said, "\n".join(lines)))]


_READERS = {
    "sbatch": _sbatch, "squeue": _squeue, "sacct": _sacct, "scancel": _scancel, "scontrol": _scontrol, "sinfo": _sinfo,
}  # fmt: skip
