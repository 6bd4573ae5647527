"""Who may do what, as a table of expected answers written by hand."""

from __future__ import annotations

import pytest

from hpcgate.errors import Forbidden, NotFound
from hpcgate.model.principal import Principal, Role
from hpcgate.service.access import Verb, allows, only_owner, require, require_on_job

#                 role            own: S  R  O  C  D     others': R  O  C  D
TABLE = {
    Role.ADMIN: ("yes yes yes yes yes", "yes yes yes yes"),
    Role.MANAGER: ("yes yes yes yes yes", "yes no  yes no"),
    Role.SUPPORT: ("no  yes yes yes yes", "yes yes no  no"),
    Role.USER: ("yes yes yes yes yes", "no  no  no  no"),
    Role.API: ("yes yes yes yes yes", "no  no  no  no"),
    Role.DELEGATE: ("no  no  no  no  no", "no  no  no  no"),
}
OWN = (Verb.SUBMIT, Verb.READ, Verb.READ_OUTPUT, Verb.CONTROL, Verb.DELETE)


@pytest.mark.parametrize("role", TABLE)
def test_the_table(role):
    principal = Principal(name="ann", roles=frozenset({role}))
    own, others = (column.split() for column in TABLE[role])
    assert ["yes" if allows(principal, verb, "ann") else "no" for verb in OWN] == own
    assert ["yes" if allows(principal, verb, "bob") else "no" for verb in OWN[1:]] == others


def test_every_role_stands_in_the_table():
    assert set(TABLE) == set(Role)


def test_what_one_may_not_see_is_not_there_and_what_one_may_see_is_forbidden():
    user, support = Principal(name="ann"), Principal(name="sue", roles=frozenset({Role.SUPPORT}))
    with pytest.raises(NotFound):
        require_on_job(user, Verb.CONTROL, 1, "bob")
    with pytest.raises(Forbidden):
        require_on_job(support, Verb.CONTROL, 1, "bob")
    assert only_owner(user) == "ann"
    assert only_owner(support) is None


def test_users_are_managed_by_admins_alone():
    for role in Role:
        principal = Principal(name="x", roles=frozenset({role}))
        if role is Role.ADMIN:
            require(principal, Verb.MANAGE_USERS)
        else:
            with pytest.raises(Forbidden):
                require(principal, Verb.MANAGE_USERS)
