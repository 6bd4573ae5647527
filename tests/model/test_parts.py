"""The small models: principals, sites, folders, errors."""

from __future__ import annotations

import pytest

from hpcgate.errors import FieldError, HpcgateError, InvalidSpec, SiteError, TransportError, nearest
from hpcgate.model.files import JobFolder
from hpcgate.model.principal import Principal, Role
from hpcgate.model.scheduler import Check, Probe
from hpcgate.model.site import PollTable, SiteHealth


def test_a_principal_has_any_of_the_roles_asked_for():
    principal = Principal(name="ada", roles=frozenset({Role.USER, Role.SUPPORT}))
    assert principal.has(Role.ADMIN, Role.SUPPORT)
    assert not principal.has(Role.ADMIN)
    assert not principal.has()


def test_the_parts_of_a_job_folder_lie_below_it():
    folder = JobFolder.of("/work/root", "KEY")
    parts = [folder.work, folder.script, folder.secrets, folder.claim, folder.stdout(), folder.stdout(3)]
    parts += [
        folder.stderr(),
        folder.stderr(0),
        folder.started(1),
        folder.started(1, 2),
        folder.exit(1),
        folder.exit(1, 2),
    ]
    assert all(part.startswith("/work/root/KEY/") for part in parts)
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize(
    ("polled_at", "failed_at", "stale"),
    [
        (None, None, False),  # never asked: nothing is old
        (100.0, None, False),  # answered last
        (189.0, 195.0, False),  # failed, but what is known is fresh
        (177.0, 195.0, True),  # failed, and the last answer is older than the poll table promises
        (None, 195.0, True),  # never answered
    ],
)
def test_a_site_is_stale_when_it_failed_and_its_last_answer_is_old(polled_at, failed_at, stale):
    assert SiteHealth(site="a", polled_at=polled_at, failed_at=failed_at).stale(200.0, PollTable(max_s=10.0)) is stale


def test_a_probe_is_good_when_every_check_is():
    good, bad = Check(name="a", ok=True, detail=""), Check(name="b", ok=False, detail="no")
    assert Probe(checks=(good, good)).ok
    assert not Probe(checks=(good, bad)).ok


def all_errors(kind: type[HpcgateError] = HpcgateError) -> list[type[HpcgateError]]:
    return [kind, *(error for each in kind.__subclasses__() for error in all_errors(each))]


def test_every_error_has_a_code_of_its_own():
    kinds = [kind for kind in all_errors() if kind.__module__ == "hpcgate.errors"]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").islower() for code in codes)
    assert all(kind.__doc__ for kind in kinds)


def test_an_invalid_spec_says_every_field():
    error = InvalidSpec([FieldError("a", "is bad"), FieldError("b.c", "is worse")])
    assert str(error) == "a: is bad; b.c: is worse"


def test_a_site_error_says_whether_the_same_call_may_work_later():
    assert SiteError("x").transient
    assert not TransportError("x", transient=False).transient


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("nods", ["nodes", "name"], "; did you mean 'nodes'?"),
        ("zzz", ["b", "a"], "; known are: a, b"),
        ("zzz", [], ""),
    ],
)
def test_a_misspelt_name_gets_a_hint(name, known, hint):
    assert nearest(name, known) == hint
