"""What a submit may look like: raw and as a form, whoever writes it."""

from __future__ import annotations

import io
import json

import pytest
from bsptools import MODEL

PAYLOAD = json.dumps({"command": "true", "runtime": 1, "title": "t"})
ANNOUNCED = {"Content-Disposition": "attachment; filename=model.zip"}


def part(content: bytes, name: str, kind: str = "application/octet-stream"):
    return io.BytesIO(content), name, kind


FORMS = {
    "raw": {"headers": {"Payload": PAYLOAD, **ANNOUNCED}, "data": MODEL},
    "raw, as curl has it": {
        "headers": {"Payload": PAYLOAD, **ANNOUNCED, "Content-Type": "application/x-www-form-urlencoded"},
        "data": MODEL,
    },
    "part file": {"headers": {"payload": PAYLOAD, **ANNOUNCED}, "data": {"file": part(MODEL, "other.zip")}},
    "part of another name": {
        "headers": {"payload": PAYLOAD, **ANNOUNCED},
        "data": {"input.infile_": part(MODEL, "x.zip")},
    },
    "name of the part": {"headers": {"Payload": PAYLOAD}, "data": {"file": part(MODEL, "model.zip")}},
    "payload as a field": {"headers": ANNOUNCED, "data": {"payload": PAYLOAD, "file": part(MODEL, "model.zip")}},
    "payload as a part": {
        "headers": {},
        "data": {"Payload": part(PAYLOAD.encode(), "p", "application/json"), "file": part(MODEL, "model.zip")},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_leaves_the_same_bytes(service, ann, form):
    answer = ann("POST", "/jobs/pizdaint/", **FORMS[form])
    assert answer.status_code == 201, answer.text
    assert (answer.json["title"], answer.json["runtime"]) == ("t", 1.0)
    inputs = service.job(answer.json).spec.staging.inputs
    assert [(each.path, each.content) for each in inputs] == [("model.zip", MODEL)]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=x.zip", "x.zip"),
        ("attachment;filename=x.zip", "x.zip"),
        ('attachment; filename="a b.zip"', "a b.zip"),
        ("attachment; filename*=UTF-8''na%C3%AFve.zip", "naïve.zip"),
        ("attachment; filename=na\xc3\xafve.zip", "naïve.zip"),
        ("attachment; filename=C:\\fakepath\\x.zip", "x.zip"),
        ('attachment; filename="../../x.zip"', "x.zip"),
        ("attachment", "input.zip"),
        (None, "input.zip"),
    ],
)
def test_names_of_files(service, ann, header, name):
    headers = {"Payload": PAYLOAD, **({} if header is None else {"Content-Disposition": header})}
    answer = ann("POST", "/jobs/pizdaint/", headers=headers, data=MODEL)
    assert answer.status_code == 201, answer.text
    assert [each.path for each in service.job(answer.json).spec.staging.inputs] == [name]


def test_no_file_at_all_runs_the_command_alone(service, ann):
    job = ann.submit(command="hostname; date && true")
    assert service.job(job).spec.staging.inputs == ()
    assert service.job(job).spec.args == ("-c", "hostname; date && true")


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        ('{"command": "true", "runtime": "1", "title": "\xc3\xa9t\xc3\xa9"}', "été"),
        ('{"command": "true", "runtime": "1", "title": "\xe9t\xe9"}', "été"),
        ('{"command": "true", "runtime": "1", "title": "\\u00e9t\\u00e9"}', "été"),
        ('{"command": "true", "runtime": "1", "title": 7}', "7"),
        ('{"command": "true", "runtime": 1, "uc": "x", "python_option": "1", "single_layer": 0, "title": ""}', ""),
    ],
)
def test_headers_in_any_encoding_and_keys_that_mean_nothing(ann, sent, title):
    assert ann.submit(payload=sent)["title"] == title


def test_strings_and_numbers_are_the_same(service, ann):
    texts = ann.submit(runtime="0.1", node_number="2", core_number="6.0")
    numbers = ann.submit(runtime=0.1, node_number=2, core_number=6)
    assert service.job(texts).spec == service.job(numbers).spec
    assert service.job(texts).spec.resources.walltime_s == 360


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=y"])
def test_a_form_that_cannot_be_read_is_not_passed_over(ann, kind):
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="run.sh"\r\n\r\nx\r\n--x--\r\n'
    answer = ann("POST", "/jobs/pizdaint/", headers={"Payload": PAYLOAD}, data=body, content_type=kind)
    assert (answer.status_code, "no part that can be read" in answer.json) == (400, True)
