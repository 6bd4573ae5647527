"""Users, tokens, sites, plugins, the database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli.clitools import Cli

from hpcgate.client import Client
from hpcgate.errors import Unauthenticated


def test_a_user_and_its_token_from_birth_to_end(cli: Cli, server: dict[str, str]) -> None:
    name = f"u{os.urandom(4).hex()}"
    added = cli.ok("user", "add", name, "--role", "api", "--admin", "--json").json
    assert added["roles"] == ["admin", "api", "user"]
    assert name in cli.ok("user", "list").out
    twice = cli("user", "add", name)
    assert (twice.code, twice.err.count("\n")) == (1, 1)
    created = cli.ok("token", "create", name, "--ttl", "1h", "--role", "api", "--comment", "test")
    token = created.out.strip()
    assert created.out == f"{token}\n"
    with Client(server["HPCGATE_URL"], token) as client:
        assert (client.me()["name"], client.me()["roles"]) == (name, ["api"])
        listed = cli.ok("token", "list", name, "--json").json
        assert [(each["comment"], each["roles"]) for each in listed] == [("test", ["api"])]
        assert token not in cli.ok("token", "list").out
        cli.ok("token", "revoke", listed[0]["id"])
        with pytest.raises(Unauthenticated):
            client.me()
    cli.ok("user", "remove", name)
    assert cli("user", "remove", name).code == 3
    assert cli("token", "create", name).code == 3
    assert cli("token", "revoke", "no-such").code == 3


def test_a_key_is_rotated_where_the_secret_is(embedded: Cli, remote: Cli) -> None:
    first = embedded.ok("token", "rotate-key").out
    assert "signs from now on" in first
    assert embedded.ok("token", "rotate-key").out != first
    refused = remote("token", "rotate-key")
    assert (refused.code, "own machine" in refused.err) == (2, True)


def test_a_user_is_locked_and_let_in_again_and_has_an_address(cli: Cli, server: dict[str, str]) -> None:
    name = f"u{os.urandom(4).hex()}"
    added = cli.ok("user", "add", name, "--email", "u@example.org", "--json").json
    assert added["email"] == "u@example.org"
    token = cli.ok("token", "create", name).out.strip()
    with Client(server["HPCGATE_URL"], token) as client:
        cli.ok("user", "lock", name)
        with pytest.raises(Unauthenticated):
            client.me()
        cli.ok("user", "unlock", name)
        assert client.me()["name"] == name
    cli.ok("user", "email", name)
    listed = {user["name"]: user for user in cli.ok("user", "list", "--json").json}
    assert listed[name]["email"] is None
    assert cli("user", "lock", "no-such-user").code == 3


def test_a_password_comes_from_standard_input(cli: Cli, server: dict[str, str]) -> None:
    name = f"u{os.urandom(4).hex()}"
    cli.ok("user", "add", name, "--password-stdin", stdin=b"correct horse battery\n")
    with Client(server["HPCGATE_URL"]) as client:
        assert client.login(name, "correct horse battery")["user"] == name
    assert cli("user", "add", f"{name}x", "--password-stdin").code == 2
    assert cli("user", "add", f"{name}y", "--password-stdin", stdin=b"short\n").code == 2


def test_who_is_no_admin_sees_its_own_tokens_and_is_refused_the_rest(remote: Cli) -> None:
    name = f"u{os.urandom(4).hex()}"
    remote.ok("user", "add", name)
    plain = Cli(remote.capture, remote.patch, dict(remote.environ))
    plain.environ["HPCGATE_TOKEN"] = remote.ok("token", "create", name).out.strip()
    assert {each["user"] for each in plain.ok("token", "list", "--json").json} == {name}
    for argv in (("user", "list"), ("token", "create", "root"), ("site", "check", "local")):
        refused = plain(*argv)
        assert (refused.code, refused.out) == (5, ""), argv
    mine = plain.submit("--", "true")
    assert plain("show", mine).code == 0
    other = remote.submit("--", "true")
    assert plain("show", other).code == plain("cancel", other).code == 3


def test_sites_are_listed_and_checked(cli: Cli) -> None:
    assert cli.ok("site", "list").out.splitlines()[1].split()[:3] == ["local", "local", "local"]
    checked = cli.ok("site", "check")
    assert checked.out.splitlines()[1].startswith("local  ")
    assert isinstance(cli.ok("site", "check", "--json").json, list)
    unknown = cli("site", "check", "lcoal")
    assert unknown.code == 3
    assert "did you mean 'local'?" in unknown.err


def test_plugins_are_listed_and_shown(embedded: Cli) -> None:
    assert any(record["name"] == "local" for record in embedded.ok("plugin", "list", "--json").json)
    shown = embedded.ok("plugin", "show", "local")
    assert "capabilities" in shown.out
    assert "how long the spooler stays when nothing is left to do" in shown.out
    wire = embedded.ok("plugin", "show", "local", "--json").json
    setting = next(setting for setting in wire["settings"] if setting["name"] == "linger_s")
    assert (setting["type"], setting["default"], setting["required"]) == ("float", 30.0, False)
    unknown = embedded("plugin", "show", "locla")
    assert unknown.code == 3
    assert "did you mean 'local'?" in unknown.err


def test_db_upgrade_and_check(embedded: Cli, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[gateway]\ndatabase = "sqlite:///{tmp_path}/new.db"\n')
    missing = embedded("--config", config, "db", "check")
    assert (missing.code, missing.out) == (2, "")
    assert "new.db does not exist" in missing.err
    assert not (tmp_path / "new.db").exists()
    (tmp_path / "new.db").touch()
    empty = embedded("--config", config, "db", "check", "--json")
    assert (empty.code, {step["applied_at"] for step in empty.json}) == (1, {None})
    assert all(step["applied_at"] for step in embedded.ok("--config", config, "db", "upgrade", "--json").json)
    assert "missing" not in embedded.ok("--config", config, "db", "check").out
