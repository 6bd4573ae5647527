"""What all commands of Slurm have in common: a clean environment, one cluster, and errors told apart."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hpcgate.errors import CommandTimeout, HpcgateError, SchedulerError
from hpcgate.scheduler.command import PLAIN_ENVIRONMENT, Answer, Command
from hpcgate.transport.base import Transport
from hpcgate_slurm.settings import SlurmSettings

T = TypeVar("T")

#: Between values: no name, comment or path that passes through sbatch holds it.
UNIT: Final = "\x1f"

#: Variables of the account that change what commands ask for, whom they ask or what they print.
FOREIGN: Final = (
    *(f"SQUEUE_{name}" for name in (
        "ACCOUNT", "ALL", "ARRAY", "ARRAY_UNIQUE", "CLUSTERS", "EXPAND_PATTERNS", "FEDERATION", "FORMAT", "FORMAT2",
        "JSON", "LICENSES", "LOCAL", "NAMES", "PARTITION", "PRIORITY", "QOS", "SIBLING", "SORT", "STATES", "USERS",
        "YAML",
    )),
    *(f"SACCT_{name}" for name in ("FEDERATION", "FORMAT", "LOCAL", "NOCONVERT")),
    *(f"SINFO_{name}" for name in ("ALL", "FEDERATION", "FORMAT", "LOCAL", "PARTITION", "SORT")),
    *(f"SCONTROL_{name}" for name in ("ALL", "FEDERATION", "FUTURE", "LOCAL", "SIBLING")),
    *(f"SCANCEL_{name}" for name in (
        "ACCOUNT", "BATCH", "CTLD", "FULL", "HURRY", "INTERACTIVE", "NAME", "PARTITION", "QOS", "SIBLING", "STATE",
        "USER", "VERBOSE", "WCKEY",
    )),
    *(f"SBATCH_{name}" for name in (
        "ACCOUNT", "ACCTG_FREQ", "ARRAY_INX", "BATCH", "CLUSTERS", "COMMENT", "CONSTRAINT", "CONTAINER", "CORE_SPEC",
        "CPU_FREQ_REQ", "CPUS_PER_GPU", "DEBUG", "DELAY_BOOT", "DISTRIBUTION", "ERROR", "EXCLUSIVE", "EXPORT",
        "GET_USER_ENV", "GPU_BIND", "GPU_FREQ", "GPUS", "GPUS_PER_NODE", "GPUS_PER_TASK", "GRES", "GRES_FLAGS", "HINT",
        "IGNORE_PBS", "INPUT", "JOB_NAME", "MEM_BIND", "MEM_PER_CPU", "MEM_PER_GPU", "MEM_PER_NODE", "NETWORK",
        "NO_KILL", "NO_REQUEUE", "OPEN_MODE", "OUTPUT", "OVERCOMMIT", "PARTITION", "POWER", "PROFILE", "QOS",
        "REQ_SWITCH", "REQUEUE", "RESERVATION", "SIGNAL", "SPREAD_JOB", "THREAD_SPEC", "THREADS_PER_CORE", "TIMELIMIT",
        "TRES_BIND", "TRES_PER_TASK", "USE_MIN_NODES", "WAIT", "WAIT_ALL_NODES", "WAIT4SWITCH", "WCKEY",
    )),
    "SLURM_CLUSTERS", "SLURM_EXIT_ERROR", "SLURM_HINT", "SLURM_JOB_ID", "SLURM_TIME_FORMAT",
)  # fmt: skip

#: The controller or the database did not answer: the same command may work later.
_UNREACHABLE: Final = re.compile(
    r"unable to contact|connection (?:refused|reset|timed out)|connect failure|timed out|temporarily|try again"
    r"|zero bytes were transmitted|transport endpoint|munge|authentication error|in standby mode|unexpected message"
    r"|problem (?:talking|with) (?:to )?the database|slurmdbd|sending persistinit|resource temporarily|"
    r"communication|no route to host|is not responding|insane message",
    re.IGNORECASE,
)

#: The controller got the message and did not say what became of it.
_LOST_ANSWER: Final = re.compile(r"socket timed out|timed out on send/recv|zero bytes|send/recv|reset by peer", re.I)


@dataclass(frozen=True)
class SlurmCommand(Command[T]):
    """One command of Slurm.

    Args:
        settings: of the site.
    """

    settings: SlurmSettings = field(default_factory=SlurmSettings)

    @property
    @abstractmethod
    def program(self) -> str:
        """The command's name."""

    @abstractmethod
    def words(self) -> list[str]:
        """Its arguments."""

    def line(self) -> list[str]:
        """Program and arguments, as a person would type them."""
        program = f"{self.settings.bin.rstrip('/')}/{self.program}" if self.settings.bin else self.program
        cluster = [f"--clusters={self.settings.cluster}"] if self.settings.cluster else []
        return [program, *cluster, *self.words()]

    def argv(self) -> list[str]:
        """``env`` takes away what the account's own settings would change."""
        taken = [word for name in FOREIGN for word in ("-u", name)]
        return ["env", *taken, "SLURM_TIME_FORMAT=%s", "SLURM_BITSTR_LEN=0", *self.line()]

    def environment(self) -> Mapping[str, str]:
        """One language, and times in UTC where they are not epoch seconds."""
        return PLAIN_ENVIRONMENT

    def run(self, transport: Transport) -> T:
        """See ``Command.run``; messages name the command, not ``env``."""
        result = transport.run(
            self.argv(),
            stdin=self.stdin(),
            environment=self.environment(),
            timeout_s=self.timeout_s,
            max_output=self.max_output,
        )
        answer = Answer(self.program, result.exit_status, result.out, result.err)
        try:
            return self.parse(answer)
        except HpcgateError:
            raise
        except (ValueError, LookupError) as error:
            raise SchedulerError(f"{self.program} answered what is not understood: {error!r}") from error


def unreachable(answer: Answer) -> bool:
    """Whether nobody answered, so that nothing is said about any job."""
    return bool(_UNREACHABLE.search(answer.stderr)) or answer.exit_status in (124, 137) or answer.exit_status < 0


def answer_lost(answer: Answer) -> bool:
    """Whether the command may have taken effect although it failed."""
    return bool(_LOST_ANSWER.search(answer.stderr)) or answer.exit_status in (124, 137, 143) or answer.exit_status < 0


def expect_success(answer: Answer) -> None:
    """Makes sure that a command that asks for something got its answer.

    Raises:
        SchedulerError: it did not; transient, for a question can always be asked again.
    """
    answer.expect(0)


def expect_done(answer: Answer) -> None:
    """Makes sure that a command that changes something did so.

    Raises:
        CommandTimeout: whether it did is not known.
        SchedulerError: it did not; transient where nobody answered.
    """
    if answer.exit_status == 0:
        return
    if answer_lost(answer):
        raise CommandTimeout(answer.error(transient=True).message)
    raise answer.error(transient=unreachable(answer))
