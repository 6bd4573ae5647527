"""The conformance kit on a container host that is reached over ssh, as an ordinary account."""

from __future__ import annotations

import pytest
from hpcgate_container import plugin as container
from hpcgate_container.settings import ContainerSettings
from live.podman_host import IMAGE
from live.sshd import open_transport, site_of

from hpcgate.testing.conformance.suite import SchedulerConformance

pytestmark = pytest.mark.live


class TestContainerOverSsh(SchedulerConformance):
    every_s = 0.2

    def unreachable(self, bench):
        return self.engine.unreachable()

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return container

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, podman, sshd, account):
        cls.engine = podman
        settings = ContainerSettings(engine_command=podman.command, image=IMAGE, kill_grace_s=1, keep_s=30)
        root = "~/it's a folder/jobs"
        return site_of(
            sshd.settings(account),
            scheduler="container",
            settings=settings,
            work_root=root,
            event_spool=f"{root}/.events",
        )

    @pytest.fixture(scope="class")
    @classmethod
    def transport(cls, sshd, account, site):
        with open_transport(sshd, account) as transport:
            yield transport
