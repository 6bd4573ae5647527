"""A gateway with the dialect, in the process of the test, with a batch system that does what the test says."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

# For `bsptools`: with importlib's import mode test files do not see their neighbours.
sys.path.append(str(Path(__file__).parent))

from bsptools import TABLES, Service

from hpcgate.model.state import JobState

_numbers = itertools.count()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One service for all tests: each has users of its own."""
    # What all users together may take is for the tests that look at it.
    projects = {
        name: {key: value for key, value in table.items() if key != "total_hours"}
        for name, table in TABLES["projects"].items()
    }
    with Service(tmp_path_factory.mktemp("bsp") / "home", {**TABLES, "projects": projects}) as service:
        yield service


@pytest.fixture
def service(shared):
    """It, as if nothing had happened so far."""
    shared.fake.on_submit = JobState.QUEUED
    shared.fake.canceled.clear()
    return shared


@pytest.fixture
def make(tmp_path, request):
    """Opens services of the test's own."""

    def open_one(tables) -> Service:
        service = Service(tmp_path / "home", tables)
        request.addfinalizer(service.close)
        return service

    return open_one


@pytest.fixture
def ann(service):
    """A member of the group."""
    return service.member()


@pytest.fixture
def bob(service):
    """Somebody who is none."""
    return service.newcomer(f"bob{next(_numbers)}")


@pytest.fixture
def nobody(service):
    return service.nobody()
