"""One live Slurm for the whole session, shared by the tests of the core and of the plugin."""

from __future__ import annotations

import pwd
from collections.abc import Iterator

import pytest
from live.slurm_cluster import Cluster, missing, ordinary_user, started


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster. A test that breaks it mends it; should it fail to, the next one finds the daemons there."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with started() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _whole_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    cluster = request.getfixturevalue("cluster") if "cluster" in request.fixturenames else None
    yield
    if cluster is not None:
        cluster.mend()


@pytest.fixture(scope="session")
def user(cluster: Cluster) -> Iterator[pwd.struct_passwd]:
    """An ordinary account that may submit."""
    with ordinary_user() as user:
        cluster.add_user(user.pw_name)
        yield user
        cluster.clear()
