r"""The program of a job that has ``tasks``: a POSIX shell script that runs them one after the other.

``with_driver`` makes of such a job one with a script, and schedulers run that like any other. On the compute node,
where nothing of hpcgate is installed, it does this:

- each task runs in its folder below the work folder, with the job's variables and its own, by its runtime where it has
  an image, up to ``1 + policies.max_task_retries`` times until it ends with 0. Their output is the job's;
- after a task that failed the others do not run, unless ``policies.ignore_task_failures`` says so. The job ends as
  the first task that failed did, or with 0;
- signals are handed on to the task that runs. After TERM no other task starts, and none is tried again; a container
  that goes on all the same is killed ``runtime.STOP_S`` seconds later;
- ``tasks.ATTEMPT`` in the job folder always says how far it has come (``scheduler.evidence`` reads it): written by
  rename when a task starts, is tried again, and ends; the event spool is told.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import Template
from typing import Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.job import Job
from hpcgate.model.site import HOST, Site
from hpcgate.model.spec import JobSpec, TaskSpec
from hpcgate.scheduler.runtime import RUNTIMES, Call, Runtime, Variables
from hpcgate.scheduler.shell import DEFAULT_SIGNALS, END, FIND_DEFAULT_SIGNALS, FORWARD, HOW, shell_path

#: Exit status of a task that cannot be set up: its folder cannot be made, or its runtime is not there.
SETUP_EXIT: Final = 119

#: What only the compute node knows; ``_word`` makes shell variables of them. No text of a user can hold a NUL.
_WORK, _NAME, _USER, _USERNS = (f"\0{name}\0" for name in ("work", "name", "user", "userns"))
#: What tasks find in their environment, also in a container.
_TOLD: Final = ("JOB_ID", "JOB_KEY", "NATIVE_ID", "ATTEMPT", "CPUS", "TASK")
_TELL: Final = tuple(f"HPCGATE_{name}" for name in _TOLD)


def with_driver(site: Site, job: Job) -> Job:
    """The job as a scheduler runs it: with one script in place of its tasks. One without tasks stays as it is.

    Raises:
        InvalidSpec: a task cannot run at this site, with one entry per field.
    """
    if not job.spec.tasks:
        return job
    text = _driver(site, job, _plan(site, job.spec))
    # The driver gives each task its variables: one such as PATH must not change the driver itself.
    return replace(job, spec=replace(job.spec, tasks=(), script=text, environment={}))


# --- what can run here ----------------------------------------------------------------------------------------------


def _plan(site: Site, spec: JobSpec) -> list[Runtime | None]:
    """The runtime of each task; ``None`` = without a container."""
    errors: list[FieldError] = []
    if spec.working_directory is not None:
        errors.append(FieldError("working_directory", "cannot be given together with tasks; give each task's workdir"))
    plan: list[Runtime | None] = []
    for number, task in enumerate(spec.tasks):
        try:
            runtime = _runtime(site, task)
        except InvalidSpec as error:
            errors += [FieldError(f"tasks.{number}.{each.field}", each.message) for each in error.errors]
            continue
        plan.append(runtime)
        errors += _wrong(number, spec, task, runtime)
    if any(plan) and set(site.work_root) & set(":,"):
        message = f"cannot be mounted: the site's work_root {site.work_root!r} holds ':' or ','"
        errors.append(FieldError("tasks", message))
    if errors:
        raise InvalidSpec(errors)
    return plan


def _runtime(site: Site, task: TaskSpec) -> Runtime | None:
    offered = ", ".join(sorted(site.runtimes)) or "none"
    if task.image is None:
        if task.runtime is not None:
            raise InvalidSpec.of("runtime", f"{task.runtime!r} needs an image")
        return None
    if task.runtime is None and len(site.runtimes) != 1:
        field = "runtime" if site.runtimes else "image"
        message = "must be named" if site.runtimes else "cannot be run: no container runtime is configured"
        raise InvalidSpec.of(field, f"{message}; site {site.name!r} has: {offered}")
    asked = task.runtime or next(iter(site.runtimes))
    if asked not in site.runtimes:
        raise InvalidSpec.of("runtime", f"{asked!r} is not offered by site {site.name!r}; it has: {offered}")
    used = site.runtimes[asked]
    if used == HOST:
        if task.command is None:
            raise InvalidSpec.of("command", f"is required: site {site.name!r} runs tasks without their image")
        return None
    runtime = RUNTIMES[used]
    if runtime.needs_command and task.command is None:
        raise InvalidSpec.of("command", f"is required: {used} does not know the image's own")
    if refusal := runtime.refuses(task.image):
        raise InvalidSpec.of("image", refusal)
    return runtime


def _wrong(number: int, spec: JobSpec, task: TaskSpec, runtime: Runtime | None) -> list[FieldError]:
    """What is wrong with the variables of a task."""
    errors = []
    for field, names in (
        (f"tasks.{number}.environment", task.environment),
        ("environment", spec.environment),
        ("secret_environment", spec.secret_environment),
    ):
        errors += [
            FieldError(f"{field}.{name}", "names that begin with hpcgate_ are the gateway's own in a job with tasks")
            for name in names
            if name.lower().startswith("hpcgate_")
        ]
    for name in spec.secret_environment:
        if name in task.environment:
            errors.append(FieldError(f"tasks.{number}.environment.{name}", "is a secret of the job; name it once"))
        if (runtime and runtime.reserved(name)) or name in ("PATH", "HOME", "IFS", "ENV"):
            by = runtime.name if runtime else "the shell"
            message = f"cannot be secret in a job with tasks: {by} itself goes by this variable"
            errors.append(FieldError(f"secret_environment.{name}", message))
    return errors


# --- the driver -----------------------------------------------------------------------------------------------------


def _driver(site: Site, job: Job, plan: Sequence[Runtime | None]) -> str:
    spec = job.spec
    tasks = [
        _task(number, spec, task, runtime) for number, (task, runtime) in enumerate(zip(spec.tasks, plan, strict=True))
    ]
    return _TEXT.substitute(
        folder=shell_path(job.folder or ""),
        key=shlex.quote(job.key),
        event_spool=shell_path(site.event_spool) if site.event_spool else "",
        total=len(tasks),
        tries=1 + spec.policies.max_task_retries,
        go_on="yes" if spec.policies.ignore_task_failures else "",
        failed=SETUP_EXIT,
        find_default_signals=FIND_DEFAULT_SIGNALS,
        forward=FORWARD,
        how=HOW,
        tasks="".join(tasks),
        end=END,
    )


def _task(number: int, spec: JobSpec, task: TaskSpec, runtime: Runtime | None) -> str:
    environment = {**spec.environment, **task.environment}
    workdir = (task.workdir or "").strip("/")
    lines = [f"hpcgate_enter {_word(workdir or '.')}", f"export HPCGATE_TASK={number}"]
    if runtime is None:
        lines.append(f"set -- {_words([task.command or '', *task.args])}")
        lines += _exports(environment)
        stop = ""
    else:
        call = Call(
            image=task.image or "",
            command=task.command,
            args=task.args,
            work=_WORK,
            workdir=workdir,
            name=_NAME,
            user=_USER,
            userns=_USERNS,
            names=[*(name for name in sorted(environment) if not runtime.reserved(name)), *_hidden(spec), *_TELL],
            shown={name: environment[name] for name in sorted(environment) if runtime.reserved(name)},
            network=task.network,
        )
        lines.append(f"hpcgate_need {runtime.program}")
        lines.append(f'set -- "$hpcgate_program" {_words(runtime.arguments(call))}')
        lines += _given(runtime, call, environment, spec)
        stop = "" if runtime.stop is None else f"{runtime.program} {_words(runtime.stop(call))}"
    body = "".join(f"    {line}\n" for line in lines)
    return _TASK.substitute(number=number, body=body, default_signals=DEFAULT_SIGNALS, stop=stop or "return 1")


def _given(runtime: Runtime, call: Call, environment: Mapping[str, str], spec: JobSpec) -> list[str]:
    """Lines that put a container's variables where its client takes them from."""
    if runtime.variables is not Variables.PREFIXED:
        return _exports({name: value for name, value in environment.items() if name not in call.shown})
    told = [f'export {runtime.prefix}{name}="${{{name}-}}"' for name in (*_hidden(spec), *_TELL)]
    return [*told, *_exports({f"{runtime.prefix}{name}": value for name, value in environment.items()})]


