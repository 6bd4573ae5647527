"""``hpcgate records export | import | check``: by processes of their own, so that their memory can be looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli.clitools import Cli
from cli.test_terminal import on_terminal
from service.record_samples import ended, fill, sums

from hpcgate.store.database import open_store

#: Runs a command and tells its peak memory, MiB.
_MEASURED = """
import re, sys
from pathlib import Path
from hpcgate.cli.main import run
code = run(sys.argv[1:])
# Not as getrusage has it, which begins with what the process that started this one had.
(peak_kib,) = re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak_kib) // 1024, file=sys.stderr)
sys.exit(code)
"""


def measured(home: Path, *argv: str) -> tuple[int, dict[str, int], list[str], int]:
    """Exit code, counts, what was said, and peak memory of a command."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "records", *argv, "--json"],
        env={**os.environ, "HPCGATE_HOME": str(home), "HPCGATE_LOAD_PLUGINS": "local"},
        capture_output=True,
        text=True,
    )
    *said, peak = done.stderr.splitlines()
    return done.returncode, json.loads(done.stdout or "{}"), said, int(peak)


@pytest.mark.parametrize(
    ("many", "peak_mib"), [(60, 150), pytest.param(100_000, 150, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]
)
@pytest.mark.usefixtures("clean_environ")
def test_records_go_from_one_gateway_to_another_but_for_damaged_files(tmp_path, many, peak_mib):
    here, there, archive = tmp_path / "here", tmp_path / "there", str(tmp_path / "archive")
    here.mkdir()
    source = open_store(f"sqlite:///{here / 'hpcgate.db'}")
    fill(source, many)

    code, counts, said, peak = measured(here, "export", archive)
    assert (code, counts, said) == (0, {"done": many, "there": 0, "open": 1, "bad": 0}, [])
    assert peak < peak_mib

    damaged = next(Path(archive).glob("alex/*/*/*/meta.json"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100])
    code, counts, said, peak = measured(there, "import", archive)
    assert (code, counts) == (1, {"done": many - 1, "there": 0, "bad": 1})
    assert len(said) == 1
    assert said[0].startswith(f"hpcgate: {damaged}: is no JSON")
    assert peak < peak_mib
    damaged.write_bytes(whole)
    code, counts, said, _ = measured(there, "import", archive)
    assert (code, counts, said) == (0, {"done": 1, "there": many - 1, "bad": 0}, [])

    target = open_store(f"sqlite:///{there / 'hpcgate.db'}")
    try:
        assert ended(target) == ended(source)
        assert sums(target) == sums(source)
    finally:
        source.close()
        target.close()


def test_people_are_told_in_words_and_shown_how_far_it_is(embedded: Cli, tmp_path):
    folder = str(tmp_path / "archive")
    embedded = replace(embedded, environ={"HPCGATE_HOME": str(tmp_path / "home")})
    assert embedded.ok("records", "export", folder).out == "0 written\n"
    code, terminal = on_terminal(embedded, "records", "check", folder)
    assert code == 0
    assert "checking" in terminal.text
    assert "0 good" in terminal.text
    assert embedded.ok("records", "import", folder).out == "0 stored\n"


def test_mistakes_are_told(embedded: Cli, remote: Cli, tmp_path):
    gone = str(tmp_path / "gone")
    for verb in ("import", "check"):
        result = embedded("records", verb, gone)
        assert (result.code, result.err) == (3, f"hpcgate: error: there is no archive {gone}\n")
    (tmp_path / "file").touch()
    result = embedded("records", "export", str(tmp_path))
    assert (result.code, result.err) == (
        1,
        f"hpcgate: error: {tmp_path} is not empty, and no archive: it has no version.txt\n",
    )
    result = remote("records", "export", gone)
    assert (result.code, result.out) == (2, "")
    assert "unset HPCGATE_URL" in result.err
