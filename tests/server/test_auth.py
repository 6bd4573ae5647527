"""Who gets in, and who does not."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from server.apitools import ADMIN, SCRIPT, Api, fields, problem

from hpcgate.service.secrets import load_keys

ROUTES = [
    ("GET", "jobs"),
    ("POST", "jobs"),
    ("POST", "jobs/bulk"),
    ("POST", "jobs/cancel"),
    ("GET", "jobs/1"),
    ("DELETE", "jobs/1"),
    ("POST", "jobs/1/cancel"),
    ("GET", "jobs/1/stdout"),
    ("GET", "jobs/1/files"),
    ("GET", "jobs/1/files/a"),
    ("GET", "jobs/1/script"),
    ("GET", "events"),
    ("GET", "me"),
    ("GET", "users"),
    ("GET", "tokens"),
    ("DELETE", "tokens/x"),
    ("GET", "sites"),
    ("GET", "plugins"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_a_token(stranger, method, path):
    response = stranger(method, path)
    problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="hpcgate"'


def good_parts(gateway, ann):
    """The claims of a real token, and the key that signed it."""
    token = ann._token
    key = load_keys(gateway.config.secret_key_path)[0]
    return jwt.decode(token, options={"verify_signature": False}), key


def forgeries(gateway, ann):
    real, key = good_parts(gateway, ann)
    kid = {"kid": key.kid}
    signed = key.derive("tokens")
    yield "alg none", jwt.encode(real, None, algorithm="none", headers=kid)
    yield "another key", jwt.encode(real, b"k" * 32, algorithm="HS256", headers=kid)
    yield "another algorithm", jwt.encode(real, signed * 2, algorithm="HS512", headers=kid)
    yield "unknown kid", jwt.encode(real, signed, algorithm="HS256", headers={"kid": "no"})
    yield "expired", jwt.encode({**real, "exp": int(time.time()) - 1}, signed, algorithm="HS256", headers=kid)
    yield "another audience", jwt.encode({**real, "aud": "else"}, signed, algorithm="HS256", headers=kid)
    yield "unknown jti", jwt.encode({**real, "jti": "never"}, signed, algorithm="HS256", headers=kid)
    yield "another's jti", jwt.encode({**real, "sub": "root"}, signed, algorithm="HS256", headers=kid)
    yield "no expiry", jwt.encode({k: v for k, v in real.items() if k != "exp"}, signed, algorithm="HS256", headers=kid)


def test_no_forged_token_gets_in(gateway, ann, front):
    assert ann.get("me").status_code == 200
    for name, token in forgeries(gateway, ann):
        response = Api(front, token).get("me")
        assert response.status_code == 401, name
        problem(response, 401, "unauthenticated")


def test_more_roles_in_a_token_than_its_user_has_are_worth_nothing(gateway, ann, front):
    real, key = good_parts(gateway, ann)
    token = jwt.encode({**real, "roles": ["admin"]}, key.derive("tokens"), algorithm="HS256", headers={"kid": key.kid})
    assert Api(front, token).get("me").json["roles"] == ["user"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer  ", "Basic YTpi", "Bearer a b", "Bearer x.y.z", "Bearer ü", "x"]
)
def test_what_is_no_bearer_token_is_refused(stranger, header):
    problem(stranger.get("me", headers={"Authorization": header.encode().decode("latin-1")}), 401, "unauthenticated")


def test_the_scheme_may_be_written_in_any_case(ann, anybody):
    response = anybody.get("me", headers={"Authorization": f"bEARER {ann._token}"})
    assert response.json["name"] == "ann"


def test_a_revoked_token_is_worth_nothing_at_once(ann, front):
    made = ann.post("tokens", {"comment": "short-lived", "ttl_s": 60}).json
    other = Api(front, made["token"])
    assert other.get("me").json["token_id"] == made["id"]
    assert ann.delete(f"tokens/{made['id']}").status_code == 204
    problem(other.get("me"), 401, "unauthenticated")


def test_a_locked_user_is_out_at_once(ann, root):
    assert root("PATCH", "users/ann", {"locked": True}).json["locked"] is True
    problem(ann.get("me"), 401, "unauthenticated")


# --- tokens


def test_a_password_makes_a_token(root, anybody, front):
    root.post("users", {"name": "carl", "password": "correct horse"})
    made = anybody.post("tokens", {"username": "carl", "password": "correct horse", "ttl_s": 100})
    assert made.status_code == 201
    assert made.headers["Location"] == f"/api/v1/tokens/{made.json['id']}"
    assert made.headers["Cache-Control"] == "no-store"
    assert Api(front, made.json["token"]).get("me").json["name"] == "carl"


@pytest.mark.parametrize(
    "body", [{"username": "ann", "password": "wrong"}, {"username": "nobody", "password": "wrong"}]
)
def test_a_wrong_password_and_an_unknown_user_sound_the_same(stranger, root, body):
    told = problem(stranger.post("tokens", body), 401, "unauthenticated")
    assert told["detail"] == "user name or password is wrong"


def test_a_login_without_its_parts_is_told_which(stranger):
    assert fields(problem(stranger.post("tokens", {"username": "ann"}), 422, "invalid_spec")).keys() == {"password"}
    problem(stranger.post("tokens", {}), 401, "unauthenticated")
    body = {"username": "ann", "password": "x", "user": "root"}
    assert fields(problem(stranger.post("tokens", body), 422, "invalid_spec")).keys() == {"user"}


def test_an_admin_makes_tokens_for_others_and_a_user_does_not(root, ann, front):
    made = root.post("tokens", {"user": "bob", "comment": "for bob"})
    assert Api(front, made.json["token"]).get("me").json["name"] == "bob"
    problem(ann.post("tokens", {"user": "bob"}), 403, "forbidden")
    problem(ann.post("tokens", {"roles": ["admin"]}), 403, "forbidden")
    problem(root.post("tokens", {"user": "nobody"}), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": "60"}, "ttl_s"),
        ({"ttl_s": 10**12}, "ttl_s"),
        ({"roles": ["king"]}, "roles.0"),
        ({"usr": "x"}, "usr"),
        ({"password": "x"}, "password"),
    ],
)
def test_a_wrong_token_request_is_told_by_field(refused, body, field):
    assert field in fields(problem(refused.post("tokens", body), 422, "invalid_spec"))


def test_tokens_are_listed_without_the_tokens(ann, root):
    made = ann.post("tokens", {"comment": "mine"}).json
    listed = ann.get("tokens").json["items"]
    assert {item["comment"] for item in listed} >= {"mine"}
    assert made["token"] not in ann.get("tokens").text
    assert {item["user"] for item in listed} == {"ann"}
    assert {item["user"] for item in root.get("tokens?user=*").json["items"]} == {"ann", "bob", "root"}
    problem(ann.get("tokens?user=bob"), 403, "forbidden")
    problem(root.delete("tokens/never"), 404, "not_found")


# --- users


def test_the_life_of_a_user(root):
    made = root.post("users", {"name": "dora", "roles": ["support"]})
    assert made.status_code == 201
    assert made.headers["Location"] == "/api/v1/users/dora"
    assert made.json["roles"] == ["support"]
    assert root.get("users/dora").json == made.json
    assert root("PATCH", "users/dora", {"roles": ["user"]}).json["roles"] == ["user"]
    assert "dora" in {user["name"] for user in root.get("users").json["items"]}
    problem(root.post("users", {"name": "dora"}), 409, "conflict")
    assert root.delete("users/dora").status_code == 204
    problem(root.get("users/dora"), 404, "not_found")


def test_users_are_for_admins_but_oneself_is_not_hidden(ann):
    problem(ann.get("users"), 403, "forbidden")
    problem(ann.post("users", {"name": "x"}), 403, "forbidden")
    problem(ann.get("users/bob"), 403, "forbidden")
    assert ann.get("users/ann").json["name"] == "ann"
    assert ann("PATCH", "users/ann", {"password": "a new password"}).json["has_password"] is True
    problem(ann("PATCH", "users/ann", {"roles": ["admin"]}), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a b"}, "name"),
        ({}, "name"),
        ({"name": "x", "password": "short"}, "password"),
        ({"name": "x", "rolls": []}, "rolls"),
        ({"name": 5}, "name"),
    ],
)
def test_a_wrong_user_is_told_by_field(refused_admin, body, field):
    assert field in fields(problem(refused_admin.post("users", body), 422, "invalid_spec"))


def test_a_change_must_change_something(refused_admin):
    problem(refused_admin("PATCH", "users/ann", {}), 422, "invalid_spec")
    assert fields(problem(refused_admin("PATCH", "users/ann", {"locked": 1}), 422, "invalid_spec")).keys() == {"locked"}


# --- the connection


REMOTE = {"REMOTE_ADDR": "192.0.2.7"}


def test_tokens_and_passwords_do_not_travel_in_the_clear(front, login, anybody):
    remote = login(front, "ann", **REMOTE)
    problem(remote.get("me"), 403, "insecure_transport")
    outside = Api(front, None, **REMOTE)
    problem(outside.post("tokens", {"username": "ann", "password": "x"}), 403, "insecure_transport")
    problem(login(front, "ann", **REMOTE, HTTP_X_FORWARDED_PROTO="https").get("me"), 403, "insecure_transport")


def test_a_proxy_on_this_machine_that_nobody_trusts_makes_nobody_local(front, login):
    problem(login(front, "ann", HTTP_X_FORWARDED_FOR="192.0.2.7").get("me"), 403, "insecure_transport")


def test_a_trusted_proxy_is_believed(make_gateway, serve, login):
    front = serve(make_gateway(server={"trusted_proxies": ["10.0.0.0/8", "127.0.0.1"]}))
    for peer in ("10.1.2.3", "127.0.0.1"):
        behind = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": "203.0.113.9, 10.9.9.9"}
        assert login(front, "ann", **behind, HTTP_X_FORWARDED_PROTO="https").get("me").status_code == 200
        problem(login(front, "ann", **behind, HTTP_X_FORWARDED_PROTO="http").get("me"), 403, "insecure_transport")
        problem(login(front, "ann", **behind).get("me"), 403, "insecure_transport")
    spoofed = {"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_FOR": "127.0.0.1"}
    problem(login(front, "ann", **spoofed).get("me"), 403, "insecure_transport")


def test_an_operator_may_allow_plain_http(make_gateway, serve, login):
    front = serve(make_gateway(server={"insecure_http": True}))
    assert login(front, "ann", **REMOTE).get("me").status_code == 200


# --- others' jobs


VERBS = ("cancel", "hold", "release", "requeue", "clone")
PARTS = ("events", "tasks", "attempts", "script", "stdout", "stderr", "stdout?follow=1", "files", "files/a")


def test_anothers_job_is_not_there(ann, bob):
    job = ann.submit()
    here, missing = f"jobs/{job['id']}", f"jobs/{job['id'] + 1}"
    ways = [("GET", ""), ("DELETE", ""), *(("POST", f"/{verb}") for verb in VERBS), *(("GET", f"/{p}") for p in PARTS)]
    for method, path in ways:
        told = problem(bob(method, here + path), 404, "not_found")
        as_if = problem(bob(method, missing + path), 404, "not_found")
        assert told["detail"].replace(str(job["id"]), "N") == as_if["detail"].replace(str(job["id"] + 1), "N")
    assert ann.get(here).json["revision"] == job["revision"]


def test_anothers_job_is_not_in_lists_events_or_bulk_cancels(ann, bob, root):
    job = ann.submit(script=SCRIPT)
    assert bob.get("jobs").json["items"] == []
    assert bob.get("jobs?owner=ann").json["items"] == []
    assert bob.get("events?after=0").json["items"] == []
    problem(bob.get(f"events?after=0&job={job['id']}"), 404, "not_found")
    problem(bob.post("jobs/cancel", {"ids": [job["id"]]}), 404, "not_found")
    assert bob.post("jobs/cancel", {"filter": {"active": True}}).json["count"] == 0
    assert [item["id"] for item in root.get("jobs?owner=ann").json["items"]] == [job["id"]]
    assert ADMIN.name != "ann"


# --- tokens that others can check


@pytest.fixture
def public(make_gateway, serve):
    return serve(make_gateway(auth={"token_algorithm": "EdDSA"}))


def test_others_can_check_a_token_and_cannot_make_one(public, login):
    older = login(public, "ann")  # signed with the secret, before the change
    made = older.post("tokens", {}).json["token"]
    jwk = Api(public, None).get("keys").json["keys"][0]
    head = jwt.get_unverified_header(made)
    assert (head["alg"], head["kid"]) == ("EdDSA", jwk["kid"])
    claims = jwt.decode(made, jwt.PyJWK.from_dict(jwk), algorithms=["EdDSA"], audience="hpcgate")
    assert claims["sub"] == "ann"
    assert Api(public, made).get("me").json["name"] == "ann"
    raw = urlsafe_b64decode(jwk["x"] + "=")
    pem = jwt.PyJWK.from_dict(jwk).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = {
        f"HS256 by the public key ({kid})": hs256(claims, key, kid)
        for key in (raw, pem, jwk["x"].encode())
        for kid in (jwk["kid"], jwk["kid"].removesuffix(".ed"))
    }
    forged["alg none"] = jwt.encode(claims, None, algorithm="none", headers={"kid": jwk["kid"]})
    forged["another key"] = jwt.encode(
        claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": jwk["kid"]}
    )
    for name, token in forged.items():
        assert Api(public, token).get("me").status_code == 401, name


def hs256(claims, key, kid):
    """By hand: the library does not sign with what is a public key."""
    head = {"alg": "HS256", "typ": "JWT", "kid": kid}
    parts = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims))
    signature = urlsafe_b64encode(hmac.digest(key, parts, "sha256")).rstrip(b"=")
    return (parts + b"." + signature).decode()


def test_it_is_believed_only_where_it_is_configured(public, front, login):
    made = login(public, "ann").post("tokens", {}).json["token"]
    problem(Api(front, made).get("me"), 401, "unauthenticated")
    assert Api(front, None).get("keys").json == {"keys": []}


def test_the_token_of_a_removed_user_is_worth_nothing(ann, root):
    root.delete("users/ann")
    problem(ann.get("me"), 401, "unauthenticated")
