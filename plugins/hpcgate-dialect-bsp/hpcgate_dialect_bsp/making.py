"""A job request from a payload and a file. Nothing here asks anybody."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.spec import InputFile, JobSpec, Resources, Staging
from hpcgate.service.admission import JobRequest, Origin
from hpcgate_dialect_bsp.archive import Unpacked, require_zip, unpack
from hpcgate_dialect_bsp.mapping import STREAMS
from hpcgate_dialect_bsp.payload import File
from hpcgate_dialect_bsp.schemas import Payload
from hpcgate_dialect_bsp.settings import Hpc, Kind

NAME: Final = "bsp"
#: What a tool starts where the payload names nothing.
START_FILES: Final = ("init.py", "init.hoc")
RESULTS: Final = "output.tar.gz"
EXAMPLE: Final = Payload(command="/bin/date", runtime=0.05, title="example")


def example_request(hpc_name: str, hpc: Hpc, project: str) -> JobRequest:
    """A job that tells the date: a way to see that all is well."""
    spec = _spec(hpc, project, EXAMPLE, command="/bin/date", args=(), staging=Staging())
    return _request(hpc_name, hpc, project, EXAMPLE, spec, _job_id(hpc.kind, "EXAMPLE"))


def job_request(hpc_name: str, hpc: Hpc, project: str, payload: Payload, file: File | None, now: float) -> JobRequest:
    """The job that a submit asks for.

    Args:
        hpc_name: the system, in upper case.
        hpc: the system.
        project: in which project.
        payload: what the job is to be.
        file: what came with it.
        now: epoch seconds.

    Raises:
        InvalidSpec: the payload does not fit the system, or the file is not what it should be.
    """
    errors = list(_misfits(hpc, payload, now))
    if errors:
        raise InvalidSpec(errors)
    make = _tool_spec if hpc.kind is Kind.TOOL else _command_spec
    return _request(
        hpc_name, hpc, project, payload, make(hpc, project, payload, file), _job_id(hpc.kind, payload.tool or "")
    )


def _misfits(hpc: Hpc, payload: Payload, now: float) -> Iterator[FieldError]:
    if hpc.kind is Kind.COMMAND and not (payload.command or "").strip():
        yield FieldError("command", "is required: a shell line")
    if hpc.kind is Kind.TOOL and payload.tool not in hpc.tools:
        known = nearest(payload.tool or "", list(hpc.tools))
        yield FieldError("tool", f"there is no tool {payload.tool!r}{known}" if payload.tool else f"is required{known}")
    cores = payload.core_number
    for name, value, least, most in (
        ("node_number", payload.node_number, 1, hpc.max_nodes),
        ("core_number", cores, hpc.min_cores or 1, hpc.max_cores),
        ("runtime", payload.runtime, 0, hpc.max_hours),
    ):
        if value is not None and (value < least or (most is not None and value > most)):
            wanted = f"at least {least}" if most is None else f"from {least} to {most:g}"
            yield FieldError(name, f"{value:g} is out of range; it must be {wanted}")
    if payload.expiration_time is not None and payload.expiration_time <= now:
        yield FieldError("expiration_time", "is over already")


def _job_id(kind: Kind, tool: str) -> str:
    return f"NGBW-JOB-{tool}-{uuid4().hex.upper()}" if kind is Kind.TOOL else str(uuid4()).upper()


def _request(hpc_name: str, hpc: Hpc, project: str, payload: Payload, spec: JobSpec, job_id: str) -> JobRequest:
    data = {
        "hpc": hpc_name,
        "kind": hpc.kind.value,
        "project": project,
        "runtime": payload.runtime,
        "title": payload.title,
    }
    return JobRequest(spec=spec, site=hpc.site, origin=Origin(dialect=NAME, foreign_id=job_id, data=data))


def _spec(
    hpc: Hpc, project: str, payload: Payload, *, command: str, args: tuple[str, ...], staging: Staging
) -> JobSpec:
    stdout, stderr = STREAMS[hpc.kind]
    return JobSpec(
        name=payload.title.strip() or "job",
        command=command,
        args=args,
        resources=Resources(
            nodes=payload.node_number,
            cpus_per_node=payload.core_number,
            # Hours come as decimal fractions, which are not exact.
            walltime_s=math.ceil(round(payload.runtime * 3600, 3)),
        ),
        project=project,
        stdout_path=stdout,
        stderr_path=stderr,
        tags=(NAME,),
        staging=staging,
    )


# --- systems that run commands


def _command_spec(hpc: Hpc, project: str, payload: Payload, file: File | None) -> JobSpec:
    """The file as it came, and beside it the shell line."""
    inputs: tuple[InputFile, ...] = ()
    if file is not None:
        if file.name in STREAMS[Kind.COMMAND]:
            raise InvalidSpec.of("file", f"cannot be called {file.name!r}: that is where the output of the job goes")
        if file.name.lower().endswith(".zip"):
            require_zip(file.name, file.content)
        inputs = (InputFile(path=file.name, content=file.content),)
    args = ("-c", payload.command or "")
    return _spec(hpc, project, payload, command=hpc.shell, args=args, staging=Staging(inputs=inputs))


# --- systems that have tools


def _tool_spec(hpc: Hpc, project: str, payload: Payload, file: File | None) -> JobSpec:
    """What was in the zip, and a tool that runs one of its files."""
    if file is None:
        raise InvalidSpec.of("file", "is required: a zip that holds one folder, with what the tool is to run")
    unpacked = unpack(file.name, file.content)
    if unpacked.top in (*STREAMS[Kind.TOOL], RESULTS):
        raise InvalidSpec.of("file", f"its folder cannot be called {unpacked.top!r}: that is where results go")
    start = _start_file(payload.init_file, unpacked)
    script = _script(unpacked, shlex.split(hpc.tools[payload.tool or ""]), start)
    return _spec(hpc, project, payload, command="/bin/sh", args=("-c", script), staging=Staging(inputs=unpacked.files))


def _start_file(wanted: str | None, unpacked: Unpacked) -> str:
    """The path of the start file below the folder."""
    there = {file.path.removeprefix(f"{unpacked.top}/") for file in unpacked.files}
    if wanted is None:
        found = next((name for name in START_FILES if name in there), None)
        if found is None:
            raise InvalidSpec.of("init_file", f"is required: the zip has no {' or '.join(START_FILES)} in its folder")
        return found
    name = wanted.removeprefix("./").removeprefix(f"{unpacked.top}/")
    if name not in there:
        raise InvalidSpec.of("init_file", f"{wanted!r} is not in the zip{nearest(name, sorted(there)[:20])}")
    return name


def _script(unpacked: Unpacked, interpreter: list[str], start: str) -> str:
    """Runs the tool in the folder, and packs the folder whatever became of it."""
    top = shlex.quote(unpacked.top)
    # A path that begins with a dash would be an option.
    run = shlex.join([*interpreter, f"./{start}" if start.startswith("-") else start])
    folders = "".join(f"mkdir -p -- {shlex.quote(folder)} || exit\n" for folder in unpacked.folders)
    run = f"(cd -- {top} && exec {run} </dev/null)"
    return f"{folders}{run}\nstatus=$?\ntar -czf {RESULTS} -- {top} || exit\nexit $status\n"
