"""A gateway with the dialect, in the process of the test, with a batch system that does what the test says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

# For `bsptools`: with importlib's import mode test files do not see their neighbours.
sys.path.append(str(Path(__file__).parent))

from bsptools import TABLES, Service, opened


@pytest.fixture(scope="session")
def seed(tmp_path_factory):
    """A home with a migrated database, users and their tokens; each test gets a copy."""
    home = tmp_path_factory.mktemp("bsp-seed") / "home"
    with opened(home, TABLES) as service:
        service.add_users()
    return home


@pytest.fixture
def make(seed, tmp_path, request):
    """Opens services with other tables than usual."""

    def open_one(tables) -> Service:
        home = tmp_path / "home"
        shutil.copytree(seed, home)
        service = opened(home, tables)
        request.addfinalizer(service.close)
        return service

    return open_one


@pytest.fixture
def service(make):
    return make(TABLES)


@pytest.fixture(scope="session")
def shared(seed, tmp_path_factory):
    """One service with much quota, for all tests that look at their own jobs alone, or make none."""
    home = tmp_path_factory.mktemp("bsp-shared") / "home"
    shutil.copytree(seed, home)
    projects = {name: {**table, "hours": 5000} for name, table in TABLES["projects"].items()}
    with opened(home, {**TABLES, "projects": projects}) as service:
        yield service


@pytest.fixture
def ann(service):
    return service.login("ann")


@pytest.fixture
def bob(service):
    return service.login("bob")


@pytest.fixture
def nobody(service):
    return service.login(None)
