"""The parts of a job, described for the OpenAPI document.

Nothing is parsed with these: ``request.py`` reads bodies with the codec, which refuses what is unknown or of another
type. ``tests/server`` compares every schema here with the dataclass that it describes.
"""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from hpcgate.model.spec import MAX_SCRIPT_BYTES, MAX_WALLTIME_S
from hpcgate.server.resources.common import flag, integer, text
from hpcgate.server.smorest import Schema


def count(description: str, low: int, high: int, **kwargs: Any) -> ma.fields.Integer:
    """A whole number with bounds."""
    return integer(description, validate=ma.validate.Range(low, high), **kwargs)


def texts(description: str) -> ma.fields.List[Any]:
    """A list of texts."""
    return ma.fields.List(ma.fields.String(), metadata={"description": description})


def pairs(description: str) -> ma.fields.Dict:
    """An object whose values are texts."""
    return ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), metadata={"description": description})


def numbers(description: str, length: int | None = None) -> ma.fields.List[Any]:
    """A list of whole numbers."""
    check = ma.validate.Length(equal=length) if length else None
    return ma.fields.List(
        ma.fields.Integer(), validate=check, allow_none=length is not None, metadata={"description": description}
    )


class ResourcesSchema(Schema):
    """What one job needs; per job unless the name says otherwise."""

    nodes = count("how many nodes", 1, 1_000_000, load_default=1)
    tasks = count("processes (MPI ranks) over all nodes", 1, 100_000_000, allow_none=True)
    tasks_per_node = count("processes on each node", 1, 65_536, allow_none=True)
    cpus_per_task = count("cores for each process", 1, 65_536, allow_none=True)
    cpus_per_node = count("cores on each node; not together with cpus_per_task", 1, 65_536, allow_none=True)
    memory_mib = count("memory on each node, MiB", 1, 1 << 40, allow_none=True)
    memory_per_cpu_mib = count("memory for each core, MiB; not with memory_mib", 1, 1 << 40, allow_none=True)
    gpus_per_node = count("accelerators on each node", 0, 1024, load_default=0)
    gpu_type = text("the kind of accelerator, in the site's words", allow_none=True)
    disk_mib = count("scratch space on each node, MiB", 1, 1 << 40, allow_none=True)
    walltime_s = count("longest run, seconds", 1, MAX_WALLTIME_S, allow_none=True)
    cpus_range = numbers("[least, most] cores per node", 2)
    cpus_options = numbers("numbers of cores per node that would do")
    total_cpus_range = numbers("[least, most] cores over all nodes", 2)
    exclusive = flag("whether no other job may share the nodes", load_default=False)


class ArraySchema(Schema):
    """The same script once per index. May also be given as text: `0-9`, `1-99:2`, `0-9%4`."""

    start = count("first index", 0, 2**31 - 1, required=True)
    stop = count("last index, included", 0, 2**31 - 1, required=True)
    step = count("distance between indices", 1, 2**31 - 1, load_default=1)
    limit = count("how many may run at the same time", 1, 2**31 - 1, allow_none=True)


class DependencySchema(Schema):
    """Another job that must have come to a point first."""

    job = integer("its id", required=True)
    kind = text(
        "`after` = it started, the others = it ended",
        load_default="afterok",
        validate=ma.validate.OneOf(["after", "afterok", "afternotok", "afterany"]),
    )


class InputFileSchema(Schema):
    """A small file that stands in the work folder before the job starts."""

    path = text("relative path below the work folder", required=True)
    content = ma.fields.String(required=True, metadata={"description": "its bytes, base64", "format": "byte"})
    executable = flag("whether it gets the x bits", load_default=False)


class ArtifactSchema(Schema):
    """A file that is fetched for the job."""

    url = text("http(s) URL, or name of a stored object", required=True)
    path = text("where it goes below the work folder", allow_none=True)
    mountpoint = text("absolute path at which a container sees it", allow_none=True)
    executable = flag("whether it gets the x bits", load_default=False)


class StagingSchema(Schema):
    """What is brought to the job and what is kept of it."""

    inputs = ma.fields.List(ma.fields.Nested(InputFileSchema))
    artifacts = ma.fields.List(ma.fields.Nested(ArtifactSchema))
    output_files = texts("files to keep")
    output_dirs = texts("folders to keep")


