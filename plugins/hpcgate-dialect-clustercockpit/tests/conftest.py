"""A gateway with the dialect, in the process of the test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# For `cctools`: with importlib's import mode test files do not see their neighbours.
sys.path.append(str(Path(__file__).parent))

from cctools import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """One for all tests of a file: each has job numbers of its own."""
    with Service(tmp_path_factory.mktemp("cc") / "home") as service:
        yield service


@pytest.fixture(scope="module")
def api(service):
    """A program that reports jobs."""
    return service.login("sync", "api")
