"""Throttled logins, locked users, e-mail and groups."""

from __future__ import annotations

import pytest
from server.apitools import ADMIN, Api, fields, problem

from hpcgate.config import config_from
from hpcgate.errors import ConfigError
from hpcgate.gateway import open_gateway

GOOD = {"username": "carl", "password": "correct horse"}
BAD = {"username": "carl", "password": "wrong"}
FEW = {"login_tries": 3, "login_tries_per_address": 8, "login_window_s": 3600}


@pytest.fixture
def guess(make_gateway, serve):
    """Logs in at either of two processes on one database."""
    fronts = [serve(make_gateway(auth=FEW, server={"insecure_http": True})) for _ in range(2)]
    fronts[0].serving.gateway.identities.add_user(ADMIN, "carl", password="correct horse")

    def guess(body, address="192.0.2.1", process=0):
        return Api(fronts[process], None, REMOTE_ADDR=address).post("tokens", body)

    return guess


def test_who_guesses_a_password_has_to_wait_whichever_process_hears_it(guess):
    for number in range(3):
        problem(guess(BAD, f"192.0.2.{number}", number % 2), 401, "unauthenticated")
    for process in (0, 1):
        refused = guess(GOOD, "192.0.2.9", process)
        problem(refused, 429, "too_many_tries")
        assert 3590 < int(refused.headers["Retry-After"]) <= 3600


def test_a_good_login_begins_again_at_none(guess):
    assert [guess(body).status_code for body in (BAD, BAD, GOOD, BAD, BAD, GOOD)] == [401, 401, 201] * 2


def test_an_unknown_user_is_throttled_like_a_known_one(guess):
    nobody = {"username": "nobody", "password": "x"}
    assert [guess(nobody).status_code for _ in range(5)] == [401, 401, 401, 429, 429]


@pytest.mark.parametrize("addresses", [["192.0.2.1"] * 9, [f"2001:db8::{n:x}" for n in range(9)]])
def test_an_address_that_tries_many_names_has_to_wait(guess, addresses):
    answers = [guess({"username": f"u{n}", "password": "x"}, at).status_code for n, at in enumerate(addresses)]
    assert answers == [401] * 8 + [429]
    assert guess(GOOD, "198.51.100.1").status_code == 201
    assert guess(GOOD, "2001:db8:0:1::1").status_code == 201


def test_tries_are_forgotten_when_their_window_is_over(make_gateway):
    logins = make_gateway().store.logins
    assert [logins.count("a", 60, now)[0] for now in (1000, 1030, 1059.9, 1060)] == [1, 2, 3, 1]
    assert logins.count("a", 60, 1061) == (2, 1120)
    assert logins.count("a", 60, 500)[0] == 1, "of a clock that was set back since"
    logins.count("b", 60, 5000)
    assert logins.count("a", 60, 5001)[0] == 1, "no rows are left of what is over"


def test_a_locked_user_is_let_in_again(ann, root):
    assert root("PATCH", "users/ann", {"locked": True}).json["locked"] is True
    problem(ann.get("me"), 401, "unauthenticated")
    assert root("PATCH", "users/ann", {"locked": False}).json["locked"] is False
    assert ann.get("me").status_code == 200


def test_an_admin_sets_where_mail_goes(ann, root):
    assert root("PATCH", "users/ann", {"email": "ann@example.org"}).json["email"] == "ann@example.org"
    assert ann.get("users/ann").json["email"] == "ann@example.org"
    assert root("PATCH", "users/ann", {"email": None}).json["email"] is None
    assert root.post("users", {"name": "carl", "email": "carl@example.org"}).json["email"] == "carl@example.org"


@pytest.mark.parametrize(
    "email", ["ann", "a b@example.org", "ann@example.org\n", "a@b\nBcc: all@example.org", "<a@b.c>", "a" * 300 + "@b.c"]
)
def test_what_is_no_address_is_refused(refused_admin, email):
    body = {"name": "carl", "email": email}
    assert fields(problem(refused_admin.post("users", body), 422, "invalid_spec")).keys() == {"email"}


def test_a_group_gives_its_members_roles_and_they_see_it(make_gateway, serve, login):
    groups = {"desk": {"members": ["ann"], "roles": ["support"]}, "lab": {"members": ["ann", "bob"]}}
    gateway = make_gateway(groups=groups)
    front = serve(gateway)
    job = login(front, "bob").submit()
    old = login(front, "ann")
    assert old.get("me").json["groups"] == ["desk", "lab"]
    assert old.get("me").json["roles"] == ["user"], "a token that was made with less has no more now"
    token, _ = gateway.identities.create_token(ADMIN, "ann")
    ann = Api(front, token)
    assert ann.get("me").json["roles"] == ["support", "user"]
    assert ann.get(f"jobs/{job['id']}").status_code == 200
    assert [group["name"] for group in ann.get("groups").json["items"]] == ["desk", "lab"]
    assert [group["name"] for group in login(front, "bob").get("groups").json["items"]] == ["lab"]
    assert ann.get("users/ann").json["groups"] == ["desk", "lab"]


def test_who_leaves_a_group_loses_its_roles(make_gateway, serve):
    gateway = make_gateway(groups={"desk": {"members": ["ann"], "roles": ["support"]}})
    token, _ = gateway.identities.create_token(ADMIN, "ann")
    assert Api(serve(make_gateway()), token).get("me").json["roles"] == ["user"]


def test_a_group_with_an_unknown_role_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\[groups\.desk\] roles: 'suport' is no role; did you mean 'support'"):
        open_gateway(config_from({"groups": {"desk": {"roles": ["suport"]}}}, home=tmp_path))
