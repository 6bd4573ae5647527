"""Gateways on the live Slurm, and what their tests ask of them."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from live.as_user import UserTransport
from live.slurm_cluster import Cluster
from support import ANN, eventually

from hpcgate.config import Config, config_from
from hpcgate.errors import TransportError
from hpcgate.gateway import Gateway
from hpcgate.hookspecs import hookimpl
from hpcgate.model.job import Job
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import FINAL, JobState
from hpcgate.service.admission import JobRequest

#: Often enough that a test need not wait for a poll, and seldom enough that two cores have time for the jobs.
OFTEN = {"min_s": 0.3, "max_s": 1, "spool_s": 0.2}
#: What a job does that waits until it is told to go on.
WAIT = "while [ ! -e go ]; do sleep 0.1; done\n"


class AsUser:
    """A plugin whose ``local`` transport works as an ordinary account.

    Args:
        cluster: which Slurm its commands ask.
        user: the account, where a job has none of its own.

    Attributes:
        closed: whether no account but ``user`` can be entered.
    """

    closed = False

    def __init__(self, cluster: Cluster, user: pwd.struct_passwd) -> None:
        self._cluster = cluster
        self._user = user

    @hookimpl
    def hpcgate_register_transports(self, register: Any) -> None:
        """Instead of the built-in one."""
        register("local", self._open)

    def _open(self, site: object, account: str | None) -> UserTransport:
        if account is None:
            return UserTransport(self._user, self._cluster.environment)
        if self.closed:
            raise TransportError(f"account {account!r} cannot be entered")
        return UserTransport(pwd.getpwnam(account), self._cluster.environment)


def configured(home: Path, work_root: str, **site: Any) -> Config:
    """A configuration whose one site is the live Slurm.

    Args:
        home: of the gateway.
        work_root: of the site.
        site: its table; ``limits`` are the gateway's.
    """
    limits = {"lost_grace_s": 1, **site.pop("limits", {})}
    table = {"scheduler": "slurm", "work_root": work_root, "poll": OFTEN, **site}
    return config_from({"sites": {"kit": table}, "limits": limits}, home=home)


def submit(gateway: Gateway, script: str, **fields: Any) -> Job:
    """Submits a shell script; the job."""
    return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(script=f"#!/bin/sh\n{script}", **fields))).job


def reached(gateway: Gateway, job: Job, *states: JobState, timeout_s: float = 60.0, attempt: int = 1) -> Job:
    """The job, once it is in one of these states; without any, once it has ended."""

    def there() -> Job | None:
        now = gateway.jobs.get(ANN, job.id)
        return now if now.state in (states or FINAL) and now.attempt >= attempt else None

    try:
        return eventually(there, timeout_s)
    except AssertionError as error:
        now = gateway.jobs.get(ANN, job.id)
        complaint = f"job {now.native_id} is {now.state}, attempt {now.attempt}, {now.native_reason}"
        raise AssertionError(f"{complaint}; so far {history(gateway, job)}") from error


def history(gateway: Gateway, job: Job) -> list[str]:
    """Every state the job was in, as its events tell, with ``REQUEUED`` between two attempts."""
    told = []
    for event in gateway.jobs.events(ANN, job.id):
        if event.type == "job.state":
            told.append(str(event.data["new"]))
        elif event.type in ("job.requeued", "job.corrected"):
            told.append(event.type.removeprefix("job.").upper())
    return told


def go(job: Job) -> None:
    """Tells a job that waits to go on."""
    Path(job.folder or "", "work", "go").touch()


def polls(gateway: Gateway) -> int:
    """How many rounds were answered so far."""
    return gateway.store.sites.health("kit").commands


def wait_for_polls(gateway: Gateway, count: int) -> None:
    """Until so many more rounds were answered."""
    before = polls(gateway)
    eventually(lambda: polls(gateway) >= before + count, 60)


def final_of(job: Job) -> Mapping[str, Any]:
    """What a test compares of a job that has ended."""
    return {"state": job.state, "reason": job.reason, "exit_code": job.exit_code, "signal": job.signal}