def _hidden(spec: JobSpec) -> list[str]:
    """The names of the secrets; whoever runs the driver has given it their values."""
    return sorted(spec.secret_environment)


def _exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={_word(environment[name])}" for name in sorted(environment)]


def _words(words: Sequence[str]) -> str:
    return " ".join(_word(word) for word in words)


def _word(text: str) -> str:
    """A text as one shell word. No carriage return stands in it as it is, since scripts may not have DOS line ends."""
    quoted = shlex.quote(text)
    for name in ("work", "name", "user", "userns"):
        quoted = quoted.replace(f"\0{name}\0", f"'\"$hpcgate_{name}\"'")
    return quoted.replace("\r", "'\"$hpcgate_return\"'")


_TASK: Final = Template("""\
hpcgate_run_$number() {
$body${default_signals}    exec "$$@"
}
hpcgate_stop_$number() {
    $stop
}

""")

_TEXT: Final = Template(r"""#!/bin/sh
hpcgate_folder=$folder
# Made by hpcgate. Runs the tasks of a job, which stand below, one after the other.
hpcgate_key=$key
hpcgate_spool=$event_spool
hpcgate_work=$$(pwd)
hpcgate_return=$$(printf '\r')
hpcgate_user=$$(id -u):$$(id -g)
hpcgate_userns=keep-id
[ "$${hpcgate_user%%:*}" != 0 ] || hpcgate_userns=host
: "$${USER:=$$(id -un)}"
export USER # ch-run asks for it

${find_default_signals}
hpcgate_say() { # MESSAGE
    printf 'hpcgate: task %s: %s\n' "$$hpcgate_task" "$$1" >&2
}

hpcgate_enter() { # FOLDER below the work folder
    mkdir -p -- "$$hpcgate_work/$$1" && cd -- "$$hpcgate_work/$$1" && return
    hpcgate_say "its folder $$1 cannot be made"
    exit $failed
}

hpcgate_need() { # PROGRAM
    hpcgate_program=$$(command -v "$$1") && return
    hpcgate_say "there is no $$1 on $$(uname -n)"
    exit $failed
}

hpcgate_note() { # FIELDS of the task that runs or has just ended
    {
        printf '{"native_id": "%s", "node": "%s", "tasks": [%s{%s}]}\n' \
            "$$HPCGATE_NATIVE_ID" "$$(uname -n)" "$$hpcgate_over" "$$1" >"$$hpcgate_folder/.tasks.$$$$" &&
            mv -f "$$hpcgate_folder/.tasks.$$$$" "$$hpcgate_folder/tasks.$$HPCGATE_ATTEMPT"
    } 2>/dev/null || hpcgate_say "no record of it can be written"
    [ -z "$$hpcgate_spool" ] || ( : >"$$hpcgate_spool/$$hpcgate_key" ) 2>/dev/null || :
}

hpcgate_pass_on() { # NAME
    # One process of a container, its first, ignores a TERM that it does not handle: only its engine can end it.
    if [ "$$1" = TERM ] && [ -z "$$hpcgate_stopped" ]; then
        hpcgate_stopped=yes
        ( "hpcgate_stop_$$hpcgate_task" >/dev/null 2>&1 || kill -s TERM "$$hpcgate_child" 2>/dev/null ) </dev/null &
    else
        kill -s "$$1" "$$hpcgate_child" 2>/dev/null || :
    fi
}
${forward}
${how}
# --- the tasks

$tasks
# --- run

hpcgate_over= hpcgate_first=0 hpcgate_task=0 hpcgate_stopped=
while [ "$$hpcgate_task" -lt $total ] && [ -z "$$hpcgate_term" ]; do
    hpcgate_started=$$(date +%s)
    hpcgate_try=1
    while :; do
        hpcgate_fields="\"started_at\": $$hpcgate_started, \"tries\": $$hpcgate_try"
        hpcgate_note "$$hpcgate_fields"
        hpcgate_name=hpcgate-$$hpcgate_key-$$HPCGATE_ATTEMPT-$$hpcgate_task-$$hpcgate_try
        "hpcgate_run_$$hpcgate_task" </dev/null &
        hpcgate_child=$$!
        hpcgate_wait
        [ "$$hpcgate_status" -ne 0 ] && [ "$$hpcgate_try" -lt $tries ] && [ -z "$$hpcgate_term" ] || break
        hpcgate_say "it ended with $$hpcgate_status and is tried again"
        hpcgate_try=$$((hpcgate_try + 1))
    done
    hpcgate_how "$$hpcgate_status"
    hpcgate_fields="$$hpcgate_fields, \"ended_at\": $$(date +%s), $$hpcgate_end"
    [ -z "$$hpcgate_term" ] || hpcgate_fields="$$hpcgate_fields, \"stopped\": true"
    hpcgate_note "$$hpcgate_fields"
    hpcgate_over="$$hpcgate_over{$$hpcgate_fields}, "
    [ "$$hpcgate_first" -ne 0 ] || hpcgate_first=$$hpcgate_status
    hpcgate_task=$$((hpcgate_task + 1))
    [ "$$hpcgate_status" -eq 0 ] || [ -n "$go_on" ] || break
done
[ -z "$$hpcgate_term" ] || [ "$$hpcgate_first" -ne 0 ] || [ "$$hpcgate_task" -eq $total ] || hpcgate_first=143
hpcgate_status=$$hpcgate_first
hpcgate_how "$$hpcgate_status"
${end}""")
