"""``hpcgate files``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import posixpath
from collections.abc import Iterable
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
@click.option("--zip", "-z", "zipped", is_flag=True, help="All that is in the folder, as an archive.")
@click.option("--put", "-p", type=click.File("rb"), metavar="FILE", help="Upload FILE as PATH; - = standard input.")
@click.option("--executable", "-x", is_flag=True, help="With --put: give it the x bits.")
@click.option("--delete", is_flag=True, help="Remove PATH; a folder with all that is in it.")
@as_json
@pass_session
def files(
    session: Session,
    job_id: int,
    path: str,
    output: IO[bytes],
    zipped: bool,
    put: IO[bytes] | None,
    executable: bool,
    delete: bool,
    as_json: bool,
) -> None:
    """List, print, upload or remove the files of a job.

    PATH is below the job's work folder. A folder is listed, a file is printed.

    \b
    Examples:
      hpcgate files 12
      hpcgate files 12 results/energy.dat -o energy.dat
      hpcgate files 12 results --zip -o results.zip
      hpcgate files 12 input/mesh.dat --put mesh.dat
      hpcgate files 12 scratch --delete
    """
    backend = session.backend
    path = _checked(path)
    if sum((zipped, put is not None, delete)) > 1:
        raise click.UsageError("only one of --zip, --put and --delete makes sense.")
    if (put is not None or delete) and not path:
        raise click.UsageError("say which file: PATH is missing.")
    if executable and put is None:
        raise click.UsageError("--executable goes with --put.")
    if put is not None:
        made = backend.put_file(job_id, path, put.read(), executable=executable)
        if as_json:
            print_json(made)
    elif delete:
        backend.remove_file(job_id, path)
    elif zipped:
        _send(backend.archive(job_id, path), output)
    elif path and not _entry(backend, job_id, path)["is_dir"]:
        _send(backend.read_file(job_id, path), output)
    else:
        _list(backend.files(job_id, path), as_json)


def _checked(path: str) -> str:
    path = posixpath.normpath(path) if path else ""
    path = "" if path == "." else path
    if path.startswith("/") or path.split("/")[0] == "..":
        raise InvalidSpec.of("path", f"{path!r} must be a relative path that stays below the work folder")
    return path


def _send(parts: Iterable[bytes], output: IO[bytes]) -> None:
    for data in parts:
        output.write(data)
    output.flush()


def _list(found: list[Wire], as_json: bool) -> None:
    found = sorted(found, key=lambda item: (not item["is_dir"], item["name"]))
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
