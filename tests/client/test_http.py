"""Retries, errors, and where a token goes."""

from __future__ import annotations

import pytest
from client.scripted import LOST, Answer, Scripted, answer, problem

from hpcgate import errors
from hpcgate.client import Client
from hpcgate.client.http import checked_url, is_loopback
from hpcgate.errors import ConfigError, HpcgateError, InvalidSpec, SiteError, TransportError


def test_a_get_is_repeated_after_a_lost_answer(server: Scripted, client: Client, pauses: list[float]) -> None:
    server.will(LOST, problem(503, "busy"), answer({"id": 1}))
    assert client.get(1) == {"id": 1}
    assert len(server.requests) == 3
    assert 0.1 < pauses[0] < pauses[1] < 1


def test_a_submit_is_repeated_under_one_key(server: Scripted, client: Client) -> None:
    server.will(LOST, LOST, answer({"id": 1}, 201), answer({"id": 2}, 201))
    assert client.submit({"command": "true"}, "here")["id"] == 1
    client.submit({"command": "true"})
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert server.requests[0].body == {"command": "true", "site": "here"}


def test_a_post_without_a_key_is_not_repeated(server: Scripted, client: Client) -> None:
    server.will(LOST)
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:\d+ cannot be reached"):
        client.cancel(1)
    assert len(server.requests) == 1


def test_it_gives_up_after_some_tries(server: Scripted, client: Client, pauses: list[float]) -> None:
    server.will(*[LOST] * 9)
    with pytest.raises(TransportError) as caught:
        client.get(1)
    assert caught.value.transient
    assert (len(server.requests), len(pauses)) == (4, 3)


def test_a_refused_connection_is_tried_again_even_for_a_cancel(pauses: list[float]) -> None:
    with Client("http://127.0.0.1:9") as client:
        client.http._pause = pauses.append
        with pytest.raises(TransportError, match="cannot be reached"):
            client.cancel(1)
    assert len(pauses) == 3


def test_retry_after_is_heeded_within_reason(server: Scripted, client: Client, pauses: list[float]) -> None:
    body = {"code": "busy", "detail": "later"}
    server.will(answer(body, 429, Retry_After="3"), answer(body, 503, Retry_After="10"), answer({"id": 1}))
    client.get(1)
    assert pauses == [3.0, 10.0]
    server.will(answer(body, 503, Retry_After="11"))
    with pytest.raises(errors.HpcgateError, match="later"):
        client.get(1)  # whoever is to come back later than that is told so
    assert pauses == [3.0, 10.0]


def test_a_site_error_is_final_but_a_proxy_is_asked_again(server: Scripted, client: Client) -> None:
    server.will(problem(502, "scheduler_error", "slurmctld is down", transient=True))
    with pytest.raises(errors.SchedulerError, match="slurmctld is down"):
        client.check_site("ares")
    assert len(server.requests) == 1
    server.will(Answer(502, b"<h1>Bad gateway</h1>", {"Content-Type": "text/html"}), answer({"id": 1}))
    assert client.get(1) == {"id": 1}


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HpcgateError)],
    ids=lambda kind: kind.code,
)
def test_every_error_comes_back_as_its_class(server: Scripted, client: Client, kind: type[HpcgateError]) -> None:
    more = {"errors": [{"field": "name", "message": "is empty"}]} if kind is InvalidSpec else {"transient": False}
    server.will(problem(409, kind.code, "said so", **more))
    with pytest.raises(HpcgateError) as caught:
        client.cancel(1)
    assert type(caught.value) is kind
    assert caught.value.message == ("name: is empty" if kind is InvalidSpec else "said so")
    if isinstance(caught.value, SiteError):
        assert not caught.value.transient


def test_a_code_of_the_servers_own_is_kept(server: Scripted, client: Client) -> None:
    server.will(problem(413, "body_too_large", "too large"))
    with pytest.raises(HpcgateError) as caught:
        client.cancel(1)
    assert (type(caught.value), caught.value.code) == (HpcgateError, "body_too_large")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.Unauthenticated), (403, errors.Forbidden), (404, errors.NotFound), (302, TransportError)],
)
def test_what_is_no_hpcgate_is_told_apart(
    server: Scripted, client: Client, status: int, kind: type[HpcgateError]
) -> None:
    server.will(Answer(status, b"<p>go\naway</p>", {"Content-Type": "text/html"}))
    with pytest.raises(kind, match=rf"/api/v1/jobs/1 answered {status} .*<p>go away</p>"):
        client.get(1)


def test_an_answer_that_is_no_json(server: Scripted, client: Client) -> None:
    server.will(Answer(200, b"Welcome!", {"Content-Type": "text/plain"}))
    with pytest.raises(TransportError, match="answered with text/plain instead of JSON") as caught:
        client.get(1)
    assert not caught.value.transient


def test_the_token_goes_into_the_header_and_nowhere_else(server: Scripted, client: Client) -> None:
    server.will(answer({}), LOST, LOST, LOST, LOST)
    client.get(1)
    assert server.requests[0].headers["authorization"] == "Bearer secret-token"
    with pytest.raises(TransportError) as caught:
        client.get(1)
    assert "secret-token" not in repr(caught.value) + repr(client) + server.requests[0].path


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.will(answer({"name": "ann"}))
    with Client(server.url, "t") as client:
        assert client.me() == {"name": "ann"}


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://localhost:8080/", "http://localhost:8080"),
        ("https://gate.example.org/hpc/api/v1", "https://gate.example.org/hpc"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_good_urls(url: str, checked: str) -> None:
    assert checked_url(url, with_token=True) == checked


@pytest.mark.parametrize("url", ["gate", "ftp://gate", "http://", "https://ann:pw@gate"])
def test_bad_urls(url: str) -> None:
    with pytest.raises(ConfigError, match="server URL"):
        checked_url(url, with_token=False)


def test_plain_http_to_others_goes_without_a_token_only() -> None:
    for host in ("gate.example.org", "192.168.0.1", "localhost.example.org", "[2001:db8::1]"):
        with pytest.raises(ConfigError, match="is plain HTTP to another machine"):
            checked_url(f"http://{host}", with_token=True)
        assert checked_url(f"http://{host}", with_token=False) == f"http://{host}"
    assert is_loopback("127.9.9.9")
    assert not is_loopback("0.0.0.0")
