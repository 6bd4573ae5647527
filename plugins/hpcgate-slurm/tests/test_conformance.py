"""The kit that every scheduler plugin must pass, on a live cluster, as an ordinary user."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hpcgate_slurm import plugin as slurm
from live.as_user import UserTransport

from hpcgate.model.spec import JobSpec
from hpcgate.testing.conformance.sites import default_site
from hpcgate.testing.conformance.suite import SchedulerConformance

# slurmctld looks at walltimes twice a minute, and puts a requeued job off for two.
pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


class TestSlurm(SchedulerConformance):
    walltime_ahead = True
    deadline_s = 180.0
    every_s = 0.2

    def bad_spec(self):
        return JobSpec(command="true", queue="no-such-partition")

    @contextmanager
    def unreachable(self, bench):
        with self.cluster.without("slurmctld"):
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return slurm

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, plugin, cluster, user, tmp_path_factory):
        cls.cluster = cluster
        site = default_site("slurm", plugin, tmp_path_factory.mktemp("site"))
        return replace(site, work_root=f"{user.pw_dir}/it's a folder", event_spool=None)

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, cluster, user):
        with UserTransport(user, cluster.environment) as transport:
            yield transport

    def test_requeue_runs_the_job_anew_under_the_same_id(self, bench):
        """An administrator shortens Slurm's own pause before the second run."""
        with self.cluster.hurrying():
            super().test_requeue_runs_the_job_anew_under_the_same_id(bench)


def test_folder_of_the_tests_is_the_users_own(cluster, user):
    assert Path(user.pw_dir).owner() == user.pw_name
