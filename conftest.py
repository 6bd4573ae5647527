"""Settings of the whole test suite: that of the core and those of the plugins."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Here, for the tests of a plugin are to share the cluster with those of the core. Where the conformance kit alone is
# run, the fixtures are not there.
pytest_plugins = ("live.fixtures", "logwatch", "quick") if find_spec("live") else ()

#: What files share a process, and with it a cluster or a server: the first that fits a file's path. Two clusters are
#: busy for about as long as the rest of the tests.
GROUPS = {
    "hpcgate-slurm/tests/test_conformance.py": "slurm kit",
    "live/test_slurm_over_ssh.py": "slurm kit",
    "clients/test_*.py": "clients",
    "live/test_slurm_*.py": "slurm",
    "hpcgate-slurm/tests/test_live_*.py": "slurm",
}

# Machines differ and are shared: a slow example is no failure. `thorough` is for a long look at one test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test sees no gateway, token or configuration of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("HPCGATE_") and not name.startswith("HPCGATE_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HPCGATE_HOME", str(tmp_path_factory.mktemp("hpcgate-home")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Where CI is set, a live test that is skipped has failed: there, everything it needs must be there.

    The conformance kit's skips stay: a scheduler need not have every capability.
    """
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("live") and _in_ci():
        path, line, reason = report.longrepr
        if "conformance" not in Path(path).parts:
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: a live test was skipped, and CI is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is collected stays to the end: the garbage collector would look at it time and again for nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where the tests are shared out over processes, what is live goes first.

    It waits more than it works, so that others can work meanwhile.
    """
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("live") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one file stay together, and so do those of a group of files.

    By the names of the files: the process that shares the tests out does not know their marks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((group for name, group in GROUPS.items() if Path(file).match(name)), file)

    return ByFile(config, log)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")
