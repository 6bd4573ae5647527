"""Two principals with an account each on a real host: what each one's jobs may do there, and what nobody may."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from live.sshd import make_key, new_account, new_sshd
from live.worker import running
from support import ANN, BOB, ROOT, eventually

from hpcgate.config import config_from
from hpcgate.errors import Forbidden
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Principal
from hpcgate.model.spec import InputFile, JobSpec, Staging
from hpcgate.model.state import FINAL, JobState, Reason
from hpcgate.service.admission import JobRequest

pytestmark = pytest.mark.live

CAROL = Principal(name="carol")


@pytest.fixture(scope="module")
def accounts():
    with new_account("a") as ann, new_account("b") as bob:
        yield ann, bob


@pytest.fixture
def host(account, accounts):
    """An sshd with a key for each account, and one for the account that polls."""
    with new_sshd() as server:
        server.stop()
        (server.folder / "keys").mkdir()
        server.write(f"authorized_{account.name}", server.read("user_key.pub"))
        for each in accounts:
            make_key(server.folder / "keys" / each.name)
            server.write(f"authorized_{each.name}", server.read(f"keys/{each.name}.pub"))
        make_key(server.folder / "ca")
        server.options["AuthorizedKeysFile"] = server.path("authorized_%u")
        server.start()
        yield server


@pytest.fixture
def spool(account):
    """The event spool that an operator makes for several accounts."""
    # Not below pytest's own folders, which no other account may enter.
    with tempfile.TemporaryDirectory(prefix="hpcgate-events-") as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent, "events")
        subprocess.run(["install", "-d", "-m", "1733", "-o", account.name, str(folder)], check=True)
        yield folder


def site_table(server, account, accounts, spool, **identity):
    return {
        "scheduler": "local",
        "transport": "ssh",
        "poll": {"min_s": 0.3, "max_s": 120, "spool_s": 0.3},
        "event_spool": str(spool),
        "settings": {"linger_s": 0},
        "ssh": server.table(account),
        "identity": {
            "mode": "mapped",
            "key_dir": server.path("keys"),
            "accounts": dict(zip(("ann", "bob"), (each.name for each in accounts), strict=True)),
            **identity,
        },
    }


@pytest.fixture
def config(host, account, accounts, spool, tmp_path):
    return config_from({"sites": {"there": site_table(host, account, accounts, spool)}}, home=tmp_path)


def submit(gateway, principal, script, **fields):
    return gateway.jobs.submit(principal, JobRequest(spec=JobSpec(script=script, **fields))).job


def ended(gateway, principal, job):
    def look():
        now = gateway.jobs.get(principal, job.id)
        return now if now.state in FINAL else None

    return eventually(look, 30)


def stdout(gateway, principal, job):
    return gateway.jobs.output(principal, job.id, "stdout").data.decode().strip()


def test_each_ones_jobs_run_as_its_own_account(config, accounts, account):
    with running(config) as gateway:
        script = "#!/bin/sh\nid -un\ncat input\n"
        staging = Staging(inputs=(InputFile(path="input", content=b"brought"),))
        jobs = [(who, submit(gateway, who, script, staging=staging)) for who in (ANN, BOB)]
        for (who, job), its in zip(jobs, accounts, strict=True):
            assert ended(gateway, who, job).state is JobState.COMPLETED
            assert stdout(gateway, who, job) == f"{its.name}\nbrought"
            assert job.account == its.name
            folder = Path(its.home, "hpcgate-jobs", job.key)
            assert folder.stat().st_uid == Path(its.home).stat().st_uid
            assert [file.name for file in gateway.files.list(who, job.id)] == ["input"]
            assert gateway.files.read(who, job.id, "input").data == b"brought"
            gateway.jobs.delete(who, job.id)
            assert not folder.exists()
        probe = gateway.site_service.check(ROOT, "there")
        assert not probe.sees_all_jobs
        assert not any("spooler" in line for line in account.processes()), "no job was the poller's"


def test_neither_gets_at_the_others(config, accounts):
    ann, _ = accounts
    with running(config) as gateway:
        secret = submit(gateway, ANN, "#!/bin/sh\necho ann only\n")
        assert ended(gateway, ANN, secret).state is JobState.COMPLETED
        theirs = f"{ann.home}/hpcgate-jobs/{secret.key}"
        # By a job, by a link in a work folder, by a stream that is said to be elsewhere: all of it is bob, who may not.
        script = f"#!/bin/sh\ncat {theirs}/stdout; ln -s {theirs}/stdout link; ln -sf {theirs}/stdout ../stdout\n"
        job = submit(gateway, BOB, script)
        assert ended(gateway, BOB, job).exit_code == 0
        assert "Permission denied" in gateway.jobs.output(BOB, job.id, "stderr").data.decode()
        with pytest.raises(Exception, match="cannot be read: Permission denied"):
            gateway.jobs.output(BOB, job.id, "stdout")
        with pytest.raises(Exception, match="symbolic link"):
            gateway.files.read(BOB, job.id, "link")
        asked = submit(gateway, BOB, "#!/bin/sh\necho overwritten\n", stdout_path=f"{theirs}/stdout")
        assert ended(gateway, BOB, asked).reason is Reason.LAUNCH_FAILED
        assert stdout(gateway, ANN, secret) == "ann only"


def test_a_forged_word_in_the_event_spool_is_not_believed(config, accounts, spool):
    ann, bob = accounts
    table = config.sites["there"]
    with open_gateway(config) as gateway:
        loop = gateway.worker()._loops["there"]
        job = submit(gateway, ANN, "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\n")
        eventually(lambda: loop.step() and gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
        eventually(lambda: not loop._reconciler.read_event_spool() and not list(spool.iterdir()))
        forger = submit(gateway, BOB, f"#!/bin/sh\n: >{spool}/{job.key}\nls {spool}\n")
        eventually(lambda: (spool / job.key).exists())
        assert (spool / job.key).stat().st_uid == Path(bob.home).stat().st_uid
        told, wake = loop._reconciler._spool.take()
        assert job.id not in [each.ref.id for each in told]
        assert not wake
        assert not (spool / job.key).exists(), "it is taken away, or it would be looked at for ever"
        Path(ann.home, "hpcgate-jobs", job.key, "work", "go").touch()
        eventually(lambda: list(spool.glob(f"{job.key}.*")))
        told, _ = loop._reconciler._spool.take()
        assert job.id in [each.ref.id for each in told]
        assert table.poll.max_s == 120
        eventually(lambda: gateway.worker().step() or gateway.jobs.get(BOB, forger.id).state in FINAL, 30)
        assert "Permission denied" in gateway.jobs.output(BOB, forger.id, "stderr").data.decode(), "it cannot be listed"


def test_the_end_of_anybodys_job_is_seen_by_its_word(config):
    with running(config) as gateway:
        for who in (ANN, BOB):
            job = submit(gateway, who, "#!/bin/sh\nsleep 1\n")
            now = ended(gateway, who, job)
            assert now.state is JobState.COMPLETED
            assert now.updated_at - now.ended_at < 2


def test_what_is_asked_of_jobs_reaches_each_by_its_account(config):
    with running(config) as gateway:
        script = "#!/bin/sh\ntrap 'echo got it; exit 4' USR1\nwhile :; do sleep 0.05; done\n"
        jobs = {who: submit(gateway, who, script) for who in (ANN, BOB)}
        for who, job in jobs.items():
            eventually(lambda who=who, job=job: gateway.jobs.get(who, job.id).state is JobState.RUNNING)
        gateway.jobs.signal(BOB, jobs[BOB].id, "USR1")
        assert ended(gateway, BOB, jobs[BOB]).exit_code == 4
        held = submit(gateway, BOB, "#!/bin/sh\n", hold=True)
        eventually(lambda: gateway.jobs.get(BOB, held.id).state is JobState.HELD)
        gateway.jobs.cancel(ROOT, [jobs[ANN].id, held.id])
        assert ended(gateway, ANN, jobs[ANN]).reason is Reason.CANCELED_BY_ADMIN
        assert ended(gateway, BOB, held).state is JobState.CANCELED


def test_an_account_that_cannot_be_entered_is_its_owners_trouble_alone(config, host, accounts):
    with running(config) as gateway:
        job = submit(gateway, ANN, "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\n")
        eventually(lambda: gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
        host.write(f"authorized_{accounts[0].name}", "")
        host.drop()
        other = submit(gateway, BOB, "#!/bin/sh\n")
        assert ended(gateway, BOB, other).state is JobState.COMPLETED
        name = f"there@{accounts[0].name}"
        eventually(lambda: gateway.store.sites.health(name).failed_at)
        assert "refused the account or its key" in gateway.store.sites.health(name).error
        assert gateway.jobs.get(ANN, job.id).state is JobState.RUNNING
        assert gateway.status()["sites"]["there"]["ok"]
    Path(accounts[0].home, "hpcgate-jobs", job.key, "work", "go").touch()


def test_who_has_no_account_submits_nothing(config):
    with open_gateway(config) as gateway:
        request = JobRequest(spec=JobSpec(command="true"))
        for who in (CAROL, ROOT, Principal(name=config.sites["there"].identity.accounts["ann"])):
            with pytest.raises(Forbidden, match=f"'{who.name}' has no account at site 'there'"):
                gateway.jobs.submit(who, request)
        (answer,) = gateway.jobs.submit_many(CAROL, [request])
        assert isinstance(answer, Forbidden)
        validation = gateway.jobs.validate(CAROL, request)
        assert not validation.valid
        assert validation.errors[0].field == "site"


def test_certificates_instead_of_keys(host, account, accounts, spool, tmp_path):
    host.stop()
    host.options["TrustedUserCAKeys"] = host.path("ca.pub")
    for each in accounts:
        host.write(f"authorized_{each.name}", "")
    host.start()
    table = site_table(host, account, accounts, spool, mode="certificate", ca_key_file=host.path("ca"))
    del table["identity"]["key_dir"]
    with running(config_from({"sites": {"there": table}}, home=tmp_path)) as gateway:
        for who, its in zip((ANN, BOB), accounts, strict=True):
            job = submit(gateway, who, "#!/bin/sh\nid -un\n")
            assert ended(gateway, who, job).state is JobState.COMPLETED
            assert stdout(gateway, who, job) == its.name
            assert f"hpcgate site=there principal={who.name} account={its.name} request=" in host.read("log")
