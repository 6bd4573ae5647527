"""Argv out, text in: the pattern for schedulers that are spoken to by commands.

A subclass of ``Command`` is one command of the batch system: ``argv`` builds it, ``parse`` reads the answer. Both are
pure, so that they are tested with recorded answers and no scheduler. ``run`` does the talking::

    @dataclass(frozen=True)
    class Squeue(Command[dict[str, str]]):
        user: str

        def argv(self) -> list[str]:
            return ["squeue", "--noheader", "--format=%i %T", f"--user={self.user}"]

        def parse(self, answer: Answer) -> dict[str, str]:
            answer.expect(0)
            return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())

    states = Squeue(user="ann").run(transport)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hpcgate.errors import HpcgateError, SchedulerError
from hpcgate.transport.base import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S, Transport

T = TypeVar("T")

#: Times in UTC and messages in one language, whatever the account's own settings are.
PLAIN_ENVIRONMENT: Final[Mapping[str, str]] = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered, as text.

    Args:
        program: that was run, for messages.
        exit_status: its exit status.
        stdout: what it printed; bytes that are no UTF-8 are replaced.
        stderr: what it complained about.
    """

    program: str
    exit_status: int
    stdout: str
    stderr: str

    def expect(self, *statuses: int) -> None:
        """Makes sure that the command ended with one of ``statuses``.

        Raises:
            SchedulerError: it did not; transient, for most such failures are: a daemon that restarts, a full queue.
        """
        if self.exit_status not in statuses:
            raise self.error(transient=True)

    def error(self, *, transient: bool) -> SchedulerError:
        """An error with the command's own words.

        Args:
            transient: whether the same command may work later.
        """
        words = " ".join((self.stderr or self.stdout).split()) or "no message"
        shown = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
        return SchedulerError(f"{self.program} ended with {self.exit_status}: {shown}", transient=transient)


class Command(ABC, Generic[T]):
    """One command of a batch system. Subclasses are frozen dataclasses; their fields are what the command is about."""

    timeout_s: float = DEFAULT_TIMEOUT_S
    max_output: int = DEFAULT_MAX_OUTPUT

    @abstractmethod
    def argv(self) -> list[str]:
        """Program and arguments; no shell looks at them."""

    def stdin(self) -> bytes:
        """What the command reads."""
        return b""

    def environment(self) -> Mapping[str, str]:
        """Added to the account's environment."""
        return PLAIN_ENVIRONMENT

    @abstractmethod
    def parse(self, answer: Answer) -> T:
        """Reads the answer.

        Raises:
            SiteError, JobRejected, InvalidSpec: the answer is a refusal; ``Answer.error`` words it.
            ValueError, LookupError: the answer is not understood; ``run`` makes a ``SchedulerError`` of it.
        """

    def run(self, transport: Transport) -> T:
        """Runs the command at a site and reads its answer.

        Raises:
            SchedulerError: the batch system refused, or its answer is not understood.
            TransportError: there was no answer.
        """
        argv = self.argv()
        result = transport.run(
            argv,
            stdin=self.stdin(),
            environment=self.environment(),
            timeout_s=self.timeout_s,
            max_output=self.max_output,
        )
        answer = Answer(argv[0], result.exit_status, result.out, result.err)
        try:
            return self.parse(answer)
        except HpcgateError:
            raise
        except (ValueError, LookupError) as error:
            # Nonsense is no answer: a changed format must not make jobs look gone.
            raise SchedulerError(f"{argv[0]} answered what is not understood: {error!r}") from error
