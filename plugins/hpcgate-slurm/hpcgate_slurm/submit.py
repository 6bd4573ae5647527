"""The submit: one command that makes the job's folder and hands the wrapper to sbatch."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Final

from hpcgate.errors import CommandTimeout, InvalidSpec, JobRejected
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.scheduler import Submitted
from hpcgate.model.site import Site
from hpcgate.scheduler.command import Answer
from hpcgate.scheduler.steps import with_driver
from hpcgate.scheduler.wrapper import Wrapper, render
from hpcgate_slurm import components, dependencies, launcher
from hpcgate_slurm.command import SlurmCommand, answer_lost, unreachable
from hpcgate_slurm.gang import roles_of
from hpcgate_slurm.mark import Mark
from hpcgate_slurm.options import Request, read_request
from hpcgate_slurm.settings import SlurmSettings

#: Exit status of the preparation: the job's folder cannot be made.
_NO_FOLDER: Final = 97
_ID: Final = re.compile(r"(\d+)(?:;\S+)?")
#: The queue is full or a limit on waiting jobs is reached: later there may be room. Or a job that this one waits for
#: was forgotten just now: the gateway looks again what became of it.
_NOT_NOW: Final = re.compile(
    r"MaxSubmitJob|temporarily unable to accept|job queue is full|Resource temporarily|Job dependency problem", re.I
)

_SETUP: Final = """\
export HPCGATE_CPUS="${SLURM_CPUS_ON_NODE:-1}"
unset SLURM_EXPORT_ENV # or steps would get no environment
"""

#: Runs at the site: $1 is the job's folder, the rest is the command. sbatch's own folder becomes the job's.
_PREPARE: Final = f"""\
folder=$1
shift
case $folder in "~/"*) folder=$HOME/${{folder#??}};; esac
umask 077
mkdir -p -- "$folder/work" && chmod 700 -- "$folder" && cd -- "$folder/work" || exit {_NO_FOLDER}
exec "$@"
"""


@dataclass(frozen=True)
class Sbatch(SlurmCommand[str]):
    """Submits a job and gives its native id.

    Args:
        folder: the job's folder; absolute, or below ``~/``.
        options: of sbatch.
        script: the wrapper.
    """

    folder: str = ""
    options: tuple[str, ...] = ()
    script: str = field(default="", repr=False)

    program = "sbatch"

    def words(self) -> list[str]:
        """The script comes on stdin, and the environment of the gateway does not.

        sbatch reads ``#PBS`` and ``#BSUB`` lines wherever they stand, also below the first command: in the text of an
        argument or of a file that the script writes.
        """
        return ["--parsable", "--export=NONE", "--ignore-pbs", *self.options]

    def argv(self) -> list[str]:
        """See ``SlurmCommand.argv``, with the folder made first: over a network that is one way instead of many."""
        return ["/bin/sh", "-c", _PREPARE, "hpcgate", self.folder, *super().argv()]

    def stdin(self) -> bytes:
        """The script."""
        return self.script.encode()

    def parse(self, answer: Answer) -> str:
        """Reads the id; plugins and wrappers of sites print around it."""
        if answer.exit_status == 0:
            for line in reversed(answer.stdout.splitlines()):
                if match := _ID.fullmatch(line.strip()):
                    return match[1]
            raise CommandTimeout(f"sbatch ended well and said no job id: {answer.stdout[:200]!r}")
        error = answer.error(transient=True)
        if answer.exit_status == _NO_FOLDER:
            raise error
        if answer_lost(answer):
            raise CommandTimeout(error.message)
        if unreachable(answer) or _NOT_NOW.search(answer.stderr):
            raise error
        if "sbatch" in answer.stderr:
            raise JobRejected(_words(answer.stderr))
        error.transient = False
        raise error


def _words(stderr: str) -> str:
    """Sbatch's own words, without its name before each line."""
    lines = [re.sub(r"^sbatch: (?:error: |fatal: )?", "", line).strip() for line in stderr.splitlines()]
    kept = [line for line in dict.fromkeys(lines) if line and not line.startswith("Try ")]
    return f"sbatch refuses the job: {' '.join(kept)}"[:1000]


@dataclass(frozen=True, slots=True)
class Streams:
    """Where a job's streams go.

    Args:
        stdout, stderr: paths at the site; each task of an array appends its index. ``None`` = not known beforehand.
        options: for sbatch.
        redirect: for the wrapper, where Slurm would take characters of a path for replacement symbols.
    """

    stdout: str | None
    stderr: str | None
    options: tuple[str, ...]
    redirect: tuple[str, str] | None = None


def prepare(site: Site, job: Job) -> tuple[Sbatch, Streams]:
    """The command that submits a job.

    Raises:
        InvalidSpec: the job can never run here.
    """
    settings, job = SlurmSettings.of(site), with_driver(site, job)
    request = read_request(job.spec, settings)
    spec = request.spec
    streams = _streams(job, request)
    folder = JobFolder(job.folder or "")
    script = launcher.render(spec, folder) if spec.roles else spec.script
    wrapper = Wrapper(
        job_id=job.id,
        key=job.key,
        folder=job.folder or "",
        native_id='"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"',
        attempt=f"{job.attempt} + ${{SLURM_RESTART_COUNT:-0}}",
        index='"$SLURM_ARRAY_TASK_ID"' if spec.array else None,
        tasks=len(spec.array.indices()) if spec.array else 1,
        script=script,
        argv=() if spec.command is None else (spec.command, *spec.args),
        environment=spec.environment,
        secrets=bool(spec.secret_environment),
        working_directory=spec.working_directory,
        event_spool=site.event_spool,
        setup=_SETUP,
        redirect=streams.redirect,
        exit_name=components.OUTCOME if spec.roles else "exit",
        fresh_output=streams.redirect is None and not any(each.startswith("--open-mode") for each in request.extra),
    )
    mark = Mark(job.key, wrapper.tasks if spec.array else None, roles_of(spec))
    options = (f"--comment={mark}", *streams.options, *dependencies.options(job.depends_on), *request.words())
    return Sbatch(settings, folder.root, options, render(wrapper)), streams


def submitted(job: Job, native_id: str, streams: Streams) -> Submitted:
    """The answer to a submit."""
    symbols = {"j": native_id, "A": native_id, "x": job.spec.name, "%": "%"}

    def resolved(path: str | None) -> str | None:
        return None if path is None else re.sub(r"%([jAx%])", lambda match: symbols[match[1]], path)

    patterns = streams.redirect is None
    return Submitted(
        key=job.key,
        native_id=native_id,
        stdout_path=resolved(streams.stdout) if patterns else streams.stdout,
        stderr_path=resolved(streams.stderr) if patterns else streams.stderr,
    )


def _streams(job: Job, request: Request) -> Streams:
    spec, folder = request.spec, JobFolder(job.folder or "")
    start = posixpath.join(folder.work, spec.working_directory or "")
    if request.stdout or request.stderr:
        return _patterns(start, folder, request)
    stdout = posixpath.join(start, spec.stdout_path) if spec.stdout_path else folder.stdout()
    stderr = posixpath.join(start, spec.stderr_path) if spec.stderr_path else folder.stderr()
    if any(symbol in path for path in (stdout, stderr, folder.root) for symbol in "%\\"):
        return Streams(stdout, stderr, ("--output=/dev/null", "--error=/dev/null"), (stdout, stderr))
    index = ".%a" if spec.array else ""
    options = tuple(
        f"--{name}={_from_work(folder, path)}{index}" for name, path in (("output", stdout), ("error", stderr))
    )
    # Appending, so that a second run under the same key, which ends at the claim, spoils nothing.
    return Streams(stdout, stderr, (*options, "--open-mode=append"))


def _patterns(start: str, folder: JobFolder, request: Request) -> Streams:
    """The script's own -o and -e, in Slurm's form: passed on, and reported as far as they are known beforehand."""
    if "%" in folder.root or "\\" in folder.root:
        raise InvalidSpec.of("script", "#SBATCH -o and -e cannot be used: the site's work_root holds % or \\")
    array = request.spec.array is not None
    options, paths = [], []
    for name, pattern, given, own in (
        ("output", request.stdout, request.spec.stdout_path, folder.stdout()),
        ("error", request.stderr, request.spec.stderr_path, folder.stderr()),
    ):
        if pattern is None:
            path = posixpath.join(start, given).replace("%", "%%") if given else own
            pattern = path + (".%a" if array else "")
        else:
            pattern = path = posixpath.join(start.replace("%", "%%"), pattern)
            if array:
                path = pattern.removesuffix(".%a")
        symbols = set(re.findall(r"%(\d*[^%\d]|\d+%|%)", path))
        known = symbols <= {"j", "A", "x", "%"} and "\\" not in path and not (array and path == pattern)
        options.append(f"--{name}={_from_work(folder, pattern)}")
        paths.append(path if known and not (array and "j" in symbols) else None)
    open_mode = () if any(each.startswith("--open-mode") for each in request.extra) else ("--open-mode=append",)
    return Streams(paths[0], paths[1], (*options, *open_mode))


def _from_work(folder: JobFolder, path: str) -> str:
    """A path as sbatch takes it: it knows no ``~/``, but it runs in the work folder."""
    return posixpath.relpath(path, folder.work) if path.startswith("~/") else path
