"""``qstat``: what PBS has in its queue and in its history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from posixpath import join
from typing import Final

from hpcgate.errors import SchedulerError
from hpcgate.scheduler.command import Answer, Command
from hpcgate.transport.base import Transport
from hpcgate_pbs.documents import Attributes, Document, read_dsv, read_json, read_plain
from hpcgate_pbs.refusals import (
    FINISHED_JOB,
    UNKNOWN_JOB,
    USAGE,
    complaints,
    finished_jobs,
    history_off,
    unknown_jobs,
)


class Form(StrEnum):
    """How an answer is written, best first."""

    JSON = "json"
    DSV = "dsv"
    PLAIN = "plain"


_READERS: Final[Mapping[Form, Callable[[str], Document]]] = {
    Form.JSON: read_json,
    Form.DSV: read_dsv,
    Form.PLAIN: read_plain,
}


class Unreadable(SchedulerError):
    """An answer in a form that is not understood, or a PBS that does not know the form."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


@dataclass(frozen=True, slots=True)
class Rows:
    """What ``qstat`` answered about jobs.

    Args:
        jobs: attributes by native id.
        unknown: the ids that were asked for and that PBS says it does not know.
        finished: the ids that are in the history, which was not asked for.
        history_off: whether PBS says that it keeps no history; then nothing is said about finished jobs.
        timestamp: epoch seconds by the server's clock; JSON alone has it.
    """

    jobs: Mapping[str, Attributes]
    unknown: frozenset[str] = frozenset()
    finished: frozenset[str] = frozenset()
    history_off: bool = False
    timestamp: float | None = None

    def hidden(self, ids: Sequence[str]) -> list[str]:
        """The ids of which nothing is said: neither what they are nor that they are not known."""
        return [each for each in ids if each not in self.jobs and each not in self.unknown | self.finished]

    def with_more(self, more: Rows) -> Rows:
        """These rows and those of a further answer."""
        return Rows(
            jobs={**self.jobs, **more.jobs},
            unknown=self.unknown | more.unknown,
            finished=self.finished | more.finished,
            history_off=self.history_off or more.history_off,
            timestamp=self.timestamp,
        )


@dataclass(frozen=True)
class Qstat(Command[Rows]):
    """``qstat -f`` about jobs: all that may be seen, or those with the ids.

    Args:
        bin_dir: where the commands are; ``None`` = on the account's ``PATH``.
        ids: native ids; all jobs where there are none.
        history: whether finished jobs are asked for too.
        subjobs: whether arrays are told task by task.
        form: in which it is asked for.
    """

    bin_dir: str | None = None
    ids: Sequence[str] = ()
    history: bool = False
    subjobs: bool = False
    form: Form = Form.JSON

    def argv(self) -> list[str]:
        """See ``Command``."""
        options = [option for option, on in (("-x", self.history), ("-t", self.subjobs)) if on]
        form = [] if self.form is Form.PLAIN else ["-F", self.form.value]
        return [program("qstat", self.bin_dir), *options, "-f", *form, *self.ids]

    def parse(self, answer: Answer) -> Rows:
        """See ``Command``. Jobs that are known stand on stdout also where others are not."""
        if answer.exit_status == USAGE:
            raise Unreadable(f"{answer.program} does not know how to answer as {self.form.value}")
        if answer.exit_status not in ((0, UNKNOWN_JOB, FINISHED_JOB) if self.ids else (0,)):
            raise answer.error(transient=True)
        if answer.exit_status and complaints(answer.stderr):
            # The status is that of the last id; another one may have failed for a reason that says nothing about it.
            raise answer.error(transient=True)
        try:
            document = _READERS[self.form](answer.stdout)
        except ValueError as error:
            raise Unreadable(
                f"{answer.program} answered what is not understood as {self.form.value}: {error}"
            ) from error
        return Rows(
            jobs=document.objects,
            unknown=unknown_jobs(answer.stderr),
            finished=finished_jobs(answer.stderr),
            history_off=history_off(answer.stderr),
            timestamp=document.timestamp,
        )

    def ask_until_told(self, transport: Transport) -> Rows:
        """Asks about ``ids`` until each was shown or denied, or PBS has nothing more to say.

        An unknown id ends the JSON form: ids behind it are not shown, known or not. So those are asked for again in
        the other forms, which go on behind it. Where they do not either, it is once for each id that is not known.
        """
        told = self.ask(transport)
        while not told.history_off and (left := told.hidden(self.ids)) and len(left) < len(self.ids):
            more = replace(self, ids=left).ask(transport, (Form.DSV, Form.PLAIN))
            if more.hidden(left) == left:
                break
            told = told.with_more(more)
        return told

    def ask(self, transport: Transport, forms: Sequence[Form] = tuple(Form)) -> Rows:
        """Runs it, in the next form where the answer to one is not understood.

        Raises:
            SchedulerError: PBS refused, or none of its answers is understood.
            TransportError: there was no answer.
        """
        *first, last = forms
        for form in first:
            try:
                return replace(self, form=form).run(transport)
            except Unreadable:
                continue
        return replace(self, form=last).run(transport)


@dataclass(frozen=True)
class QstatDocument(Command[Document]):
    """``qstat`` or ``pbsnodes`` about queues, the server or nodes.

    Args:
        bin_dir: where the commands are.
        words: the program's name and its options.
    """

    bin_dir: str | None
    words: Sequence[str]

    def argv(self) -> list[str]:
        """See ``Command``."""
        return [program(self.words[0], self.bin_dir), *self.words[1:]]

    def parse(self, answer: Answer) -> Document:
        """See ``Command``."""
        answer.expect(0)
        return read_json(answer.stdout)


def queues(bin_dir: str | None) -> QstatDocument:
    """All queues."""
    return QstatDocument(bin_dir, ("qstat", "-Q", "-f", "-F", "json"))


def server(bin_dir: str | None) -> QstatDocument:
    """The server and its attributes."""
    return QstatDocument(bin_dir, ("qstat", "-B", "-f", "-F", "json"))


def nodes(bin_dir: str | None) -> QstatDocument:
    """All virtual nodes."""
    return QstatDocument(bin_dir, ("pbsnodes", "-a", "-F", "json"))


def program(name: str, bin_dir: str | None) -> str:
    """What is run for a command."""
    return name if bin_dir is None else join(bin_dir, name)
