"""The OpenAPI document describes what the server does: routes, errors, and the very fields of the model."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import marshmallow as ma
import pytest
from server.apitools import ADMIN

from hpcgate.model.codec import attempt_to_wire, event_to_wire, job_to_wire, task_to_wire
from hpcgate.model.files import FileInfo
from hpcgate.model.job import Attempt, Event, Task
from hpcgate.model.principal import TokenInfo, User
from hpcgate.model.scheduler import NodeInfo, Probe, QueueInfo
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.server.resources.events.schemas import EventSchema
from hpcgate.server.resources.jobs import spec_schemas
from hpcgate.server.resources.jobs.files import FileSchema
from hpcgate.server.resources.jobs.schemas import AttemptSchema, JobSchema, TaskSchema, ValidationSchema
from hpcgate.server.resources.me.schemas import PrincipalSchema
from hpcgate.server.resources.sites.schemas import NodeSchema, ProbeSchema, QueueSchema, SiteSchema
from hpcgate.server.resources.tokens.schemas import TokenSchema
from hpcgate.server.resources.users.schemas import UserSchema
from hpcgate.service import wire


@pytest.fixture(scope="module")
def document(shared_front):
    from werkzeug.test import Client

    response = Client(shared_front).get("/api/v1/openapi.json")
    assert response.status_code == 200
    return response.json


def operations(document):
    for path, members in document["paths"].items():
        for method, operation in members.items():
            if method != "parameters":
                yield path, method, operation, members.get("parameters", []) + operation.get("parameters", [])


def test_the_document_is_valid(document):
    # Not above: it takes a second, in every process that collects this.
    from schemathesis.specs.openapi.definitions import OPENAPI_30_VALIDATOR

    errors = [error.message for error in OPENAPI_30_VALIDATOR.iter_errors(document)]
    assert errors == []
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        reference = part.split('"')[0]
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_route_is_documented(shared_front, document):
    from hpcgate.server.native import _plain

    app = shared_front._native.app
    routes = {
        (_plain(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not rule.rule.endswith("openapi.json")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert routes == {(path, method) for path, method, _, _ in operations(document)}
    assert len(routes) >= 37


def test_every_operation_says_what_it_is_and_how_it_fails(document):
    seen = set()
    for path, method, operation, parameters in operations(document):
        where = f"{method} {path}"
        assert operation["operationId"] not in seen, where
        seen.add(operation["operationId"])
        assert operation["summary"].endswith("."), where
        assert operation["tags"], where
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), where
        assert {"429", "default"} <= responses.keys(), where
        assert not operation["security"] or {"401", "403"} <= responses.keys(), where
        if "{" in path:
            assert "404" in responses, where
        if parameters and any(each["in"] == "query" for each in parameters):
            assert "422" in responses, where
        if "requestBody" in operation:
            assert "422" in responses, where
        for status, response in responses.items():
            if status[0] in "45" or status == "default":
                name = response["$ref"].rpartition("/")[2]
                assert list(document["components"]["responses"][name]["content"]) == ["application/problem+json"]
        for each in parameters:
            assert each.get("description") or each["in"] == "path", (where, each["name"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("jobs/{job_id}/stdout", "job_id offset limit task follow Range"),
        ("jobs/{job_id}/files/{path}", "job_id path archive Range"),
        ("jobs/{job_id}/events", "job_id cursor limit after"),
        ("jobs/{job_id}", "job_id If-None-Match"),
        ("events", "after wait limit job Last-Event-ID"),
        ("jobs", "cursor limit state active site owner name label tag project since until"),
    ],
)
def test_parameters_and_headers_are_documented_side_by_side(document, path, expected):
    members = document["paths"][f"/api/v1/{path}"]
    parameters = members.get("parameters", []) + members["get"]["parameters"]
    assert {each["name"] for each in parameters} == set(expected.split())
    assert not any(each["schema"].get("nullable") for each in parameters)


def test_only_a_login_and_public_keys_need_no_token(document):
    open_ones = [
        (path, method)
        for path, method, operation, _ in operations(document)
        if operation["security"] != [{"token": []}]
    ]
    assert open_ones == [("/api/v1/tokens", "post"), ("/api/v1/keys", "get")]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


# --- schemas and the model are the same


SPEC_SCHEMAS = {
    name.removesuffix("Schema"): schema
    for name, schema in vars(spec_schemas).items()
    if isinstance(schema, type) and issubclass(schema, ma.Schema) and schema.__module__ == spec_schemas.__name__
}


def inner(hint: Any) -> Any:
    """A hint without its ``| None``."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def nullable(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def compare(schema: type[ma.Schema], model: type, seen: set[type]) -> None:
    if model in seen:
        return
    seen.add(model)
    hints = get_type_hints(model)
    declared = {(each.data_key or name): each for name, each in schema().fields.items()}
    assert declared.keys() == {each.name for each in dataclasses.fields(model)}, schema
    for each in dataclasses.fields(model):
        described = declared[each.name]
        required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        where = f"{schema.__name__}.{each.name}"
        assert described.required == required, where
        assert described.allow_none == nullable(hints[each.name]), where
        if described.load_default is not ma.missing:
            assert described.load_default == each.default, where
        hint = inner(hints[each.name])
        nested = inner(get_args(hint)[0]) if get_origin(hint) is tuple else hint
        if dataclasses.is_dataclass(nested):
            held = described.inner if isinstance(described, ma.fields.List) else described
            compare(type(held.schema), nested, seen)


