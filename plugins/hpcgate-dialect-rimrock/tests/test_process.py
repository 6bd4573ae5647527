"""Commands on login nodes."""

from __future__ import annotations

import pytest
from rimrock_bench import HOST, in_shape, open_bench


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    (folder / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("SHELL", "/bin/sh")
        with open_bench(folder / "gateway", process=True, process_timeout_s=1.0) as bench:
            yield bench


def ask(bench, command, **more):
    return bench.ask("POST", "/api/process", {"host": HOST, "command": command, **more})


def test_it_is_not_there_unless_the_operator_says_so(bench):
    in_shape(ask(bench, "pwd"), 404)


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("echo hello", 0, "hello", ""),
        ("printf ' a\\r\\nb \\n\\n'; echo no >&2; exit 7", 7, "a\nb", "no"),
        ("kill -9 $$", 137, "", "Killed"),
        ("exit 124", 124, "", ""),
        ("cat", 0, "", ""),
    ],
)
def test_what_a_command_answers(shell, command, code, out, err):
    answer = ask(shell, command)
    assert answer.status_code == 200, answer.text
    assert list(answer.json) == ["status", "exit_code", "standard_output", "error_output", "error_message"]
    told = answer.json
    assert (told["status"], told["error_message"]) == ("OK", None)
    assert told["standard_output"] == out
    if command != "kill -9 $$":  # shells differ in what they make of it
        assert (told["exit_code"], told["error_output"]) == (code, err)
    else:
        assert told["exit_code"] != 0


def test_where_it_starts(shell):
    home = shell.home
    assert ask(shell, "pwd").json["standard_output"] == str(home)
    (home / "it's here").mkdir()
    assert ask(shell, "pwd", working_directory="it's here").json["standard_output"] == str(home / "it's here")
    gone = ask(shell, "pwd", working_directory="/no/such").json
    assert (gone["exit_code"], gone["standard_output"]) == (1, "")
    assert "/no/such" in gone["error_output"]


def test_one_that_takes_too_long_is_408_with_what_it_printed(shell):
    told = in_shape(ask(shell, "echo so far; exec sleep 60"), 408)
    assert told["standard_output"] == "so far"
    assert told["exit_code"] == -1
    assert told["error_message"] == "timeout occurred: the command was ended after 1 s"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"host": HOST}, "command: missing data"),
        ({"command": "pwd"}, "host: missing data"),
        ({"host": HOST, "command": "   "}, "command: must be a line of shell"),
        ({"host": HOST, "command": "a\0b"}, "command: must be a line of shell"),
        ({"host": HOST, "command": "pwd", "working_directory": "~eve/x"}, "working_directory: "),
    ],
)
def test_what_is_wrong_is_422(shell, body, message):
    assert in_shape(shell.ask("POST", "/api/process", body), 422)["error_message"].startswith(message)


def test_an_unknown_host_is_500_and_nobody_is_403(shell):
    in_shape(shell.ask("POST", "/api/process", {"host": "zeus", "command": "pwd"}), 500)
    in_shape(shell.ask("POST", "/api/process", {"host": HOST, "command": "pwd"}, user=None), 403)
