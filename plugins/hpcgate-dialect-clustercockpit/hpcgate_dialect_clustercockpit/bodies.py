"""What clients send."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from hpcgate_dialect_clustercockpit.decoding import Body, Numbers, Real, TextMap, integer, text
from hpcgate_dialect_clustercockpit.schemas import SCOPES, SHARED


def _filled(value: str) -> None:
    if not value:
        raise ma.ValidationError("must not be empty.")


def _one_of(words: tuple[str, ...], what: str) -> Any:
    """A check for one of some words; the empty one is as good as none."""
    return validate.OneOf(("", *words), error=f'invalid {what}: "{{input}}"; one of {", ".join(words)}')


class TagBody(Body):
    """A tag. There is one for each type, name and scope."""

    id = integer("passed over", None)
    type = text("kind of tag", "", _filled)
    name = text("the tag", "", _filled)
    scope = text("who sees it; `global` when it is not given", "", _one_of(SCOPES, "scope"))

    @ma.validates_schema
    def _named(self, data: dict[str, Any], **_: Any) -> None:
        for key in ("type", "name"):
            if not data[key]:
                raise ma.ValidationError("is required.", key)


class ResourceBody(Body):
    """What a job has of one node."""

    hostname = text("name of the node")
    hwthreads = Numbers(load_default=(), metadata={"description": "numbers of its hardware threads"})
    accelerators = fields.List(fields.String(), load_default=(), metadata={"description": "ids of its accelerators"})
    configuration = text("how the node was set up")

    @ma.validates_schema
    def _named(self, data: dict[str, Any], **_: Any) -> None:
        if not data["hostname"]:
            raise ma.ValidationError("is required.", "hostname")


class FigureBody(Body):
    """What was measured of one metric."""

    unit = fields.Raw(load_default="", metadata={"description": "its unit: a text, or `base` and `prefix`"})
    avg = Real(load_default=0.0)
    min = Real(load_default=0.0)
    max = Real(load_default=0.0)


def _ignored(description: str) -> fields.Raw:
    return fields.Raw(metadata={"description": f"{description}; taken and not kept"})


class StartBody(Body):
    """A job that has started. The keys of all versions are known."""

    number = integer("the batch system's id of the job", data_key="jobId", least=0)
    user = text("who runs it")
    project = text("its account")
    cluster = text("one of the clusters that are configured")
    subcluster = text("found by the first node when it is not given", data_key="subCluster")
    partition = text("its queue")
    array_number = integer("`jobId` of the array", data_key="arrayJobId", least=0)
    num_nodes = integer("as many as there are `resources`", bits=32, data_key="numNodes")
    num_hwthreads = integer("of all nodes together", bits=32, data_key="numHwthreads")
    num_accelerators = integer("of all nodes together", bits=32, data_key="numAcc")
    exclusive = integer(
        "0 the nodes are shared, 1 (when it is not given) they are not, 2 with jobs of the same user",
        None,
        least=0,
        most=2,
    )
    shared = text("the same as a word; goes before `exclusive`", "", _one_of(SHARED, "shared"))
    monitoring = integer(
        "0 off, 1 running, 2 archiving failed, 3 archived", 1, data_key="monitoringStatus", least=0, most=3
    )
    smt = integer("whether jobs use all hardware threads of a core, 0 or 1", bits=32, least=0, most=1)
    state = text("checked, and passed over: a job that starts is running", data_key="jobState")
    duration = integer("passed over", bits=32)
    walltime_s = integer("how long it may run, seconds", data_key="walltime", least=0)
    tags = fields.List(fields.Nested(TagBody), load_default=())
    resources = fields.List(fields.Nested(ResourceBody), load_default=())
    metadata = TextMap(data_key="metaData", load_default=None, metadata={"description": "texts by texts"})
    started_at = integer("epoch seconds", data_key="startTime")
    submitted_at = integer("epoch seconds", None, data_key="submitTime")
    id = integer("passed over", None)
    statistics = fields.Dict(
        fields.String(),
        fields.Nested(FigureBody),
        load_default=None,
        metadata={"description": "figures by metric; they are told once `monitoringStatus` is 3"},
    )
    requested_memory = integer("taken and not kept", None, data_key="requestedMemory")
    footprint = _ignored("figures by metric")
    energy_footprint = fields.Raw(data_key="energyFootprint", metadata={"description": "taken and not kept"})
    energy = _ignored("kWh")
    concurrent_jobs = fields.Raw(data_key="concurrentJobs", metadata={"description": "taken and not kept"})


class WhichBody(Body):
    """Which job: the newest that is meant by these."""

    number = integer("the batch system's id of the job; required", None, data_key="jobId")
    cluster = text("on which cluster", "")
    started_at = integer("epoch seconds", None, data_key="startTime")


class StopBody(WhichBody):
    """How a job ended."""

    stopped_at = integer("epoch seconds", data_key="stopTime")
    state = text("`completed` when it is not given", data_key="jobState")


class PairBody(Body):
    """One metadatum."""

    key = text("what it is")
    value = fields.String(load_default="", metadata={"description": "what is said of it"})


class EditBody(WhichBody):
    """A metadatum of a job."""

    payload = fields.Nested(PairBody, load_default=lambda: {"key": "", "value": ""})


class NodeBody(Body):
    """What a node does."""

    hostname = text("name of the node")
    states = fields.List(fields.String(), load_default=(), metadata={"description": "the scheduler's words"})
    cpus = integer("how many are taken", data_key="cpusAllocated")
    memory_mib = integer("how much is taken, MiB", data_key="memoryAllocated")
    gpus = integer("how many are taken", data_key="gpusAllocated")
    jobs = integer("how many run there", data_key="jobsRunning")
    cpus_total = integer("passed over", data_key="cpusTotal")
    memory_total = integer("passed over", data_key="memoryTotal")
    gpus_total = integer("passed over", data_key="gpusTotal")


class NodesBody(Body):
    """What the nodes of a cluster do."""

    cluster = text("name of the cluster")
    nodes = fields.List(fields.Nested(NodeBody), load_default=())
    node = fields.List(fields.Nested(NodeBody), load_default=(), metadata={"description": "as some clients call it"})


class UserBody(Body):
    """One change of a user, the first that is given."""

    add_role = text("a role it gets", data_key="add-role")
    remove_role = text("a role it loses", data_key="remove-role")
    add_project = text("a project it gets", data_key="add-project")
    remove_project = text("a project it loses", data_key="remove-project")
