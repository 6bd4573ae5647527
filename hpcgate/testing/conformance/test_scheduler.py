"""The kit on an installed plugin: ``pytest --pyargs hpcgate.testing.conformance --hpcgate-scheduler=NAME``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcgate.model.site import Site
from hpcgate.plugin.manager import PluginHost
from hpcgate.testing.conformance.sites import default_site, open_transport, site_of_file
from hpcgate.testing.conformance.suite import SchedulerConformance
from hpcgate.transport.base import Transport


class TestScheduler(SchedulerConformance):
    """The scheduler and the site that the command line names."""

    @pytest.fixture(scope="class")
    @classmethod
    def installed_host(cls) -> PluginHost:
        """Everything that is installed."""
        return PluginHost.load()

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, request: pytest.FixtureRequest, installed_host: PluginHost) -> object:
        """The plugin; one that is broken or not installed fails every test with the reason."""
        name = request.config.getoption("--hpcgate-scheduler")
        installed_host.scheduler(name)
        return installed_host.manager.get_plugin(name)

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, request: pytest.FixtureRequest, plugin: object, tmp_path_factory: pytest.TempPathFactory) -> Site:
        """The site of the file, or one with default settings in a temporary folder."""
        name, file = (request.config.getoption(option) for option in ("--hpcgate-scheduler", "--hpcgate-site"))
        if file:
            return site_of_file(name, plugin, Path(file))
        return default_site(name, plugin, tmp_path_factory.mktemp("site"))

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, site: Site, installed_host: PluginHost) -> Iterator[Transport]:
        """The way to the site."""
        with open_transport(site, installed_host) as transport:
            yield transport

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def patience(cls, request: pytest.FixtureRequest, site: Site) -> None:
        """A site that was named is asked no more often than it allows, and may take its time."""
        if request.config.getoption("--hpcgate-site"):
            cls.every_s = max(cls.every_s, site.poll.min_s)
            cls.deadline_s = max(cls.deadline_s, 40 * site.poll.min_s)
