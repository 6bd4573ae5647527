"""What is asked of jobs: cancel, hold, release, requeue, signal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hpcgate.scheduler.command import Answer
from hpcgate_slurm.command import SlurmCommand, expect_done, unreachable

#: Signals that must reach every process of the job; the others go to the script, which decides.
_FOR_ALL: Final = frozenset({"STOP", "CONT", "KILL"})
_GONE: Final = re.compile(r"Invalid job id|already completing or completed|already finished", re.IGNORECASE)


@dataclass(frozen=True)
class Scancel(SlurmCommand[None]):
    """Cancels jobs. That it ends well says nothing about them: it does so for unknown ids too."""

    jobs: tuple[str, ...] = ()

    program = "scancel"

    def words(self) -> list[str]:
        """The ids."""
        return list(self.jobs)

    def parse(self, answer: Answer) -> None:
        """Ids that are gone are no failure; any other complaint is."""
        complaints = [line for line in answer.stderr.splitlines() if line.strip() and not _GONE.search(line)]
        if answer.exit_status == 0 or (not complaints and answer.stderr.strip() and not unreachable(answer)):
            return
        raise answer.error(transient=unreachable(answer))


@dataclass(frozen=True)
class Signal(SlurmCommand[None]):
    """Sends a signal to a running job."""

    job: str = ""
    name: str = ""

    program = "scancel"

    def words(self) -> list[str]:
        """To the batch script, whose wrapper hands it on; where that cannot be, to everybody."""
        return [f"--signal={self.name}", "--full" if self.name in _FOR_ALL else "--batch", self.job]

    def parse(self, answer: Answer) -> None:
        """See ``expect_done``."""
        expect_done(answer)


@dataclass(frozen=True)
class Scontrol(SlurmCommand[None]):
    """``scontrol hold``, ``release`` or ``requeue`` of one job.

    Args:
        verb: one of the three.
        job: native id.
    """

    verb: str = ""
    job: str = ""

    program = "scontrol"

    def words(self) -> list[str]:
        """The verb and the id."""
        return [self.verb, self.job]

    def parse(self, answer: Answer) -> None:
        """See ``expect_done``."""
        expect_done(answer)
