"""``hpcgate show``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from hpcgate.cli.arguments import as_json, job_id
from hpcgate.cli.backend import Wire
from hpcgate.cli.output import clean, elapsed, local_time, outcome, print_json, print_record, print_table
from hpcgate.cli.session import Session, pass_session


@click.command()
@job_id
@click.option("--tasks", "part", flag_value="tasks", help="Show its tasks, or the indices of an array.")
@click.option("--attempts", "part", flag_value="attempts", help="Show its runs, when it was started more than once.")
@click.option("--script", "part", flag_value="script", help="Print the script that was submitted.")
@click.option("--why", "part", flag_value="why", help="Say why it waits, or why it failed, and what it wrote last.")
@as_json
@pass_session
def show(session: Session, job_id: int, part: str | None, as_json: bool) -> None:
    """Show everything about a job.

    \b
    Examples:
      hpcgate show 12
      hpcgate show 12 --json
      hpcgate show 14 --tasks
      hpcgate show 12 --why
    """
    backend = session.backend
    if part == "script":
        text = backend.script(job_id)
        print_json(text) if as_json else click.echo(text, nl=False)
    elif part == "why":
        found = backend.explain(job_id)
        print_json(found) if as_json else _explain(found)
    elif part:
        _show_runs(part, backend.tasks(job_id) if part == "tasks" else backend.attempts(job_id), as_json=as_json)
    else:
        job = backend.get(job_id)
        if as_json:
            print_json(job)
            return
        print_record(_record(job))
        if job["state"] not in ("RUNNING", "COMPLETED"):
            click.echo()
            _explain(backend.explain(job_id))


def _explain(found: Wire) -> None:
    print_record(
        [
            ("why", found["summary"]),
            *(("note", note) for note in found["notes"]),
            ("advice", found["advice"]),
            ("scheduler says", found["native_reason"]),
            ("another run", "may help" if found["retryable"] else None),
        ]
    )
    if found["stderr"]:
        whose = "" if found["task"] is None else f" of task {found['task']}"
        click.echo(f"stderr{whose} ends with:")
        for line in found["stderr"]:
            click.echo(f"  {clean(line)}")


def _show_runs(part: str, runs: Sequence[Wire], *, as_json: bool) -> None:
    if as_json:
        print_json(runs)
        return
    key = "index" if part == "tasks" else "attempt"
    print_table(
        (key.upper(), "STATE", "OUTCOME", "NATIVE ID", "NODES", "STARTED", "ELAPSED"),
        [
            (
                run[key],
                run["state"],
                outcome(run),
                run["native_id"],
                run["nodes"],
                local_time(run["started_at"]),
                elapsed(run),
            )
            for run in runs
        ],
    )


def _record(job: Wire) -> list[tuple[str, Any]]:
    usage = job["usage"] or {}
    resources = job["spec"].get("resources", {})
    return [
        ("id", job["id"]),
        ("name", job["name"]),
        ("owner", job["owner"]),
        ("site", job["site"]),
        ("state", job["state"]),
        ("phase", job["phase"]),
        ("canceling", job["canceling"]),
        ("stale", "the site does not answer; this may be old" if job["stale"] else None),
        ("reason", job["reason"]),
        ("message", job["message"]),
        ("advice", job["advice"]),
        ("exit code", None if job["exit_code"] is None else str(job["exit_code"])),
        ("signal", job["signal"]),
        ("evidence", job["evidence"]),
        ("attempt", job["attempt"] if job["attempt"] > 1 else None),
        ("native id", job["native_id"]),
        ("native state", job["native_state"]),
        ("native reason", job["native_reason"]),
        ("command", [job["spec"]["command"], *job["spec"].get("args", ())] if "command" in job["spec"] else None),
        ("resources", resources),
        ("array", job["array"]),
        ("project", job["project"]),
        ("labels", job["labels"]),
        ("tags", job["tags"]),
        ("created", local_time(job["created_at"])),
        ("submitted", local_time(job["submitted_at"])),
        ("started", local_time(job["started_at"])),
        ("ended", local_time(job["ended_at"])),
        ("elapsed", elapsed(job)),
        ("nodes", job["nodes"]),
        ("cpu time", None if usage.get("cpu_time_s") is None else f"{usage['cpu_time_s']:.2f} s"),
        ("max rss", None if usage.get("max_rss_kib") is None else f"{usage['max_rss_kib'] / 1024:.1f} MiB"),
        ("folder", job["folder"]),
    ]
