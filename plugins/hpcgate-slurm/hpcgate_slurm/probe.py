"""The site check: is this Slurm as the plugin needs it, and what should be known of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace

from hpcgate.errors import SiteError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import JobRef, Observation
from hpcgate.model.scheduler import Check, Probe
from hpcgate.model.site import Site
from hpcgate.model.state import Evidence
from hpcgate.scheduler.evidence import MAX_RECORD_BYTES, parse_exit
from hpcgate.transport.base import Transport
from hpcgate_slurm import components, places
from hpcgate_slurm.accounting import Sacct
from hpcgate_slurm.queue import Squeue
from hpcgate_slurm.settings import SlurmSettings
from hpcgate_slurm.site import AdminLevel, Facts, JsonParsers, ShowConfig

_CLOCK_S = 60.0


def learn(settings: SlurmSettings, transport: Transport) -> Facts:
    """The site's configuration, and whether this account sees everybody's jobs.

    Raises:
        SiteError: the controller did not answer.
    """
    facts = Facts(ShowConfig(settings).run(transport), json=JsonParsers(settings).run(transport))
    if not facts.private_jobs:
        return facts
    return replace(facts, sees_all=_has_rights(settings, facts, transport))


def _has_rights(settings: SlurmSettings, facts: Facts, transport: Transport) -> bool:
    return rights_of(settings, facts, transport)[1] not in ("", "None")


def rights_of(settings: SlurmSettings, facts: Facts, transport: Transport) -> tuple[str, str]:
    """The account's name and what it may do in Slurm: ``None``, ``Operator``, ``Administrator``; ``""`` = not told."""
    who = transport.run(["id", "-un"])
    name = who.out.strip() if who.exit_status == 0 else ""
    # SlurmUser is printed as name(uid).
    if name and name in ("root", facts.get("SlurmUser").partition("(")[0]):
        return name, "Administrator"
    if not name or not facts.accounting:
        return name, ""
    try:
        return name, AdminLevel(settings, user=name).run(transport)
    except SiteError:
        return name, ""


def read_stopped(jobs: Sequence[JobRef], transport: Transport) -> list[Observation]:
    """How jobs ended that somebody ended from outside, as far as their wrappers could tell.

    Only where nobody else can tell: there, a job that the queue does not have cannot be one that goes on.
    """
    found = []
    for job in jobs:
        if job.array:
            continue
        gang = components.read_outcome(job, transport)
        if gang is not None:
            found.append(gang)
            continue
        try:
            data = transport.read(JobFolder(job.folder).stopped(job.attempt), length=MAX_RECORD_BYTES).data
            record = json.loads(data)
        except (FileNotFoundError, ValueError):
            continue
        if isinstance(record, dict) and record.get("native_id") == job.native_id:
            found.append(parse_exit(record, Evidence.EXIT_FILE))
    return found


def look(site: Site, transport: Transport, message_timeout_s: float) -> Probe:
    """Everything that ``hpcgate site check`` shows."""
    settings = SlurmSettings.of(site)
    try:
        facts = learn(settings, transport)
    except SiteError as error:
        return Probe(checks=(Check(name="controller", ok=False, detail=error.message),))
    checks = (
        Check(
            name="controller",
            ok=True,
            detail=f"cluster {facts.get('ClusterName')}, Slurm {facts.get('SLURM_VERSION')}",
        ),
        _queue(settings, transport),
        _listing(settings, facts),
        _sight(site, facts),
        _rights(settings, facts, transport),
        _accounting(settings, facts, transport),
        _comment(facts),
        _purge(site, facts),
        _timeout(facts, message_timeout_s),
        _clock(transport),
        *places.look(site, transport),
    )
    return Probe(checks=checks, version=facts.get("SLURM_VERSION"), sees_all_jobs=facts.sees_all)


def _queue(settings: SlurmSettings, transport: Transport) -> Check:
    try:
        rows = Squeue(settings).run(transport)
    except SiteError as error:
        return Check(name="queue", ok=False, detail=error.message)
    return Check(name="queue", ok=True, detail=f"{len(rows)} jobs and tasks are listed")


