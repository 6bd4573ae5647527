"""Which application answers: by Host, then by prefix. A dialect is at home where it is mounted."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import pytest
from flask import Flask, Response, jsonify, redirect, request, url_for
from server.apitools import ADMIN, problem
from werkzeug.test import Client

from hpcgate.errors import ConfigError, Conflict, InvalidSpec
from hpcgate.hookspecs import hookimpl
from hpcgate.model.query import JobFilter
from hpcgate.server import create_app
from hpcgate.server.auth import authenticate
from hpcgate.server.bodies import json_or_form
from hpcgate.server.context import serving
from hpcgate.server.dialect import Dialect
from hpcgate.server.errors import Problem


@dataclass(frozen=True, kw_only=True)
class TinySettings:
    greeting: str = field(default="hello", metadata={"help": "what it says"})


class Tiny(Dialect):
    """A foreign API with four routes and its own error shape."""

    name = "tiny"
    settings = TinySettings

    def create_app(self, gateway, settings):
        app = Flask("tiny", static_folder=None)

        @app.get("/v0/hello")
        def hello():
            return jsonify(says=settings.greeting, here=url_for("hello"), root=request.script_root)

        @app.get("/v0/jobs")
        def jobs():
            return jsonify(count=serving().gateway.jobs.count(ADMIN, JobFilter()), same=serving().gateway is gateway)

        @app.get("/v0/me")
        def me():
            return authenticate(request).name

        @app.get("/v0/folder/")
        def folder():
            return "folder"

        @app.get("/v0/moved")
        def moved():
            return redirect(url_for("folder", _external=True))

        @app.post("/v0/fail")
        def fail():
            if request.get_data() == b"conflict":
                raise Conflict("busy")
            raise ZeroDivisionError("internals")

        return app

    def render_error(self, problem):
        return Response(f"tiny says {problem.status} {problem.code}", problem.status, content_type="text/plain")


class Plain(Dialect):
    """One without settings and with the native error shape."""

    name = "plain"

    def create_app(self, gateway, settings):
        assert settings is None
        return Flask("plain", static_folder=None)


class Strict(Dialect):
    """One that is particular about slashes, and lets pages call it."""

    name = "strict"
    strict_slashes = True
    merge_slashes = False
    cors_origins = ("https://portal.example.org",)
    cors_headers = ("X-Auth-Token",)

    def create_app(self, gateway, settings):
        app = Flask("strict", static_folder=None)
        app.url_map.merge_slashes = False
        app.add_url_rule("/a/leaf", "leaf", lambda: "leaf")
        app.add_url_rule("/body", "body", lambda: json_or_form(request) or "", methods=["POST"])
        return app

    def render_error(self, problem):
        if problem.code == "conflict":
            raise ZeroDivisionError
        return Response("strict", problem.status)


class Plugin:
    @hookimpl
    def hpcgate_register_dialects(self, register):
        register(Tiny())
        register(Plain())
        register(Strict())


LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
PLUGINS = [("dialects", Plugin())]


@pytest.fixture
def client(make_gateway, serve):
    tables = {
        "tiny": {"hosts": ["Tiny.example.org", "odd.example.org:8443"], "settings": {"greeting": "hi"}},
        "plain": {"prefix": "/tiny/nested"},
        "strict": {"max_body_bytes": 20},
    }
    return Client(serve(make_gateway(plugins=PLUGINS, dialects=tables)))


def at(client, path, host="localhost", method="GET", **kwargs):
    here = {"REMOTE_ADDR": "127.0.0.1"}
    return client.open(path, method=method, headers={"Host": host}, environ_base=here, buffered=True, **kwargs)


def test_by_prefix_urls_carry_it(client):
    assert at(client, "/tiny/v0/hello").json == {"says": "hi", "here": "/tiny/v0/hello", "root": "/tiny"}


@pytest.mark.parametrize(
    "host", ["tiny.example.org", "tiny.example.org:8080", "TINY.example.org", "odd.example.org:8443"]
)
def test_by_host_it_is_at_the_root(client, host):
    assert at(client, "/v0/hello", host).json == {"says": "hi", "here": "/v0/hello", "root": ""}


@pytest.mark.parametrize(
    "host", ["odd.example.org", "odd.example.org:1", "example.org", "nottiny.example.org", "[::1]:80"]
)
def test_other_hosts_see_the_native_api(client, host):
    assert at(client, "/health/live", host).json == {"status": "ok"}
    problem(at(client, "/v0/hello", host), 404, "not_found")


def test_a_redirect_stays_where_it_is_mounted(client):
    response = at(client, "/tiny/v0/moved")
    assert (response.status_code, response.headers["Location"]) == (302, "http://localhost/tiny/v0/folder/")
    response = at(client, "/v0/moved", "tiny.example.org")
    assert response.headers["Location"] == "http://tiny.example.org/v0/folder/"


@pytest.mark.parametrize("path", ["/v0/folder", "/v0/folder/", "/v0//folder", "/v0/hello/"])
def test_slashes_make_no_difference(client, path):
    assert at(client, f"/tiny{path}").status_code == 200
    assert at(client, path, "tiny.example.org").status_code == 200


def test_slashes_make_one_where_the_dialect_wants_it(client):
    assert at(client, "/strict/a//leaf").status_code == 404
    assert at(client, "/strict/a/leaf/").status_code == 404
    assert at(client, "/strict/a/leaf").status_code == 200


def test_a_prefix_is_whole_words(client):
    problem(at(client, "/tinyv0/hello"), 404, "not_found")
    assert at(client, "/tiny").status_code == 404
    assert at(client, "/tiny").text == "tiny says 404 not_found"


def test_the_longest_prefix_wins(client):
    problem(at(client, "/tiny/nested/x"), 404, "not_found")
    assert at(client, "/tiny/nest").text == "tiny says 404 not_found"


def test_everything_that_goes_wrong_has_the_dialects_shape(client, caplog):
    assert at(client, "/tiny/nope").text == "tiny says 404 not_found"
    assert at(client, "/tiny/v0/hello", method="DELETE").text == "tiny says 405 method_not_allowed"
    assert at(client, "/tiny/v0/fail", method="POST", data=b"conflict").text == "tiny says 409 conflict"
    response = at(client, "/tiny/v0/fail", method="POST")
    assert (response.status_code, response.text) == (500, "tiny says 500 internal_error")
    assert "internals" in caplog.text


def test_a_dialect_has_what_every_answer_has(client):
    response = at(client, "/tiny/v0/jobs")
    assert response.json == {"count": 0, "same": True}
    assert len(response.headers["X-Request-ID"]) == 32
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert 'app="tiny",method="GET",route="/v0/jobs",status="200"} 1.0' in at(client, "/metrics").text


def test_a_dialect_has_the_body_limit(make_gateway, serve):
    gateway = make_gateway(plugins=PLUGINS, dialects={"tiny": {}}, server={"max_body_bytes": 10})
    response = at(Client(serve(gateway)), "/tiny/v0/fail", method="POST", data=b"x" * 11)
    assert response.text == "tiny says 413 body_too_large"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"tyni": {}}, r"\[dialects.tyni\] there is no such dialect; installed are: plain, strict, tiny"),
        ({"tiny": {"settings": {"greetin": "x"}}}, r"\[dialects.tiny.settings\] greetin: .*did you mean 'greeting'"),
        ({"tiny": {"settings": {"greeting": 5}}}, r"greeting: must be text"),
        ({"plain": {"settings": {"x": 1}}}, r"\[dialects.plain.settings\] x: this dialect has no settings"),
        ({"tiny": {"prefix": "/api/foreign"}}, r"\[dialects.tiny\] prefix: /api belongs to the native API"),
        ({"tiny": {"prefix": "tiny"}}, r"must begin with '/'"),
        ({"tiny": {"prefix": "/"}}, r"name something"),
        ({"tiny": {"prefix": "/a/"}}, r"not end with '/'"),
        ({"tiny": {}, "plain": {"prefix": "/tiny"}}, r"dialect 'tiny' is mounted there already"),
        ({"tiny": {"hosts": ["https://h"]}}, r"\[dialects.tiny\] hosts: 'https://h' is no Host such as"),
        ({"tiny": {"cors_origins": ["h.example.org"]}}, r"cors_origins: 'h.example.org' is neither '\*' nor like"),
        ({"tiny": {"cors_origins": ["https://h/"]}}, r"cors_origins: 'https://h/' is neither"),
        ({"tiny": {"hosts": ["h"]}, "plain": {"hosts": ["H"]}}, r"dialect 'tiny' is mounted there already"),
    ],
)
def test_a_wrong_table_is_told_by_name(make_gateway, tables, message):
    gateway = make_gateway(plugins=PLUGINS, dialects=tables)
    with pytest.raises(ConfigError, match=message):
        create_app(gateway)


def test_a_dialect_without_any_plugin(make_gateway):
    with pytest.raises(ConfigError, match="no dialect is installed"):
        create_app(make_gateway(dialects={"tiny": {}}))


def test_wrong_proxies_are_told(make_gateway):
    with pytest.raises(ConfigError, match=r"\[server\] trusted_proxies: 'proxy.local' is no address"):
        create_app(make_gateway(server={"trusted_proxies": ["proxy.local"]}))


def test_the_default_shape_is_the_native_one():
    made = Problem(status=418, code="teapot", title="Teapot", detail="short and stout").response()
    assert (made.status_code, made.mimetype) == (418, "application/problem+json")


def test_a_token_for_one_dialect_is_good_there_alone(make_gateway, serve):
    gateway = make_gateway(plugins=PLUGINS, dialects={"tiny": {}, "plain": {}})
    client = Client(serve(gateway))

    def status(path, **made):
        token, _ = gateway.identities.create_token(ADMIN, "ann", **made)
        return client.get(path, headers={"Authorization": f"Bearer {token}"}, environ_overrides=LOCAL).status_code

    assert (status("/tiny/v0/me", dialect="tiny"), status("/api/v1/me", dialect="tiny")) == (200, 401)
    assert status("/tiny/v0/me", dialect="plain") == 401
    assert (status("/tiny/v0/me"), status("/api/v1/me")) == (200, 200)
    with pytest.raises(InvalidSpec, match="'tinny' is not mounted here; did you mean 'tiny'"):
        status("/tiny/v0/me", dialect="tinny")


ORIGIN = "https://portal.example.org"


def cross(client, path, origin=ORIGIN, method="GET", **headers):
    headers = {"Origin": origin, **headers}
    return client.open(path, method=method, headers=headers, environ_base=LOCAL, buffered=True)


def test_pages_of_named_origins_may_call(client):
    asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-auth-token"}
    preflight = cross(client, "/strict/a/leaf", method="OPTIONS", **asked)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "X-Auth-Token"
    for path in ("/strict/a/leaf", "/strict/nope"):
        answer = cross(client, path)
        assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (ORIGIN, "Origin")
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_pages_of_others_may_not(client):
    for path, origin in (
        ("/strict/a/leaf", "https://evil.example.org"),
        ("/strict/a/leaf", "null"),
        ("/tiny/v0/hello", ORIGIN),
    ):
        answer = cross(client, path, origin)
        assert answer.status_code == 200
        assert "Access-Control-Allow-Origin" not in answer.headers
        preflight = cross(client, path, origin, "OPTIONS", **{"Access-Control-Request-Method": "GET"})
        assert "Access-Control-Allow-Origin" not in preflight.headers
    assert cross(client, "/strict/a/leaf", "https://evil.example.org").headers["Vary"] == "Origin", (
        "a cache would mix them"
    )


def test_the_operator_may_let_in_all_pages(make_gateway, serve):
    gateway = make_gateway(
        plugins=PLUGINS, dialects={"strict": {"cors_origins": ["*"]}, "tiny": {"cors_origins": ["*"]}}
    )
    client = Client(serve(gateway))
    for path in ("/strict/a/leaf", "/tiny/v0/hello"):
        assert cross(client, path, "https://any.example.org").headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (b'{"a": 1}', "application/x-www-form-urlencoded", {"a": 1}),
        (b'{"a": 1}', "", {"a": 1}),
        (b"a=1&b=x+y", "application/x-www-form-urlencoded", {"a": "1", "b": "x y"}),
    ],
)
def test_a_body_is_what_it_looks_like(client, body, kind, found):
    answer = client.post("/strict/body", data=body, headers={"Content-Type": kind}, environ_base=LOCAL)
    assert answer.json == found


def test_a_dialect_has_a_body_limit_of_its_own(client):
    assert client.post("/strict/body", data=b"x" * 21, environ_base=LOCAL).status_code == 413
    chunked = {"wsgi.input_terminated": True, **LOCAL}
    long = client.post("/strict/body", input_stream=BytesIO(b"[" * 21), environ_base=chunked)
    assert (long.status_code, long.text) == (413, "strict")


def test_what_goes_wrong_before_or_after_the_application_has_an_answer(client, monkeypatch, caplog):
    mounts = client.application._by_prefix
    strict = next(mount for mount in mounts if mount.name == "strict")

    def fail(error):
        def wsgi_app(environ, start_response):
            raise error

        monkeypatch.setattr(strict.app, "wsgi_app", wsgi_app)
        return at(client, "/strict/a/leaf")

    early = fail(ZeroDivisionError("internals"))
    assert (early.status_code, early.text) == (500, "strict")
    assert "internals" in caplog.text
    last = fail(Conflict("x"))
    assert (last.status_code, last.text) == (500, "")
