"""A gateway with this dialect."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rimrock_bench import open_bench


@pytest.fixture(scope="session")
def seed(tmp_path_factory):
    """A home with a database that is ready; each test gets a copy."""
    home = tmp_path_factory.mktemp("seed") / "gateway"
    with open_bench(home):
        pass
    return home


@pytest.fixture
def bench(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home of ann"))
    shutil.copytree(seed, tmp_path / "gateway")
    with open_bench(tmp_path / "gateway") as bench:
        yield bench


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One for all tests that change nothing which another would see."""
    with open_bench(tmp_path_factory.mktemp("shared") / "gateway", default_directory="job") as bench:
        yield bench
