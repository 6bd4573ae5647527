"""The kit that every scheduler plugin must pass, at a real site on this machine."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hpcgate_local import plugin as local
from hpcgate_local.settings import LocalSettings
from hpcgate_local.spooler import Spool, look_at

from hpcgate.testing.conformance.sites import default_site
from hpcgate.testing.conformance.suite import SchedulerConformance
from hpcgate.transport.local import LocalTransport


@pytest.mark.live
class TestLocal(SchedulerConformance):
    @contextmanager
    def unreachable(self, bench):
        database = Path(LocalSettings.of(bench.site).spool_folder(bench.site), "spool.db")
        aside = database.rename(database.with_name("aside"))
        yield
        aside.rename(database)

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return local

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, plugin, tmp_path_factory):
        site = default_site("local", plugin, tmp_path_factory.mktemp("site"))
        return replace(site, settings=LocalSettings(kill_grace_s=1.0))

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, site):
        with LocalTransport() as transport:
            yield transport
        spool = Spool(LocalSettings.of(site).spool_folder(site))
        if spool.listening():
            spooler = look_at(spool.spooler_pid())
            assert spooler is not None
            spooler.send(signal.SIGTERM)
