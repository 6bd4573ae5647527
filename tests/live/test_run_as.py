"""The local transport as another account: the contract, the conformance kit, and a whole gateway."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hpcgate_local import plugin as local
from hpcgate_local.settings import LocalSettings
from live.worker import running
from support import ANN, BOB, eventually
from transport.contract import TransportConformance

from hpcgate.config import config_from
from hpcgate.errors import ConfigError, Forbidden, TransportError
from hpcgate.gateway import open_gateway
from hpcgate.model.site import IdentitySettings, Site
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import FINAL, Evidence, JobState
from hpcgate.service.accounts import runs_as_root
from hpcgate.service.admission import JobRequest
from hpcgate.testing.conformance.suite import SchedulerConformance
from hpcgate.transport.account import AccountTransport, open_local
from hpcgate.transport.local import LocalTransport

pytestmark = pytest.mark.live


@pytest.fixture
def folder(account, tmp_path):
    return f"{account.home}/{tmp_path.name}"


class _AsAccount(TransportConformance):
    @pytest.fixture(autouse=True)
    def _own(self, account, folder):
        Path(account.home, "file").touch()
        subprocess.run(["install", "-d", "-o", account.name, folder], check=True)


class TestBySetpriv(_AsAccount):
    @pytest.fixture
    def transport(self, account):
        with AccountTransport(account.name) as transport:
            yield transport


class TestBySudo(_AsAccount):
    @pytest.fixture
    def transport(self, account):
        if not shutil.which("sudo"):
            pytest.skip("needs sudo: run tests/live/provision.sh")
        # What runs these tests may be below /root, where the account cannot read.
        with AccountTransport(account.name, sudo=True, python="/usr/bin/python3") as transport:
            yield transport


# The same scheduler passes the kit over ssh each time, and this transport keeps the contract above.
@pytest.mark.full
class TestLocalRunsAs(SchedulerConformance):
    @contextmanager
    def unreachable(self, bench):
        spool = f"{bench.site.work_root}/.spool"
        bench.transport.run(["mv", f"{spool}/spool.db", f"{spool}/aside"])
        yield
        bench.transport.run(["mv", f"{spool}/aside", f"{spool}/spool.db"])

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return local

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, account):
        root = f"{account.home}/it's a folder/jobs"
        return Site(
            name="kit",
            scheduler="local",
            transport="local",
            settings=LocalSettings(kill_grace_s=1.0),
            work_root=root,
            event_spool=f"{root}/.events",
            identity=IdentitySettings(run_as=account.name),
        )

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, site, account):
        with open_local(site, None) as transport:
            yield transport
            lock = transport.read(f"{site.work_root}/.spool/spooler.lock").data.decode().strip()
            if lock:
                transport.run(["kill", "-TERM", lock])
        eventually(lambda: not any("spooler" in line for line in account.processes()), 60)


@contextmanager
def gateway_of(tmp_path, account):
    table = {"scheduler": "local", "identity": {"run_as": account.name}, "settings": {"linger_s": 0.2}}
    table["poll"] = {"min_s": 60, "max_s": 60, "spool_s": 0.1}  # no poll sees an end
    with running(config_from({"sites": {"here": table}}, home=tmp_path / "home")) as gateway:
        yield gateway
    eventually(lambda: not any("spooler" in line or "hpcgate" in line for line in account.processes()), 60)


def test_jobs_and_all_of_their_files_are_the_accounts(account, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAYS_OWN", "secret")
    who = pwd.getpwnam(account.name)
    with gateway_of(tmp_path, account) as gateway:
        site = gateway.sites["here"]
        assert site.work_root == f"{account.home}/hpcgate-jobs"
        assert not runs_as_root(site)
        script = "#!/bin/sh\nid -u; id -G; echo $HOME; echo x >made; env; cat /etc/shadow /proc/$PPID/environ; exit 0\n"
        gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", hold=True)))
        eventually(lambda: Path(site.event_spool).is_dir() and gateway.store.sites.health("here").polled_at)
        spec = JobSpec(script=script, secret_environment={"TOKEN": "s3cret"})
        job = gateway.jobs.submit(ANN, JobRequest(spec=spec)).job
        ended = eventually(lambda: (now := gateway.jobs.get(ANN, job.id)).state in FINAL and now)
        assert (ended.state, ended.evidence) == (JobState.COMPLETED, Evidence.EXIT_FILE), "its word in the spool counts"
        said = Path(ended.stdout_path).read_text()
        uid, groups, home = said.splitlines()[:3]
        assert (int(uid), home) == (who.pw_uid, account.home)
        assert {int(each) for each in groups.split()} == set(os.getgrouplist(account.name, who.pw_gid))
        assert "GATEWAYS_OWN" not in said
        assert "Permission denied" in Path(ended.stderr_path).read_text()
        assert gateway.files.read(ANN, job.id, "made").data == b"x\n"
        below = [Path(site.work_root), *Path(site.work_root).rglob("*")]
        assert len(below) > 5
        assert {path.lstat().st_uid for path in below} == {who.pw_uid}


def test_what_the_account_may_not_do_is_not_done_for_it(account, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    with AccountTransport(account.name) as transport:
        for verb in (transport.read, transport.remove):
            with pytest.raises(TransportError, match="Permission denied"):
                verb("/etc/shadow" if verb == transport.read else str(secret))
        with pytest.raises(TransportError, match="Permission denied"):
            transport.write("/etc/hpcgate-was-here", b"x")
        assert transport.run(["id", "-u"]).out.strip() == str(pwd.getpwnam(account.name).pw_uid)
    assert secret.exists()


def test_a_helper_that_is_killed_is_replaced(account):
    with AccountTransport(account.name) as transport:
        transport.stat("~/x")
        transport._idle[0]._process.kill()
        transport._idle[0]._process.wait()
        with pytest.raises(TransportError) as caught:
            transport.stat("~/x")
        assert caught.value.transient
        assert transport.stat("~/.bashrc").name == ".bashrc"
    assert not any("hpcgate" in line for line in account.processes())


def test_a_site_with_run_as_is_one_principals_too(account, tmp_path):
    own = {"scheduler": "local", "work_root": str(tmp_path / "own"), "settings": {"linger_s": 0.2}}
    table = {"scheduler": "local", "settings": {"linger_s": 0.2}, "identity": {"run_as": account.name}}
    data = {"sites": {"own": own, "here": table, "too": {**table, "work_root": f"{account.home}/too"}}}
    with open_gateway(config_from(data, home=tmp_path / "home")) as gateway:
        held = JobRequest(spec=JobSpec(command="true", hold=True), site="here")
        gateway.jobs.submit(ANN, held)
        for site in ("here", "too"):
            with pytest.raises(Forbidden, match="shared_account"):
                gateway.jobs.submit(BOB, replace(held, site=site))
        assert gateway.jobs.submit(BOB, replace(held, site="own")).job.owner == BOB.name, "another account"
    eventually(lambda: not any("spooler" in line for line in account.processes()), 60)


def test_the_gateways_own_account_needs_no_other(tmp_path):
    site = Site(
        name="x", scheduler="local", transport="local", work_root=str(tmp_path), settings=None,
        identity=IdentitySettings(run_as=pwd.getpwuid(os.geteuid()).pw_name),
    )  # fmt: skip
    assert isinstance(open_local(site, None), LocalTransport)


@pytest.mark.parametrize(("name", "words"), [("nobody-of-this-name", "there is no account"), ("root", "is root")])
def test_an_account_that_cannot_be(name, words):
    with pytest.raises(TransportError, match=words) as caught:
        AccountTransport(name)
    assert not caught.value.transient


def test_sudo_that_does_not_allow_it_says_so(account):
    # An ordinary account that nothing was granted, as the gateway's own.
    code = (
        "import sys, json; sys.path += json.loads(sys.argv[1])\n"
        "from hpcgate.transport.account import AccountTransport\n"
        "AccountTransport('daemon').stat('/')\n"
    )
    argv = ["setpriv", f"--reuid={account.name}", "--regid=65534", "--clear-groups", "--", "/usr/bin/python3", "-I"]
    paths = json.dumps([path for path in sys.path if path])
    said = subprocess.run([*argv, "-c", code, paths], capture_output=True, text=True, cwd="/", check=False).stderr
    assert "account 'daemon' cannot be entered: sudo:" in said


def test_a_home_that_is_not_there_is_said(tmp_path):
    data = {"sites": {"here": {"scheduler": "local", "identity": {"run_as": "nobody-of-this-name"}}}}
    with pytest.raises(ConfigError, match="has no home folder here"):
        open_gateway(config_from(data, home=tmp_path))
