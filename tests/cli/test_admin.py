"""Users, tokens, sites, plugins, the database."""

from __future__ import annotations

import os
import re
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


def test_a_site_is_drained_and_resumed(cli: Cli) -> None:
    said = cli.ok("site", "drain", "local", "--reason", "new disks").out
    assert said == "site local takes no new jobs: new disks\n"
    try:
        refused = cli("submit", "--", "true")
        assert (refused.code, "new disks" in refused.err) == (1, True)
        assert "drained: new disks" in cli.ok("site", "list").out
        assert cli.ok("site", "list", "--json").json[0]["drained"]["reason"] == "new disks"
        assert cli("site", "check", "local").code == 1
    finally:
        resumed = cli("site", "resume", "local")
    assert resumed.out == "site local takes jobs\n"
    cli.submit("--", "true")


def test_all_jobs_of_a_user_or_site_are_canceled(cli: Cli) -> None:
    made = [cli.submit("--hold", "--", "true") for _ in range(3)]
    refused = cli("cancel", "--site", "local")
    assert refused.code == 2
    (count,) = re.findall(r"this would cancel (\d+) active jobs at local; say --yes", refused.err)
    assert int(count) >= 3
    assert cli("cancel", "--site", "local", "1").code == 2
    assert cli("cancel").code == 2
    assert cli.ok("cancel", "--user", "nobody-is-called-so", "--yes", "--json").json == {"count": 0}
    assert cli.ok("cancel", "--site", "local", "--yes").out.endswith(" jobs at local are canceled, or will be\n")
    for job_id in made:
        assert cli("wait", job_id, "--timeout", "20").code == 1


def test_tasks_of_an_array_by_their_indices(cli: Cli) -> None:
    job_id = cli.submit("--hold", "--array", "1-4", "--", "true")
    for wrong in (f"{job_id}[x]", f"{job_id}[1", "[1]", f"{job_id}[1]x"):
        assert cli("cancel", wrong).code == 2, wrong
    assert cli("cancel", f"{job_id}[7]").code == 2
    assert cli("retry", str(job_id)).code == 1
    cli.ok("cancel", job_id)
    assert cli("wait", job_id, "--timeout", "20").code == 1
    made = cli.ok("retry", f"{job_id}[2,4]", "--json").json
    assert [(job["array"], job["retry_of"]) for job in made] == [("2-4:2", job_id)]
    assert "runs 1-4 of job" in cli.ok("retry", str(job_id)).out


def test_what_is_old_is_shown_and_removed(embedded: Cli, remote: Cli) -> None:
    assert embedded.ok("db", "prune", "--dry-run").out == (
        "0 jobs, 0 folders of other jobs, 0 events and 0 records would go\n"
    )
    assert remote("db", "prune").code == 2
    done = embedded("db", "prune", "--json")
    # A worker of the server may be at it at this moment.
    assert done.json["jobs"] == 0 if done.code == 0 else "a worker removes what is old" in done.err
