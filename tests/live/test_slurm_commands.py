"""How often a live Slurm is asked: no more for many jobs than for few, and no more because many of them end."""

from __future__ import annotations

import time

import pytest
from live.slurm_gateway import AsUser, configured, reached, submit
from live.worker import running
from support import ANN, eventually

from hpcgate.gateway import open_gateway
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import Evidence, JobState
from hpcgate.service.admission import JobRequest

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

#: The commands of a poll; the others are of submits.
ASKING = ("squeue", "sacct", "scontrol", "sacctmgr", "sinfo")


@pytest.fixture
def commands(cluster, tmp_path):
    # Not below pytest's own folder, which nobody else may enter.
    yield cluster.commands(cluster.root / tmp_path.name)
    cluster.clear()


def asked(commands):
    return {name: count for name, count in commands.counts().items() if name in ASKING}


def round_of(gateway, worker, commands):
    """The commands of exactly one poll, once one is due."""
    before, rounds = asked(commands), gateway.store.sites.health("kit").commands

    def polled():
        worker.step()
        return gateway.store.sites.health("kit").commands - rounds

    assert eventually(polled, 60) == 1
    return {name: count - before.get(name, 0) for name, count in asked(commands).items() if count > before.get(name, 0)}


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.full)])
def test_a_round_costs_the_same_for_many_jobs(cluster, user, commands, tmp_path, count):
    for number in (10, count):
        home, root = tmp_path / str(number), f"{user.pw_dir}/{number}"
        config = configured(home, root, settings={"bin": str(commands.folder)})
        with open_gateway(config, plugins=[("as-user", AsUser(cluster, user))]) as gateway:
            waiting, ending = costs(gateway, cluster, commands, number)
        assert waiting == {"squeue": 1}
        # Accounting once for those that the queue still shows, once for those that it does not, and now and then the
        # configuration, together with what squeue is able to print.
        configurations = ending.get("scontrol", 0)
        assert configurations <= 1
        assert ending["squeue"] == 1 + configurations
        assert ending["sacct"] <= 2
        assert ending.keys() <= {"squeue", "sacct", "scontrol"}


def costs(gateway, cluster, commands, number):
    """The commands of a round in which so many jobs wait, and of one in which all of them have ended."""
    worker = gateway.worker()
    gateway.jobs.submit_many(ANN, [JobRequest(spec=JobSpec(command="true", hold=True))] * number)
    eventually(lambda: worker.step() or _in_state(gateway, JobState.HELD) == number, 200)
    waiting = round_of(gateway, worker, commands)
    cluster.clear()
    ending = round_of(gateway, worker, commands)
    eventually(lambda: worker.step() or _in_state(gateway, JobState.CANCELED) == number, 120)
    worker.close()
    return waiting, ending


def _in_state(gateway, state):
    return gateway.jobs.count(ANN, JobFilter(states=frozenset({state})))


@pytest.mark.parametrize("where", ["local", "ssh"])
def test_ends_are_seen_soon_without_polls(where, cluster, user, commands, tmp_path, request):
    table = {"poll": {"min_s": 15, "max_s": 120, "spool_s": 1}, "settings": {"bin": str(commands.folder)}}
    root, plugins = f"{user.pw_dir}/spooled", [AsUser(cluster, user)]
    if where == "ssh":
        account, sshd = request.getfixturevalue("account"), request.getfixturevalue("sshd")
        cluster.add_user(account.name)
        root, plugins = "~/spooled jobs", []
        table |= {"transport": "ssh", "ssh": sshd.table(account)}
    since = time.monotonic()
    with running(configured(tmp_path / "home", root, **table), *plugins) as gateway:
        # More than fit at once, so that they end one after the other.
        jobs = [submit(gateway, f"sleep {number / 10}\ndate +%s.%N >>ended\n") for number in range(24)]
        for job in jobs:
            reached(gateway, job)
        rounds = 1 + (time.monotonic() - since) / 15
        told = asked(commands)
        for job in jobs:
            last = gateway.jobs.events(ANN, job.id)[-1]
            job = gateway.jobs.get(ANN, job.id)
            ended_at = float(gateway.files.read(ANN, job.id, "ended").data)
            assert (job.state, last.data["new"]) == (JobState.COMPLETED, "COMPLETED")
            assert last.at - ended_at < 2
    assert told.get("squeue", 0) <= rounds
    assert sum(told.values()) <= 2 * rounds


def test_what_a_job_used_is_told_after_its_exit_record_has_ended_it(cluster, user, tmp_path):
    # So seldom that its record, and no poll, ends it.
    table = {"poll": {"min_s": 8, "max_s": 8, "spool_s": 0.2}}
    script = "#SBATCH --nodes=2 --ntasks=2\ni=0; while [ $i -lt 200000 ]; do i=$((i+1)); done\nexit 3\n"
    with running(configured(tmp_path / "home", f"{user.pw_dir}/used", **table), AsUser(cluster, user)) as gateway:
        job = submit(gateway, script)
        ended = reached(gateway, job, JobState.FAILED)
        assert (ended.evidence, ended.usage) == (Evidence.EXIT_FILE, None)
        eventually(lambda: gateway.jobs.get(ANN, job.id).usage, 60)
        told = gateway.jobs.get(ANN, job.id)
        assert told.usage.cpu_time_s > 0
        assert len(told.nodes) == 2
        assert (told.state, told.exit_code, told.evidence) == (JobState.FAILED, 3, Evidence.EXIT_FILE)
        assert gateway.jobs.events(ANN, job.id)[-1].type == "job.usage"
