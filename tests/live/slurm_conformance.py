"""The conformance kit on a live Slurm: what is the same however its commands are reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hpcgate_slurm import plugin as slurm
from live.slurm_cluster import Cluster

from hpcgate.model.spec import JobSpec
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.suite import SchedulerConformance


class SlurmConformance(SchedulerConformance):
    """To be given a site and a transport."""

    cluster: Cluster
    walltime_ahead = True
    deadline_s = 180.0
    every_s = 0.2

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _cluster(cls, cluster: Cluster) -> None:
        cls.cluster = cluster

    def bad_spec(self) -> JobSpec:
        return JobSpec(command="true", queue="no-such-partition")

    @contextmanager
    def unreachable(self, bench: Bench) -> Iterator[None]:
        with self.cluster.without("slurmctld"):
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls) -> object:
        return slurm

    def test_requeue_runs_the_job_anew_under_the_same_id(self, bench: Bench) -> None:
        """An administrator shortens Slurm's own pause before the second run."""
        with self.cluster.hurrying():
            super().test_requeue_runs_the_job_anew_under_the_same_id(bench)
