"""A client acts for a user."""

from __future__ import annotations

import jwt
import pytest
from server.apitools import ADMIN, Api, exchange_form, fields, problem, token_for

from hpcgate.model.principal import Role

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@pytest.fixture
def portal(gateway, front):
    return Api(front, token_for(gateway, "portal", Role.DELEGATE))


@pytest.fixture
def for_ann(front, portal):
    """The portal in ann's place."""
    return Api(front, portal.post("tokens/exchange", data=exchange_form("ann")).json["access_token"])


def test_the_answer_and_the_token_are_those_of_the_rfc(portal, ann):
    made = portal.post("tokens/exchange", data=exchange_form("ann"))
    assert made.status_code == 200
    assert made.headers["Cache-Control"] == "no-store"
    told = dict(made.json)
    token = told.pop("access_token")
    assert told == {"issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600, "scope": "user"}
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["act"]) == ("ann", {"sub": "portal"})
    assert claims["exp"] - claims["iat"] == 3600
    assert {"portal"} <= {item["delegate"] for item in ann.get("tokens").json["items"]}


def test_both_names_stand_in_every_event_and_in_the_log(for_ann, ann, caplog):
    caplog.set_level("INFO", logger="hpcgate.access")
    job = for_ann.submit()
    assert job["owner"] == "ann"
    for_ann.post(f"jobs/{job['id']}/hold")
    for_ann.post(f"jobs/{job['id']}/cancel")
    told = [event for event in ann.get(f"jobs/{job['id']}/events").json["items"] if event["actor"] is not None]
    assert {"job.created", "job.requested", "job.canceling"} <= {event["type"] for event in told}
    assert {event["actor"] for event in told} == {"ann by portal"}
    assert "'ann by portal' POST '/api/v1/jobs'" in caplog.text


def test_a_client_in_a_users_place_gets_no_further(for_ann, ann):
    mine = ann.get("me").json["token_id"]
    for method, path, body in (
        ("POST", "tokens", {}),
        ("PATCH", "users/ann", {"password": "one that the client knows"}),
        ("DELETE", f"tokens/{mine}", None),
    ):
        problem(for_ann(method, path, body), 403, "forbidden")
    problem(for_ann.post("tokens/exchange", data=exchange_form("bob")), 403, "forbidden")
    own = for_ann.get("me").json
    assert (own["name"], own["delegate"], own["roles"]) == ("ann", "portal", ["user"])
    assert for_ann.delete(f"tokens/{own['token_id']}").status_code == 204
    problem(for_ann.get("me"), 401, "unauthenticated")


def test_an_admins_rights_are_not_to_be_had(portal, front, gateway):
    token = portal.post("tokens/exchange", data=exchange_form("root")).json["access_token"]
    assert Api(front, token).get("me").json["roles"] == ["user"]
    problem(Api(front, token).get("users"), 403, "forbidden")
    gateway.identities.add_user(ADMIN, "boss", roles=[Role.ADMIN])
    problem(portal.post("tokens/exchange", data=exchange_form("boss")), 403, "forbidden")


def test_a_token_of_the_user_names_her_as_well(portal, ann, for_ann):
    kind = {"subject_token_type": ACCESS_TOKEN}
    assert portal.post("tokens/exchange", data=exchange_form(ann._token, **kind)).status_code == 200
    for wrong in ("no token", for_ann._token):
        told = problem(portal.post("tokens/exchange", data=exchange_form(wrong, **kind)), 422, "invalid_spec")
        assert fields(told).keys() == {"subject_token"}
        assert wrong not in told["detail"]


@pytest.mark.parametrize("end", ["lock", "demote", "remove", "lock ann", "remove ann"])
def test_it_ends_with_the_client_and_with_the_user(for_ann, root, end):
    assert for_ann.get("me").status_code == 200
    name = "ann" if end.endswith("ann") else "portal"
    if end.startswith("remove"):
        assert root.delete(f"users/{name}").status_code == 204
    else:
        change = {"roles": ["user"]} if end == "demote" else {"locked": True}
        assert root("PATCH", f"users/{name}", change).status_code == 200
    problem(for_ann.get("me"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"grant_type": "password"}, "grant_type"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "subject_token_type"),
        ({"scope": "user admin"}, "scope"),
        ({"actor_token": "x"}, "actor_token"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "requested_token_type"),
    ],
)
def test_what_is_wrong_is_told_by_field(portal, changes, field):
    told = problem(portal.post("tokens/exchange", data=exchange_form("ann", **changes)), 422, "invalid_spec")
    assert fields(told).keys() == {field}


def test_for_whom_nobody_is_there(portal, root):
    problem(portal.post("tokens/exchange", data=exchange_form("nobody")), 404, "not_found")
    root("PATCH", "users/bob", {"locked": True})
    problem(portal.post("tokens/exchange", data=exchange_form("bob")), 403, "forbidden")
