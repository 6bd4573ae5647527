"""``hpcgate run``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from typing import Any, Final

import click

from hpcgate.cli import exits
from hpcgate.cli.backend import JobBackend, Stream, Wire
from hpcgate.cli.interrupts import Interrupted, Interrupts
from hpcgate.cli.job_options import command_of, job_options, request_of
from hpcgate.cli.output import note, outcome
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.waiting import has_ended, wait_for
from hpcgate.errors import HpcgateError

#: How long an interrupted run waits to see its job end, seconds.
LAST_LOOK_S: Final = 10.0


@click.command(options_metavar="[OPTIONS] [--]", context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@job_options
@pass_session
@click.pass_context
def run(
    ctx: click.Context, session: Session, /, command: tuple[str, ...], idempotency_key: str | None, **options: Any
) -> None:
    """Run a command as a job and follow it.

    What the job writes to stdout and stderr appears here while it runs. Ctrl-C and SIGTERM cancel the job.

    \b
    Examples:
      hpcgate run -- hostname
      hpcgate run --site ares --nodes 2 --walltime 15m -- srun ./model input.nml
      hpcgate run --secret-env API_KEY -- ./fetch.sh

    The exit code is the job's own; 128 + N when signal N ended it; 125 when it ended without an exit code (refused,
    lost, canceled); 130 after Ctrl-C.
    """
    request = request_of(command_of(command), options)
    backend = session.backend
    with backend.live(), Interrupts() as interrupts:
        job = backend.submit(request, idempotency_key=idempotency_key)
        stopped_by = _follow(backend, job["id"], interrupts)
        # Only here, not where it was caught: until then the exception holds on to whatever it has cut through, such as
        # a half-read answer of the database, and nothing newer than that would be seen.
        if stopped_by is not None:
            _cancel(backend, job)
            ctx.exit(stopped_by)
        job = wait_for(backend, [job["id"]])[0]
    _tell(job)
    ctx.exit(exits.code_of_run(job))


def _follow(backend: JobBackend, job_id: int, interrupts: Interrupts) -> int | None:
    """Passes on what a job writes until it has ended, or somebody wants this to end: then the exit code."""
    try:
        interrupts.arm()
        for stream, data in backend.follow(job_id, ("stdout", "stderr")):
            _write(stream, data)
    except Interrupted as interrupted:
        return 128 + interrupted.signum
    except BrokenPipeError:
        return exits.PIPE
    return None


def _write(stream: Stream, data: bytes) -> None:
    target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
    target.write(data)
    target.flush()


def _cancel(backend: JobBackend, job: Wire) -> None:
    note(f"canceling job {job['id']}")
    try:
        backend.cancel([job["id"]])
        last = wait_for(backend, [job["id"]], LAST_LOOK_S)[0]
    except Interrupted:
        return  # the second Ctrl-C: the request to cancel is stored, nobody wants to see its effect
    except HpcgateError as error:
        note(f"job {job['id']} may go on: {error.message}")
        return
    if not has_ended(last):
        note(f"job {job['id']} is still {last['state']}; it has been told to end")


def _tell(job: Wire) -> None:
    """Why a job ended, unless its own exit code says it all."""
    if job["state"] == "COMPLETED" or job["reason"] == "EXIT_NONZERO":
        return
    why = job["message"] or job["advice"] or ""
    note(f"job {job['id']} {job['state']}: {outcome(job) or 'no exit code'}{'; ' + why if why else ''}")
