"""Options and fixtures for the tests of plugin authors.

It is loaded in every pytest run of whoever has hpcgate installed, so it imports next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hpcgate.testing.fakes import FakeScheduler
    from hpcgate.testing.transports import ScriptedTransport


# Assertions in the kit say what was found, as those in test files do.
pytest.register_assert_rewrite("hpcgate.testing.conformance", "hpcgate.testing.dialects")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--hpcgate-scheduler`` and ``--hpcgate-site``."""
    group = parser.getgroup("hpcgate", "hpcgate: conformance of a scheduler plugin")
    group.addoption(
        "--hpcgate-scheduler",
        metavar="NAME",
        help="installed scheduler plugin that `--pyargs hpcgate.testing.conformance` puts to the test",
    )
    group.addoption(
        "--hpcgate-site",
        metavar="FILE.toml",
        help="hpcgate configuration whose site with that scheduler is used; default: the plugin's default settings "
        "on this machine, in a temporary folder",
    )


@pytest.fixture
def hpcgate_fake_scheduler() -> FakeScheduler:
    """A scheduler in memory that does what the test tells it to."""
    from hpcgate.testing.fakes import FakeScheduler

    return FakeScheduler()


@pytest.fixture
def hpcgate_scripted_transport() -> ScriptedTransport:
    """A transport that answers commands from a list."""
    from hpcgate.testing.transports import ScriptedTransport

    return ScriptedTransport()
