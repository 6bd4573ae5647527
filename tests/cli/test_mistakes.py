"""A user's mistake is one line on stderr, an exit code that means something, and nothing stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cli.clitools import Cli


def newest(cli: Cli) -> list[int]:
    return [job["id"] for job in cli.ok("list", "--limit", 1, "--json").json]


def fails(cli: Cli, code: int, words: str, *argv: Any, stdin: bytes = b"") -> None:
    result = cli(*argv, stdin=stdin)
    assert (result.code, result.out) == (code, ""), result
    assert result.err.startswith("hpcgate: error: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert words in result.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("lisst",), "no such command 'lisst'; did you mean 'list'?"),
        (("list", "--stat", "RUNNING"), "--stat"),
        (("list", "--state", "ASLEEP"), "ASLEEP"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--cursor", "forged"), "cursor"),
        (("list", "--label", "x"), "'x' is not of the form KEY=VALUE"),
        (("list", "--since", "tomorrow"), "'tomorrow' is no time"),
        (("list", "--watch"), "--watch needs a terminal"),
        (("show",), "ID"),
        (("show", "abc"), "abc"),
        (("show", "0"), "0"),
        (("cancel", "1", "x"), "'x' is no id of a job"),
        (("run",), "COMMAND"),
        (("submit",), "give either the FILE of a script or, after '--', a command"),
        (("submit", "/no/such/file"), "script '/no/such/file' cannot be read: No such file or directory"),
        (("submit", "hostname"), "a command goes after '--'"),
        (("submit", "--walltime", "1h30", "--", "true"), "'1h30' is no time"),
        (("submit", "--memory", "lots", "--", "true"), "'lots' is no size"),
        (("submit", "--nodes", "-1", "--", "true"), "resources.nodes: -1 is out of range"),
        (("submit", "--nodes", "many", "--", "true"), "many"),
        (("submit", "--array", "9-0", "--", "true"), "array"),
        (("submit", "--array", "0-1000000000", "--", "true"), "array"),
        (("submit", "--array", "", "--", "true"), "array: '' is not of the form"),
        (("submit", "--name", "a\nb", "--", "true"), "control character"),
        (("submit", "--name", "", "--", "true"), "name: is empty"),
        (("submit", "--queue", "", "--", "true"), "queue"),
        (("submit", "--site", "loacl", "--", "true"), "there is no site 'loacl'; did you mean 'local'?"),
        (("submit", "--secret-env", "NOT_THERE", "--", "true"), "NOT_THERE is not in the environment"),
        (("submit", "--input", "/no/such", "--", "true"), "'/no/such' cannot be read"),
        (("submit", "--input", "/etc/hostname=../x", "--", "true"), "staging.inputs.path"),
        (("submit", "--queue", "q", "--", "true"), "queue"),
        (("token", "create", "root", "--ttl", "never"), "'never' is no time"),
    ],
)
def test_wrong_options_and_specs(cli: Cli, argv: tuple[str, ...], words: str) -> None:
    before = newest(cli)
    fails(cli, 2, words, *argv)
    assert newest(cli) == before


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (b"echo hello\n", "must start with '#!'"),
        (b"", "script"),
        (b"#!/bin/sh\r\necho\r\n", "DOS line breaks"),
        (b"#!/bin/sh\n\0", "NUL"),
        (b"#!/bin/sh\n\xff", "no UTF-8"),
        (b"#!/bin/sh\n" + b"x" * (1 << 20), "at most 1048576"),
    ],
)
def test_wrong_scripts(cli: Cli, tmp_path: Path, script: bytes, words: str) -> None:
    (tmp_path / "job.sh").write_bytes(script)
    fails(cli, 2, words, "submit", tmp_path / "job.sh")


def test_a_secret_never_stands_in_argv(cli: Cli) -> None:
    result = cli("submit", "--secret-env", "KEY=topsecret", "--", "true")
    assert result.code == 2
    assert "topsecret" not in result.err


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[sites.x", "is no valid TOML"),
        ("[sites.x]\nscheduler = 'slrum'", "[sites.x] scheduler: scheduler 'slrum' is not installed"),
        ("[sites.x]\nscheduler = 'local'\ncolour = 1", "[sites.x] colour: unknown field"),
        ("[sites.x]\nscheduler = 7", "[sites.x] scheduler: must be text"),
        ("[sites.x]\nscheduler = 'local'\n[sites.x.settings]\ncpu = 1", "cpu: unknown field; did you mean 'cpus'?"),
        ("[gateway]\ndatabase = 'mysql://x'", "is no database URL"),
        ("[gateway]\ndatabase = 'sqlite:////proc/x/y.db'", "cannot be made"),
    ],
)
def test_wrong_configuration(embedded: Cli, tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "c.toml").write_text(toml)
    fails(embedded, 2, words, "--config", tmp_path / "c.toml", "list")


def test_a_home_that_cannot_be(embedded: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below", "/proc/hpcgate"):
        embedded.environ["HPCGATE_HOME"] = str(home)
        fails(embedded, 2, f"HPCGATE_HOME {home} cannot be made or is no folder", "list")


def test_a_configuration_that_is_not_there(embedded: Cli) -> None:
    fails(embedded, 2, "/no/such.toml: cannot be read", "--config", "/no/such.toml", "list")


@pytest.mark.parametrize("argv", [("show", 10**9), ("logs", 10**9), ("cancel", 10**9), ("files", 10**9)])
def test_what_is_not_there(cli: Cli, argv: tuple[Any, ...]) -> None:
    fails(cli, 3, f"there is no job {10**9}", *argv)


# --- servers


@pytest.fixture
def impostor() -> Iterator[str]:
    """Some other web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            missing = self.path.startswith("/api/v1/jobs/1")
            body = b"<html>\n<h1>Welcome!</h1>\n</html>"
            self.send_response(404 if missing else 200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_something_else_answers(embedded: Cli, impostor: str) -> None:
    embedded.environ |= {"HPCGATE_URL": impostor, "HPCGATE_TOKEN": "secret-token"}
    fails(embedded, 4, "answered with text/html instead of JSON", "list")
    fails(embedded, 3, "answered 404", "show", 1)


def test_nobody_answers(embedded: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcgate.client.http.FIRST_PAUSE_S", 0.001)
    embedded.environ |= {"HPCGATE_URL": "http://127.0.0.1:9", "HPCGATE_TOKEN": "secret-token"}
    fails(embedded, 4, "http://127.0.0.1:9 cannot be reached", "list")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://gate.example.org", "is plain HTTP to another machine"),
        ("gate.example.org", "must be like https://gate.example.org"),
        ("ftp://gate.example.org", "must be like https://gate.example.org"),
        ("https://ann:pw@gate.example.org", "holds a user name or password"),
    ],
)
def test_wrong_urls_and_a_token_that_would_be_seen(embedded: Cli, url: str, words: str) -> None:
    embedded.environ |= {"HPCGATE_URL": url, "HPCGATE_TOKEN": "secret-token"}
    result = embedded("list")
    assert (result.code, words in result.err, "secret-token" in result.err) == (2, True, False)


@pytest.mark.parametrize("token", ["", "garbage", "eyJhbGciOiJub25lIn0.e30."])
def test_bad_tokens(remote: Cli, token: str) -> None:
    remote.environ["HPCGATE_TOKEN"] = token
    result = remote("list")
    assert (result.code, result.out, result.err.count("\n")) == (5, "", 1)
    assert not token or token not in result.err


def test_debug_lets_the_exception_through(embedded: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcgate.errors import NotFound

    monkeypatch.setenv("HPCGATE_DEBUG", "1")
    with pytest.raises(NotFound):
        embedded("show", 10**9)
