"""Jobs on the wire: what is asked, and what is answered."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from hpcgate.model.state import Evidence, Issuer, JobState, Phase, Reason
from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import MAX_INT, flag, integer, text, time
from hpcgate.server.resources.jobs.request import read_request
from hpcgate.server.resources.jobs.spec_schemas import JobSpecSchema, pairs, texts
from hpcgate.server.smorest import FieldErrorSchema, ProblemSchema, Schema
from hpcgate.service.admission import JobRequest


class JobRequestSchema(JobSpecSchema):
    """A job and where it shall run."""

    site = text("name or alias of a site; may be left out where there is only one", allow_none=True)

    def load(self, data: Any, **kwargs: Any) -> JobRequest:
        """Reads a body with the codec; see ``request.py``."""
        return read_request(data)


class ValidateRequestSchema(JobSpecSchema):
    """The same, for a dry run: what is wrong with it is the answer, and no error."""

    site = text("name or alias of a site; may be left out where there is only one", allow_none=True)

    def load(self, data: Any, **kwargs: Any) -> Any:
        """Hands the body on as it is."""
        return data


class BulkRequestSchema(Schema):
    """Many jobs."""

    jobs = ma.fields.List(ma.fields.Nested(JobRequestSchema), required=True)

    def load(self, data: Any, **kwargs: Any) -> list[Any]:
        """Checks the frame; the jobs are read one by one, so that a bad one spoils no other."""
        jobs = data.get("jobs") if isinstance(data, dict) else None
        if not isinstance(jobs, list) or not isinstance(data, dict) or len(data) > 1:
            others = [name for name in data if name != "jobs"] if isinstance(data, dict) else []
            errors = {name: ["unknown field; did you mean 'jobs'?"] for name in others}
            if not isinstance(jobs, list):
                errors["jobs"] = ["must be a list of jobs"]
            raise ma.ValidationError(errors)
        return jobs


class UsageSchema(Schema):
    """What was used, as far as the scheduler tells."""

    cpu_time_s = ma.fields.Float(allow_none=True, metadata={"description": "user + system time, seconds"})
    max_rss_kib = integer("largest resident set of one process, KiB", allow_none=True)


def _one_of(words: type[Any], description: str, **kwargs: Any) -> ma.fields.String:
    return text(description, validate=ma.validate.OneOf([word.value for word in words]), **kwargs)


class JobSchema(Schema):
    """A job."""

    id = integer("its number, never used again")
    key = text("the ULID that travels with it through the scheduler")
    name = text("as its owner calls it")
    owner = text("whose it is")
    site = text("where it runs", allow_none=True)
    state = _one_of(JobState, "where it is in its life; the last three are final")
    phase = _one_of(Phase, "a finer step inside the state", allow_none=True)
    reason = _one_of(Reason, "why it failed or was canceled", allow_none=True)
    issuer = _one_of(Issuer, "who caused that", allow_none=True)
    retryable = flag("whether the same job, unchanged, may well succeed when run again")
    advice = text("one sentence for its owner", allow_none=True)
    message = text("one line about it, for people", allow_none=True)
    exit_code = integer("exit code of the script", allow_none=True)
    signal = integer("number of the signal that ended it", allow_none=True)
    attempt = integer("which run, from 1")
    evidence = _one_of(Evidence, "what its state rests on", allow_none=True)
    stale = flag("whether its site has not answered for so long that the state may be old")
    canceling = flag("whether it was asked to end; it may still complete")
    native_id = text("the scheduler's id; null = the scheduler does not have it yet", allow_none=True)
    native_state = text("the scheduler's word", allow_none=True)
    native_reason = text("the scheduler's word", allow_none=True)
    project = text("whose allocation", allow_none=True)
    labels = pairs("key=value pairs")
    tags = texts("words")
    array = text("its indices", allow_none=True)
    created_at = time("when the gateway took it")
    submitted_at = time("when the scheduler took it")
    started_at = time("when it started")
    ended_at = time("when it ended")
    updated_at = time("when any of this last changed")
    nodes = texts("where it runs")
    cpu_ids = ma.fields.List(ma.fields.Integer(), metadata={"description": "cores that it was given"})
    gpu_ids = texts("accelerators that it was given")
    usage = ma.fields.Nested(UsageSchema, allow_none=True)
    folder = text("its folder at the site", allow_none=True)
    stdout_path = text("where its standard output is, at the site", allow_none=True)
    stderr_path = text("where its standard error is, at the site", allow_none=True)
    revision = integer("grows with every change")
    expires_at = time("from when its files and itself may go, once it has ended; null = as the operator says")
    retry_of = integer("the job of which it runs some tasks again", allow_none=True)
    spec = ma.fields.Nested(JobSpecSchema, metadata={"description": "as submitted, without the script; not in lists"})


JobPageSchema = page_schema(JobSchema)


class BulkItemSchema(Schema):
    """What became of one job of a bulk."""

    status = integer("201 = its scheduler has it, 202 = it is on its way, 4xx or 5xx = see `error`")
    job = ma.fields.Nested(JobSchema)
    error = ma.fields.Nested(ProblemSchema)


class BulkAnswerSchema(Schema):
    """What became of the jobs of a bulk, in their order."""

    items = ma.fields.List(ma.fields.Nested(BulkItemSchema))


class VerdictSchema(Schema):
    """What becomes of one field."""

    field = text("dotted name")
    verdict = text("`honoured`, `approximated` or `unsupported`")
    how = text("how it is approximated", allow_none=True)


class ValidationSchema(Schema):
    """The answer of a dry run."""

    valid = flag("whether a submit would be accepted")
    errors = ma.fields.List(ma.fields.Nested(FieldErrorSchema), metadata={"description": "why not"})
    fields_ = ma.fields.List(
        ma.fields.Nested(VerdictSchema),
        data_key="fields",
        metadata={"description": "what becomes of each field that is set"},
    )
    script = text("what would be submitted, without secrets", allow_none=True)
    argv = texts("the submit command, where the scheduler has one")


class CancelFilterSchema(Schema):
    """Which of one's active jobs; everything given must hold."""

    state = texts("states")
    site = texts("names or aliases of sites")
    owner = text("exact name of the owner")
    name = text("exact job name")
    labels = pairs("all of these")
    tags = texts("all of these")
    project = text("exact name")
    since = text("created at or after")
    until = text("created before")
    active = flag("true = all that have not ended")


