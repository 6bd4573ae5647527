"""Output streams and files: parts of them, and following them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from server.apitools import fields, problem

from hpcgate.errors import NotFound, TransportError
from hpcgate.model.state import JobState
from hpcgate.server import follow
from hpcgate.server.byteranges import whole_characters
from hpcgate.server.follow import Decoder

TEXT = "0123456789äöü€\n"
RAW = TEXT.encode()


@pytest.fixture
def job(ann):
    made = ann.submit()
    Path(made["stdout_path"]).parent.mkdir(parents=True, exist_ok=True)
    Path(made["stdout_path"]).write_bytes(RAW)
    return made


@pytest.fixture
def files(job):
    work = Path(job["folder"]) / "work"
    (work / "sub").mkdir(parents=True)
    (work / "a.txt").write_bytes(b"0123456789")
    (work / "sub" / 'naïve "name".html').write_bytes(b"<script>alert(1)</script>")
    (work / "empty").touch()
    (work / "link").symlink_to("/etc/passwd")
    return work


def end(ann, fake, work, job, **changes):
    fake.set_state(job["native_id"], changes.pop("state", JobState.COMPLETED), **changes)
    while not ann.get(f"jobs/{job['id']}").json["ended_at"]:
        work()


# --- parts


def test_everything_is_read_with_its_place(ann, job):
    response = ann.get(f"jobs/{job['id']}/stdout")
    assert response.status_code == 200
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.data == RAW
    assert response.headers["X-Offset"] == "0"
    assert response.headers["X-Next-Offset"] == response.headers["X-Size"] == str(len(RAW))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_nothing_written_yet_is_empty(ann, job):
    response = ann.get(f"jobs/{job['id']}/stderr")
    assert (response.status_code, response.data, response.headers["X-Size"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("query", "begin", "stop"),
    [("offset=4", 4, None), ("offset=4&limit=3", 4, 7), ("offset=-1", len(RAW) - 1, None), ("limit=5", 0, 5)],
)
def test_parts_by_offset(ann, job, query, begin, stop):
    response = ann.get(f"jobs/{job['id']}/stdout?{query}")
    assert response.data == RAW[begin:stop]
    assert response.headers["X-Offset"] == str(begin)
    assert response.headers["X-Next-Offset"] == str(begin + len(response.data))


def test_reading_on_tears_no_character(ann, job):
    for limit in range(1, 9):
        text, offset = "", 0
        while offset < len(RAW):
            response = ann.get(f"jobs/{job['id']}/stdout?offset={offset}&limit={limit}")
            assert len(response.data) <= limit
            offset = int(response.headers["X-Next-Offset"])
            text += response.data.decode("utf-8", "replace") if limit < 3 else response.data.decode()
        assert len(text) == len(TEXT) if limit >= 3 else True


def test_half_a_character_at_the_end_waits_for_its_rest_while_the_job_runs(ann, job, fake, work):
    Path(job["stdout_path"]).write_bytes(b"abc\xe2\x82")
    assert ann.get(f"jobs/{job['id']}/stdout").data == b"abc"
    end(ann, fake, work, job)
    assert ann.get(f"jobs/{job['id']}/stdout").data == b"abc\xe2\x82"


@pytest.mark.parametrize(
    ("header", "begin", "stop"),
    [
        ("bytes=0-3", 0, 4),
        ("bytes=4-", 4, len(RAW)),
        ("bytes=-3", len(RAW) - 3, len(RAW)),
        ("bytes=2-9999", 2, len(RAW)),
        ("bytes=11-11", 11, 12),
        ("bytes=-9999", 0, len(RAW)),
    ],
)
def test_ranges_are_exact(ann, job, header, begin, stop):
    response = ann.get(f"jobs/{job['id']}/stdout", headers={"Range": header})
    assert response.status_code == 206
    assert response.data == RAW[begin:stop]
    assert response.headers["Content-Range"] == f"bytes {begin}-{stop - 1}/{len(RAW)}"


@pytest.mark.parametrize(
    "header",
    ["bytes=9999-", f"bytes={len(RAW)}-", f"bytes={2**63 - 1}-", f"bytes={2**63}-", "bytes=" + "9" * 400 + "-"],
)
def test_a_range_behind_the_end_is_told_the_size(ann, job, header):
    response = ann.get(f"jobs/{job['id']}/stdout", headers={"Range": header})
    problem(response, 416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{len(RAW)}"


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "lines=0-3", "bytes=x", "bytes=5-2"])
def test_a_range_that_may_be_ignored_is(ann, job, header):
    response = ann.get(f"jobs/{job['id']}/stdout", headers={"Range": header})
    assert (response.status_code, response.data) == (200, RAW)


@pytest.mark.parametrize(
    ("query", "field"),
    [("offset=x", "offset"), ("limit=0", "limit"), ("task=-1", "task"), ("of=1", "of"), ("task=0", "task")],
)
def test_wrong_parts_are_told(ann, job, query, field):
    assert field in fields(problem(ann.get(f"jobs/{job['id']}/stdout?{query}"), 422, "invalid_spec"))


def test_an_array_has_output_per_task(ann):
    made = ann.submit(array="0-3")
    folder = Path(made["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stdout.2").write_bytes(b"two")
    assert ann.get(f"jobs/{made['id']}/stdout?task=2").data == b"two"
    assert "task" in fields(problem(ann.get(f"jobs/{made['id']}/stdout"), 422, "invalid_spec"))
    assert "task" in fields(problem(ann.get(f"jobs/{made['id']}/stdout?follow=1"), 422, "invalid_spec"))


def test_one_answer_has_a_limit_and_says_where_to_go_on(make_gateway, serve, login):
    ann = login(serve(make_gateway(limits={"max_log_bytes": 10})), "ann")
    made = ann.submit()
    Path(made["stdout_path"]).parent.mkdir(parents=True, exist_ok=True)
    Path(made["stdout_path"]).write_bytes(b"x" * 25)
    response = ann.get(f"jobs/{made['id']}/stdout")
    assert (len(response.data), response.headers["X-Next-Offset"], response.headers["X-Size"]) == (10, "10", "25")
    ranged = ann.get(f"jobs/{made['id']}/stdout", headers={"Range": "bytes=5-24"})
    assert ranged.headers["Content-Range"] == "bytes 5-14/25"


def test_whole_characters():
    for text in ("", "a", "ä", "€", "😀", "a😀", "x€ä"):
        raw = text.encode()
        for cut in range(len(raw) + 1):
            kept = whole_characters(raw[:cut])
            assert raw[:cut].startswith(kept)
            if any(len(raw[:n].decode("utf-8", "ignore")) for n in range(cut + 1)):
                kept.decode()
    assert whole_characters(b"\xff\xfe") == b"\xff\xfe"
    assert whole_characters(b"\x80\x80\x80\x80") == b"\x80\x80\x80\x80"
    assert whole_characters(b"\xe2\x82") == b"\xe2\x82"


# --- follow


def test_a_decoder_counts_the_bytes_that_it_told():
    decoder = Decoder(100)
    assert (decoder.text(b"a\xe2\x82"), decoder.offset, decoder.end) == ("a", 101, 103)
    assert (decoder.text(b"\xac\xff"), decoder.offset) == ("€\N{REPLACEMENT CHARACTER}", 105)
    assert decoder.text(b"\xe2") == ""
    assert (decoder.text(b"", final=True), decoder.offset) == ("\N{REPLACEMENT CHARACTER}", 106)


def test_output_is_followed_to_the_end(ann, job, fake, work):
    path = Path(job["stdout_path"])
    fake.set_state(job["native_id"], JobState.RUNNING)
    work()
    with ann.events(f"jobs/{job['id']}/stdout?follow=1") as stream:
        first = next(stream)
        assert (first["event"], first["data"]) == ("log", {"offset": 0, "text": TEXT})
        assert first["id"] == str(len(RAW))
        with path.open("ab") as file:
            file.write(b"more\xe2")
        assert next(stream)["data"] == {"offset": len(RAW), "text": "more"}
        with path.open("ab") as file:
            file.write(b"\x82\xac done")
        assert next(stream)["data"]["text"] == "€ done"
        end(ann, fake, work, job, state=JobState.FAILED, exit_code=7)
        last = next(stream)
        assert last["event"] == "end"
        assert (last["data"]["state"], last["data"]["exit_code"], last["data"]["reason"]) == (
            "FAILED",
            7,
            "EXIT_NONZERO",
        )
        assert next(stream, None) is None


def test_a_file_that_became_shorter_is_told_and_read_from_its_beginning(ann, job, fake, work):
    path = Path(job["stdout_path"])
    fake.set_state(job["native_id"], JobState.RUNNING)
    work()
    with ann.events(f"jobs/{job['id']}/stdout?follow=1") as stream:
        assert next(stream)["data"]["text"] == TEXT
        path.rename(f"{path}.1")
        path.write_bytes(b"anew")
        cut = next(stream)
        assert (cut["event"], cut["id"], cut["data"]) == ("truncated", "0", {"size": 4})
        assert next(stream)["data"] == {"offset": 0, "text": "anew"}
        path.write_bytes(b"")
        assert next(stream)["event"] == "truncated"
        end(ann, fake, work, job)
        assert next(stream)["event"] == "end"


def test_following_goes_on_where_it_was_left(ann, job, fake, work):
    end(ann, fake, work, job)
    with ann.events(f"jobs/{job['id']}/stdout?follow=1", headers={"Last-Event-ID": "10"}) as stream:
        assert next(stream)["data"] == {"offset": 10, "text": RAW[10:].decode()}
        assert next(stream)["event"] == "end"
    with ann.events(f"jobs/{job['id']}/stdout?follow=true&offset=-1") as stream:
        assert next(stream)["data"] == {"offset": len(RAW) - 1, "text": "\n"}
    problem(ann.get(f"jobs/{job['id']}/stdout?follow=1", headers={"Last-Event-ID": "x"}), 422, "invalid_spec")


def test_a_job_that_waits_is_followed_when_it_starts(ann, fake, work):
    made = ann.submit()
    with ann.events(f"jobs/{made['id']}/stderr?follow=1") as stream:

        def run() -> None:
            fake.job(made["native_id"]).output["stderr"] = b"at last"
            end(ann, fake, work, made)

        runner = threading.Thread(target=run)
        runner.start()
        assert [message["event"] for message in stream] == ["log", "end"]
        runner.join()


def test_bytes_that_are_no_text_do_not_break_the_stream(ann, fake, work):
    made = ann.submit()
    fake.job(made["native_id"]).output["stdout"] = bytes(range(256)) * 4
    end(ann, fake, work, made)
    with ann.events(f"jobs/{made['id']}/stdout?follow=1") as stream:
        found = list(stream)
    assert [message["event"] for message in found] == ["log", "end"]
    assert found[0]["id"] == "1024"


def test_a_site_that_does_not_answer_is_told_and_asked_again(ann, fake, work, monkeypatch):
    monkeypatch.setattr(follow, "FAILED_S", 0.01)
    made = ann.submit()
    fake.job(made["native_id"]).output["stdout"] = b"text"
    end(ann, fake, work, made)
    # The first look of the request itself goes through; the stream's first does not.
    entered = fake._enter
    seen = iter([None, TransportError("the line is down")])

    def enter(hook):
        entered(hook)
        if hook == "read_output" and (error := next(seen, None)):
            raise error

    monkeypatch.setattr(fake, "_enter", enter)
    with ann.events(f"jobs/{made['id']}/stdout?follow=1") as stream:
        found = list(stream)
    assert [message["event"] for message in found] == ["stale", "log", "end"]
    assert found[0]["data"]["code"] == "transport_error"


def test_a_job_that_is_deleted_ends_its_stream(ann, job, gateway, monkeypatch):
    monkeypatch.setattr(follow, "REFRESH_S", 0.0)
    with ann.events(f"jobs/{job['id']}/stdout?follow=1") as stream:

        def gone(*args, **kwargs):
            raise NotFound("there is no such job")

        monkeypatch.setattr(type(gateway.jobs), "get", gone)
        found = list(stream)
    assert [message["event"] for message in found] == ["error"]
    assert found[0]["data"]["status"] == 404


# --- files


def test_folders_are_listed(ann, job, files):
    listed = {item["name"]: item for item in ann.get(f"jobs/{job['id']}/files").json["items"]}
    assert listed.keys() == {"a.txt", "sub", "empty", "link"}
    assert (listed["a.txt"]["size"], listed["sub"]["is_dir"], listed["link"]["is_link"]) == (10, True, True)
    for path in ("sub", "sub/"):
        assert len(ann.get(f"jobs/{job['id']}/files/{path}").json["items"]) == 1


def test_files_are_attachments_that_no_browser_runs(ann, job, files):
    response = ann.get(f'jobs/{job["id"]}/files/sub/naïve "name".html')
    assert response.data == b"<script>alert(1)</script>"
    assert response.content_type == "application/octet-stream"
    disposition = response.headers["Content-Disposition"]
    assert disposition == "attachment; filename=\"na_ve__name_.html\"; filename*=UTF-8''na%C3%AFve%20%22name%22.html"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_files_of_any_size_come_whole_or_in_part(make_gateway, serve, login):
    ann = login(serve(make_gateway(limits={"max_log_bytes": 1000})), "ann")
    made = ann.submit()
    work = Path(made["folder"]) / "work"
    work.mkdir(parents=True)
    data = bytes(range(256)) * 20
    (work / "big").write_bytes(data)
    (work / "empty").touch()
    whole = ann.get(f"jobs/{made['id']}/files/big")
    assert (whole.data, whole.headers["Content-Length"]) == (data, str(len(data)))
    part = ann.get(f"jobs/{made['id']}/files/big", headers={"Range": "bytes=-300"})
    assert (part.status_code, part.data) == (206, data[-300:])
    problem(ann.get(f"jobs/{made['id']}/files/big", headers={"Range": "bytes=99999-"}), 416, "range_not_satisfiable")
    empty = ann.get(f"jobs/{made['id']}/files/empty")
    assert (empty.status_code, empty.data) == (200, b"")


@pytest.mark.parametrize("path", ["link", "../stdout", "sub/../../stdout", "%2e%2e/stdout", "a.txt%00", "/etc/passwd"])
def test_no_path_leads_out(ann, job, files, path):
    response = ann.get(f"jobs/{job['id']}/files/{path}")
    assert response.status_code in (404, 422, 308)
    assert json.dumps("root:") not in response.text


def test_what_is_not_there_is_not_found(ann, job, files):
    problem(ann.get(f"jobs/{job['id']}/files/nope"), 404, "not_found")
    problem(ann.get(f"jobs/{job['id']}/files/sub/nope"), 404, "not_found")
    problem(ann.get(f"jobs/{job['id']}/files/a.txt/below"), 404, "not_found")
    problem(ann.get(f"jobs/{job['id']}/files/{'x' * 300}"), 404, "not_found")
