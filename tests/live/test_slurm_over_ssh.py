"""The live Slurm as an ordinary user sees it over ssh: the conformance kit, and a host that goes away."""

from __future__ import annotations

import pytest
from hpcgate_slurm.settings import SlurmSettings
from live.slurm_conformance import SlurmConformance
from live.slurm_gateway import WAIT, configured, history, reached, submit, wait_for_polls
from live.sshd import new_sshd, open_transport, site_of
from live.worker import running
from support import ANN, eventually

from hpcgate.model.state import JobState

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def commands(cluster, account):
    cluster.add_user(account.name)
    return cluster.commands(cluster.root / "over-ssh")


class TestSlurmOverSsh(SlurmConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, sshd, account, commands):
        settings = SlurmSettings(bin=str(commands.folder))
        root = "~/it's a folder/jobs"
        return site_of(sshd.settings(account), scheduler="slurm", settings=settings, work_root=root)

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, sshd, account, cluster):
        with open_transport(sshd, account) as transport:
            yield transport
        cluster.clear()


def test_host_away(cluster, account, commands, tmp_path):
    """A job goes on while nobody can be asked, another one ends: neither has failed."""
    with new_sshd() as server:
        table = server.table(account, connect_timeout_s=2)
        settings = {"bin": str(commands.folder)}
        config = configured(tmp_path, "~/host away", transport="ssh", ssh=table, settings=settings)
        with running(config) as gateway:
            goes_on, ends = submit(gateway, WAIT), submit(gateway, WAIT)
            for job in (goes_on, ends):
                reached(gateway, job, JobState.RUNNING)
            server.stop()
            eventually(lambda: not gateway.status()["sites"]["kit"]["ok"], 60)
            _go(cluster, account, ends)
            eventually(lambda: ends.native_id not in cluster.run("squeue", "-h", "-o", "%A").stdout.split(), 30)
            assert gateway.jobs.get(ANN, ends.id).state is JobState.RUNNING, "nobody could tell"
            server.start()
            assert reached(gateway, ends).state is JobState.COMPLETED
            wait_for_polls(gateway, 2)
            assert gateway.jobs.get(ANN, goes_on.id).state is JobState.RUNNING
            _go(cluster, account, goes_on)
            assert reached(gateway, goes_on).state is JobState.COMPLETED
            for job in (goes_on, ends):
                assert history(gateway, job) == ["SUBMITTING", "QUEUED", "RUNNING", "COMPLETED"]


def _go(cluster, account, job):
    folder = job.folder.replace("~", account.home, 1)
    cluster.run("touch", f"{folder}/work/go", user=account.name, check=True)
