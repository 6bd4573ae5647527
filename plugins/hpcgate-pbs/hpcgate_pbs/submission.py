"""What a job is submitted as: the command line of ``qsub``, the batch script on its stdin, the files beside it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpcgate.errors import CommandTimeout, InvalidSpec, JobRejected
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.scheduler.command import PLAIN_ENVIRONMENT, Answer, Command
from hpcgate.scheduler.shell import shell_path
from hpcgate.scheduler.steps import with_driver
from hpcgate.scheduler.wrapper import Wrapper, render, write_secrets
from hpcgate.transport.base import Transport
from hpcgate_pbs.chunks import counted
from hpcgate_pbs.directives import Directives, parse_directives
from hpcgate_pbs.observe import KEY_VARIABLE
from hpcgate_pbs.options import cores, keeps_own_chunks, merged, options
from hpcgate_pbs.qstat import program
from hpcgate_pbs.refusals import Kind, kind_of
from hpcgate_pbs.settings import PbsSettings

#: A task of an array calls itself ``7[3].server``; the array is ``7[].server``.
NATIVE_ID: Final = '"$(printf %s "$PBS_JOBID" | sed "s/\\[[0-9]*\\]/[]/")"'
INDEX: Final = '"${PBS_ARRAY_INDEX:-$PBS_ARRAYID}"'

#: ``NCPUS`` is the threads of one rank; the node file names a node once for each of its ranks.
OWN_CORES: Final = """\
hpcgate_node=$(head -n 1 "$PBS_NODEFILE" 2>/dev/null) || :
hpcgate_ranks=$(grep -cxF -e "$hpcgate_node" "$PBS_NODEFILE" 2>/dev/null) || hpcgate_ranks=1
export HPCGATE_CPUS=$((${NCPUS:-1} * hpcgate_ranks))
"""

#: PBS starts the shell of ``-S`` and tells it on stdin (or as its argument) which script to run; most shells run it as
#: a child of theirs. A signal for the job reaches all of its processes: it would end that shell, and with it the job.
#: Where a site gives each job a folder of its own (``sandbox=PRIVATE``), ``cd FOLDER;`` stands before the script.
LAUNCHER: Final = """\
#!/bin/sh
# Made by hpcgate: takes the place of the shell above the job's script, which a signal would end.
script=${1:-}
[ -n "$script" ] || IFS= read -r script
exec /bin/sh "${script##*;}"
"""
DEFAULT_SHELL: Final = "/bin/sh"

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/_.+-]*\Z")
_NATIVE_ID = re.compile(r"\d+(?:\[\])?(?:\.[A-Za-z0-9_.-]+)?\Z")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as PBS gets it.

    Args:
        argv: of ``qsub``.
        script: the batch script.
        launcher: where the launcher goes; ``None`` = it is not used.
        spec: the job, with what its script's directives ask for.
        told: the same, with the nodes and cores that the script's words about chunks come to.
        stdout_path, stderr_path: where its streams go.
    """

    argv: tuple[str, ...]
    script: str
    launcher: str | None
    spec: JobSpec
    told: JobSpec
    stdout_path: str
    stderr_path: str


def prepare(site: Site, job: Job) -> Submission:
    """What a job is submitted as. Touches nothing.

    Raises:
        InvalidSpec: PBS cannot run such a job.
    """
    settings, folder, job = PbsSettings.of(site), JobFolder(job.folder or ""), with_driver(site, job)
    own = parse_directives(job.spec.script, settings.refuse_options) if job.spec.script is not None else Directives()
    spec = merged(job.spec, own, site.default_queue)
    stdout, stderr = _streams(folder, spec, own.options.get("j", "n"))
    launcher = f"{folder.root}/shell" if settings.shell is None and _PLAIN_PATH.match(folder.root) else None
    argv = [
        program("qsub", settings.bin_dir),
        *options(spec, own, settings.name_chars, job.depends_on),
        *("-v", f"{KEY_VARIABLE}={job.key}"),
        *("-S", settings.shell or launcher or DEFAULT_SHELL),
        # The wrapper opens the job's own files, where they are to stay: PBS would bring them there at the end.
        *("-j", "oe", "-o", "/dev/null"),
    ]
    if "m" not in own.options and "M" not in own.options:
        argv += ["-m", "n"]
    return Submission(
        argv=tuple(argv),
        script=_wrapped(site, job, spec, own, stdout, stderr),
        launcher=launcher,
        spec=spec,
        told=counted(spec, own.resources) if keeps_own_chunks(spec, own) else spec,
        stdout_path=stdout,
        stderr_path=stderr,
    )


