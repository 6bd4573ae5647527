"""Entry point of the command line: the list of commands, and how a failure is told."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import click

from hpcgate import __version__
from hpcgate.cli import exits
from hpcgate.cli.lazy import Entry, LazyGroup
from hpcgate.cli.session import Session
from hpcgate.errors import HpcgateError

COMPLETE_VAR: Final = "_HPCGATE_COMPLETE"


def _here(module: str, attribute: str, text: str) -> Entry:
    return Entry(f"hpcgate.cli.{module}", attribute, text)


SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "Jobs": {
        "submit": _here("submit", "submit", "Submit a script or a command."),
        "run": _here("run", "run", "Run a command as a job and follow it."),
        "list": _here("list", "list_jobs", "List jobs, newest first."),
        "show": _here("show", "show", "Show everything about a job."),
        "wait": _here("wait", "wait", "Wait until jobs have ended."),
        "logs": _here("logs", "logs", "Print what a job has written."),
        "files": _here("files", "files", "List, print, upload or remove the files of a job."),
        "events": _here("events", "events", "List what happened to jobs."),
        "cancel": _here("cancel", "cancel", "Cancel jobs."),
        "retry": _here("cancel", "retry", "Run tasks of an array again."),
        "hold": _here("verbs", "hold", "Keep queued jobs from starting."),
        "release": _here("verbs", "release", "Let held jobs start."),
        "requeue": _here("verbs", "requeue", "Put running jobs back into the queue."),
        "clone": _here("verbs", "clone", "Submit the same jobs again."),
        "signal": _here("verbs", "signal", "Send a signal to running jobs."),
        "delete": _here("verbs", "delete", "Forget jobs that have ended."),
    },
    "Accounting": {
        "records": _here("records", "records", "Look at the accounting records of jobs."),
    },
    "Sites and users": {
        "site": _here("site", "site", "Look at sites, stop and resume them."),
        "user": _here("user", "user", "Add, list, change and remove users."),
        "token": _here("token", "token", "Create, list and revoke tokens, and change the key that signs them."),
        "audit": _here("audit", "audit", "Show who did what, from where, and what came of it."),
    },
    "Gateway": {
        "serve": _here("serve", "serve", "Serve the REST API."),
        "worker": _here("worker", "worker", "Run the worker alone."),
        "plugin": _here("plugin", "plugin", "Look at plugins, or start one."),
        "db": _here("db", "db", "Look after the database."),
        "completion": _here("completion", "completion", "Print the completion script of a shell."),
    },
}


def _plugin_commands() -> Mapping[str, click.Command]:
    from hpcgate.cli.plugin_commands import plugin_commands

    return plugin_commands()


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    more=_plugin_commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hpcgate", message="%(prog)s %(version)s")
@click.option("--config", "config_path", metavar="PATH", help="Configuration file, instead of $HPCGATE_CONFIG.")
@click.pass_context
def cli(ctx: click.Context, config_path: str | None) -> None:
    """Run work on any batch system, and know what became of it.

    Commands about jobs talk to the server at $HPCGATE_URL with $HPCGATE_TOKEN when these are set, else to a gateway
    inside this process. What they print is the same.

    \b
    Examples:
      hpcgate run -- hostname
      hpcgate submit --nodes 2 --walltime 1:30:00 job.sh
      hpcgate list --state RUNNING
      hpcgate serve

    Exit codes: 0 done, 1 a job or the operation failed, 2 wrong usage, configuration or job description, 3 no such
    object, 4 server or site not reachable, 5 not allowed, 124 timed out waiting, 130 interrupted. `hpcgate run` ends
    with the job's own code.
    """
    ctx.obj = ctx.with_resource(Session(config_path))


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and ends the process.

    Args:
        argv: arguments without the program's name; those of the process when not given.
    """
    instruction = os.environ.get(COMPLETE_VAR)
    if instruction:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {}, "hpcgate", COMPLETE_VAR, instruction))
    code = run(sys.argv[1:] if argv is None else argv)
    sys.exit(_flushed(code))


def run(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit code; mistakes become one line on stderr.

    ``HPCGATE_DEBUG=1`` lets the exceptions through.
    """
    try:
        with cli.make_context("hpcgate", list(argv)) as ctx:
            _invoke(ctx)
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        return exits.PIPE
    except (KeyboardInterrupt, click.Abort):
        return exits.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except (HpcgateError, click.ClickException, OSError) as error:
        if os.environ.get("HPCGATE_DEBUG") == "1":
            raise
        return _tell(error)
    return exits.OK


def _invoke(ctx: click.Context) -> None:
    try:
        cli.invoke(ctx)
    except BaseException as error:
        _session_ended(ctx, error)
        raise
    _session_ended(ctx, None)


def _session_ended(ctx: click.Context, error: BaseException | None) -> None:
    if isinstance(ctx.obj, Session):  # else it did not get so far
        ctx.obj.ended(error)


def _tell(error: HpcgateError | click.ClickException | OSError) -> int:
    if isinstance(error, HpcgateError):
        text, code = error.message, exits.code_of_error(error)
    elif isinstance(error, click.ClickException):
        text, code = _usage(error), error.exit_code
    else:
        text, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), exits.FAILED
    click.echo(f"hpcgate: error: {' '.join(text.split())}", err=True)
    return code


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    ctx = getattr(error, "ctx", None)
    return f"{message}; see '{ctx.command_path} --help'" if ctx else message


def _flushed(code: int) -> int:
    """Writes what is still in the buffers, so that a reader who has gone is noticed here and not at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = exits.PIPE
    if code == exits.PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
