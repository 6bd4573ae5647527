"""Every verb of the API as every role, on what is one's own and on what is another's.

The table is written by hand and says what the documentation promises. Statuses are exact: an answer that is refused
for another reason than it should be is wrong as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from server.apitools import ADMIN, SCRIPT, Api, exchange_form, token_for
from support import eventually

from hpcgate.config import config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.allocation import Grant, Project, Share
from hpcgate.model.files import JobFolder
from hpcgate.model.principal import Principal, Role
from hpcgate.model.record import Record
from hpcgate.model.spec import ArraySpec, JobSpec
from hpcgate.model.state import JobState
from hpcgate.model.webhook import Delivery, DeliveryState, Webhook
from hpcgate.server import create_app
from hpcgate.service.admission import JobRequest
from hpcgate.service.webhook_keys import new_keys
from hpcgate.testing.fakes import FakeScheduler

ROLES = tuple(Role(name) for name in ("admin", "manager", "support", "user", "api", "delegate"))
WHOSE = ("own", "other's")

# What is asked of a job: its state before, the request, and the answers.
#                                                     own:ad  man sup use api del  others':ad  man sup use api del
JOBS = {
    "see":         ("QUEUED",  "GET    jobs/{id}",              "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "its events":  ("QUEUED",  "GET    jobs/{id}/events",       "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "poll events": ("QUEUED",  "GET events?after=0&job={id}",  "200 200 200 200 200 403", "200 200 200 404 404 403"),
    "tasks":       ("QUEUED",  "GET    jobs/{id}/tasks",        "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "attempts":    ("QUEUED",  "GET    jobs/{id}/attempts",     "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "why":         ("QUEUED",  "GET    jobs/{id}/explanation",  "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "script":      ("QUEUED",  "GET    jobs/{id}/script",       "200 200 200 200 200 404", "200 403 200 404 404 404"),
    "stdout":      ("RUNNING", "GET    jobs/{id}/stdout",       "200 200 200 200 200 404", "200 403 200 404 404 404"),
    "stderr":      ("RUNNING", "GET    jobs/{id}/stderr",       "200 200 200 200 200 404", "200 403 200 404 404 404"),
    "files":       ("RUNNING", "GET    jobs/{id}/files",        "200 200 200 200 200 404", "200 403 200 404 404 404"),
    "file":        ("RUNNING", "GET    jobs/{id}/files/result", "200 200 200 200 200 404", "200 403 200 404 404 404"),
    "zip":         ("RUNNING", "GET jobs/{id}/files?archive=zip", "200 200 200 200 200 404", "200 403 200 404 404 404"),
    "put file":    ("RUNNING", "PUT    jobs/{id}/files/result", "200 200 200 200 200 404", "200 403 403 404 404 404"),
    "remove file": ("RUNNING", "DELETE jobs/{id}/files/result", "204 204 204 204 204 404", "204 403 403 404 404 404"),
    "cancel":      ("QUEUED",  "POST   jobs/{id}/cancel",       "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "cancel many": ("QUEUED",  "POST   jobs/cancel {ids}",      "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "cancel tasks": ("ARRAY",  "POST   jobs/{id}/cancel {tasks}", "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "retry":       ("ENDED ARRAY", "POST jobs/{id}/retry",      "200 200 403 200 200 404", "200 403 403 404 404 404"),
    "hold":        ("QUEUED",  "POST   jobs/{id}/hold",         "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "release":     ("HELD",    "POST   jobs/{id}/release",      "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "requeue":     ("RUNNING", "POST   jobs/{id}/requeue",      "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "signal":      ("RUNNING", "POST jobs/{id}/signal {signal}", "200 200 200 200 200 404", "200 200 403 404 404 404"),
    "clone":       ("QUEUED",  "POST   jobs/{id}/clone",        "201 201 403 201 201 404", "201 403 403 404 404 404"),
    "delete":      ("COMPLETED", "DELETE jobs/{id}",            "204 204 204 204 204 404", "204 403 403 404 404 404"),
}  # fmt: skip

# What is asked of nobody's in particular.
#                                                       ad  man sup use api del
ANYWAY = {
    "submit":       ("POST jobs {job}",                "201 201 403 201 201 403"),
    "submit bulk":  ("POST jobs/bulk {jobs}",          "200 200 403 200 200 403"),
    "validate":     ("POST jobs/validate {job}",       "200 200 403 200 200 403"),
    "list jobs":    ("GET jobs",                       "200 200 200 200 200 403"),
    "cancel where": ("POST jobs/cancel {none}",        "200 200 200 200 200 403"),
    "events":       ("GET events?after=0",             "200 200 200 200 200 403"),
    "stream":       ("GET events",                     "200 200 200 200 200 403"),
    "sites":        ("GET sites",                      "200 200 200 200 200 403"),
    "site":         ("GET sites/fake",                 "200 200 200 200 200 403"),
    "queues":       ("GET sites/fake/queues",          "200 200 200 200 200 403"),
    "nodes":        ("GET sites/fake/nodes",           "200 200 200 200 200 403"),
    "check":        ("GET sites/fake/check",           "200 200 200 403 403 403"),
    "drain":        ("POST sites/else/drain {reason}", "200 403 403 403 403 403"),
    "resume":       ("POST sites/else/resume",         "200 403 403 403 403 403"),
    "plugins":      ("GET plugins",                    "200 200 200 200 200 200"),
    "me":           ("GET me",                         "200 200 200 200 200 200"),
    "keys":         ("GET keys",                       "200 200 200 200 200 200"),
    "groups":       ("GET groups",                     "200 200 200 200 200 200"),
    "a group":      ("GET groups/some",                "200 200 200 404 404 404"),
    "users":        ("GET users",                      "200 403 403 403 403 403"),
    "projects":     ("GET projects",                   "200 200 200 200 200 403"),
    "add project":  ("POST projects {project}",        "201 201 403 403 403 403"),
    "shares":       ("GET shares",                     "200 200 200 200 200 403"),
    "add share":    ("POST shares {share}",            "201 201 403 403 403 403"),
    "add user":     ("POST users {user}",              "201 403 403 403 403 403"),
    "all tokens":   ("GET tokens?user=*",              "200 403 403 403 403 403"),
    "all hooks":    ("GET webhooks?user=*",            "200 403 403 403 403 403"),
    "own hooks":    ("GET webhooks",                   "200 200 200 200 200 403"),
    "add hook":     ("POST webhooks {hook}",           "201 201 201 201 201 403"),
    "callback key": ("POST webhooks/callbacks/secret", "200 200 200 200 200 403"),
    "records":      ("GET records",                    "200 200 200 200 200 403"),
    "old records":  ("DELETE records?before=0",        "200 403 403 403 200 403"),
    "no such key":  ("DELETE webhooks/callbacks/secret", "204 204 204 204 204 403"),
}  # fmt: skip

# What is asked of users and their tokens.
#                                                         own: ad  man sup use api del  others':ad  man sup use api del
PEOPLE = {
    "user":         ("GET    users/{name}",                   "200 200 200 200 200 200", "200 403 403 403 403 403"),
    "password":     ("PATCH  users/{name} {password}",        "200 200 200 200 200 200", "200 403 403 403 403 403"),
    "e-mail":       ("PATCH  users/{name} {email}",           "200 403 403 403 403 403", "200 403 403 403 403 403"),
    "roles":        ("PATCH  users/{name} {roles}",           "200 403 403 403 403 403", "200 403 403 403 403 403"),
    "lock":         ("PATCH  users/{name} {locked}",          "403 403 403 403 403 403", "200 403 403 403 403 403"),
    "remove":       ("DELETE users/{name}",                   "403 403 403 403 403 403", "204 403 403 403 403 403"),
    "act for":      ("POST   tokens/exchange {exchange}",     "403 403 403 403 403 403", "403 403 403 403 403 200"),
    "tokens":       ("GET    tokens?user={name}",             "200 200 200 200 200 200", "200 403 403 403 403 403"),
    "make token":   ("POST   tokens {for}",                   "201 201 201 201 201 201", "201 403 403 403 403 403"),
    "revoke token": ("DELETE tokens/{token}",                 "204 204 204 204 204 204", "204 404 404 404 404 404"),
}  # fmt: skip

# What is asked of projects and shares: of one of which one is a member, and of another.
#                                                         own: ad  man sup use api del  others':ad  man sup use api del
ALLOCATIONS = {
    "project":        ("GET    projects/{one}",               "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "change project": ("PATCH  projects/{one} {hours}",       "200 200 403 403 403 404", "200 200 403 404 404 404"),
    "members":        ("GET    projects/{one}/members",       "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "my part":        ("GET    projects/{one}/members/{me}",  "200 200 200 200 200 404", "404 404 404 404 404 404"),
    "another's part": ("GET    projects/{one}/members/{you}", "200 200 200 404 404 404", "200 200 200 404 404 404"),
    "grant":         ("PUT projects/{one}/members/{you} {hours}", "200 200 403 403 403 404", "200 200 403 404 404 404"),
    "take away":      ("DELETE projects/{one}/members/{you}", "204 204 403 403 403 404", "204 204 403 404 404 404"),
    "remove project": ("DELETE projects/{one}",               "204 204 403 403 403 404", "204 204 403 404 404 404"),
    "submit for it":  ("POST   jobs {job of project}",        "201 201 403 201 201 403", "201 403 403 422 422 403"),
    "share":          ("GET    shares/{one}",                 "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "change share":   ("PATCH  shares/{one} {queue}",         "200 200 403 403 403 404", "200 200 403 404 404 404"),
    "its members":    ("GET    shares/{one}/members",         "200 200 200 200 200 404", "200 200 200 404 404 404"),
    "am I there":     ("GET    shares/{one}/members/{me}",    "200 200 200 200 200 404", "404 404 404 404 404 404"),
    "is she there":   ("GET    shares/{one}/members/{you}",   "200 200 200 404 404 404", "200 200 200 404 404 404"),
    "let in":         ("PUT    shares/{one}/members/{you}",   "200 200 403 403 403 404", "200 200 403 404 404 404"),
    "keep out":       ("DELETE shares/{one}/members/{you}",   "204 204 403 403 403 404", "204 204 403 404 404 404"),
    "remove share":   ("DELETE shares/{one}",                 "204 204 403 403 403 404", "204 204 403 404 404 404"),
    "submit there":   ("POST   jobs {job of share}",          "201 201 403 201 201 403", "201 403 403 422 422 403"),
}  # fmt: skip

# What is asked of webhooks.
#                                                        own: ad  man sup use api del  others':ad  man sup use api del
HOOKS = {
    "hooks":       ("GET webhooks?user={name}",               "200 200 200 200 200 403", "200 403 403 403 403 403"),
    "hook":        ("GET webhooks/{hook}",                    "200 200 200 200 200 403", "200 404 404 404 404 403"),
    "change hook": ("PATCH webhooks/{hook} {hook}",           "200 200 200 200 200 403", "200 404 404 404 404 403"),
    "new key":     ("POST webhooks/{hook}/secret",            "200 200 200 200 200 403", "403 404 404 404 404 403"),
    "ping":        ("POST webhooks/{hook}/ping",              "202 202 202 202 202 403", "202 404 404 404 404 403"),
    "deliveries":  ("GET webhooks/{hook}/deliveries",         "200 200 200 200 200 403", "200 404 404 404 404 403"),
    "send again":  ("POST webhooks/{hook}/deliveries/{sent}/redeliver",
                                                              "202 202 202 202 202 403", "202 404 404 404 404 403"),
    "send all":    ("POST webhooks/{hook}/redeliver",         "202 202 202 202 202 403", "202 404 404 404 404 403"),
    "remove hook": ("DELETE webhooks/{hook}",                 "204 204 204 204 204 403", "204 404 404 404 404 403"),
}  # fmt: skip

# What is asked of records; a manager sees those of its projects, which these are not of.
#                                                        own: ad  man sup use api del  others':ad  man sup use api del
RECORDS = {
    "record":      ("GET records/{record}",                   "200 200 200 200 200 403", "200 404 200 404 200 403"),
    "tag":         ("POST records/{record}/tags {tag}",       "200 200 200 200 200 403", "200 404 403 404 200 403"),
    "untag":       ("DELETE records/{record}/tags {tag}",     "200 200 200 200 200 403", "200 404 403 404 200 403"),
    "gone record": ("DELETE records/{record}",                "204 403 403 403 204 403", "204 403 403 403 204 403"),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A gateway with somebody of every role."""

    gateway: Gateway
    people: dict[Role, Api]
    jobs: dict[tuple[str, Role, str], int]

    def ask(self, role: Role, request: str, **values: Any) -> int:
        method, path, *body = request.split(maxsplit=2)
        bodies: dict[str, Any] = {
            "{ids}": {"ids": [values.get("id")]},
            "{signal}": {"signal": "USR1"},
            "{tasks}": {"indices": [1]},
            "{reason}": {"reason": "maintenance"},
            "{job}": {"script": SCRIPT, "site": "fake"},
            "{jobs}": {"jobs": [{"script": SCRIPT, "site": "fake"}]},
            "{none}": {"filter": {"name": "nothing-is-called-so"}},
            "{user}": {"name": f"new-{role}"},
            "{password}": {"password": "a new password"},
            "{roles}": {"roles": [role]},
            "{locked}": {"locked": True},
            "{email}": {"email": "somebody@example.org"},
            "{hook}": {"url": "https://example.org/hook"},
            "{for}": {"user": values.get("name")},
            "{project}": {"name": f"new-{role}", "site": "fake"},
            "{share}": {"name": f"new-{role}", "site": "fake"},
            "{tag}": {"tags": [{"type": "t", "name": "x"}]},
            "{hours}": {"hours": 2},
            "{queue}": {"queue": "other"},
            "{job of project}": {"script": SCRIPT, "project": values.get("one"), "resources": {"walltime_s": 60}},
            "{job of share}": {"script": SCRIPT, "share": values.get("one")},
        }
        if body == ["{exchange}"]:
            return self.people[role](method, path, data=exchange_form(values["name"])).status_code
        wanted = bodies[body[0]] if body else None
        response = self.people[role](method, path.format(**values), wanted, buffered=path != "events")
        response.close()
        return response.status_code


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("matrix") / "home"
    poll = {"min_s": 0.01, "max_s": 0.05, "spool_s": 0.01}
    site = {"scheduler": "fake", "identity": {"shared_account": True}, "poll": poll}
    sites = {"fake": site, "else": site}
    fake = FakeScheduler()
    with open_gateway(
        config_from({"sites": sites, "groups": {"some": {"members": ["somebody"]}}}, home=home),
        plugins=[("fake", fake)],
    ) as gateway:
        front = create_app(gateway)
        people = {role: Api(front, token_for(gateway, f"the-{role}", role)) for role in ROLES}
        yield World(gateway, people, _jobs(gateway, fake))
        front.stop()


