"""Users and tokens: what is believed and what is not."""

from __future__ import annotations

import time

import jwt
import pytest
from support import ANN, ROOT

from hpcgate.config import load_config
from hpcgate.errors import ConfigError, Conflict, Forbidden, InvalidSpec, NotFound, Unauthenticated
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Role
from hpcgate.service.secrets import FernetCipher, KeyRing, load_keys, rotate


@pytest.fixture
def identities(gateway):
    gateway.identities.add_user(ROOT, "ann", password="correct horse")
    return gateway.identities


def test_a_token_names_its_user_and_roles(identities):
    token, info = identities.create_token(ROOT, "ann", ttl_s=60)
    principal = identities.authenticate(token)
    assert (principal.name, principal.roles, principal.token_id) == ("ann", frozenset({Role.USER}), info.id)


def test_the_claims_are_those_of_a_plain_jwt(identities):
    token, info = identities.create_token(ROOT, "ann", ttl_s=60)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "ann"
    assert claims["jti"] == info.id
    assert claims["exp"] - claims["iat"] == 60
    assert claims["roles"] == ["user"]
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


def test_login_by_password(identities):
    token, _ = identities.login("ann", "correct horse")
    assert identities.authenticate(token).name == "ann"
    for name, password in (("ann", "wrong"), ("nobody", "correct horse"), ("ann", "")):
        with pytest.raises(Unauthenticated, match="user name or password"):
            identities.login(name, password)


class TestNotBelieved:
    def forge(self, identities, key=None, algorithm="HS256", **changes):
        token, _ = identities.create_token(ROOT, "ann")
        claims = jwt.decode(token, options={"verify_signature": False})
        kid = jwt.get_unverified_header(token)["kid"]
        return jwt.encode({**claims, **changes}, key, algorithm=algorithm, headers={"kid": kid})

    def test_alg_none(self, identities):
        with pytest.raises(Unauthenticated):
            identities.authenticate(self.forge(identities, None, "none"))

    def test_another_key(self, identities):
        with pytest.raises(Unauthenticated):
            identities.authenticate(self.forge(identities, "x" * 32))

    def test_another_algorithm(self, identities):
        with pytest.raises(Unauthenticated):
            identities.authenticate(self.forge(identities, "x" * 64, "HS512"))

    @pytest.mark.parametrize("text", ["", "x", "a.b.c", "é.é.é", "." * 5000])
    def test_nonsense(self, identities, text):
        with pytest.raises(Unauthenticated):
            identities.authenticate(text)

    @pytest.mark.parametrize("changes", [{"aud": "other"}, {"iss": "other"}, {"jti": "other"}, {"sub": "root"}])
    def test_well_signed_claims_that_are_not_ours(self, identities, gateway, changes):
        key = load_keys(gateway.config.secret_key_path)[0].derive("tokens")
        with pytest.raises(Unauthenticated):
            identities.authenticate(self.forge(identities, key, **changes))

    def test_expired(self, identities, gateway):
        key = load_keys(gateway.config.secret_key_path)[0].derive("tokens")
        with pytest.raises(Unauthenticated, match="expired"):
            identities.authenticate(self.forge(identities, key, exp=int(time.time()) - 1))

    def test_revoked(self, identities):
        token, info = identities.create_token(ROOT, "ann")
        identities.revoke_token(ROOT, info.id)
        with pytest.raises(Unauthenticated, match="revoked"):
            identities.authenticate(token)

    def test_of_a_removed_or_locked_user(self, identities):
        token, _ = identities.create_token(ROOT, "ann")
        identities.update_user(ROOT, "ann", locked=True)
        with pytest.raises(Unauthenticated, match="locked"):
            identities.authenticate(token)
        identities.remove_user(ROOT, "ann")
        with pytest.raises(Unauthenticated):
            identities.authenticate(token)


def test_a_token_never_has_more_rights_than_its_user_has_now(identities):
    identities.add_user(ROOT, "eve", roles=[Role.ADMIN, Role.USER])
    token, _ = identities.create_token(ROOT, "eve")
    identities.update_user(ROOT, "eve", roles=[Role.USER])
    assert identities.authenticate(token).roles == {Role.USER}


def test_nobody_makes_a_token_with_rights_one_does_not_have(identities):
    with pytest.raises(Forbidden):
        identities.create_token(ANN, "ann", roles=[Role.ADMIN])
    with pytest.raises(Forbidden):
        identities.create_token(ANN, "root")
    with pytest.raises(Forbidden):
        identities.add_user(ANN, "mallory", roles=[Role.ADMIN])


def test_a_narrowed_token_cannot_be_widened_by_itself(identities):
    identities.add_user(ROOT, "eve", roles=[Role.ADMIN, Role.USER])
    token, _ = identities.create_token(ROOT, "eve", roles=[Role.USER])
    narrow = identities.authenticate(token)
    wider, _ = identities.create_token(narrow, "eve")
    assert identities.authenticate(wider).roles == {Role.USER}