def _listing(settings: SlurmSettings, facts: Facts) -> Check:
    offered = {None: "none", "": "one version"}.get(facts.json, f"up to {facts.json}")
    good = settings.listing == "text" or facts.json is not None
    return Check(
        name="listing",
        ok=good,
        detail=f"as {settings.listing}; JSON documents: {offered}" + ("" if good else "; set settings.listing to text"),
    )


def _rights(settings: SlurmSettings, facts: Facts, transport: Transport) -> Check:
    name, level = rights_of(settings, facts, transport)
    known = {"": "are not told", "None": "are those of an ordinary user"}
    detail = known.get(level, f"are those of an {level.lower()}")
    return Check(name="rights", ok=True, detail=f"the rights of {name or 'the account'} {detail}")


def _sight(site: Site, facts: Facts) -> Check:
    if facts.sees_all:
        return Check(name="sight", ok=True, detail="this account sees the jobs of all accounts")
    if site.identity.mode == "service":
        return Check(name="sight", ok=True, detail="PrivateData=jobs; all jobs run as this account, which sees its own")
    return Check(
        name="sight",
        ok=False,
        detail="PrivateData=jobs hides the jobs of other accounts; make this one an operator: "
        "sacctmgr modify user where name=NAME set adminlevel=operator",
    )


def _accounting(settings: SlurmSettings, facts: Facts, transport: Transport) -> Check:
    if not facts.accounting:
        return Check(
            name="accounting",
            ok=True,
            detail="none: how a job ended is known from the queue and from its exit record alone",
        )
    try:
        Sacct(settings, jobs=("1",)).run(transport)
    except SiteError as error:
        return Check(name="accounting", ok=False, detail=error.message)
    return Check(name="accounting", ok=True, detail=facts.get("AccountingStorageType"))


def _comment(facts: Facts) -> Check:
    if not facts.accounting or facts.comments_stored:
        return Check(name="comment", ok=True, detail="the comment of a job is kept" if facts.accounting else "not kept")
    return Check(
        name="comment",
        ok=True,
        detail="not kept by accounting; keys are found in the line a job was submitted with "
        "(AccountingStoreFlags=job_comment would keep it)",
    )


def _purge(site: Site, facts: Facts) -> Check:
    age_s = facts.seconds("MinJobAge")
    if age_s is None:
        return Check(name="purge", ok=True, detail="MinJobAge is not told")
    detail = f"ended jobs stay in the queue for {age_s} s (MinJobAge)"
    if age_s >= 2 * site.poll.max_s:
        return Check(name="purge", ok=True, detail=f"{detail}; it is asked every {site.poll.max_s:g} s at least")
    late = f"{detail}, and it may be asked only every {site.poll.max_s:g} s"
    if facts.accounting:
        return Check(name="purge", ok=True, detail=f"{late}: accounting tells of those that were missed")
    return Check(name="purge", ok=False, detail=f"{late}: set poll.max_s to {age_s // 2} or less")


def _timeout(facts: Facts, expected_s: float) -> Check:
    found_s = facts.seconds("MessageTimeout")
    detail = f"MessageTimeout is {found_s} s" if found_s is not None else "MessageTimeout is not told"
    good = found_s is None or found_s <= expected_s * 2
    return Check(
        name="timeout", ok=good, detail=detail if good else f"{detail}; more than {expected_s * 2:g} s is slow"
    )


def _clock(transport: Transport) -> Check:
    before = time.time()
    told = transport.run(["date", "+%s"]).out.strip()
    if not told.isdigit():
        return Check(name="clock", ok=False, detail=f"the site's clock cannot be read: {told!r}")
    offset_s = int(told) - (before + time.time()) / 2
    shown = "less than 2 s apart" if abs(offset_s) < 2 else f"{offset_s:+.0f} s from the gateway's"
    return Check(name="clock", ok=abs(offset_s) < _CLOCK_S, detail=f"the site's clock is {shown}")