_STATES = {"ARRAY": JobState.RUNNING, "ENDED ARRAY": JobState.FAILED}


def _jobs(gateway: Gateway, fake: FakeScheduler) -> dict[tuple[str, Role, str], int]:
    """A job in the right state for each question."""
    cells = list(product(JOBS, ROLES, WHOSE))
    made: dict[tuple[str, Role, str], int] = {}
    for cell in cells:
        verb, role, whose = cell
        owner = Principal(name=f"the-{role}" if whose == "own" else "somebody")
        wanted = JOBS[verb][0]
        array = ArraySpec(start=1, stop=2) if "ARRAY" in wanted else None
        job = gateway.jobs.submit(owner, JobRequest(spec=JobSpec(script=SCRIPT, array=array), site="fake")).job
        made[cell] = job.id
        fake.set_state(job, _STATES.get(wanted) or JobState(wanted))
        work = Path(JobFolder(job.folder).work)
        work.mkdir(parents=True, exist_ok=True)
        (work / "result").write_text("done")
    worker = gateway.worker()

    def all_there() -> bool:
        worker.step()
        states = {cell: gateway.jobs.get(ADMIN, made[cell]).state for cell in cells}
        return all(state == _STATES.get(JOBS[cell[0]][0], JOBS[cell[0]][0]) for cell, state in states.items())

    eventually(all_there)
    worker.close()
    return made


