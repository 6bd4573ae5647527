"""Tokens of an OpenID Connect issuer, which runs in a thread of the test."""

from __future__ import annotations

import base64
import threading
import time

import pytest
from flask import Flask, jsonify
from joserfc import jwk, jwt
from server.apitools import ADMIN, Api, problem
from werkzeug.serving import make_server

from hpcgate.errors import ConfigError
from hpcgate.model.principal import Role


class Issuer:
    """Signs tokens, publishes its keys, and counts who asks for them."""

    def __init__(self):
        self.keys = {"one": jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})}
        self.asked = 0
        app = Flask("issuer")
        app.get("/.well-known/openid-configuration")(lambda: jsonify(issuer=self.url, jwks_uri=f"{self.url}/keys"))
        app.get("/keys")(self.publish)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def publish(self):
        self.asked += 1
        return jsonify(keys=[key.as_dict(private=False) for key in self.keys.values()])

    def token(self, sub="1234", *, kid="one", key=None, alg="RS256", **claims):
        now = int(time.time())
        body = {"iss": self.url, "aud": "gate", "sub": sub, "iat": now, "exp": now + 300, **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": kid}, body, key or self.keys[kid], algorithms=[alg])

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def running():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(running):
    running.keys = {"one": running.keys["one"]}
    running.asked = 0
    return running


@pytest.fixture
def start(issuer, make_gateway, serve):
    def start(groups=None, **options):
        table = {"issuer": issuer.url, "audience": "gate", "name_claim": "preferred_username", **options}
        front = serve(make_gateway(auth={"oidc": table}, groups=groups or {}))
        return lambda *args, **claims: Api(front, issuer.token(*args, **claims)), front

    return start


def test_the_first_login_makes_the_user_where_that_is_allowed(start, issuer, root):
    come, _ = start(create_users=True)
    grace = come(preferred_username="grace", email="grace@example.org", email_verified=True)
    assert grace.get("me").json["name"] == "grace"
    assert grace.submit()["owner"] == "grace"
    user = root.get("users/grace").json
    assert (user["roles"], user["email"], user["has_password"]) == (["user"], "grace@example.org", False)
    come("99", preferred_username="linus", email="linus@example.org").get("me")
    assert root.get("users/linus").json["email"] is None, "nobody has verified it"
    assert issuer.asked == 1


def test_who_is_not_there_stays_out_where_it_is_not(start):
    come, _ = start()
    for name in ("grace", "ann", "root"):
        problem(come(preferred_username=name).get("me"), 401, "unauthenticated")


def test_a_name_that_is_anothers_is_not_given_away(start):
    come, _ = start(create_users=True)
    problem(come(preferred_username="root").get("me"), 401, "unauthenticated")
    assert come("1", preferred_username="grace").get("me").status_code == 200
    problem(come("2", preferred_username="grace").get("me"), 401, "unauthenticated")
    assert come("1", preferred_username="hopper").get("me").json["name"] == "grace", "the subject is who she is"


def test_a_user_that_is_there_is_taken_where_that_is_allowed_and_once(start):
    come, _ = start(link_users=True)
    assert come("1", preferred_username="ann").get("me").json["name"] == "ann"
    problem(come("2", preferred_username="ann").get("me"), 401, "unauthenticated")
    problem(come("3", preferred_username="nobody").get("me"), 401, "unauthenticated")


def test_a_locked_user_is_out(start, root):
    come, _ = start(create_users=True)
    assert come(preferred_username="grace").get("me").status_code == 200
    root("PATCH", "users/grace", {"locked": True})
    problem(come(preferred_username="grace").get("me"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": 7},
        {"preferred_username": "a b"},
        {"nbf": 2**33},
    ],
)
def test_a_token_that_is_not_as_it_should_be(start, claims):
    come, _ = start(create_users=True)
    problem(come(**{"preferred_username": "grace", **claims}).get("me"), 401, "unauthenticated")


def test_no_forged_token_gets_in(start, issuer):
    _, front = start(create_users=True)
    name = {"preferred_username": "grace"}
    public = issuer.keys["one"].as_pem(private=False)
    other = jwk.RSAKey.generate_key(2048)
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').rstrip(b"=").decode()
    forged = [
        issuer.token(**name, key=jwk.OctKey.import_key(base64.b64encode(public)), alg="HS256"),
        issuer.token(**name, key=other),
        f"{head}.{issuer.token(**name).split('.')[1]}.",
        issuer.token(**name, kid="one")[:-8] + "AAAAAAAA",
    ]
    assert Api(front, issuer.token(**name)).get("me").status_code == 200
    for token in forged:
        problem(Api(front, token).get("me"), 401, "unauthenticated")


def test_a_new_key_is_found_and_an_unknown_one_asks_no_second_time(start, issuer, monkeypatch):
    come, _ = start(create_users=True)
    assert come(preferred_username="grace").get("me").status_code == 200
    issuer.keys["two"] = jwk.ECKey.generate_key("P-256", {"kid": "two", "use": "sig", "alg": "ES256"})
    second = {"preferred_username": "grace", "kid": "two", "alg": "ES256"}
    problem(come(**second).get("me"), 401, "unauthenticated")
    monkeypatch.setattr("hpcgate.service.oidc.AGAIN_S", -1.0)
    assert come(**second).get("me").status_code == 200
    monkeypatch.undo()
    asked = issuer.asked
    for number in range(5):
        problem(
            come(preferred_username="x", kid=f"k{number}", key=issuer.keys["one"]).get("me"), 401, "unauthenticated"
        )
    assert issuer.asked == asked == 2


def test_an_issuer_that_does_not_answer(make_gateway, serve, issuer):
    gateway = make_gateway(auth={"oidc": {"issuer": issuer.url, "audience": "gate", "jwks_url": f"{issuer.url}/none"}})
    front = serve(gateway)
    refused = Api(front, issuer.token()).get("me")
    problem(refused, 503, "issuer_unavailable")
    assert "Retry-After" in refused.headers
    token, _ = gateway.identities.create_token(ADMIN, "ann", roles=[Role.USER])
    assert Api(front, token).get("me").status_code == 200, "the gateway's own go on"


def test_an_issuer_over_plain_http_is_refused(make_gateway):
    for url in ("http://localhost.example.org", "http://login.example.org", "ftp://login.example.org"):
        with pytest.raises(ConfigError, match=r"\[auth\.oidc\] issuer: .*must begin with https://"):
            make_gateway(auth={"oidc": {"issuer": url, "audience": "gate"}})


ROLES = {
    "roles_claim": "realm_access.roles",
    "role_map": {"hpc-operators": ["manager", "support"], "hpc-root": ["admin"]},
}


def me(come, *words, **claims):
    found = come(preferred_username="grace", **(claims or {"realm_access": {"roles": list(words)}})).get("me")
    assert found.status_code == 200, found.text
    return found.json


def test_claims_give_the_roles_that_the_table_says(start):
    come, _ = start(create_users=True, **ROLES)
    assert me(come)["roles"] == ["user"]
    assert me(come, "hpc-operators", "other")["roles"] == ["manager", "support", "user"]
    assert me(come, "hpc-root")["roles"] == ["admin", "user"]


def test_roles_are_judged_anew_at_each_login_and_kept_nowhere(start, root):
    come, _ = start(create_users=True, **ROLES)
    job = root.submit()
    path = f"jobs/{job['id']}"
    grace = come(preferred_username="grace", realm_access={"roles": ["hpc-operators"]})
    assert grace.get(path).status_code == 200
    problem(come(preferred_username="grace").get(path), 404, "not_found")
    assert root.get("users/grace").json["roles"] == ["user"]
    made = grace.post("tokens", {})
    assert (made.status_code, made.json["roles"]) == (201, ["user"]), "a token would outlive the claim"
    problem(grace.post("tokens", {"roles": ["manager"]}), 403, "forbidden")


def test_nothing_but_the_table_makes_an_admin(start):
    come, _ = start(create_users=True, roles_claim="roles", role_map={"operators": ["manager"], "user": ["user"]})
    for words in (
        ["admin"],
        "admin",
        ["operators admin"],
        ["Operators"],
        {"admin": True},
        [["operators"]],
        7,
        None,
        True,
    ):
        assert me(come, roles=words)["roles"] == ["user"], words
    assert me(come, roles="operators")["roles"] == ["manager", "user"], "one text is a list of one"
    assert me(come, role_map={"x": ["admin"]}, admin=True)["roles"] == ["user"]


def test_a_claim_may_have_a_dot_in_its_name(start):
    come, _ = start(create_users=True, roles_claim="https://example.org/roles", role_map={"x": ["support"]})
    assert me(come, **{"https://example.org/roles": ["x"]})["roles"] == ["support", "user"]


def test_claims_make_members_of_groups(start):
    groups = {"physics": {"roles": ["support"]}, "chemistry": {}}
    come, _ = start(groups=groups, create_users=True, groups_claim="groups", group_map={"/lab/ph": "physics"})
    member = me(come, groups=["/lab/ph", "chemistry"])
    assert (member["groups"], member["roles"]) == (["physics"], ["support", "user"])
    grace = come(preferred_username="grace", groups=["/lab/ph"])
    assert [each["name"] for each in grace.get("groups").json["items"]] == ["chemistry", "physics"], "support sees all"
    assert me(come, groups=[])["groups"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"roles_claim": "r", "role_map": {"x": ["amdin"]}},
            r"\[auth\.oidc\.role_map\] x: 'amdin' is no role; did you mean",
        ),
        (
            {"groups_claim": "g", "group_map": {"x": "nope"}},
            r"\[auth\.oidc\.group_map\] x: there is no table \[groups\.nope\]",
        ),
        ({"role_map": {"x": ["user"]}}, r"roles_claim and role_map go together"),
        ({"groups_claim": "g"}, r"groups_claim and group_map go together"),
    ],
)
def test_tables_that_would_do_nothing_are_refused(make_gateway, options, message):
    with pytest.raises(ConfigError, match=message):
        make_gateway(auth={"oidc": {"issuer": "https://login.example.org", "audience": "gate", **options}})
