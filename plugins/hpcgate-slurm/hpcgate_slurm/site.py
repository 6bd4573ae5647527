"""The site: its configuration, queues, nodes, and what the polling account may see."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hpcgate.model.scheduler import NodeInfo, QueueInfo
from hpcgate.scheduler.command import Answer
from hpcgate_slurm.command import UNIT, SlurmCommand, expect_success
from hpcgate_slurm.documents import choose
from hpcgate_slurm.states import look_up
from hpcgate_slurm.values import number, time_limit_s

_NODE_COLUMNS: Final = {
    "NodeList": 200, "StateLong": 32, "CPUsState": 40, "Memory": 20, "AllocMem": 20, "Gres": 120, "Reason": 200,
}  # fmt: skip
_QUEUE_FORMAT: Final = UNIT.join(("%P", "%a", "%l", "%F", "%C"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``scontrol show config`` tells.

    Args:
        values: by lower-case name.
        asked_at: monotonic time.
        sees_all: whether the account sees the jobs of all accounts.
        json: version of the documents that it is asked for; ``""`` = Slurm's own, ``None`` = it has none.
    """

    values: Mapping[str, str]
    sees_all: bool = True
    json: str | None = None
    asked_at: float = field(default_factory=time.monotonic)

    def get(self, name: str) -> str:
        """A value as it is printed; ``""`` = it is not there."""
        return self.values.get(name.lower(), "")

    @property
    def private_jobs(self) -> bool:
        """Whether accounts do not see each other's jobs."""
        return bool({"jobs", "all"} & set(self.get("PrivateData").lower().split(",")))

    @property
    def accounting(self) -> bool:
        """Whether ``sacct`` has something to say."""
        return self.get("AccountingStorageType") not in ("", "(null)", "accounting_storage/none")

    @property
    def comments_stored(self) -> bool:
        """Whether accounting keeps the comment of jobs."""
        return "job_comment" in self.get("AccountingStoreFlags").lower()

    def seconds(self, name: str) -> int | None:
        """A value such as ``10 sec``."""
        match = re.match(r"\d+", self.get(name))
        return int(match[0]) if match else None


@dataclass(frozen=True)
class ShowConfig(SlurmCommand[dict[str, str]]):
    """The controller's configuration."""

    program = "scontrol"

    def words(self) -> list[str]:
        """See the class."""
        return ["show", "config"]

    def parse(self, answer: Answer) -> dict[str, str]:
        """Reads ``NAME = VALUE`` lines."""
        expect_success(answer)
        found = {}
        for line in answer.stdout.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                found[name.strip().lower()] = value.strip()
        if "slurm_version" not in found:
            raise ValueError("it names no version")
        return found


@dataclass(frozen=True)
class JsonParsers(SlurmCommand[str | None]):
    """Which version of Slurm's JSON is spoken; ``""`` = the only one there is, ``None`` = none."""

    program = "squeue"

    def words(self) -> list[str]:
        """See the class."""
        return ["--json=list"]

    def parse(self, answer: Answer) -> str | None:
        """Slurm before 23.11 has one version and takes no name of it."""
        if answer.exit_status == 0:
            return choose(answer.stdout + answer.stderr)
        return "" if "allow an argument" in answer.stderr else None


@dataclass(frozen=True)
class AdminLevel(SlurmCommand[str]):
    """What rights an account has in Slurm: ``None``, ``Operator`` or ``Administrator``."""

    user: str = ""

    program = "sacctmgr"

    def line(self) -> list[str]:
        """``sacctmgr`` knows no ``--clusters``."""
        return [*SlurmCommand.line(self)[:1], *self.words()]

    def words(self) -> list[str]:
        """See the class."""
        return ["--noheader", "--parsable2", "show", "user", self.user, "format=AdminLevel"]

    def parse(self, answer: Answer) -> str:
        """Nothing is printed for a user that accounting does not know."""
        expect_success(answer)
        return answer.stdout.strip()


@dataclass(frozen=True)
class Sinfo(SlurmCommand[tuple[QueueInfo, ...]]):
    """The partitions."""

    program = "sinfo"

    def words(self) -> list[str]:
        """One line each."""
        return ["--all", "--noheader", f"--format={_QUEUE_FORMAT}"]

    def parse(self, answer: Answer) -> tuple[QueueInfo, ...]:
        """Reads the lines; a star marks the default."""
        expect_success(answer)
        found = {}
        for line in answer.stdout.splitlines():
            if UNIT not in line:
                continue
            name, state, limit, nodes, cpus = line.split(UNIT)
            plain = name.removesuffix("*")
            found[plain] = QueueInfo(
                name=plain,
                state=state,
                default=name.endswith("*"),
                nodes=number(nodes.rpartition("/")[2]),
                cpus=number(cpus.rpartition("/")[2]),
                max_walltime_s=_limit(limit),
            )
        return tuple(found.values())


def _limit(text: str) -> int | None:
    try:
        return time_limit_s(text)
    except ValueError:
        return None  # "n/a"


@dataclass(frozen=True)
class Load(SlurmCommand[dict[str, tuple[int, int]]]):
    """How many jobs and tasks run and wait in each partition."""

    program = "squeue"

    def words(self) -> list[str]:
        """One line each."""
        return ["--all", "--array", "--noheader", f"--format=%P{UNIT}%T"]

    def parse(self, answer: Answer) -> dict[str, tuple[int, int]]:
        """Counts the lines; a job that waits for several partitions counts in each."""
        expect_success(answer)
        found: dict[str, tuple[int, int]] = {}
        for line in answer.stdout.splitlines():
            names, unit, word = line.partition(UNIT)
            if not unit:
                continue
            waits = look_up(word)[0] in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
            for name in names.split(","):
                running, pending = found.get(name, (0, 0))
                found[name] = (running + (not waits), pending + waits)
        return found


@dataclass(frozen=True)
class SinfoNodes(SlurmCommand[tuple[NodeInfo, ...]]):
    """The nodes."""

    program = "sinfo"

    def words(self) -> list[str]:
        """One line for each node and partition."""
        columns = ",".join(f"{name}:{width}{UNIT}" for name, width in _NODE_COLUMNS.items())
        return ["--all", "--Node", "--noheader", f"--Format={columns}"]

    def parse(self, answer: Answer) -> tuple[NodeInfo, ...]:
        """Reads the lines; a node in several partitions is one node."""
        expect_success(answer)
        found = {}
        for line in answer.stdout.splitlines():
            if UNIT not in line:
                continue
            cells = [cell.strip() for cell in line.split(UNIT)]
            name, state, cpus, memory, used, gres, reason = cells[: len(_NODE_COLUMNS)]
            counts = cpus.split("/")
            found[name] = NodeInfo(
                name=name,
                state=state.rstrip("*~#!%$@^-"),
                cpus=number(counts[-1]),
                cpus_used=number(counts[0]),
                memory_mib=number(memory),
                memory_used_mib=number(used),
                gpus=_gpus(gres),
                reason=None if reason.lower() in ("", "none") else reason,
            )
        return tuple(found.values())


def _gpus(gres: str) -> int | None:
    counts = [int(match) for match in re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres)]
    return sum(counts) if counts else None
