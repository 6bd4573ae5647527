from dataclasses import replace

import pytest

from hpcgate.errors import Conflict, NotFound
from hpcgate.model.principal import Role, TokenInfo, User

ANN = User(name="ann", roles=frozenset({Role.USER, Role.ADMIN}), created_at=1.0)


def token(id_, user="ann", created_at=1.0, **more):
    return TokenInfo(
        id=id_, user=user, roles=frozenset({Role.USER}), created_at=created_at, **{"expires_at": 100.0, **more}
    )


def test_users_come_and_go(store):
    users = store.identities
    users.add_user(ANN, None)
    users.add_user(replace(ANN, name="al", locked=True), "hash")
    assert users.user("ann") == ANN
    assert users.users() == [replace(ANN, name="al", locked=True, has_password=True), ANN]
    assert users.password_hash("al") == "hash"
    assert users.password_hash("ann") is None
    assert users.password_hash("nobody") is None
    with pytest.raises(Conflict, match="there is a user 'ann' already"):
        users.add_user(replace(ANN, roles=frozenset()), "other")
    assert users.user("ann") == ANN
    users.remove_user("ann")
    for act in (users.user, users.remove_user, lambda name: users.update_user(name, locked=True)):
        with pytest.raises(NotFound, match="there is no user 'ann'"):
            act("ann")


def test_an_update_changes_what_is_given(store):
    users = store.identities
    users.add_user(ANN, "hash")
    assert users.update_user("ann") == replace(ANN, has_password=True)
    assert users.update_user("ann", locked=True).locked
    assert users.update_user("ann", roles=[Role.SUPPORT]).roles == {Role.SUPPORT}
    assert users.user("ann").locked
    users.update_user("ann", password_hash="new")
    assert users.password_hash("ann") == "new"
    assert not users.update_user("ann", password_hash=None).has_password
    assert not users.update_user("ann", locked=False).locked


def test_tokens_are_remembered_and_revoked(store):
    users = store.identities
    first, second = token("a", comment="laptop"), token("b", created_at=2.0)
    for each in (first, second, token("c", user="bob")):
        users.add_token(each)
    assert users.token("a") == first
    assert users.token("z") is None
    assert users.tokens("ann") == [second, first]
    assert [each.id for each in users.tokens()] == ["b", "c", "a"]
    with pytest.raises(Conflict, match="there is a token 'a' already"):
        users.add_token(first)
    users.revoke_token("a", 50.0)
    users.revoke_token("a", 60.0)
    assert users.token("a") == replace(first, revoked_at=50.0)
    with pytest.raises(NotFound, match="there is no token 'z'"):
        users.revoke_token("z", 1.0)


def test_a_later_user_of_the_same_name_inherits_no_token(store):
    users = store.identities
    users.add_user(ANN, None)
    users.add_token(token("a"))
    users.add_token(token("b", user="bob"))
    users.remove_user("ann")
    users.add_user(ANN, None)
    assert users.token("a") is None
    assert users.token("b") is not None


def test_expired_tokens_are_pruned(store):
    users = store.identities
    users.add_token(token("a"))
    users.add_token(token("b", expires_at=200.0))
    assert users.prune_tokens(99.0) == 0
    assert users.prune_tokens(100.0) == 1
    assert [each.id for each in users.tokens()] == ["b"]
