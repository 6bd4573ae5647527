"""Pages of other origins, as a browser would ask for them."""

from __future__ import annotations

import pytest
from server.apitools import Api

from hpcgate.config import config_from
from hpcgate.errors import ConfigError

PORTAL = "https://portal.example.org"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture
def open_front(make_gateway, serve):
    return serve(make_gateway(server={"cors_origins": [PORTAL, "http://localhost:3000"]}))


def test_a_page_of_an_allowed_origin_may_ask_and_read(open_front, login):
    ask = Api(open_front, None)("OPTIONS", "jobs", headers={"Origin": PORTAL, **ASKS})
    assert ask.status_code == 204
    assert ask.headers["Access-Control-Allow-Origin"] == PORTAL
    assert "POST" in ask.headers["Access-Control-Allow-Methods"]
    assert {"authorization", "content-type"} <= {
        each.strip().lower() for each in ask.headers["Access-Control-Allow-Headers"].split(",")
    }
    assert "Access-Control-Allow-Credentials" not in ask.headers
    answer = login(open_front, "ann").get("me", headers={"Origin": PORTAL})
    assert answer.headers["Access-Control-Allow-Origin"] == PORTAL
    assert "Origin" in answer.headers["Vary"]
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]


def test_an_error_can_be_read_too(open_front):
    answer = Api(open_front, None).get("me", headers={"Origin": PORTAL})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == PORTAL


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.org", "http://portal.example.org", f"{PORTAL}:444", f"{PORTAL}.evil.org", "null", "*"],
)
def test_no_other_origin_may(open_front, login, origin):
    for method, headers in (("OPTIONS", ASKS), ("GET", {})):
        answer = login(open_front, "ann")(method, "me", headers={"Origin": origin, **headers})
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]
        assert "Origin" in answer.headers["Vary"]


def test_nobody_may_where_nothing_is_said(ann):
    answer = ann.get("me", headers={"Origin": PORTAL})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize("origin", ["*", "https://portal.example.org/", "portal.example.org", "https://P.example.org"])
def test_what_is_no_origin_is_refused(tmp_path, origin):
    with pytest.raises(ConfigError, match=r"\[server\] cors_origins: .* is no origin such as"):
        config_from({"server": {"cors_origins": [origin]}}, home=tmp_path)
