"""The settings of the test suite itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What is installed beside pytest takes longer to import than these tests to run.
FEW_PLUGINS = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

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
    environ = {**FEW_PLUGINS, "CI": ci, "HPCGATE_URL": "http://elsewhere", "HPCGATE_HOME": "/elsewhere"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert outcome in result.stdout.splitlines()[-1]
    assert ("no batch system here" in result.stdout) == bool(ci)


SHARED = """
import os
import pytest

@pytest.mark.parametrize("number", range(8))
def test_who(number):
    with open({told!r}, "a") as file:
        file.write(f"{{os.environ['PYTEST_XDIST_WORKER']}}\\n")
"""


def test_processes_share_the_tests_out_by_files_and_groups(tmp_path):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers = live: x\npythonpath = {ROOT / 'tests'}\n")
    (tmp_path / "live").mkdir()
    names = ("test_one", "test_other", "live/test_slurm_one", "live/test_slurm_other")
    for name in names:
        (tmp_path / f"{name}.py").write_text(SHARED.format(told=f"{tmp_path / name}.told"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "3", "--dist=loadgroup"]
    environ = {**FEW_PLUGINS, "PYTEST_PLUGINS": "xdist.plugin"}
    subprocess.run([*command, "--import-mode=importlib"], cwd=tmp_path, env=environ, capture_output=True, check=True)
    workers = [(tmp_path / f"{name}.told").read_text().split() for name in names]
    assert [len(each) for each in workers] == [8] * 4
    one, other, slurm, slurm_too = (set(each) for each in workers)
    assert [len(each) for each in (one, other, slurm | slurm_too)] == [1, 1, 1]
    assert len(one | other | slurm) == 3