def cells(answers: Sequence[str]) -> Iterator[tuple[Role, str, int]]:
    """Every role, with what is its own and what is another's, and the answer that it must get."""
    for whose, line in zip(WHOSE, answers, strict=False):
        for role, expected in zip(ROLES, line.split(), strict=True):
            yield role, whose, int(expected)


@pytest.mark.parametrize("verb", JOBS)
def test_jobs(world: World, verb: str) -> None:
    _, request, *answers = JOBS[verb]
    for role, whose, expected in cells(answers):
        answer = world.ask(role, request, id=world.jobs[verb, role, whose])
        assert (role, whose, answer) == (role, whose, expected)


@pytest.mark.parametrize("verb", ANYWAY)
def test_what_is_nobodys(world: World, verb: str) -> None:
    request, answers = ANYWAY[verb]
    for role, _, expected in cells([answers]):
        if verb == "resume":
            world.gateway.site_service.drain(ADMIN, "else", "maintenance")
        assert (role, world.ask(role, request)) == (role, expected)


@pytest.mark.parametrize("verb", PEOPLE)
def test_users_and_tokens(world: World, verb: str) -> None:
    request, *answers = PEOPLE[verb]
    for role, whose, expected in cells(answers):
        name = f"the-{role}"
        if whose == "other's":
            name = f"other-{verb.replace(' ', '-')}-{role}"
            world.gateway.identities.add_user(ADMIN, name)
        _, token = world.gateway.identities.create_token(ADMIN, name)
        assert (role, whose, world.ask(role, request, name=name, token=token.id)) == (role, whose, expected)


