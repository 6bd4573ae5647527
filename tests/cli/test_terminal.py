"""What people see on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from cli.clitools import Cli, spawned
from support import eventually


class Terminal:
    """A pseudo-terminal and what was written to it."""

    def __init__(self, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._seen = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self._seen += os.read(self.master, 65536)
            except OSError:  # the last writer has gone
                return

    @property
    def raw(self) -> str:
        return self._seen.decode()

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw).replace("\r", "")

    def close(self) -> None:
        os.close(self.slave)
        self._reader.join()
        os.close(self.master)


def on_terminal(cli: Cli, *argv: str, columns: int = 100) -> tuple[int, Terminal]:
    terminal = Terminal(columns)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hpcgate", *argv],
            env={**os.environ, **cli.environ, "TERM": "xterm", "COLUMNS": ""},
            stdin=subprocess.DEVNULL,
            stdout=terminal.slave,
            stderr=terminal.slave,
            check=False,
        )
    finally:
        terminal.close()
    return done.returncode, terminal


def test_tables_fit_the_width_and_have_colours(embedded: Cli) -> None:
    name = "a-rather-long-name-that-would-not-fit-into-a-narrow-terminal-at-all"
    embedded("run", "--name", name, "--", "false")
    code, terminal = on_terminal(embedded, "list", "--name", name, columns=70)
    lines = terminal.text.splitlines()
    assert code == 0
    assert lines[0].split()[:2] == ["ID", "NAME"]
    assert len(lines) > 2
    assert max(map(len, lines)) <= 70
    assert "\x1b[31mFAILED" in terminal.raw


def test_submit_and_wait_speak_to_people(embedded: Cli, tmp_path: Path) -> None:
    code, terminal = on_terminal(embedded, "submit", "--", "sleep", "0.5")
    assert code == 0
    match = re.fullmatch(r"job (\d+) is \w+ at local, \d+ there\n", terminal.text)
    assert match, terminal.text
    code, terminal = on_terminal(embedded, "wait", match[1])
    assert code == 0
    assert "0/1" in terminal.text
    assert "COMPLETED" in terminal.text


def test_a_watched_list_changes_until_ctrl_c(embedded: Cli, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job_id = embedded.submit("--", "sh", "-c", f"until test -e {go}; do sleep 0.05; done")
    terminal = Terminal(120)
    try:
        environ = {**os.environ, **embedded.environ, "TERM": "xterm"}
        argv = ("list", "--watch", "--limit", "1")
        with spawned(environ, *argv, stdout=terminal.slave, stderr=subprocess.PIPE) as process:
            eventually(lambda: f"{job_id}" in terminal.text and "RUNNING" in terminal.text)
            go.touch()
            eventually(lambda: "COMPLETED" in terminal.text)
            process.send_signal(2)
            _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, b"")
    finally:
        terminal.close()


def test_escape_sequences_of_others_do_not_reach_the_terminal(embedded: Cli) -> None:
    from hpcgate.cli.output import clean

    assert clean("\x1b]0;owned\x07 \x9b31m") == "?]0;owned? ?31m"
    embedded.ok("run", "--label", "x=[red]not markup[/red]", "--", "true")
    _, terminal = on_terminal(embedded, "list", "--limit", "1")
    assert "\x1b[31m" not in terminal.raw


@pytest.mark.parametrize("argv", [("list", "--all"), ("events", "--after", "0"), ("plugin", "show", "local")])
def test_a_reader_that_goes_away_is_no_error(embedded: Cli, argv: tuple[str, ...]) -> None:
    # A pipe that nobody reads: the first write that reaches it fails.
    reader, writer = os.pipe()
    os.close(reader)
    with spawned({**os.environ, **embedded.environ}, *argv, stdout=writer) as process:
        os.close(writer)
        assert (process.wait(timeout=30), process.stderr.read()) == (141, b"")