def test_a_narrowed_token_cannot_set_a_password_that_has_more_roles(identities):
    identities.update_user(ROOT, "ann", roles=[Role.ADMIN, Role.USER])
    narrowed = identities.authenticate(identities.create_token(ROOT, "ann", roles=[Role.USER])[0])
    with pytest.raises(Forbidden, match="some of its user's roles"):
        identities.update_user(narrowed, "ann", password="a way to all of them")
    whole = identities.authenticate(identities.create_token(ROOT, "ann")[0])
    assert identities.update_user(whole, "ann", password="a new password").has_password


@pytest.mark.parametrize("ttl_s", [0, -1, 10**10])
def test_a_life_out_of_range_is_refused(identities, ttl_s):
    with pytest.raises(InvalidSpec, match="ttl_s"):
        identities.create_token(ROOT, "ann", ttl_s=ttl_s)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a\nb", "x" * 200])
def test_a_bad_user_name_is_refused(identities, name):
    with pytest.raises(InvalidSpec, match="name"):
        identities.add_user(ROOT, name)


def test_users_and_tokens_that_are_not_there(identities):
    with pytest.raises(Conflict):
        identities.add_user(ROOT, "ann")
    with pytest.raises(NotFound):
        identities.create_token(ROOT, "nobody")
    with pytest.raises(NotFound):
        identities.revoke_token(ROOT, "nothing")
    with pytest.raises(InvalidSpec, match="too short"):
        identities.update_user(ANN, "ann", password="short")
    with pytest.raises(Forbidden, match="oneself"):
        identities.remove_user(ROOT, "root")


@pytest.mark.parametrize("changes", [{"locked": True}, {"roles": [Role.USER]}])
def test_an_admin_cannot_shut_itself_out(identities, gateway, changes):
    gateway.identities.bootstrap()
    gateway.identities.add_user(ROOT, "root", roles=[Role.ADMIN])
    with pytest.raises(Forbidden, match="another admin"):
        identities.update_user(ROOT, "root", **changes)
    assert identities.update_user(ROOT, "ann", locked=True).locked


def test_the_first_start_makes_an_admin_and_a_private_token_file(gateway):
    path = gateway.identities.bootstrap()
    assert path.stat().st_mode & 0o777 == 0o600
    assert gateway.identities.authenticate(path.read_text().strip()).has(Role.ADMIN)
    assert gateway.identities.bootstrap() is None


def test_a_secret_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    assert load_keys(path) == load_keys(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_keys(path)
    path.chmod(0o600)
    path.write_text("k zz\n")
    with pytest.raises(ConfigError, match="line 1"):
        load_keys(path)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_secret_file_without_a_key_is_refused(tmp_path, text):
    """Without one nothing could be signed; a full disk may have emptied it."""
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no key"):
        load_keys(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("database", "postgres+x://db", "database"), ("secret_key_file", "/proc/nowhere/secret", "secret_key_file")],
)
def test_what_is_wrong_with_the_gateways_files_names_its_table(tmp_path, key, value, message):
    file = tmp_path / "hpcgate.toml"
    file.write_text(f'[gateway]\n{key} = "{value}"\n')
    with pytest.raises(ConfigError) as caught:
        open_gateway(load_config(file, {"HPCGATE_HOME": str(tmp_path / "home")}))
    assert str(caught.value).startswith(f"{file}: [gateway] {message}")


# --- keys


def test_a_new_key_signs_at_once_and_the_old_ones_stay_good(identities, gateway):
    path = gateway.config.secret_key_path
    old, _ = identities.create_token(ROOT, "ann")
    sealed = FernetCipher(KeyRing(path)).encrypt(b"secret")
    kids = [rotate(path).kid, rotate(path).kid]
    new, _ = identities.create_token(ROOT, "ann")
    assert jwt.get_unverified_header(new)["kid"] == kids[1] == load_keys(path)[0].kid
    assert [identities.authenticate(token).name for token in (old, new)] == ["ann", "ann"]
    assert FernetCipher(KeyRing(path)).decrypt(sealed) == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.glob(f".{path.name}*")] == []


def test_a_key_that_is_taken_away_ends_what_it_signed(identities, gateway):
    path = gateway.config.secret_key_path
    token, _ = identities.create_token(ROOT, "ann")
    rotate(path)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(Unauthenticated, match="not signed by this gateway"):
        identities.authenticate(token)


def test_a_broken_secret_file_ends_no_session(identities, gateway, caplog):
    path = gateway.config.secret_key_path
    token, _ = identities.create_token(ROOT, "ann")
    path.write_text("broken")
    assert identities.authenticate(token).name == "ann"
    assert "the keys stay as they were" in caplog.text
