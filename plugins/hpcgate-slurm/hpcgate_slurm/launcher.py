r"""The script that a gang runs as: it starts the tasks of all roles by one ``srun``, and is each of them.

Without arguments it is the launcher, in the first component's first node. With the number of a role it is one task
there: it runs the task's program and leaves a record of how that ended. The launcher watches the records where a role
has limits (``min_failed``, ``min_succeeded``), ends the rest when one is reached, and puts all records into one file,
``gang.ATTEMPT`` in the job's folder, which the gateway reads once.

Signals reach every process of the tasks by srun, so the tasks' shells have only to live on.
"""

from __future__ import annotations

import shlex
from string import Template
from typing import Final

from hpcgate.model.files import JobFolder
from hpcgate.model.spec import JobSpec, TaskRole
from hpcgate.scheduler.wrapper import shell_path
from hpcgate_slurm.gang import cores, gpus


def render(spec: JobSpec, folder: JobFolder) -> str:
    """The script of a gang that was checked."""
    first, cases, verdicts, judgements = 0, [], [], []
    for number, role in enumerate(spec.roles):
        cases.append(_case(number, role, first, folder))
        verdicts += _limits(number, role)
        judgements.append(_judgement(number, role))
        first += role.count
    return _TEXT.substitute(
        folder=shell_path(folder.root),
        cases="".join(cases),
        srun=_srun(spec),
        watch=_WATCH if verdicts else "",
        verdicts="".join(verdicts) or "    :\n",
        judgements="".join(judgements),
    )


def _srun(spec: JobSpec) -> str:
    groups = []
    for number, role in enumerate(spec.roles):
        group = [f"--het-group={number}"] if len(spec.roles) > 1 else []
        group += ["--kill-on-bad-exit=0", "--wait=0", f"--ntasks={role.count}", f"--cpus-per-task={cores(role)}"]
        if role.resources.gpus_per_node:
            group.append(f"--gpus-per-task={shlex.quote(gpus(role))}")
        groups.append(f'{" ".join(group)} -- "$0" {number}')
    # srun reads options after a colon up to the next program.
    return " : ".join(groups)


def _case(number: int, role: TaskRole, first: int, folder: JobFolder) -> str:
    task = role.task
    lines = [f"name={role.name} first={first}", f"export HPCGATE_ROLE_SIZE={role.count} HPCGATE_CPUS={cores(role)}"]
    lines += [f"export {name}={shlex.quote(task.environment[name])}" for name in sorted(task.environment)]
    if task.workdir:
        path = shell_path(f"{folder.work}/{task.workdir}")
        lines.append(f"mkdir -p -- {path} && cd -- {path} || exit 1")
    lines.append("set -- " + " ".join(shlex.quote(word) for word in (task.command or "", *task.args)))
    return f"    {number})\n" + "".join(f"        {line}\n" for line in lines) + "        ;;\n"


def _limits(number: int, role: TaskRole) -> list[str]:
    found = []
    if role.min_failed is not None:
        found.append(f'    [ "$(count failed.{number})" -lt {role.min_failed} ] || {{ verdict=failed; return; }}\n')
    if role.min_succeeded is not None:
        found.append(f'    [ "$(count ok.{number})" -lt {role.min_succeeded} ] || verdict=ok\n')
    return found


def _judgement(number: int, role: TaskRole) -> str:
    """At the end, where no limit was reached: failures that a role does not tolerate, and successes that it lacks."""
    lines = [] if role.min_failed is not None else [f"    blame failed.{number}\n"]
    if role.min_succeeded is not None:
        lines.append("    lacking=yes\n")
    else:
        ended = f"$(($(count ok.{number}) + $(count failed.{number})))"
        lines.append(f'    [ "{ended}" -eq {role.count} ] || lacking=yes\n')
    return "".join(lines)


_WATCH: Final = """\
while kill -0 "$srun" 2>/dev/null; do
    judge
    if [ -n "$verdict" ]; then
        kill -s TERM "$srun" 2>/dev/null
        break
    fi
    sleep 1
done
"""

_TEXT: Final = Template("""\
#!/bin/sh
# Made by hpcgate: starts all tasks of all roles at once, or, with the number of a role, is one of them.
folder=$folder
records=$$folder/.gang.$$HPCGATE_ATTEMPT

if [ $$# -gt 0 ]; then
    role=$$1
    case $$role in
$cases    esac
    HPCGATE_ROLE=$$name HPCGATE_ROLE_INDEX=$$((SLURM_PROCID - first))
    export HPCGATE_ROLE HPCGATE_ROLE_INDEX
    trap 'ended=yes' TERM
    trap ':' HUP INT QUIT USR1 USR2 ALRM
    ended= started_at=$$(date +%s)
    "$$@"
    status=$$?
    # Who ends a step signals all of its processes one by one, and this shell perhaps after the task.
    [ "$$status" -ne 143 ] || sleep 1
    # One that was ended from outside has not failed by itself: its job tells why.
    [ -z "$$ended" ] || [ "$$status" -ne 143 ] || exit "$$status"
    [ "$$status" -eq 0 ] && kind=ok || kind=failed
    record=$$role.$$HPCGATE_ROLE_INDEX.$$status
    printf '{"role": "%s", "index": %d, "status": %d, "started_at": %d, "ended_at": %d, "node": "%s"}\\n' \\
        "$$name" "$$HPCGATE_ROLE_INDEX" "$$status" "$$started_at" "$$(date +%s)" "$${SLURMD_NODENAME:-$$(uname -n)}" \\
        >"$$records/.$$record" && mv -f "$$records/.$$record" "$$records/$$kind.$$record"
    exit "$$status"
fi

count() { # KIND.ROLE
    set -- "$$records/$$1".*
    if [ -e "$$1" ]; then echo $$#; else echo 0; fi
}

blame() { # KIND[.ROLE]; the exit status of the first that failed becomes the job's
    set -- "$$records/$$1".*
    if [ -z "$$code" ] && [ -e "$$1" ]; then code=$${1##*.}; fi
}

judge() { # sets the verdict where a limit is reached; failures come first
$verdicts}

mkdir -p -- "$$records" || exit 1
forward() { caught=yes; kill -s "$$1" "$$srun" 2>/dev/null; }
srun --input=none --export=ALL $srun </dev/null &
srun=$$!
for name in HUP INT QUIT USR1 USR2 ALRM TERM; do trap "forward $$name" "$$name"; done
verdict= code= lacking= status=0
${watch}while :; do
    caught=
    wait "$$srun"
    last=$$?
    [ "$$last" -eq 127 ] || status=$$last
    [ -n "$$caught" ] || break
done
[ -n "$$verdict" ] || judge
if [ "$$verdict" = failed ]; then
    blame failed
elif [ -z "$$verdict" ]; then
$judgements    # Tasks that left no record were never started, or were ended from outside: srun tells.
    if [ -z "$$code" ] && [ -n "$$lacking" ]; then
        [ "$$status" -ne 0 ] && code=$$status || code=1
    fi
fi
cat "$$records"/* >"$$folder/.gang.$$$$" 2>/dev/null
mv -f "$$folder/.gang.$$$$" "$$folder/gang.$$HPCGATE_ATTEMPT" && rm -rf -- "$$records"
exit "$${code:-0}"
""")
