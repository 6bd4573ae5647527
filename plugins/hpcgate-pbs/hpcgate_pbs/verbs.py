"""``qdel``, ``qhold``, ``qrls``, ``qsig`` and ``qrerun``: what is asked of jobs."""

from __future__ import annotations

import signal as signals
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hpcgate.errors import SchedulerError
from hpcgate.scheduler.command import Answer, Command
from hpcgate_pbs.qstat import program
from hpcgate_pbs.refusals import BAD_STATE, FINISHED_JOB, PERMISSION, Kind, complaints, kind_of

_BAD_STATE: Final = "request invalid for state of job"


@dataclass(frozen=True)
class Qdel(Command[bool]):
    """``qdel``. Never with ``-x``: that would erase the job's history.

    Args:
        bin_dir: where the commands are.
        ids: native ids.
    """

    bin_dir: str | None
    ids: Sequence[str]

    def argv(self) -> list[str]:
        """See ``Command``."""
        return [program("qdel", self.bin_dir), *self.ids]

    def parse(self, answer: Answer) -> bool:
        """The exit status is that of the last id alone, so the lines are read: one for each id that was refused.

        Jobs that are not known, have finished, or are ending already are no failure.

        Raises:
            SchedulerError: one of them was refused for another reason, or none was reached.
        """
        if answer.exit_status == 0 and not answer.stderr.strip():
            return True
        left = [line for line in complaints(answer.stderr) if _BAD_STATE not in line.lower()]
        if left or not answer.stderr.strip():
            one = Answer(answer.program, answer.exit_status, "", "\n".join(left))
            if answer.exit_status == 0:
                return True  # words beside a request that was taken
            raise one.error(transient=kind_of(one) is not Kind.PERMANENT)
        return True


@dataclass(frozen=True)
class Verb(Command[bool]):
    """A command about one job that is taken or refused.

    Args:
        bin_dir: where the commands are.
        words: the program's name and its options.
        native_id: the job.
    """

    bin_dir: str | None
    words: Sequence[str]
    native_id: str

    def argv(self) -> list[str]:
        """See ``Command``."""
        return [program(self.words[0], self.bin_dir), *self.words[1:], self.native_id]

    def parse(self, answer: Answer) -> bool:
        """See ``Command``.

        Raises:
            SchedulerError: it was refused; transient where it may be taken later.
        """
        if answer.exit_status:
            final = answer.exit_status in (BAD_STATE, FINISHED_JOB, PERMISSION)
            raise answer.error(transient=not final and kind_of(answer) is not Kind.PERMANENT)
        return True


def hold(bin_dir: str | None, native_id: str) -> Verb:
    """The owner's hold."""
    return Verb(bin_dir, ("qhold", "-h", "u"), native_id)


def release(bin_dir: str | None, native_id: str) -> Verb:
    """Takes the owner's hold away."""
    return Verb(bin_dir, ("qrls", "-h", "u"), native_id)


def rerun(bin_dir: str | None, native_id: str) -> Verb:
    """Stops a running job and puts it back; operators alone may."""
    return Verb(bin_dir, ("qrerun",), native_id)


def send(bin_dir: str | None, name: str, native_id: str) -> Verb:
    """Sends a signal to all processes of a job.

    Raises:
        SchedulerError: there is no signal of that name; ``suspend`` and ``resume`` of PBS are none.
    """
    plain = name.upper().removeprefix("SIG")
    if plain not in {number.name.removeprefix("SIG") for number in signals.Signals}:
        raise SchedulerError(f"{name!r} is no signal; it must be a name such as TERM or USR1", transient=False)
    return Verb(bin_dir, ("qsig", "-s", f"SIG{plain}"), native_id)
