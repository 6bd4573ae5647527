"""The kit that every scheduler plugin must pass, on a live cluster, as an ordinary user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from live.as_user import UserTransport
from live.slurm_conformance import SlurmConformance

from hpcgate.testing.conformance.sites import default_site

# slurmctld looks at walltimes twice a minute, and puts a requeued job off for two.
pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


class TestSlurm(SlurmConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, plugin, user, tmp_path_factory):
        site = default_site("slurm", plugin, tmp_path_factory.mktemp("site"))
        return replace(site, work_root=f"{user.pw_dir}/it's a folder", event_spool=None)

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, cluster, user):
        with UserTransport(user, cluster.environment) as transport:
            yield transport


def test_folder_of_the_tests_is_the_users_own(cluster, user):
    assert Path(user.pw_dir).owner() == user.pw_name