class CancelSchema(Schema):
    """Which jobs: `ids` or `filter`. A filter is worked off in parts of at most 1,000 jobs."""

    ids = ma.fields.List(
        ma.fields.Integer(strict=True, validate=ma.validate.Range(1, MAX_INT)), validate=ma.validate.Length(1, 20_000)
    )
    filter = ma.fields.Nested(CancelFilterSchema)
    cursor = text("with `filter`: `next_cursor` of the part before", validate=ma.validate.Length(1, 200))
    dry_run = flag("with `filter`: only say how many there are, over all parts")


class CanceledSchema(Schema):
    """What a bulk cancel did."""

    count = integer("how many of them are canceled, or will be")
    next_cursor = text("where to go on; null = there are no more", allow_none=True)
    items = ma.fields.List(
        ma.fields.Nested(JobSchema), metadata={"description": "the jobs, when they were named by `ids`"}
    )


def _index() -> ma.fields.Integer:
    return ma.fields.Integer(strict=True, validate=ma.validate.Range(0, 2**31 - 1))


class CancelOneSchema(Schema):
    """Nothing, or some tasks of an array."""

    indices = ma.fields.List(
        _index(), validate=ma.validate.Length(1, 20_000), metadata={"description": "of the tasks; default: the job"}
    )


class RetrySchema(Schema):
    """Which tasks of an array."""

    indices = ma.fields.List(
        _index(),
        validate=ma.validate.Length(1, 20_000),
        metadata={"description": "of the tasks; default: all that did not complete"},
    )


class RetriedSchema(Schema):
    """The new jobs of a retry."""

    items = ma.fields.List(
        ma.fields.Nested(JobSchema), metadata={"description": "one for each evenly spaced part of the indices"}
    )


class SignalSchema(Schema):
    """Which signal."""

    signal = text("such as `USR1` or `SIGTERM`", required=True, validate=ma.validate.Length(1, 32))


class TaskSchema(Schema):
    """One task, or one index of an array, in one attempt."""

    job_id = integer("the job")
    attempt = integer("which run of it")
    role = text("name of the task role")
    index = integer("array index, or position in the role")
    state = _one_of(JobState, "where it is in its life")
    reason = _one_of(Reason, "why it failed or was canceled", allow_none=True)
    exit_code = integer("exit code", allow_none=True)
    signal = integer("number of the signal that ended it", allow_none=True)
    native_id = text("the scheduler's id", allow_none=True)
    started_at = time("when it started")
    ended_at = time("when it ended")
    nodes = texts("where it ran")
    usage = ma.fields.Nested(UsageSchema, allow_none=True)


class ExplanationSchema(Schema):
    """Why a job is where it is."""

    summary = text("one line: why it waits, or how it ended")
    notes = texts("what else plays a part: a site that does not answer, jobs that it waits for")
    reason = _one_of(Reason, "why it failed or was canceled", allow_none=True)
    issuer = _one_of(Issuer, "who caused that", allow_none=True)
    advice = text("what its owner can do", allow_none=True)
    retryable = flag("whether the same job, unchanged, may well succeed when run again")
    native_reason = text("the scheduler's word", allow_none=True)
    task = integer("index of the array task that `stderr` is of", allow_none=True)
    stderr = ma.fields.List(
        ma.fields.String(),
        allow_none=True,
        metadata={"description": "the last lines that a failed job wrote; null = not shown, or not to be had"},
    )


class AttemptSchema(Schema):
    """One run of a job."""

    job_id = integer("the job")
    attempt = integer("which run, from 1")
    state = _one_of(JobState, "how it ended; the job's state for the current one")
    native_id = text("the scheduler's id", allow_none=True)
    reason = _one_of(Reason, "why it failed or was canceled", allow_none=True)
    exit_code = integer("exit code", allow_none=True)
    signal = integer("number of the signal that ended it", allow_none=True)
    submitted_at = time("when the scheduler took it")
    started_at = time("when it started")
    ended_at = time("when it ended")
    nodes = texts("where it ran")


TaskPageSchema = page_schema(TaskSchema)
AttemptPageSchema = page_schema(AttemptSchema)
