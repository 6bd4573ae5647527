"""What the parsers make of an answer, in a form that recorded answers of different sites can be compared in."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from hpcgate_pbs.documents import read_json
from hpcgate_pbs.facts import AskVersion
from hpcgate_pbs.observe import observe
from hpcgate_pbs.qstat import Form, Qstat, QstatDocument
from hpcgate_pbs.site import node_infos, queue_infos, sees_all_jobs
from hpcgate_pbs.submission import Qsub
from hpcgate_pbs.values import is_array
from hpcgate_pbs.verbs import Qdel, Verb

from hpcgate.errors import CommandTimeout, JobRejected, SchedulerError
from hpcgate.model.state import Evidence
from hpcgate.scheduler.command import Answer


@dataclass(frozen=True)
class Said:
    """One command and what it answered."""

    command: str
    exit_status: int = 0
    stdout: str = ""
    stderr: str = ""

    @property
    def words(self):
        return shlex.split(self.command.partition(";")[0])

    @property
    def answer(self):
        return Answer(self.words[0], self.exit_status, self.stdout, self.stderr)


def reading(said):
    """What is understood of an answer: what was taken, what was refused and how, what each job is."""
    program = said.words[0]
    try:
        if "--version" in said.words:
            version = AskVersion(None).parse(said.answer)
            return "version", bool(version.text), version.torque
        return READERS[program](said)
    except JobRejected as error:
        assert error.message
        return "rejected"
    except CommandTimeout:
        return "ambiguous"
    except SchedulerError as error:
        return f"{type(error).__name__} {'transient' if error.transient else 'permanent'}"


def read_qsub(said):
    native_id = Qsub(said.words, "").parse(said.answer)
    return "array taken" if is_array(native_id) else "taken"


def read_qstat(said):
    if "-Q" in said.words:
        found = queue_infos(read_document(said), read_json('{"timestamp": 0}'))
        return [(queue.state, queue.running, queue.pending) for queue in found]
    if "-B" in said.words:
        return "sees all" if sees_all_jobs(read_document(said)) else "sees its own"
    rows = query(said).parse(said.answer)
    seen = observe(rows.jobs, Evidence.QUEUE)
    return (
        [short(each) for _, each in sorted(seen.items(), key=lambda item: int(item[0].partition(".")[0].strip("[]")))],
        len(rows.unknown),
        len(rows.finished),
        rows.history_off,
    )


def query(said):
    """The question that brought an answer."""
    words = said.words[1:]
    form = Form(words[words.index("-F") + 1]) if "-F" in words else Form.PLAIN
    ids = [word for word in words if not word.startswith("-") and word != form.value]
    return Qstat(ids=ids, history="-x" in words, subjobs="-t" in words, form=form)


def short(seen):
    """The state of a job with what belongs to it, in one line."""
    parts = [str(seen.state), seen.phase, seen.reason, seen.exit_code, seen.signal and f"signal {seen.signal}"]
    line = " ".join(str(part) for part in parts if part is not None)
    if seen.tasks:
        line += " [" + " ".join(str(task.state) for task in seen.tasks) + "]"
    return line


def read_document(said):
    return QstatDocument(None, said.words).parse(said.answer)


def read_verb(said):
    return Verb(None, said.words[:-1], said.words[-1]).parse(said.answer)


READERS = {
    "qsub": read_qsub,
    "qstat": read_qstat,
    "qdel": lambda said: Qdel(None, said.words[1:]).parse(said.answer),
    "qhold": read_verb,
    "qrls": read_verb,
    "qsig": read_verb,
    "qrerun": read_verb,
    "qalter": read_verb,
    "qselect": lambda said: [
        Qsub(("qsub",), "").parse(Answer("qselect", 0, line, "")) != "" for line in said.stdout.split()
    ],
    "pbsnodes": lambda said: [(node.state, node.cpus, node.cpus_used) for node in node_infos(read_document(said))],
}
