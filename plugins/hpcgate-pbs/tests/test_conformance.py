"""The kit that every scheduler plugin must pass, on the stand-in's commands."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from hpcgate_pbs import plugin as pbs

from hpcgate.testing.conformance.suite import SchedulerConformance
from hpcgate.transport.local import LocalTransport


@pytest.mark.live
class TestPbs(SchedulerConformance):
    every_s = 0.15

    @contextmanager
    def unreachable(self, bench):
        standin = self.__class__.server
        standin.configure(reachable=False)
        yield
        standin.configure(reachable=True)

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return pbs

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, standin_of_class, tmp_path_factory):
        cls.server = standin_of_class
        site = standin_of_class.site(tmp_path_factory.mktemp("site"))
        # Signals reach a job's own script where the job folder's path has letters that `qsub -S` takes.
        return replace(site, work_root=str(tmp_path_factory.mktemp("work")))

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, site):
        with LocalTransport() as transport:
            yield transport
