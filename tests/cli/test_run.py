from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from cli.clitools import Cli, Result, spawned
from support import eventually


def test_both_streams_and_the_exit_code_come_through(cli: Cli) -> None:
    result = cli("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert result == Result(7, b"out\n", b"err\n")


def test_a_completed_job_exits_0_and_bytes_are_kept(cli: Cli) -> None:
    result = cli("run", "--", "printf", r"a\0b\377\nno newline")
    assert result == Result(0, b"a\0b\xff\nno newline", b"")


def test_much_output_comes_whole(cli: Cli) -> None:
    result = cli("run", "--", "sh", "-c", "seq 300000; printf '\\342\\202'")
    assert result.raw_out == b"".join(b"%d\n" % n for n in range(1, 300001)) + b"\xe2\x82"


def test_a_signal_becomes_128_plus_its_number(cli: Cli) -> None:
    result = cli("run", "--", "sh", "-c", "kill -SEGV $$")
    assert result.code == 128 + signal.SIGSEGV
    assert "FAILED: signal 11" in result.err


def test_a_job_that_ends_without_a_code_exits_125(cli: Cli) -> None:
    result = cli("run", "--workdir", "/nowhere/at/all", "--", "true")
    assert result.code == 125
    assert "LAUNCH_FAILED" in result.err


def test_environment_and_secrets_reach_the_job_but_no_answer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "s3cret-value")
    result = cli.ok("run", "--env", "A=1", "--secret-env", "API_KEY", "--", "sh", "-c", 'echo "$A $API_KEY"')
    assert result.out == "1 s3cret-value\n"
    job = cli.ok("list", "--limit", 1, "--json").json[0]
    shown = cli.ok("show", job["id"], "--json")
    assert shown.json["spec"]["secret_environment"] == {"API_KEY": "***"}
    assert "s3cret-value" not in shown.out + cli.ok("events", "--job", job["id"], "--json").out


def test_options_may_stand_before_a_command_without_dashes(embedded: Cli) -> None:
    assert embedded.ok("run", "--name", "n", "echo", "--name").out == "--name\n"


def _environ(cli: Cli) -> dict[str, str]:
    return {**os.environ, **cli.environ}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_cancels_the_job(cli: Cli, signum: signal.Signals, code: int) -> None:
    name = f"interrupted-{signum.name}-{'remote' if 'HPCGATE_URL' in cli.environ else 'embedded'}"
    with spawned(_environ(cli), "run", "--name", name, "--", "sh", "-c", "echo here; sleep 300") as process:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    job = cli.ok("list", "--name", name, "--json").json[0]
    assert (process.returncode, out) == (code, b"")
    assert err.decode() == f"hpcgate: canceling job {job['id']}\n"
    assert (job["state"], job["reason"]) == ("CANCELED", "CANCELED_BY_USER")


def test_a_reader_that_goes_away_cancels_the_job(embedded: Cli) -> None:
    with spawned(_environ(embedded), "run", "--name", "unread", "--", "yes") as process:
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(timeout=30) == 141
        assert b"Traceback" not in process.stderr.read()
    eventually(lambda: embedded.ok("list", "--name", "unread", "--json").json[0]["state"] == "CANCELED")


def test_output_comes_while_the_job_runs(cli: Cli, tmp_path: Any) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    command = f"echo first; read line < {fifo}; echo $line >&2; exit 3"
    with spawned(_environ(cli), "run", "--", "sh", "-c", command, stdin=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"first\n"
        fifo.write_text("second\n")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (3, b"", b"second\n")
