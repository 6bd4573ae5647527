"""Calls that are more than one request: lists, bulks, events, output."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest
from client.scripted import LOST, Answer, Scripted, answer, problem

from hpcgate.client import Client
from hpcgate.client.sse import Message, messages
from hpcgate.errors import InvalidSpec, JobRejected, NotFound, QuotaExceeded, SiteError, Unauthenticated
from hpcgate.model.spec import JobSpec, Resources


def frames(*parts: tuple[str, Any, int | None]) -> Answer:
    text = "retry: 1000\n: connected\n\n"
    for event, data, ident in parts:
        text += (f"id: {ident}\n" if ident is not None else "") + f"event: {event}\ndata: {json.dumps(data)}\n\n"
    return Answer(200, text.encode(), {"Content-Type": "text/event-stream"})


def test_messages_of_a_stream() -> None:
    lines = [": hello", "", "id: 7", "event: x", "data: a", "data:b", "", "data: c", "", "data: never finished"]
    assert list(messages(lines)) == [Message("x", "a\nb", "7"), Message("message", "c", None)]


def test_a_spec_is_sent_whole_with_its_secrets(server: Scripted, client: Client) -> None:
    server.will(answer({"id": 1}))
    spec = JobSpec(command="x", resources=Resources(nodes=2), secret_environment={"KEY": "v"})
    client.submit(spec, "ares", idempotency_key="k")
    assert server.requests[0].body == {
        "command": "x",
        "resources": {"nodes": 2},
        "secret_environment": {"KEY": "v"},
        "site": "ares",
    }
    assert server.requests[0].headers["idempotency-key"] == "k"


def test_a_bulk_gives_jobs_and_errors_in_order(server: Scripted, client: Client) -> None:
    rejected = {"code": "job_rejected", "detail": "no"}
    invalid = {"code": "invalid_spec", "detail": "d", "errors": [{"field": "f", "message": "m"}]}
    items = [{"status": 201, "job": {"id": 1}}, {"status": 409, "error": rejected}, {"status": 422, "error": invalid}]
    server.will(answer({"items": items}))
    one, two, three = client.submit_many([{"command": "a"}] * 3)
    assert one == {"id": 1}
    assert isinstance(two, JobRejected)
    assert isinstance(three, InvalidSpec)
    assert three.errors[0].field == "f"


def test_a_list_goes_on_to_the_next_page_when_it_must(server: Scripted, client: Client) -> None:
    server.will(
        answer({"items": [{"id": 3}, {"id": 2}], "next_cursor": "c"}),
        answer({"items": [{"id": 1}], "next_cursor": None}),
    )
    jobs = client.list(state=["RUNNING", "QUEUED"], label=["a=b c"], owner=None)
    assert next(jobs)["id"] == 3
    assert len(server.requests) == 1
    assert [job["id"] for job in jobs] == [2, 1]
    assert server.requests[0].path.endswith("/jobs?state=RUNNING&state=QUEUED&label=a%3Db+c&limit=200")
    assert "cursor=c" in server.requests[1].path


def test_wait_asks_only_for_what_changed(server: Scripted, client: Client) -> None:
    server.will(
        answer({"items": [], "next": 10}),
        answer({"id": 1, "state": "RUNNING"}),
        answer({"id": 2, "state": "QUEUED"}),
        answer({"items": [{"seq": 12, "job_id": 2}, {"seq": 13, "job_id": 99}], "next": 13}),
        answer({"id": 2, "state": "FAILED"}),
        answer({"items": [{"seq": 14, "job_id": 1}], "next": 14}),
        answer({"id": 1, "state": "COMPLETED"}),
    )
    assert [job["state"] for job in client.wait([1, 2])] == ["COMPLETED", "FAILED"]
    assert "after=13" in server.requests[5].path
    assert not server.answers


def test_wait_ends_at_its_timeout(server: Scripted, client: Client) -> None:
    server.will(answer({"items": [], "next": 10}), answer({"id": 1, "state": "RUNNING"}))
    assert client.wait([1], timeout=0)[0]["state"] == "RUNNING"


def test_events_are_resumed_behind_the_last_one(server: Scripted, client: Client, pauses: list[float]) -> None:
    one, two, three = ({"seq": n, "type": "job.state"} for n in (5, 6, 7))
    server.will(
        frames(("job.state", one, 5), ("job.state", two, 6)),
        LOST,
        problem(503, "too_many_streams", transient=True),
        frames(("job.state", three, 7)),
    )
    events = client.events(4, pause=pauses.append)
    assert list(islice(events, 3)) == [one, two, three]
    events.close()
    assert pauses == [0.0, 2.0, 4.0]
    assert [request.headers["last-event-id"] for request in server.requests] == ["4", "6", "6", "6"]


def test_events_start_with_what_happens_from_now_on(server: Scripted, client: Client) -> None:
    server.will(answer({"items": [], "next": 41}), frames(("job.created", {"seq": 42}, 42)))
    events = client.events(job_id=3)
    assert next(events) == {"seq": 42}
    events.close()
    assert server.requests[1].headers["last-event-id"] == "41"
    assert server.requests[1].path.endswith("/events?job=3")


def test_events_end_when_the_token_does(server: Scripted, client: Client) -> None:
    server.will(problem(401, "unauthenticated", "the token has expired"))
    with pytest.raises(Unauthenticated, match="the token has expired"):
        next(client.events(1))


def test_output_with_its_place_and_size(server: Scripted, client: Client) -> None:
    server.will(Answer(200, b"lo", {"Content-Type": "text/plain", "X-Offset": "3", "X-Size": "5"}))
    chunk = client.logs(1, "stderr", -2, task=4)
    assert (chunk.data, chunk.offset, chunk.size) == (b"lo", 3, 5)
    assert server.requests[0].path.endswith("/jobs/1/stderr?offset=-2&task=4")


def test_following_resumes_and_fetches_what_is_no_text(
    server: Scripted, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcgate.client.follow.PAUSE_S", 0.0)
    server.will(
        frames(("log", {"offset": 0, "text": "ä\n"}, 3)),
        LOST,
        frames(("stale", {"code": "transport_error"}, None), ("log", {"offset": 3, "text": "\ufffd!"}, 5)),
        Answer(206, b"\xff!", {"Content-Type": "text/plain"}),
        frames(("log", {"offset": 5, "text": "end"}, 8), ("end", {"state": "COMPLETED"}, None)),
    )
    assert list(client.follow(1, ("stdout",))) == [
        ("stdout", "ä\n".encode()),
        ("stdout", b"\xff!"),
        ("stdout", b"end"),
    ]
    assert ["offset=0" in server.requests[0].path, "offset=3" in server.requests[1].path] == [True, True]
    assert server.requests[3].headers["range"] == "bytes=3-4"


def test_following_ends_with_the_error_that_the_server_tells(server: Scripted, client: Client) -> None:
    server.will(frames(("error", {"code": "not_found", "detail": "there is no job 1"}, None)))
    with pytest.raises(NotFound, match="there is no job 1"):
        list(client.follow(1, ("stdout",)))


def test_following_gives_up_on_a_server_that_is_gone(
    server: Scripted, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcgate.client.follow.PAUSE_S", 0.0)
    server.will(*[LOST] * 50)
    with pytest.raises(SiteError):
        list(client.follow(1, ("stdout",)))
    assert len(server.requests) == 10


@pytest.mark.parametrize("path", ["..", "../../me", "a/../..", "/etc/hostname"])
def test_a_path_that_would_become_another_resource_is_not_sent(server: Scripted, client: Client, path: str) -> None:
    for ask in (client.files, lambda job_id, path: list(client.read_file(job_id, path))):
        with pytest.raises(InvalidSpec, match="must be a relative path"):
            ask(1, path)
    assert server.requests == []


def test_a_cut_file_is_an_error_and_no_short_file(server: Scripted, client: Client) -> None:
    server.will(Answer(200, b"part", {"Content-Type": "application/octet-stream"}, cut=True))
    with pytest.raises(SiteError, match="cannot be reached"):
        list(client.read_file(1, "a b/ü#?"))
    assert server.requests[0].path == "/api/v1/jobs/1/files/a%20b/%C3%BC%23%3F"


def test_projects_and_shares(server: Scripted, client: Client) -> None:
    shown = {"name": "a b"}
    page = {"items": [shown], "next_cursor": None}
    server.will(
        answer({"items": [{"name": "a"}], "next_cursor": "c"}),
        *[answer(each) for each in (page, shown, shown, shown, page, shown, shown)],
        *[answer(each) for each in (page, shown, shown, shown, page, shown, shown)],
        *[answer(None)] * 4,
    )
    assert [project["name"] for project in client.projects()] == ["a", "a b"]
    assert client.project("a b") == shown
    assert client.add_project("a b", "ares", hours=2) == shown
    assert client.update_project("a b", hours=None) == shown
    assert list(client.project_members("a b")) == [shown]
    assert client.project_member("a b", "ann") == shown
    assert client.put_project_member("a b", "ann", hours=1.5) == shown
    assert list(client.shares()) == [shown]
    assert client.share("s") == shown
    assert client.add_share("s", "ares", queue="q") == shown
    assert client.update_share("s", open=False) == shown
    assert list(client.share_members("s")) == [shown]
    assert client.share_member("s", "ann") == shown
    assert client.put_share_member("s", "ann") == shown
    client.remove_project("a b")
    client.remove_project_member("a b", "ann")
    client.remove_share("s")
    client.remove_share_member("s", "ann")
    asked = [(each.method, each.path.removeprefix("/api/v1").partition("?")[0], each.body) for each in server.requests]
    assert asked[2:8] == [
        ("GET", "/projects/a%20b", None),
        ("POST", "/projects", {"name": "a b", "site": "ares", "hours": 2}),
        ("PATCH", "/projects/a%20b", {"hours": None}),
        ("GET", "/projects/a%20b/members", None),
        ("GET", "/projects/a%20b/members/ann", None),
        ("PUT", "/projects/a%20b/members/ann", {"hours": 1.5, "space_kb": None}),
    ]
    assert [each[:2] for each in asked[8:]] == [
        ("GET", "/shares"),
        ("GET", "/shares/s"),
        ("POST", "/shares"),
        ("PATCH", "/shares/s"),
        ("GET", "/shares/s/members"),
        ("GET", "/shares/s/members/ann"),
        ("PUT", "/shares/s/members/ann"),
        ("DELETE", "/projects/a%20b"),
        ("DELETE", "/projects/a%20b/members/ann"),
        ("DELETE", "/shares/s"),
        ("DELETE", "/shares/s/members/ann"),
    ]


def test_a_short_quota_says_by_how_much(server: Scripted, client: Client) -> None:
    short = {"project": "brain", "quota": "time", "asked": 7200, "left": -5}
    server.will(problem(409, "quota_exceeded", quota=short))
    with pytest.raises(QuotaExceeded) as caught:
        client.submit({"command": "x"})
    assert {name: getattr(caught.value, name) for name in short} == short