def _wrapped(site: Site, job: Job, spec: JobSpec, own: Directives, stdout: str, stderr: str) -> str:
    folder = JobFolder(job.folder or "")
    dot = "" if spec.array is None else f".{INDEX}"
    setup = (
        "hpcgate_run=1\n"
        f"while [ -e {shell_path(folder.root)}/start.$hpcgate_run{dot} ]; do hpcgate_run=$((hpcgate_run + 1)); done\n"
    )
    setup += OWN_CORES if keeps_own_chunks(spec, own) else f"export HPCGATE_CPUS={cores(spec.resources)}\n"
    return render(
        Wrapper(
            job_id=job.id,
            key=job.key,
            folder=folder.root,
            native_id=NATIVE_ID,
            attempt="hpcgate_run",
            index=None if spec.array is None else INDEX,
            tasks=1 if spec.array is None else len(spec.array.indices()),
            script=spec.script,
            argv=() if spec.command is None else (spec.command, *spec.args),
            environment=spec.environment,
            secrets=bool(spec.secret_environment),
            working_directory=spec.working_directory,
            event_spool=site.event_spool,
            setup=setup,
            redirect=(stdout, stderr),
        )
    )


def _streams(folder: JobFolder, spec: JobSpec, join: str) -> tuple[str, str]:
    """Where stdout and stderr go; of an array without the ``.INDEX`` that each task appends."""
    start = posixpath.join(folder.work, spec.working_directory or "")
    stdout = posixpath.join(start, spec.stdout_path) if spec.stdout_path else folder.stdout()
    stderr = posixpath.join(start, spec.stderr_path) if spec.stderr_path else folder.stderr()
    if join == "oe" and spec.stderr_path is None:
        return stdout, stdout
    if join == "eo" and spec.stdout_path is None:
        return stderr, stderr
    return stdout, stderr


def lay_out(job: Job, submission: Submission, transport: Transport) -> None:
    """Brings what the job needs beside its script into its folder.

    Raises:
        TransportError: the folder could not be made or written; nothing was submitted.
    """
    folder, secrets = JobFolder(job.folder or ""), submission.spec.secret_environment
    if submission.launcher is None and not secrets:
        return  # the wrapper makes the folder
    transport.mkdir(folder.root)
    if submission.launcher is not None:
        transport.write(submission.launcher, LAUNCHER.encode(), mode=0o700)
    if secrets:
        write_secrets(folder, secrets, transport)


@dataclass(frozen=True)
class Qsub(Command[str]):
    """``qsub`` with the script on stdin; the answer is the native id.

    Args:
        words: program and arguments.
        script: the batch script.
    """

    words: Sequence[str]
    script: str

    def argv(self) -> list[str]:
        """See ``Command``."""
        return list(self.words)

    def stdin(self) -> bytes:
        """See ``Command``."""
        return self.script.encode("utf-8", "surrogateescape")

    def environment(self) -> Mapping[str, str]:
        """See ``Command``. In the site's own time zone: that is what ``#PBS -a`` means."""
        return {name: value for name, value in PLAIN_ENVIRONMENT.items() if name != "TZ"}

    def parse(self, answer: Answer) -> str:
        """The id is the last line that looks like one: sites print greetings before it.

        Raises:
            JobRejected: PBS refused the job.
            SchedulerError: PBS did not take it now.
            CommandTimeout: it may have taken it.
        """
        if answer.exit_status:
            kind, error = kind_of(answer), answer.error(transient=True)
            if kind is Kind.PERMANENT:
                raise JobRejected(_words(answer))
            if kind is Kind.TRANSIENT:
                raise error
            raise CommandTimeout(f"whether PBS has the job is not known: {error.message}")
        ids = [line.strip() for line in answer.stdout.splitlines() if _NATIVE_ID.match(line.strip())]
        if not ids:
            raise CommandTimeout(f"qsub ended well, but without an id: {answer.stdout.strip()[:200]!r}")
        return ids[-1]


def _words(answer: Answer) -> str:
    """The server's refusal, without the usage that qsub prints behind its own."""
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("qsub:")), lines[0] if lines else "")
    return told.strip() or f"qsub ended with {answer.exit_status} and said nothing"


def asks_for_much(resources: Resources) -> bool:
    """Whether a job may be too large for a node: nobody counts nodes for one core."""
    told = resources.memory_mib is not None or resources.memory_per_cpu_mib is not None
    return told or resources.least_cpus_per_node() > 1


def fits(spec: JobSpec, largest: tuple[int, int] | None) -> None:
    """Refuses a job whose chunk fits no node: PBS takes such jobs, and lets them wait for ever.

    Args:
        spec: the job.
        largest: most cores and most KiB of memory that any node has; ``None`` = not known.

    Raises:
        InvalidSpec: it would never run.
    """
    if largest is None:
        return
    resources = spec.resources
    cpus, memory_kib = largest
    needed = resources.least_cpus_per_node()
    if needed > cpus:
        raise InvalidSpec.of("resources", f"{needed} cores on one node are asked for; the largest has {cpus}")
    memory_mib = resources.memory_mib or (resources.memory_per_cpu_mib or 0) * needed
    if memory_mib * 1024 > memory_kib:
        raise InvalidSpec.of(
            "resources", f"{memory_mib} MiB on one node are asked for; the largest has {memory_kib // 1024}"
        )
