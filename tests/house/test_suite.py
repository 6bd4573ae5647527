"""The settings of the test suite itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SUITE = """
import os
import pytest

@pytest.mark.live
def test_live_skipped():
    pytest.skip("no batch system here")

@pytest.mark.skip(reason="not now")
@pytest.mark.live
def test_live_marked():
    pass

@pytest.mark.xfail(strict=True)
@pytest.mark.live
def test_live_xfailed():
    assert False

def test_fast_skipped():
    pytest.skip("not now")

def test_sees_no_settings_of_the_user():
    assert "HPCGATE_URL" not in os.environ
    assert os.environ["HPCGATE_HOME"] != "/elsewhere"
"""


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [("true", "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error"), ("", "1 passed, 3 skipped, 1 xfailed")],
)
def test_a_skipped_live_test_fails_in_ci_alone(tmp_path, ci, outcome):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers = live: x\npythonpath = {ROOT / 'tests'}\n")
    (tmp_path / "test_it.py").write_text(SUITE)
    environ = {**os.environ, "CI": ci, "HPCGATE_URL": "http://elsewhere", "HPCGATE_HOME": "/elsewhere"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert outcome in result.stdout.splitlines()[-1]
    assert ("no batch system here" in result.stdout) == bool(ci)
