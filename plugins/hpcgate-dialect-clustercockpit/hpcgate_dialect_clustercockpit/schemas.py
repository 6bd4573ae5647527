"""What clients get."""

from __future__ import annotations

from typing import Final

import marshmallow as ma
from marshmallow import fields, validate

from hpcgate.model.record import RecordState

STATES: Final = tuple(str(state) for state in RecordState)
#: ``shared`` by what ``exclusive`` was before it.
SHARED: Final = ("multi_user", "none", "single_user")
SCOPES: Final = ("global", "admin", "private")


class ErrorSchema(ma.Schema):
    """What went wrong."""

    status = fields.String(required=True, metadata={"description": "text of the HTTP status"})
    error = fields.String(required=True, metadata={"description": "what happened"})


class MessageSchema(ma.Schema):
    """What was done."""

    msg = fields.String(required=True)


class StartedSchema(MessageSchema):
    """The job that was started."""

    id = fields.Integer(required=True, metadata={"description": "the number of its record, for paths"})


class TagSchema(ma.Schema):
    """A tag of a job."""

    id = fields.Integer(required=True)
    type = fields.String(required=True)
    name = fields.String(required=True)
    scope = fields.String(required=True, validate=validate.OneOf(SCOPES))


class ResourceSchema(ma.Schema):
    """What a job has of one node."""

    hostname = fields.String(required=True)
    hwthreads = fields.List(fields.Integer())
    accelerators = fields.List(fields.String())
    configuration = fields.String()


class JobSchema(ma.Schema):
    """A job."""

    id = fields.Integer(required=True, metadata={"description": "the number of its record, for paths"})
    job_id = fields.Integer(data_key="jobId", required=True, metadata={"description": "the batch system's id"})
    user = fields.String(required=True)
    project = fields.String(required=True)
    cluster = fields.String(required=True)
    sub_cluster = fields.String(data_key="subCluster", required=True)
    partition = fields.String(required=True)
    array_job_id = fields.Integer(data_key="arrayJobId", required=True)
    num_nodes = fields.Integer(data_key="numNodes", required=True)
    num_hwthreads = fields.Integer(data_key="numHwthreads", required=True)
    num_acc = fields.Integer(data_key="numAcc", required=True)
    exclusive = fields.Integer(required=True, validate=validate.Range(0, 2))
    shared = fields.String(required=True, validate=validate.OneOf(SHARED))
    monitoring_status = fields.Integer(data_key="monitoringStatus", required=True, validate=validate.Range(0, 3))
    smt = fields.Integer(required=True)
    job_state = fields.String(data_key="jobState", required=True, validate=validate.OneOf(STATES))
    duration = fields.Integer(required=True, metadata={"description": "seconds, of a running job so far"})
    walltime = fields.Integer(required=True, metadata={"description": "seconds"})
    tags = fields.List(fields.Nested(TagSchema), required=True)
    resources = fields.List(fields.Nested(ResourceSchema), required=True)
    metadata = fields.Dict(fields.String(), fields.String(), required=True, allow_none=True, data_key="metaData")
    start_time = fields.Integer(data_key="startTime", required=True, metadata={"description": "epoch seconds"})
    submit_time = fields.Integer(data_key="submitTime", metadata={"description": "epoch seconds; where it is known"})
    statistics = fields.Dict(metadata={"description": "figures by metric, once `monitoringStatus` is 3"})


class JobsSchema(ma.Schema):
    """A page of jobs, the newest first."""

    jobs = fields.List(fields.Nested(JobSchema), required=True)
    items = fields.Integer(required=True, metadata={"description": "how many a page has at most"})
    page = fields.Integer(required=True)


class JobWithMetricsSchema(ma.Schema):
    """A job and its time series. There are none here."""

    job = fields.Nested(JobSchema, required=True, data_key="Meta")
    series = fields.Raw(required=True, allow_none=True, data_key="Data")


class UserSchema(ma.Schema):
    """A user."""

    username = fields.String(required=True)
    name = fields.String(required=True)
    roles = fields.List(fields.String(), required=True)
    email = fields.String(required=True)
    projects = fields.List(fields.String(), required=True)


class UsedNodesSchema(ma.Schema):
    """Nodes of running jobs, by cluster."""

    used_nodes = fields.Dict(fields.String(), fields.List(fields.String()), required=True, data_key="usedNodes")


class ClustersSchema(ma.Schema):
    """The clusters, as `cluster.json` has them."""

    clusters = fields.List(fields.Dict(), required=True)
