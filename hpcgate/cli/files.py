"""``hpcgate files``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import posixpath
from typing import IO

import click

from hpcgate.cli.arguments import as_json, job_id
from hpcgate.cli.backend import JobBackend, Wire
from hpcgate.cli.output import local_time, print_json, print_table, size_text
from hpcgate.cli.session import Session, pass_session
from hpcgate.errors import InvalidSpec, NotFound


@click.command()
@job_id
@click.argument("path", default="")
@click.option("--output", "-o", type=click.File("wb", lazy=True), default="-", metavar="FILE", help="Where to put it.")
@as_json
@pass_session
def files(session: Session, job_id: int, path: str, output: IO[bytes], as_json: bool) -> None:
    """List or print the files of a job.

    PATH is below the job's work folder. A folder is listed, a file is printed.

    \b
    Examples:
      hpcgate files 12
      hpcgate files 12 results/energy.dat -o energy.dat
    """
    backend = session.backend
    path = posixpath.normpath(path) if path else ""
    path = "" if path == "." else path
    if path.startswith("/") or path.split("/")[0] == "..":
        raise InvalidSpec.of("path", f"{path!r} must be a relative path that stays below the work folder")
    if path and not _entry(backend, job_id, path)["is_dir"]:
        for data in backend.read_file(job_id, path):
            output.write(data)
        output.flush()
        return
    found = sorted(backend.files(job_id, path), key=lambda item: (not item["is_dir"], item["name"]))
    if as_json:
        print_json(found)
    else:
        print_table(("NAME", "SIZE", "MODIFIED"), [_row(item) for item in found])


def _entry(backend: JobBackend, job_id: int, path: str) -> Wire:
    folder, name = posixpath.split(path)
    for item in backend.files(job_id, folder):
        if item["name"] == name:
            return item
    raise NotFound(f"job {job_id} has no file {path!r}")


def _row(item: Wire) -> tuple[str, str | None, str | None]:
    if item["is_dir"]:
        return item["name"] + "/", None, local_time(item["modified_at"])
    return item["name"], size_text(item["size"]), local_time(item["modified_at"])