class PlacementSchema(Schema):
    """Where a job may run, and where it would rather."""

    sites = texts("only these sites")
    regions = texts("only these groups of sites")
    prefer_sites = texts("rather these, best first")
    prefer_regions = texts("rather these, best first")


class PoliciesSchema(Schema):
    """How the gateway and the scheduler treat the job."""

    max_retries = count("how often the job is run again after a failure", 0, 100, load_default=0)
    max_task_retries = count("how often a task is run again", 0, 100, load_default=0)
    retry_on = texts("reasons for which it is; the retryable ones when empty")
    max_queue_s = count("longest wait in the queue, seconds", 1, MAX_WALLTIME_S, allow_none=True)
    leave_in_queue = flag("keep the finished job listed among the active ones", load_default=False)
    priority = count("larger first, among the owner's own jobs", -(2**31), 2**31 - 1, load_default=0)
    ignore_task_failures = flag("go on with the next task after one failed", load_default=False)
    placement = ma.fields.Nested(PlacementSchema, allow_none=True)


class TaskSpecSchema(Schema):
    """One step of a job."""

    command = text("the program; the image's own when not given", allow_none=True)
    args = texts("its arguments")
    image = text("container image", allow_none=True)
    runtime = text("what runs the image; the site's choice when not given", allow_none=True)
    network = flag("whether its container needs the network", load_default=False)
    environment = pairs("added to the job's")
    workdir = text("below the job's work folder; made where it is not there", allow_none=True)


class TaskRoleSchema(Schema):
    """One role of a gang of tasks that start together."""

    name = text("its name", required=True)
    count = integer("how many", required=True)
    task = ma.fields.Nested(TaskSpecSchema, required=True)
    resources = ma.fields.Nested(ResourcesSchema)
    min_failed = integer("so many failures fail the job", allow_none=True)
    min_succeeded = integer("so many successes complete it", allow_none=True)


class NotificationSchema(Schema):
    """A message on an event."""

    event = text("e.g. `job.finished`", required=True)
    channel = text("how it is sent", load_default="email")


class JobSpecSchema(Schema):
    """A job as its owner describes it. Exactly one of script, command, tasks and roles says what runs."""

    name = text("any one line of text", load_default="job")
    script = text(
        f"a whole batch script with `#!` and directives, run verbatim; at most {MAX_SCRIPT_BYTES} bytes",
        allow_none=True,
    )
    command = text("a program; no shell looks at it", allow_none=True)
    args = texts("arguments of `command`")
    tasks = ma.fields.List(ma.fields.Nested(TaskSpecSchema), metadata={"description": "steps, one after the other"})
    roles = ma.fields.List(ma.fields.Nested(TaskRoleSchema), metadata={"description": "a gang of tasks"})
    resources = ma.fields.Nested(ResourcesSchema)
    queue = text("queue (partition)", allow_none=True)
    account = text("whom the scheduler charges", allow_none=True)
    qos = text("quality of service", allow_none=True)
    reservation = text("reservation", allow_none=True)
    constraint = text("node features", allow_none=True)
    environment = pairs("variables of the job")
    secret_environment = pairs("variables that reach the job alone; answers show their names only")
    working_directory = text("where it starts; its own work folder when not given", allow_none=True)
    stdout_path = text("where its standard output goes", allow_none=True)
    stderr_path = text("where its standard error goes", allow_none=True)
    array = ma.fields.Nested(ArraySchema, allow_none=True)
    dependencies = ma.fields.List(ma.fields.Nested(DependencySchema))
    hold = flag("submit held; `release` lets it start", load_default=False)
    project = text("whose allocation", allow_none=True)
    share = text("which slice of the site", allow_none=True)
    labels = pairs("key=value pairs to find it by")
    tags = texts("words to find it by")
    staging = ma.fields.Nested(StagingSchema)
    policies = ma.fields.Nested(PoliciesSchema)
    notifications = ma.fields.List(ma.fields.Nested(NotificationSchema))
    native = ma.fields.Dict(metadata={"description": "options of the scheduler itself, where the site allows them"})
    callback = text("URL to call on changes", allow_none=True)
