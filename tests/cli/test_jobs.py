"""Commands about jobs, embedded and through a server."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.clitools import Cli, spawned
from support import eventually


def test_submit_prints_the_id_alone_and_wait_tells_the_outcome(cli: Cli, script: Callable[[str], Path]) -> None:
    job_id = cli.submit(script("echo hello; exit 3"))
    waited = cli("wait", job_id)
    assert waited.code == 1
    assert waited.out.splitlines()[1].split() == [str(job_id), "job.sh", "FAILED", "exit", "3"]
    assert cli.ok("logs", job_id).out == "hello\n"


def test_submit_takes_a_whole_job_from_a_json_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    tasks = [{"command": "echo", "args": ["one"]}, {"command": "echo", "args": ["two"]}]
    file.write_text(json.dumps({"tasks": tasks, "labels": {"a": "1", "b": "2"}}))
    job_id = cli("submit", "--wait", "--label", "b=3", str(file)).out.strip()
    job = json.loads(cli("show", "--json", job_id).out)
    assert (job["name"], job["labels"], job["state"]) == ("two", {"a": "1", "b": "3"}, "COMPLETED")
    assert cli("logs", job_id).out == "one\ntwo\n"
    for text, words in (("{", "no JSON"), ("[]", "must hold an object")):
        file.write_text(text)
        assert words in cli("submit", str(file)).err


def test_submit_takes_a_script_from_standard_input(cli: Cli) -> None:
    job_id = int(cli.ok("submit", "-", stdin=b"#!/bin/sh\nexit 0\n").out)
    assert cli("wait", job_id).code == 0
    assert cli.ok("show", job_id, "--script").out == "#!/bin/sh\nexit 0\n"


def test_every_option_of_submit_stands_in_the_job(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.bin").write_bytes(b"\x00\xff")
    monkeypatch.setenv("TOKEN", "hidden")
    shown = cli.ok(
        *("submit", "--site", "here", "--name", "n", "--nodes", 1, "--tasks", 1, "--cpus", 1),
        *("--memory", "1.5G", "--walltime", "1:30:00", "--env", "A=b=c", "--secret-env", "TOKEN", "--label", "run=7"),
        *("--tag", "t", "--workdir", "/tmp", "--input", f"{tmp_path}/data.bin=in/x", "--array", "0-4:2%1", "--hold"),
        *("--json", "--", "true", "--json"),
    ).json
    assert shown["spec"] == {
        "name": "n",
        "command": "true",
        "args": ["--json"],
        "resources": {"tasks": 1, "cpus_per_task": 1, "memory_mib": 1536, "walltime_s": 5400},
        "environment": {"A": "b=c"},
        "secret_environment": {"TOKEN": "***"},
        "working_directory": "/tmp",
        "array": {"start": 0, "stop": 4, "step": 2, "limit": 1},
        "hold": True,
        "labels": {"run": "7"},
        "tags": ["t"],
        "staging": {"inputs": [{"path": "in/x", "content": "AP8="}]},
    }
    assert (shown["site"], shown["array"]) == ("local", "0-4:2%1")
    assert cli.ok("cancel", shown["id"]).code == 0


def test_submit_wait_tells_how_it_ended(cli: Cli) -> None:
    result = cli("submit", "--wait", "--json", "--", "false")
    assert (result.code, result.json["state"], result.json["exit_code"]) == (1, "FAILED", 1)
    assert cli("submit", "--wait", "--", "true").code == 0


def test_an_idempotency_key_submits_once(cli: Cli) -> None:
    key = f"once-{os.urandom(8).hex()}"
    first, again = (cli.submit("--idempotency-key", key, "--", "true") for _ in range(2))
    assert first == again
    other = cli("submit", "--idempotency-key", key, "--", "false")
    assert (other.code, other.out) == (1, "")
    assert other.err.startswith("hpcgate: error: ")


def test_a_dry_run_shows_the_script_and_stores_nothing(cli: Cli) -> None:
    before = cli.ok("list", "--limit", 1, "--json").json[0]["id"]
    result = cli.ok("submit", "--dry-run", "--name", "dry", "--memory", "1G", "--", "echo", "x")
    assert "echo" in result.out
    assert "resources.memory_mib: approximated" in result.err
    verdict = cli.ok("submit", "--dry-run", "--json", "--", "true").json
    assert verdict["valid"] is True
    bad = cli("submit", "--dry-run", "--queue", "gpu", "--", "true")
    assert bad.code == 2
    assert "error: queue: " in bad.err
    nothing = cli("submit", "--dry-run", "--json", "-", stdin=b"no shebang")
    assert (nothing.code, nothing.json["valid"], nothing.json["errors"][0]["field"]) == (2, False, "script")
    assert cli.ok("list", "--limit", 1, "--json").json[0]["id"] == before


def test_list_filters_and_pages(cli: Cli) -> None:
    name = f"page-{os.urandom(4).hex()}"
    ids = [cli.submit("--name", name, "--label", f"n={n}", "--", "true") for n in range(3)]
    cli.ok("wait", *ids)
    everything = cli.ok("list", "--name", name, "--json").json
    assert [job["id"] for job in everything] == ids[::-1]
    first = cli.ok("list", "--name", name, "--limit", 2)
    assert [line.split()[0] for line in first.out.splitlines()] == ["ID", str(ids[2]), str(ids[1])]
    cursor = first.err.split("--cursor ")[1].split(",")[0]
    rest = cli.ok("list", "--name", name, "--limit", 2, "--cursor", cursor)
    assert [line.split()[0] for line in rest.out.splitlines()] == ["ID", str(ids[0])]
    assert rest.err == ""
    assert len(cli.ok("list", "--name", name, "--limit", 1, "--all", "--json").json) == 3
    assert [j["id"] for j in cli.ok("list", "--name", name, "--label", "n=1", "--json").json] == [ids[1]]
    for none in (("--active",), ("--state", "running"), ("--since", "2999-01-01"), ("--until", "9d"), ("--tag", "x")):
        assert cli.ok("list", "--name", name, "--json", *none).json == []
    for all_of_them in (("--ended",), ("--state", "COMPLETED"), ("--since", "1h"), ("--site", "here")):
        assert len(cli.ok("list", "--name", name, "--json", *all_of_them).json) == 3


def test_wait_gives_up_after_its_timeout(cli: Cli) -> None:
    job_id = cli.submit("--hold", "--", "true")
    late = cli("wait", "--timeout", "1", job_id)
    assert late.code == 124
    assert "1 of 1 jobs have not ended" in late.err
    cli.ok("cancel", job_id)
    assert cli("wait", "--json", job_id).json[0]["state"] == "CANCELED"


def test_hold_release_and_clone(cli: Cli) -> None:
    job_id = cli.submit("--hold", "--", "true")
    eventually(lambda: cli.ok("show", job_id, "--json").json["state"] == "HELD")
    assert cli("hold", 10**9).code == 3
    cli.ok("release", job_id)
    assert cli.ok("wait", "--json", job_id).json[0]["state"] == "COMPLETED"
    again = cli("release", job_id)
    assert (again.code, again.err.count("\n")) == (1, 1)
    copy = cli.ok("clone", job_id, "--json").json[0]
    assert (copy["id"] > job_id, copy["spec"]["command"]) == (True, "true")


def test_requeue_and_signal_a_running_job(cli: Cli, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    command = f"trap 'echo got it; exit 5' USR1; echo up >> {marks}; while :; do sleep 0.05; done"
    job_id = cli.submit("--", "sh", "-c", command)
    eventually(lambda: marks.exists() and cli.ok("show", job_id, "--json").json["state"] == "RUNNING")
    cli.ok("requeue", job_id)
    eventually(lambda: marks.read_text() == "up\nup\n")
    second_run = {"state": "RUNNING", "attempt": 2}
    eventually(lambda: second_run.items() <= cli.ok("show", job_id, "--json").json.items())
    cli.ok("signal", "sigusr1", job_id)
    job = cli("wait", "--json", job_id).json[0]
    assert (job["state"], job["exit_code"], job["attempt"]) == ("FAILED", 5, 2)
    assert [attempt["attempt"] for attempt in cli.ok("show", job_id, "--attempts", "--json").json] == [1, 2]
    wrong = cli("signal", "NOSUCH", job_id)
    assert wrong.code in (1, 2)
    assert wrong.err.startswith("hpcgate: error: ")


def test_cancel_goes_on_after_a_bad_id_and_reads_ids_from_a_pipe(cli: Cli) -> None:
    ids = [cli.submit("--hold", "--", "true") for _ in range(2)]
    mixed = cli("cancel", ids[0], 10**9, "--json")
    assert (mixed.code, [job["id"] for job in mixed.json]) == (3, [ids[0]])
    assert mixed.err == f"hpcgate: error: there is no job {10**9}\n"
    cli.ok("cancel", "-", stdin=f"{ids[0]}\n{ids[1]}\n".encode())
    assert {job["state"] for job in cli("wait", *ids, "--json").json} == {"CANCELED"}


def test_delete_forgets_a_job(cli: Cli) -> None:
    job_id = cli.submit("--hold", "--", "true")
    assert cli("delete", job_id).code == 1
    cli.ok("cancel", job_id)
    cli("wait", job_id)
    cli.ok("delete", job_id)
    assert cli("show", job_id).code == 3


def test_tasks_of_an_array_and_their_output(cli: Cli, script: Callable[[str], Path]) -> None:
    job_id = cli.submit("--array", "1-3", script('echo "index $HPCGATE_ARRAY_INDEX"'))
    assert cli("wait", job_id).code == 0
    tasks = cli.ok("show", job_id, "--tasks", "--json").json
    assert [(task["index"], task["state"]) for task in tasks] == [(n, "COMPLETED") for n in (1, 2, 3)]
    assert cli.ok("show", job_id, "--tasks").out.splitlines()[1].split()[:2] == ["1", "COMPLETED"]
    assert cli.ok("logs", "--task", "2", job_id).out.startswith("index")


def test_logs_follow_until_the_end(cli: Cli, script: Callable[[str], Path]) -> None:
    job_id = cli.submit(script("echo one; sleep 0.3; echo two; echo oh >&2"))
    assert cli.ok("logs", "-f", job_id).out == "one\ntwo\n"
    assert cli.ok("logs", "--stderr", job_id).out == "oh\n"
    assert cli("logs", 10**9).code == 3


def test_files_are_listed_and_printed(cli: Cli, script: Callable[[str], Path], tmp_path: Path) -> None:
    job_id = cli.submit(script("mkdir -p d/e; printf '\\000\\377' > d/e/raw; echo x > 'a b'"))
    cli.ok("wait", job_id)
    assert [line.split()[0] for line in cli.ok("files", job_id).out.splitlines()] == ["NAME", "d/", "a"]
    assert [item["name"] for item in cli.ok("files", job_id, "d/e", "--json").json] == ["raw"]
    assert cli.ok("files", job_id, "d/e/raw").raw_out == b"\x00\xff"
    cli.ok("files", job_id, "./a b", "-o", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "x\n"
    assert cli("files", job_id, "d/nothing").code == 3
    for path in ("..", "../../secrets", "/etc/hostname", "d/../.."):
        refused = cli("files", job_id, path)
        assert (refused.code, refused.out) == (2, "")
        assert "must be a relative path" in refused.err


def test_files_are_put_removed_and_fetched_all_at_once(cli: Cli, tmp_path: Path) -> None:
    job_id = cli.submit("--", "sleep", "100")
    eventually(lambda: cli.ok("show", job_id, "--json").json["state"] in ("QUEUED", "RUNNING"))
    (tmp_path / "in").write_bytes(b"\0\1")
    assert cli.ok("files", job_id, "a/b/in", "--put", tmp_path / "in", "--json").json["size"] == 2
    assert cli.ok("files", job_id, "a/b/in").raw_out == b"\0\1"
    cli.ok("files", job_id, "--zip", "-o", tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.read("a/b/in") == b"\0\1"
    cli.ok("files", job_id, "a", "--delete")
    assert cli.ok("files", job_id, "--json").json == []
    for wrong in (("--delete",), ("x", "--put", tmp_path / "in", "--zip"), ("x", "-x")):
        assert cli("files", job_id, *wrong).code == 2
    cli.ok("cancel", job_id)


def test_show_says_why(cli: Cli, script: Callable[[str], Path]) -> None:
    job_id = cli.submit(script("echo first >&2; echo 'no such mesh' >&2; exit 3"))
    cli("wait", job_id)
    shown = cli.ok("show", job_id).out
    assert "stderr ends with:\n  first\n  no such mesh\n" in shown
    why = cli.ok("show", job_id, "--why", "--json").json
    assert (why["reason"], why["stderr"]) == ("EXIT_NONZERO", ["first", "no such mesh"])


def test_events_of_a_job_and_following_them(cli: Cli) -> None:
    job_id = cli.submit("--", "true")
    cli.ok("wait", job_id)
    events = cli.ok("events", "--job", job_id, "--json").json
    assert events[0]["type"] == "job.created"
    assert [e["data"]["new"] for e in events if e["type"] == "job.state"][-2:] == ["RUNNING", "COMPLETED"]
    assert "RUNNING -> COMPLETED" in cli.ok("events").out
    environ = {**os.environ, **cli.environ}
    with spawned(environ, "events", "-f", "--json", "--job", str(job_id), "--after", "0") as process:
        seen = [json.loads(process.stdout.readline()) for _ in events]
        process.terminate()
    assert seen == events


@pytest.mark.parametrize("command", ["list", "show", "tasks", "attempts", "files", "events", "sites", "check"])
def test_embedded_and_remote_print_the_same(embedded: Cli, remote: Cli, command: str) -> None:
    job_id = embedded.submit("--label", "a=b", "--array", "0-1", "--", "true")
    embedded("wait", job_id)
    argv = {
        "list": ("list", "--label", "a=b", "--limit", 5, "--json"),
        "show": ("show", job_id, "--json"),
        "tasks": ("show", job_id, "--tasks", "--json"),
        "attempts": ("show", job_id, "--attempts", "--json"),
        "files": ("files", job_id, "--json"),
        "events": ("events", "--job", job_id, "--json"),
        "sites": ("site", "list", "--json"),
        "check": ("site", "check", "local", "--json"),
    }[command]
    one, other = embedded.ok(*argv).json, remote.ok(*argv).json
    if command == "sites":  # it is polled meanwhile
        for sites in (one, other):
            sites[0].pop("polled_at")
    assert one == other