@pytest.mark.parametrize("verb", ALLOCATIONS)
def test_projects_and_shares(world: World, verb: str) -> None:
    request, *answers = ALLOCATIONS[verb]
    for role, whose, expected in cells(answers):
        assert (role, whose, _ask_of_an_allocation(world, verb, role, whose, request)) == (role, whose, expected)


def _ask_of_an_allocation(world: World, verb: str, role: Role, whose: str, request: str) -> int:
    me, one = f"the-{role}", f"{verb}-{role}-{whose}".translate({ord(" "): "-", ord("'"): ""})
    gateway = world.gateway
    gateway.projects.create(ADMIN, Project(name=one, site="fake"))
    gateway.shares.create(ADMIN, Share(name=one, site="fake", open=False))
    for member in ("somebody", *([me] if whose == "own" else [])):
        gateway.projects.put_member(ADMIN, one, member, Grant())
        gateway.shares.put_member(ADMIN, one, member, Grant())
    return world.ask(role, request, one=one, me=me, you="somebody")


@pytest.mark.parametrize("verb", HOOKS)
def test_webhooks(world: World, verb: str) -> None:
    request, *answers = HOOKS[verb]
    for role, whose, expected in cells(answers):
        assert (role, whose, _ask_of_a_webhook(world, verb, role, whose, request)) == (role, whose, expected)


