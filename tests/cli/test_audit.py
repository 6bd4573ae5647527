"""``hpcgate audit``, and the lines of commands that work on the gateway themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.clitools import Cli
from support import eventually


def write(path: Path, *records: dict) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps({"at": "2026-01-01T00:00:00Z", "result": "done", **each}) + "\n" for each in records)


def test_a_command_is_recorded_with_what_it_did_and_how_it_ended(embedded: Cli, home: Path) -> None:
    name = f"u{os.urandom(4).hex()}"
    embedded.ok("user", "add", name)
    assert embedded("user", "add", name).code == 1
    found = embedded.ok("audit", "--object", f"user {name}", "--json").json
    assert [(each["what"], each["api"], each["from"], each["result"]) for each in found] == [
        ("hpcgate user add", "cli", "local", "done"),
        ("hpcgate user add", "cli", "local", "failed"),
    ]
    assert found[1]["code"] == "conflict"
    assert found[0]["verbs"] == ["MANAGE_USERS"]
    token = embedded.ok("token", "create", name).out.strip()
    embedded.ok("token", "rotate-key")
    assert [each["what"] for each in embedded.ok("audit", "--api", "cli", "--limit", "2", "--json").json] == [
        "hpcgate token create",
        "hpcgate token rotate-key",
    ]
    assert token not in (home / "audit.jsonl").read_text()


def test_what_is_remote_is_recorded_by_the_server_alone(remote: Cli, embedded: Cli, home: Path) -> None:
    name = f"u{os.urandom(4).hex()}"
    remote.ok("user", "add", name)
    # The server writes it once it has answered.
    told = eventually(lambda: embedded.ok("audit", "--object", f"user {name}", "--json").json)
    assert [each["api"] for each in told] == ["native"]
    refused = remote("audit")
    assert refused.code == 2
    assert "unset HPCGATE_URL" in refused.err


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    write(
        path,
        {"who": "ann", "what": "POST /jobs", "objects": ["job 1"], "token": "t1", "from": "10.0.0.1", "api": "native"},
        {"who": "bob", "by": "portal", "what": "GET /jobs", "result": "refused", "verbs": ["READ"], "api": "odd"},
        {"who": "ann", "what": "POST /users", "at": "2026-02-01T00:00:00Z", "request": "r3"},
    )
    with path.open("a") as file:
        file.write('{"cut')
    return path


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([], [0, 1, 2]),
        (["--user", "ann"], [0, 2]),
        (["--user", "portal"], [1]),
        (["--token", "t1"], [0]),
        (["--from", "10.0.0.1"], [0]),
        (["--api", "odd"], [1]),
        (["--what", "post"], [0, 2]),
        (["--what", "read"], [1]),
        (["--object", "job 1"], [0]),
        (["--result", "refused"], [1]),
        (["--request", "r3"], [2]),
        (["--since", "2026-01-15"], [2]),
        (["--until", "2026-01-15"], [0, 1]),
        (["--limit", "1"], [2]),
        (["--user", "nobody"], []),
    ],
)
def test_a_filter_finds_what_it_says(embedded: Cli, log: Path, wanted: list[str], found: list[int]) -> None:
    whole = [json.loads(line) for line in log.read_text().splitlines()[:3]]
    assert embedded.ok("audit", "--file", str(log), "--json", *wanted).json == [whole[each] for each in found]


def test_people_get_a_table_and_an_empty_log_is_none(embedded: Cli, log: Path, tmp_path: Path) -> None:
    told = embedded.ok("audit", "--file", str(log)).out
    assert "bob by portal" in told
    assert "refused" in told
    assert embedded.ok("audit", "--file", str(tmp_path / "none"), "--json").json == []


def test_it_is_followed_also_when_it_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, {"what": "old"})
    command = [sys.executable, "-m", "hpcgate", "audit", "--file", str(path), "--follow", "--json"]
    told = tmp_path / "told"
    with told.open("w") as out:
        process = subprocess.Popen(command, stdout=out, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        try:
            numbers = iter(range(10**6))

            def seen() -> list[str]:
                write(path, {"what": f"try {next(numbers)}"})
                return [json.loads(line)["what"] for line in told.read_text().splitlines()]

            eventually(seen)
            write(path, {"what": "before"})
            path.rename(tmp_path / "audit.jsonl.1")
            write(path, {"what": "after"})
            eventually(lambda: "after" in told.read_text())
            found = [json.loads(line)["what"] for line in told.read_text().splitlines()]
            assert "old" not in found
            assert found[-2:] == ["before", "after"]
        finally:
            process.kill()
            process.wait()
