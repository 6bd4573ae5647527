"""What runs in the container: the batch script that every scheduler gets, with a clock and a look at the memory.

Its end is written down where the scheduler would do it: an engine has no walltime that says that it was one, and not
every engine notices that the kernel has ended a process for want of memory.
"""

from __future__ import annotations

from string import Template
from typing import Final

from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.scheduler.shell import shell_path
from hpcgate.scheduler.wrapper import CLAIMED_EXIT, Wrapper, render
from hpcgate_container import labels
from hpcgate_container.job import Plan

#: Exit status of a container whose exit record tells more than a number can.
RECORDED_EXIT: Final = 117
#: Where the event spool is in the container.
EVENTS: Final = "/run/hpcgate/events"
#: How much later than the job's own clock the engine's, or the gateway's, ends a job, seconds.
LATE_S: Final = 30

_INDEX: Final = '"$hpcgate_task"'

# A container that was run is not run again: neither by hand nor by an engine that brings it back after a restart.
_SETUP: Final = Template("""\
hpcgate_task=$${1:-}
[ ! -e $folder/start.$attempt"$${hpcgate_task:+.$$hpcgate_task}" ] || exit $claimed
export HOME=$home HPCGATE_CPUS=$cpus
""")

_CLOCK: Final = Template("""\
(
    exec </dev/null >/dev/null 2>&1
    sleep $walltime_s
    : >$folder/timeout"$${hpcgate_task:+.$$hpcgate_task}"
    kill -s TERM $$$$
    sleep $grace_s
    kill -s KILL -1
) &
""")

_FINISH: Final = Template("""\
[ -z "$$hpcgate_secrets" ] || [ -n "$$hpcgate_array" ] || rm -f "$$hpcgate_secrets"
hpcgate_why=
[ ! -e $folder/timeout"$$hpcgate_dot" ] || hpcgate_why=TIMEOUT
for hpcgate_kills in $$(sed -n 's/^oom_kill //p' \\
    /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null); do
    [ "$$hpcgate_kills" -eq 0 ] || hpcgate_why=OUT_OF_MEMORY
done
if [ -n "$$hpcgate_why" ]; then
    hpcgate_end="$$hpcgate_end, \\"reason\\": \\"$$hpcgate_why\\""
    hpcgate_term= hpcgate_signal= hpcgate_status=$recorded
fi
""")


def run_file(folder: JobFolder) -> str:
    """The batch script in the job's folder."""
    return f"{folder.root}/run"


def batch_script(job: Job, plan: Plan, grace_s: int, event_spool: bool) -> str:
    """The batch script; its first argument is the index in an array.

    Args:
        job: with its folder.
        plan: what of it is run.
        grace_s: between TERM and KILL at the end of the walltime.
        event_spool: whether there is one.
    """
    folder, array = JobFolder(job.folder or ""), plan.indices != (None,)
    words = {"folder": shell_path(folder.root), "attempt": job.attempt}
    setup = _SETUP.substitute(words, claimed=CLAIMED_EXIT, home=shell_path(folder.work), cpus=plan.cpus)
    if job.spec.tasks and plan.working_directory is not None:
        setup += f"mkdir -p {shell_path(f'{folder.work}/{plan.working_directory}')} || :\n"
    if plan.walltime_s:
        setup += _CLOCK.substitute(words, walltime_s=plan.walltime_s, grace_s=grace_s)
    return render(
        Wrapper(
            job_id=job.id,
            key=job.key,
            folder=folder.root,
            native_id=labels.native_id(job.key),
            attempt=str(job.attempt),
            index=_INDEX if array else None,
            tasks=len(plan.indices),
            script=plan.script,
            argv=plan.argv,
            environment=plan.environment,
            secrets=bool(job.spec.secret_environment),
            working_directory=plan.working_directory,
            event_spool=EVENTS if event_spool else None,
            setup=setup,
            finish=_FINISH.substitute(words, recorded=RECORDED_EXIT),
            redirect=(plan.stdout, plan.stderr),
        )
    )
