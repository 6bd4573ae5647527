"""The conformance kit on the local scheduler of another account, over ssh."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from hpcgate_local import plugin as local
from hpcgate_local.settings import LocalSettings
from live.sshd import open_transport, site_of
from support import eventually

from hpcgate.testing.conformance.suite import SchedulerConformance


@pytest.mark.live
class TestLocalOverSsh(SchedulerConformance):
    every_s = 0.15

    @contextmanager
    def unreachable(self, bench):
        spool = "it's a folder/jobs/.spool"  # commands start in the home folder
        bench.transport.run(["mv", f"{spool}/spool.db", f"{spool}/aside"])
        yield
        bench.transport.run(["mv", f"{spool}/aside", f"{spool}/spool.db"])

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return local

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, sshd, account):
        root = "~/it's a folder/jobs"
        settings = LocalSettings(kill_grace_s=1.0)
        return site_of(sshd.settings(account), settings=settings, work_root=root, event_spool=f"{root}/.events")

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, sshd, account, site):
        # The spooler runs by the account's own python3, whatever runs these tests.
        with open_transport(sshd, account) as transport:
            yield transport
            lock = transport.read(f"{site.work_root}/.spool/spooler.lock").data.decode().strip()
            if lock:
                transport.run(["kill", "-TERM", lock])
        eventually(lambda: not any("spooler" in line for line in account.processes()))
