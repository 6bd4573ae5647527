"""Jobs, sites and engines: for tests that start no container, and for those that do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from hpcgate_container.create import Container
from hpcgate_container.host import Account, Engine
from hpcgate_container.job import plan
from hpcgate_container.labels import native_id
from hpcgate_container.scheduler import ContainerScheduler
from hpcgate_container.settings import ContainerSettings
from live.podman_host import PodmanHost
from ulid import ULID

from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, Observation
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import FINAL, JobState
from hpcgate.transport.base import Transport

T = TypeVar("T")

KEY = "01JD8Q2V5V8D5W8S2Q2V5V8D5W"
FOLDER = f"/home/ann/it's a folder/{KEY}"
ENGINE = Engine(
    kind="podman",
    version="4.3.1",
    rootless=False,
    node="box",
    cpus=8,
    memory_mib=16_000,
    runtime="runc",
    cgroups="v2",
    limits=frozenset({"cpu", "memory", "pids"}),
)
ANN = Account(uid=1000, gid=100, home="/home/ann")


def site_with(event_spool: str | None = None, **settings: Any) -> Site:
    given = ContainerSettings(**{"image": "localhost/tiny:1", **settings})
    return Site(
        name="box",
        scheduler="container",
        transport="local",
        work_root="/home/ann/it's a folder",
        settings=given,
        event_spool=event_spool,
    )


def job_of(**spec: Any) -> Job:
    return Job(
        id=7,
        key=KEY,
        owner="ann",
        site="box",
        spec=JobSpec(**spec),
        state=JobState.SUBMITTING,
        folder=FOLDER,
        created_at=0.0,
        updated_at=0.0,
    )


def argv_of(
    site: Site | None = None, engine: Engine = ENGINE, account: Account = ANN, index: int | None = None, **spec: Any
) -> list[str]:
    """The command line that makes the container of a job."""
    site, job = site or site_with(), job_of(**spec)
    container = Container(
        site=site,
        job=job,
        plan=plan(site, job),
        engine=engine,
        account=account,
        digest="0123456789abcdef",
        event_spool=site.event_spool,
    )
    return container.argv(index)


class Bed:
    """A live engine and a plugin to put to the test.

    Args:
        podman: the engine.
        site: on it.
        transport: the way there, as an ordinary account.
    """

    def __init__(self, podman: PodmanHost, site: Site, transport: Transport) -> None:
        self.podman = podman
        self.site = site
        self.transport = transport
        self.plugin = ContainerScheduler()

    def set(self, **settings: Any) -> None:
        self.site = replace(self.site, settings=replace(self.site.settings, **settings))

    def job(self, **spec: Any) -> Job:
        key = str(ULID())
        folder = JobFolder.of(self.site.work_root, key).root
        return replace(job_of(**spec), key=key, folder=folder, site=self.site.name)

    def submit(self, job: Job) -> Job:
        taken = self.plugin.hpcgate_submit_job(self.site, job, self.transport)
        return replace(job, native_id=taken.native_id)

    def cancel(self, *jobs: Job) -> None:
        self.plugin.hpcgate_cancel_jobs(self.site, [job.ref for job in jobs], self.transport)

    def look(self, *jobs: Job) -> Observation | None:
        listing = self.plugin.hpcgate_poll_jobs(self.site, [job.ref for job in jobs], self.transport)
        assert listing.complete
        return listing.observations.get(native_id(jobs[0].key))

    def see(self, *jobs: Job) -> Observation:
        seen = self.look(*jobs)
        assert seen is not None
        return seen

    def end(self, job: Job, *, beside: Job | None = None) -> Observation:
        jobs = [job, *([beside] if beside else [])]

        def final() -> Observation | None:
            seen = self.see(*jobs)
            return seen if seen.state in FINAL else None

        return self.wait(final)

    @staticmethod
    def wait(condition: Callable[[], T | None], timeout_s: float = 30.0) -> T:
        until = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < until, "never"
            time.sleep(0.1)
        return found

    def read(self, job: Job, name: str) -> str:
        return self.transport.read(f"{job.folder}/{name}").data.decode()

    def exists(self, job: Job, name: str) -> bool:
        return self.transport.stat(f"{job.folder}/{name}") is not None

    def clean(self) -> None:
        self.podman.run("rm", "--all", "--force", "--time=0")
