"""The kit, put to the test on a scheduler that is known to be good, with every capability but one."""

from contextlib import contextmanager

import pytest

from hpcgate.errors import TransportError
from hpcgate.testing.conformance.sites import default_site
from hpcgate.testing.conformance.suite import SchedulerConformance
from hpcgate.testing.running import RunningScheduler
from hpcgate.transport.local import LocalTransport


class TestRunningScheduler(SchedulerConformance):
    installed = False
    every_s = 0.02

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        cls.scheduler = RunningScheduler()
        yield cls.scheduler
        cls.scheduler.close()

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, plugin, tmp_path_factory):
        return default_site("fake", plugin, tmp_path_factory.mktemp("site"))

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls):
        with LocalTransport() as transport:
            yield transport

    @contextmanager
    def unreachable(self, bench):
        self.scheduler.fail_next("poll", TransportError("no route"))
        yield
