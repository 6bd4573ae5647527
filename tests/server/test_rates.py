"""How many requests one principal, or one address, may send."""

from __future__ import annotations

import re

import pytest
from flask import Flask, request
from server.apitools import Api, exchange_form, problem, token_for

from hpcgate.config import LimitsTable
from hpcgate.hookspecs import hookimpl
from hpcgate.model.principal import Principal, Role
from hpcgate.server.auth import authenticate
from hpcgate.server.dialect import Dialect
from hpcgate.server.errors import RateLimited
from hpcgate.server.rates import RateLimits


class Keyed(Dialect):
    """An API whose clients show a key of their own, not a bearer token."""

    name = "keyed"

    def create_app(self, gateway, settings):
        app = Flask("keyed", static_folder=None)

        @app.get("/who")
        def who():
            caller = self.caller(request)
            return caller.name if caller else authenticate(request).name

        return app

    def caller(self, request):
        return Principal(name="ann") if request.headers.get("X-Key") == "of ann" else super().caller(request)


class Plugin:
    @hookimpl
    def hpcgate_register_dialects(self, register):
        register(Keyed())


@pytest.fixture
def limited(make_gateway, serve):
    limits = {"requests_per_minute": 4, "anonymous_requests_per_minute": 3}
    return serve(make_gateway(plugins=[("keyed", Plugin())], dialects={"keyed": {}}, limits=limits))


def told(response):
    """Quota, left and seconds of the RateLimit headers."""
    name, quota = re.fullmatch(r'"(\w+)";q=(\d+);w=60', response.headers["RateLimit-Policy"]).groups()
    left, seconds = re.fullmatch(rf'"{name}";r=(\d+);t=(\d+)', response.headers["RateLimit"]).groups()
    assert 1 <= int(seconds) <= 60
    return name, int(quota), int(left)


def test_one_too_many_is_refused_and_told_when_to_come_back(limited, login):
    ann, bob = login(limited, "ann"), login(limited, "bob")
    assert [told(ann.get("me")) for _ in range(4)] == [("principal", 4, left) for left in (3, 2, 1, 0)]
    refused = ann.get("me")
    assert "more than 4 requests in a minute by 'ann'" in problem(refused, 429, "rate_limited")["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert told(refused) == ("principal", 4, 0)
    assert bob.get("me").status_code == 200


def test_it_is_the_principal_who_is_counted_by_whatever_token_and_api(limited, login, make_gateway):
    ann = login(limited, "ann")
    other = Api(limited, ann.post("tokens", {}).json["token"])
    assert other.get("me").status_code == 200
    assert ann("GET", "/keyed/who").status_code == 200
    assert Api(limited, None)("GET", "/keyed/who", headers={"X-Key": "of ann"}).text == "ann"
    problem(other.get("jobs"), 429, "rate_limited")
    problem(Api(limited, None)("GET", "/keyed/who", headers={"X-Key": "of ann"}), 429, "rate_limited")


def test_who_has_no_good_credential_is_counted_by_address(limited):
    good = Api(limited, None, REMOTE_ADDR="127.0.0.2")
    bad = Api(limited, "not.a.token", REMOTE_ADDR="127.0.0.1")
    nobody = Api(limited, None, REMOTE_ADDR="127.0.0.1")
    assert [bad.get("me").status_code, nobody.get("me").status_code, nobody.get("openapi.json").status_code] == [
        401,
        401,
        200,
    ]
    refused = nobody.get("nothing/there")
    assert "from your address" in problem(refused, 429, "rate_limited")["detail"]
    assert told(refused)[:2] == ("address", 3)
    problem(bad.get("me"), 429, "rate_limited")
    assert good.get("openapi.json").status_code == 200


def test_who_watches_is_never_refused(limited):
    nobody = Api(limited, None)
    for _ in range(5):
        for path in ("/health/live", "/health/ready", "/metrics"):
            answer = nobody.get(path)
            assert answer.status_code == 200
            assert "RateLimit" not in answer.headers


def test_a_client_for_many_has_one_rate(limited, login):
    portal = Api(limited, token_for(limited.serving.gateway, "portal", Role.DELEGATE))
    as_ann, as_bob = (
        Api(limited, portal.post("tokens/exchange", data=exchange_form(name)).json["access_token"])
        for name in ("ann", "bob")
    )
    assert (as_ann.get("me").status_code, as_bob.get("me").status_code) == (200, 200)
    problem(as_bob.get("me"), 429, "rate_limited")
    assert login(limited, "ann").get("me").status_code == 200


def test_without_a_limit_nothing_is_told(ann):
    assert "RateLimit" not in ann.get("me").headers


def test_processes_share_a_rate():
    rates = RateLimits(LimitsTable(requests_per_minute=7, server_processes=3))
    for _ in range(2):
        rates.count(Principal(name="ann"), "")
    with pytest.raises(RateLimited, match="more than 2 requests"):
        rates.count(Principal(name="ann"), "")


def test_an_ipv6_network_is_one_address():
    rates = RateLimits(LimitsTable(anonymous_requests_per_minute=1))
    rates.count(None, "2001:db8::1")
    with pytest.raises(RateLimited):
        rates.count(None, "2001:db8::2")
    rates.count(None, "2001:db8:0:1::1")
