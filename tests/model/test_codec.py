"""Models to JSON data and back: nothing is lost, nothing is guessed, no secret gets out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import InvalidSpec
from hpcgate.model.codec import (
    attempt_to_wire,
    decode,
    decode_spec,
    encode,
    event_to_wire,
    job_to_wire,
    task_to_wire,
    time_from_wire,
    time_to_wire,
)
from hpcgate.model.job import Attempt, Event, Job, Task, Usage
from hpcgate.model.spec import (
    ArraySpec,
    Artifact,
    Dependency,
    InputFile,
    JobSpec,
    Notification,
    Placement,
    Policies,
    Resources,
    Staging,
    TaskRole,
    TaskSpec,
)
from hpcgate.model.state import Evidence, JobState, Phase, Reason

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
line = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20)
word = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_.:=-]{0,20}", fullmatch=True)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
paths = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | text, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


def tuples(items, **limits):
    return st.lists(items, max_size=3, **limits).map(tuple)


resources = st.builds(
    Resources,
    nodes=st.integers(1, 1000),
    tasks=st.none() | st.integers(1, 1000),
    cpus_per_task=st.none() | st.integers(1, 64),
    memory_mib=st.none() | st.integers(1, 1 << 30),
    gpus_per_node=st.integers(1, 8),
    gpu_type=st.none() | word,
    walltime_s=st.none() | st.integers(1, 10**6),
    cpus_range=st.none() | st.integers(1, 8).map(lambda least: (least, least + 4)),
    cpus_options=tuples(st.integers(1, 64)),
    exclusive=st.booleans(),
)
staging = st.builds(
    Staging,
    inputs=tuples(
        st.builds(InputFile, path=paths, content=st.binary(max_size=30), executable=st.booleans()),
        unique_by=lambda item: item.path.partition("/")[0],  # none is both a file and a folder
    ),
    artifacts=tuples(st.builds(Artifact, url=line, path=st.none() | paths, mountpoint=st.none() | paths)),
    output_files=tuples(paths),
)
policies = st.builds(
    Policies,
    max_retries=st.integers(0, 100),
    retry_on=tuples(st.sampled_from([reason.value for reason in Reason])),
    priority=st.integers(-100, 100),
    placement=st.none() | st.builds(Placement, sites=tuples(word), prefer_regions=tuples(word)),
)
arrays = st.builds(
    ArraySpec,
    start=st.integers(0, 50),
    stop=st.integers(50, 100),
    step=st.integers(1, 9),
    limit=st.none() | st.integers(1, 5),
)
tasks = st.builds(
    TaskSpec, command=line.filter(str.strip), args=tuples(text), environment=st.dictionaries(names, text, max_size=2)
)
roles = st.builds(TaskRole, name=word, count=st.integers(1, 5), task=tasks, resources=resources)
what_runs = st.one_of(
    st.fixed_dictionaries({"script": text.map("#!/bin/sh\n{}\n".format).filter(lambda script: "\r\n" not in script)}),
    st.fixed_dictionaries({"command": line.filter(str.strip), "args": tuples(text)}),
    st.fixed_dictionaries({"tasks": tuples(tasks, min_size=1)}),
    st.fixed_dictionaries({"roles": tuples(roles, min_size=1)}),
)
rest = st.fixed_dictionaries(
    {},
    optional={
        "name": line,
        "resources": resources,
        "queue": word,
        "environment": st.dictionaries(names, text, max_size=3),
        "array": arrays,
        "dependencies": tuples(st.builds(Dependency, job=st.integers(1, 10**6))),
        "hold": st.booleans(),
        "project": word,
        "labels": st.dictionaries(paths, line, max_size=3),
        "tags": tuples(line),
        "staging": staging,
        "policies": policies,
        "notifications": tuples(st.builds(Notification, event=word)),
        "native": st.dictionaries(names, json_values, max_size=3),
        "callback": line,
    },
)


def spec_of(runs, other):
    if "tasks" in runs:
        other.pop("array", None)  # one or the other
    return JobSpec(**runs, **other)


specs = st.builds(spec_of, what_runs, rest)


@given(specs)
def test_a_spec_survives_the_way_through_json(spec):
    assert decode_spec(json.loads(json.dumps(encode(spec)))) == spec


@given(specs)
def test_what_has_its_default_is_not_written(spec):
    plain = JobSpec(command="true")
    different = {item.name for item in fields(JobSpec) if getattr(spec, item.name) != getattr(plain, item.name)}
    assert encode(spec).keys() - {"command"} == different - {"command"}


def test_an_array_may_be_text():
    spec = decode_spec({"command": "true", "array": "0-9%4"})
    assert spec.array == ArraySpec(start=0, stop=9, limit=4)


def refused(data) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        decode_spec(data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        (None, "body", "must be a table of fields, not null"),
        ([], "body", "not a list"),
        ("true", "body", "not text"),
        ({"comand": "true"}, "comand", "did you mean 'command'?"),
        ({"command": "true", "zzz": 1}, "zzz", "unknown field; known are:"),
        ({"command": 1}, "command", "must be text, not a whole number (1)"),
        ({"command": ["true"]}, "command", "must be text, not a list"),
        ({"command": "true", "args": "x"}, "args", "must be a list, not text"),
        ({"command": "true", "args": ["x", 1]}, "args.1", "must be text"),
        ({"command": "true", "hold": 1}, "hold", "must be true or false"),
        ({"command": "true", "hold": None}, "hold", "not null"),
        ({"command": "true", "resources": []}, "resources", "must be a table"),
        ({"command": "true", "resources": {"nodes": "2"}}, "resources.nodes", "must be a whole number, not text ('2')"),
        ({"command": "true", "resources": {"nodes": 2.0}}, "resources.nodes", "must be a whole number"),
        ({"command": "true", "resources": {"nodes": True}}, "resources.nodes", "not true or false"),
        ({"command": "true", "resources": {"node": 2}}, "resources.node", "did you mean 'nodes'?"),
        ({"command": "true", "resources": {"nodes": 0}}, "resources.nodes", "out of range"),
        ({"command": "true", "resources": {"cpus_range": [1]}}, "resources.cpus_range", "a list of 2"),
        ({"command": "true", "environment": {"A": 1}}, "environment.A", "must be text"),
        ({"command": "true", "environment": [["A", "1"]]}, "environment", "must be a table"),
        ({"command": "true", "array": 5}, "array", "must be a table"),
        ({"command": "true", "array": "x"}, "array", "START-STOP"),
        ({"command": "true", "array": {"start": 0}}, "array.stop", "is required"),
        ({"command": "true", "array": {"start": 0, "stop": 10**9}}, "array", "at most 100000"),
        ({"command": "true", "dependencies": [{"kind": "after"}]}, "dependencies.0.job", "is required"),
        (
            {"command": "true", "staging": {"inputs": [{"path": "a", "content": "!"}]}},
            "staging.inputs.0.content",
            "base64",
        ),
        (
            {"command": "true", "staging": {"inputs": [{"path": "a", "content": 5}]}},
            "staging.inputs.0.content",
            "base64",
        ),
    ],
)
def test_wrong_data_is_refused_by_field(data, field, words):
    found = refused(data)
    assert words in found[field]


def test_all_wrong_fields_are_named():
    assert set(refused({"command": 1, "hold": 2, "x": 3, "resources": {"nodes": "1"}})) == {
        "command",
        "hold",
        "x",
        "resources.nodes",
    }


@given(st.recursive(json_values, lambda inner: st.dictionaries(text, inner, max_size=4), max_leaves=20))
def test_whatever_comes_in_is_a_spec_or_refused(data):
    try:
        assert isinstance(decode_spec(data), JobSpec)
    except InvalidSpec as error:
        assert error.errors


KNOWN = {item.name for item in fields(JobSpec)}


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), json_values, max_size=6))
def test_known_fields_with_any_values_are_a_spec_or_refused(data):
    try:
        assert isinstance(decode_spec(data), JobSpec)
    except InvalidSpec as error:
        assert {each.field.partition(".")[0] for each in error.errors} <= KNOWN


@dataclass(frozen=True, kw_only=True)
class Settings:
    ratio: float
    flags: frozenset[str] = frozenset()
    pairs: tuple[tuple[str, int], ...] = ()
    inner: Usage = field(default_factory=Usage)
    state: JobState = JobState.CREATED


def test_settings_of_a_plugin_are_decoded_by_their_hints():
    data = {"ratio": 1, "flags": ["b", "a"], "pairs": [["x", 1]], "inner": {"max_rss_kib": 4}, "state": "HELD"}
    settings = decode(Settings, data, "sites.a.settings")
    assert settings == Settings(
        ratio=1.0,
        flags=frozenset("ab"),
        pairs=(("x", 1),),
        inner=Usage(max_rss_kib=4),
        state=JobState.HELD,
    )
    assert isinstance(settings.ratio, float)
    assert decode(Settings, encode(settings)) == settings


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_is_finite(value):
    with pytest.raises(InvalidSpec) as caught:
        decode(Settings, {"ratio": value}, "t")
    assert caught.value.errors[0].field == "t.ratio"


def test_an_unknown_word_gets_the_nearest_known_one():
    with pytest.raises(InvalidSpec, match="did you mean 'RUNNING'"):
        decode(Settings, {"ratio": 1, "state": "RUNING"})
    with pytest.raises(InvalidSpec):
        decode(Settings, {"ratio": 1, "state": ["RUNNING"]})


def test_a_decoded_mistake_carries_the_prefix():
    with pytest.raises(InvalidSpec) as caught:
        decode(Settings, {}, "sites.a.settings")
    assert [error.field for error in caught.value.errors] == ["sites.a.settings.ratio"]


moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.timestamp()
)


@given(moments)
def test_a_time_survives_the_wire_to_the_microsecond(at):
    wire = time_to_wire(at)
    assert wire.endswith("Z")
    assert time_from_wire(wire) == pytest.approx(at, abs=1e-6)


def test_times_have_one_form():
    assert time_to_wire(0.25) == "1970-01-01T00:00:00.250000Z"
    assert time_to_wire(None) is None
    assert time_from_wire("1970-01-01T01:00:00+01:00") == 0
    assert time_from_wire("12.5") == 12.5


@pytest.mark.parametrize(
    "wrong", ["", "tomorrow", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "nan", "inf", "1e999"]
)
def test_a_time_without_a_zone_is_no_time(wrong):
    with pytest.raises(ValueError, match=r".+"):
        time_from_wire(wrong)


JOB = Job(
    id=7,
    key="01J0000000000000000000000",
    owner="ada",
    site="here",
    spec=JobSpec(
        script="#!/bin/sh\necho hi\n", secret_environment={"TOKEN": "hunter2"}, labels={"a": "1"}, tags=("t",)
    ),
    state=JobState.FAILED,
    reason=Reason.NODE_FAIL,
    phase=Phase.COMPLETING,
    evidence=Evidence.EXIT_FILE,
    created_at=1.0,
    started_at=2.0,
    updated_at=3.0,
    native_id="42",
    usage=Usage(cpu_time_s=0.5, max_rss_kib=2048),
)


def test_a_job_on_the_wire():
    wire = job_to_wire(JOB)
    json.dumps(wire)
    assert wire["state"] == "FAILED"
    assert (wire["reason"], wire["issuer"], wire["retryable"]) == ("NODE_FAIL", "node", True)
    assert wire["advice"] == Reason.NODE_FAIL.advice
    assert (wire["phase"], wire["evidence"]) == ("completing", "exit_file")
    assert wire["created_at"] == "1970-01-01T00:00:01.000000Z"
    assert wire["ended_at"] is None
    assert wire["usage"] == {"cpu_time_s": 0.5, "max_rss_kib": 2048}
    assert "spec" not in job_to_wire(JOB, detail=False)


def test_every_field_of_a_job_is_on_the_wire_or_left_out_on_purpose():
    left_out = {"account", "depends_on", "dialect", "dialect_data", "workflow_id"}
    assert {item.name for item in fields(Job)} - set(job_to_wire(JOB)) == left_out


def test_no_secret_and_no_script_is_on_the_wire_only_the_secrets_names():
    wire = job_to_wire(JOB)
    assert "hunter2" not in json.dumps(wire)
    assert "hunter2" not in json.dumps(encode(JOB.spec))
    assert "echo hi" not in json.dumps(wire)
    assert wire["spec"]["secret_environment"] == {"TOKEN": "***"}


def test_a_job_without_a_reason_has_no_advice():
    wire = job_to_wire(replace(JOB, reason=None, state=JobState.COMPLETED))
    assert (wire["reason"], wire["issuer"], wire["advice"], wire["retryable"]) == (None, None, None, False)


def test_tasks_attempts_and_events_on_the_wire():
    task = Task(
        job_id=1, attempt=1, role="", index=3, state=JobState.RUNNING, started_at=1.0, usage=Usage(max_rss_kib=1)
    )
    assert task_to_wire(task)["started_at"] == "1970-01-01T00:00:01.000000Z"
    assert task_to_wire(task)["usage"] == {"cpu_time_s": None, "max_rss_kib": 1}
    attempt = Attempt(job_id=1, attempt=2, state=JobState.FAILED, reason=Reason.PREEMPTED, nodes=("a",))
    assert attempt_to_wire(attempt)["reason"] == "PREEMPTED"
    assert attempt_to_wire(attempt)["nodes"] == ["a"]
    event = Event(seq=9, at=1.0, type="job.state", job_id=1, owner="ada", data={"new": JobState.RUNNING, "x": (1, 2)})
    wire = event_to_wire(event)
    assert json.loads(json.dumps(wire)) == wire
    assert (wire["seq"], wire["data"]) == (9, {"new": "RUNNING", "x": [1, 2]})


def test_base64_that_is_not_even_ascii_is_told():
    with pytest.raises(InvalidSpec, match="base64"):
        decode(JobSpec, {"command": "x", "staging": {"inputs": [{"path": "a", "content": "\x80"}]}})