def _ask_of_a_webhook(world: World, verb: str, role: Role, whose: str, request: str) -> int:
    name = f"the-{role}" if whose == "own" else "somebody"
    hook = Webhook(id=f"whk_{verb}-{role}-{whose}".replace(" ", "-"), owner=name, url="https://a.org/", created_at=0.0)
    world.gateway.store.webhooks.add(hook, new_keys())
    sent = Delivery(
        id=f"msg_{hook.id}", webhook_id=hook.id, type="webhook.ping", body="{}", created_at=0.0, due_at=0.0,
        give_up_at=0.0, state=DeliveryState.DEAD, ended_at=0.0,
    )  # fmt: skip
    world.gateway.store.deliveries.add([sent])
    return world.ask(role, request, name=name, hook=hook.id, sent=sent.id)


@pytest.mark.parametrize(("verb", "role", "whose"), list(product(RECORDS, ROLES, WHOSE)))
def test_records(world: World, verb: str, role: Role, whose: str) -> None:
    request, *answers = RECORDS[verb]
    expected = int(answers[WHOSE.index(whose)].split()[ROLES.index(role)])
    user = f"the-{role}" if whose == "own" else "somebody"
    (record,) = world.gateway.store.records.insert([Record(number=1, user=user, cluster="c", started_at=1000)])
    assert world.ask(role, request, record=record.id) == expected


def test_every_role_and_every_route_stands_in_the_table(world: World) -> None:
    """A route that is added needs a line here."""
    assert set(ROLES) == set(Role)
    asked = {_shape(request) for _, request, *_ in JOBS.values()}
    for table in (ANYWAY, PEOPLE, ALLOCATIONS, HOOKS, RECORDS):
        asked |= {_shape(request) for request, *_ in table.values()}
    document = world.people[Role.USER].get("openapi.json").json
    routes = {
        _shape(f"{method.upper()} {path.removeprefix('/api/v1/')}")
        for path, methods in document["paths"].items()
        if path.startswith("/api/v1/")
        for method in methods
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert routes <= asked


def _shape(request: str) -> tuple[str, str]:
    method, path, *_ = request.split()
    steps = (
        path.split("?")[0]
        .replace("/fake", "/{name}")
        .replace("/else", "/{name}")
        .replace("/some", "/{name}")
        .replace("/result", "/{path}")
        .split("/")
    )
    return method, "/".join("{}" if step.startswith("{") else step for step in steps)


def test_a_list_holds_what_one_may_see(world: World) -> None:
    def owners(role: Role) -> set[str]:
        return {job["owner"] for job in world.people[role].get("jobs?limit=500").json["items"]}

    for role in (Role.ADMIN, Role.MANAGER, Role.SUPPORT):
        assert {"somebody", "the-user", "the-api"} <= owners(role)
    for role in (Role.USER, Role.API):
        assert owners(role) == {f"the-{role}"}


def test_a_cancel_by_filter_is_held_to_what_one_may_control(world: World) -> None:
    gateway = world.gateway
    for role, ends in ((Role.SUPPORT, False), (Role.USER, False), (Role.MANAGER, True)):
        spec = replace(JobSpec(script=SCRIPT), name=f"for-{role}")
        job = gateway.jobs.submit(Principal(name="somebody"), JobRequest(spec=spec, site="fake")).job
        answer = world.people[role].post("jobs/cancel", {"filter": {"name": spec.name}})
        assert answer.json["count"] == int(ends)
        assert (gateway.jobs.get(ADMIN, job.id).canceling or gateway.jobs.get(ADMIN, job.id).state.final) is ends
