"""The list of commands, help, completion, and how quick it all is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import click
import pytest
from cli.clitools import Cli, spawned
from support import made

from hpcgate import __version__, errors
from hpcgate.cli import exits, main
from hpcgate.cli.main import SECTIONS, cli
from hpcgate.errors import HpcgateError

COMMANDS = [(name, entry) for section in SECTIONS.values() for name, entry in section.items()]


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from commands(sub, (*path, name))
    else:
        yield path, command


@pytest.mark.parametrize(("name", "entry"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_a_command_is_what_the_list_says_and_shows_examples(embedded: Cli, name: str, entry: main.Entry) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.name, command.get_short_help_str(80)) == (name, entry.help)
    for path, each in commands(command, (name,)):
        shown = embedded.ok(*path, "--help").out
        assert f"hpcgate {' '.join(path)}" in shown.split("Example", 1)[1], f"{path} has no example"
        for parameter in each.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (path, parameter.name)


def test_help_lists_everything(embedded: Cli) -> None:
    shown = embedded.ok("--help").out
    for name, entry in COMMANDS:
        assert f"  {name}" in shown
        assert entry.help in shown
    for argv, words in (((), "Run work on any batch system"), (("site",), "Look at sites, stop")):
        alone = embedded(*argv)
        assert (alone.code, alone.out, words in alone.err) == (2, "", True)


def test_version(embedded: Cli) -> None:
    assert embedded.ok("--version").out == f"hpcgate {__version__}\n"


def test_exit_codes_of_errors() -> None:
    codes = {
        kind.code: exits.code_of_error(made(kind))
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, HpcgateError)
    }
    assert codes == {
        "error": 1,
        "config_invalid": 2,
        "database_unavailable": 1,
        "unauthenticated": 5,
        "forbidden": 5,
        "too_many_tries": 5,
        "issuer_unavailable": 4,
        "not_found": 3,
        "conflict": 1,
        "duplicate_record": 1,
        "idempotency_mismatch": 1,
        "not_supported": 1,
        "job_rejected": 1,
        "quota_exceeded": 1,
        "invalid_spec": 2,
        "site_error": 4,
        "scheduler_error": 4,
        "transport_error": 4,
        "site_timeout": 4,
        "output_too_large": 4,
        "plugin_error": 1,
        "lease_lost": 1,
        "site_drained": 1,
        "events_gone": 1,
        "managed_by_config": 1,
        "schema_too_new": 2,
    }


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"state": "COMPLETED", "exit_code": 0, "signal": None}, 0),
        ({"state": "COMPLETED", "exit_code": None, "signal": None}, 0),
        ({"state": "FAILED", "exit_code": 7, "signal": None}, 7),
        ({"state": "FAILED", "exit_code": None, "signal": 9}, 137),
        ({"state": "FAILED", "exit_code": 0, "signal": None}, 125),
        ({"state": "FAILED", "exit_code": None, "signal": None}, 125),
        ({"state": "CANCELED", "exit_code": None, "signal": 15}, 143),
        ({"state": "CANCELED", "exit_code": None, "signal": None}, 125),
    ],
)
def test_exit_codes_of_run(job: Mapping[str, object], code: int) -> None:
    assert exits.code_of_run(job) == code


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(embedded: Cli, shell: str) -> None:
    script = embedded.ok("completion", shell).out
    assert "_HPCGATE_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script.encode(), check=True)


def complete(environ: Mapping[str, str], *words: str) -> list[str]:
    asked = {"_HPCGATE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    with spawned({**environ, **asked}) as process:
        out, err = process.communicate(timeout=30)
    assert err == b""
    return [line.partition(",")[2] for line in out.decode().splitlines() if line]


def test_completion_knows_commands_ids_and_sites(cli: Cli) -> None:
    environ = {**os.environ, **cli.environ}
    job_id = cli.submit("--", "true")
    assert complete(environ, "hpcgate", "canc") == ["cancel"]
    assert str(job_id) in complete(environ, "hpcgate", "show", "")
    assert complete(environ, "hpcgate", "submit", "--site", "lo") == ["local"]


def test_completion_says_nothing_about_what_is_wrong(clean_environ: dict[str, str]) -> None:
    assert complete({"HPCGATE_CONFIG": "/no/such.toml"}, "hpcgate", "show", "") == []


def test_commands_of_plugins_are_found_and_shown(
    embedded: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greeter.py").write_text(
        "import click\nfrom hpcgate.hookspecs import hookimpl\n"
        "@click.command()\ndef greet():\n    '''Say hello.'''\n    click.echo('hello')\n"
        "@click.command()\ndef list():\n    '''Not this one.'''\n"
        "class Plugin:\n    @hookimpl\n    def hpcgate_register_commands(self, register):\n"
        "        register(greet)\n        register(list)\n        register('nonsense')\n"
        "plugin = Plugin()\n"
    )
    info = tmp_path / "greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpcgate]\ngreeter = greeter:plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from hpcgate.cli import plugin_commands

    plugin_commands.plugin_commands.cache_clear()
    try:
        assert metadata.version("greeter") == "1.0"
        assert embedded.ok("greet").out == "hello\n"
        shown = embedded.ok("--help").out
        assert "Commands of plugins:\n  greet  Say hello." in shown
        assert "Not this one" not in shown
    finally:
        plugin_commands.plugin_commands.cache_clear()


def modules_after(environ: Mapping[str, str], *argv: str) -> set[str]:
    code = "import sys; from hpcgate.cli import main; main.run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], env={**os.environ, **environ}, capture_output=True, check=True
    )
    return set(done.stderr.decode().splitlines()[-1].split())


def test_a_command_imports_only_what_it_needs(embedded: Cli) -> None:
    quick = modules_after(embedded.environ, "--version")
    assert not quick & {"httpx", "rich", "peewee", "pluggy", "flask", "hpcgate.gateway", "hpcgate.cli.submit"}
    listing = modules_after(embedded.environ, "list")
    assert "hpcgate.gateway" in listing
    assert not listing & {"httpx", "rich", "flask", "marshmallow", "fabric", "hpcgate.server", "jwt"}


def test_a_remote_command_needs_no_gateway(remote: Cli) -> None:
    used = modules_after(remote.environ, "list")
    assert "httpx" in used
    assert not used & {"hpcgate.gateway", "peewee", "pluggy", "flask"}
