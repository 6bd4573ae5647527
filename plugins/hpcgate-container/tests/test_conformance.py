"""The kit that every scheduler plugin must pass, on a live podman, as an ordinary account."""

from __future__ import annotations

import pytest
from hpcgate_container import plugin as container

from hpcgate.testing.conformance.suite import SchedulerConformance


@pytest.mark.live
class TestContainer(SchedulerConformance):
    every_s = 0.15

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return container

    def unreachable(self, bench):
        return self.engine.unreachable()

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _engine(cls, podman):
        cls.engine = podman