def test_a_job_is_described_as_the_model_has_it():
    seen: set[type] = set()
    compare(spec_schemas.JobSpecSchema, JobSpec, seen)
    assert {model.__name__ for model in seen} >= SPEC_SCHEMAS.keys() - {"JobSpec", "Array"}


def names(schema: type[ma.Schema]) -> set[str]:
    return {(each.data_key or name) for name, each in schema().fields.items()}


def test_what_is_answered_is_what_is_described(gateway, ann, fake):
    job = ann.submit()
    assert job.keys() == names(JobSchema)
    assert job_to_wire(gateway.jobs.get(ADMIN, job["id"]), detail=False).keys() == names(JobSchema) - {"spec"}
    task = Task(job_id=1, attempt=1, role="", index=0, state=JobState.RUNNING)
    assert task_to_wire(task).keys() == names(TaskSchema)
    assert attempt_to_wire(Attempt(job_id=1, attempt=1, state=JobState.RUNNING)).keys() == names(AttemptSchema)
    event = Event(seq=1, at=0.0, type="job.created", job_id=1, owner="ann")
    assert event_to_wire(event).keys() == names(EventSchema)
    assert ann.get("sites/fake").json.keys() == names(SiteSchema)
    assert ann.get("me").json.keys() == names(PrincipalSchema)
    user = User(name="x", roles=frozenset(), created_at=0.0)
    assert wire.user_to_wire(user).keys() == names(UserSchema)
    token = TokenInfo(id="x", user="x", roles=frozenset(), created_at=0.0, expires_at=0.0)
    assert wire.token_to_wire(token).keys() == names(TokenSchema)
    assert wire.file_to_wire(FileInfo(name="x", size=0, modified_at=0.0)).keys() == names(FileSchema)
    assert wire.probe_to_wire("x", Probe(checks=())).keys() == names(ProbeSchema)
    assert wire.invalid_to_wire(()).keys() == names(ValidationSchema)
    assert dataclasses.asdict(QueueInfo(name="x", state="up")).keys() == names(QueueSchema)
    assert dataclasses.asdict(NodeInfo(name="x", state="up")).keys() == names(NodeSchema)


# --- the page


def test_the_page_needs_nothing_from_elsewhere(stranger):
    page = stranger.get("/docs")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert " on" + "click=" not in page.text
    assert "style=" not in page.text
    for name, kind in (("docs.js", "text/javascript"), ("docs.css", "text/css")):
        assert f"docs/static/{name}" in page.text
        found = stranger.get(f"/docs/static/{name}")
        assert (found.status_code, found.mimetype) == (200, kind)
        assert "innerHTML" not in found.text


def test_the_page_serves_nothing_else(stranger):
    for path in ("/docs/static/../docs.html", "/docs/static/..%2fdocs.html", "/docs/static/__init__.py"):
        assert stranger.get(path).status_code in (404, 308)
