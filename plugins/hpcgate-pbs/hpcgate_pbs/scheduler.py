"""The scheduler plugin: hooks on one side, the commands of PBS on the other."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Final

from hpcgate.errors import JobRejected, SchedulerError, SiteError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.job import Job, JobRef, Observation
from hpcgate.model.scheduler import (
    Capability,
    Check,
    KeySearch,
    Listing,
    Presence,
    Probe,
    RenderedScript,
    SchedulerInfo,
    SiteDescription,
    Submitted,
)
from hpcgate.model.site import Site
from hpcgate.model.state import Evidence
from hpcgate.scheduler.base import Scheduler
from hpcgate.scheduler.evidence import MAX_RECORD_BYTES
from hpcgate.transport.base import Transport
from hpcgate_pbs import qstat, verbs
from hpcgate_pbs.facts import Facts
from hpcgate_pbs.observe import has_begun, key_of, observe
from hpcgate_pbs.options import FIELDS
from hpcgate_pbs.qstat import Qstat, Rows
from hpcgate_pbs.settings import PbsSettings
from hpcgate_pbs.site import checks, node_infos, queue_infos, sees_all_jobs
from hpcgate_pbs.states import WAITING
from hpcgate_pbs.submission import Qsub, asks_for_much, fits, lay_out, prepare
from hpcgate_pbs.values import is_array, task_id

#: Ids of one ``qdel``: each costs the server some work, and all must be done in the time of one command.
CHUNK: Final = 100
#: Ids of one ``qstat``.
ASKED: Final = 5000
#: What they may take of a command line, bytes: over ssh a whole line is one argument, and Linux takes 128 KiB of those.
ASKED_BYTES: Final = 100_000
#: How long the server may take over a submit whose answer was lost, seconds.
MESSAGE_TIMEOUT_S: Final = 30.0


class PbsScheduler(Scheduler):
    """OpenPBS and PBS Professional. It keeps nothing between calls but what changes seldom at a site."""

    def __init__(self) -> None:
        self._facts = Facts()

    @hookimpl
    def hpcgate_scheduler_info(self) -> SchedulerInfo:
        """See ``hookspecs``."""
        return SchedulerInfo(
            name="pbs",
            version=version("hpcgate-pbs"),
            summary="OpenPBS and PBS Professional",
            settings=PbsSettings,
            capabilities=frozenset(
                {
                    Capability.HOLD,
                    Capability.SIGNAL,
                    Capability.ARRAYS,
                    Capability.ARRAY_LIMIT,
                    Capability.CANCEL_TASKS,
                    Capability.DEPENDENCIES,
                    Capability.ACCOUNTING,
                    Capability.QUEUES,
                    Capability.NODES,
                    Capability.WALLTIME,
                }
            ),
            fields=FIELDS,
            message_timeout_s=MESSAGE_TIMEOUT_S,
        )

    # --- submit -------------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_render_script(self, site: Site, job: Job) -> RenderedScript:
        """See ``hookspecs``."""
        submission = prepare(site, job)
        return RenderedScript(text=submission.script, argv=submission.argv, spec=submission.told)

    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """See ``hookspecs``. PBS takes the same key twice; the second run then ends before the job's own code."""
        placed = job
        if self._facts.version(site, transport).torque:
            raise JobRejected(f"site {site.name!r} runs Torque; this plugin is for OpenPBS and PBS Professional")
        if (job.folder or "").startswith("~/"):
            home = self._facts.home(site, job.account, transport)
            placed = replace(job, folder=f"{home}/{(job.folder or '')[2:]}")
        submission = prepare(site, placed)
        if PbsSettings.of(site).check_nodes and asks_for_much(submission.spec.resources):
            fits(submission.spec, self._facts.largest_node(site, transport))
        if job.depends_on:
            self._see_that_known(site, job, transport)
        lay_out(placed, submission, transport)
        native_id = Qsub(submission.argv, submission.script).run(transport)
        return Submitted(
            key=job.key,
            native_id=native_id,
            stdout_path=submission.stdout_path,
            stderr_path=submission.stderr_path,
        )

    def _see_that_known(self, site: Site, job: Job, transport: Transport) -> None:
        """Makes sure that PBS knows the jobs that this one is to wait for.

        It takes a job that names one that it has forgotten, and then ends it at once without a word: a server without
        history forgets a job the moment that it has ended.

        Raises:
            SchedulerError: it does not; once the gateway has seen how that job ended, it need not be waited for.
        """
        ids = list(dict.fromkeys(other.job.native_id for other in job.depends_on if other.job.native_id is not None))
        unknown: set[str] = set()
        for some in _asked(ids):
            told = Qstat(bin_dir=PbsSettings.of(site).bin_dir, ids=some).ask_until_told(transport)
            unknown |= told.unknown
        if unknown:
            raise SchedulerError(f"PBS does not know {', '.join(sorted(unknown))} any more, which the job waits for")

    # --- what has become of them --------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """See ``hookspecs``. One listing of the queue; arrays that have begun are told task by task in a second one."""
        at = time.time()
        bin_dir = PbsSettings.of(site).bin_dir
        rows = Qstat(bin_dir=bin_dir).ask(transport)
        mine = {ref.native_id for ref in jobs}
        known = {native_id: row for native_id, row in rows.jobs.items() if native_id in mine or key_of(row)}
        begun = [native_id for native_id, row in known.items() if is_array(native_id) and has_begun(row)]
        if begun:
            tasks = Qstat(bin_dir=bin_dir, ids=begun, subjobs=True).ask_until_told(transport)
            for native_id in begun:
                del known[native_id]  # one that ended in between is not in the second listing, and is not in the queue
            known |= tasks.jobs
        return Listing(
            observations=observe(known, Evidence.QUEUE),
            complete=self._sees(site, jobs, transport),
            at=at,
        )

    def _sees(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """Whether a listing holds the jobs of all accounts. A job of the polling account itself is always seen.

        It is asked for anew each time: an operator may turn it off while the gateway runs.
        """
        if all(ref.account is None for ref in jobs):
            return True
        return sees_all_jobs(qstat.server(PbsSettings.of(site).bin_dir).run(transport))

    @hookimpl
    def hpcgate_read_accounting(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> list[Observation]:
        """See ``hookspecs``. PBS's accounting is its history: finished jobs, for as long as the server keeps them.

        A server without history knows nothing of finished jobs, which is an answer: the gateway then looks for the
        record that the job itself left. A job of which PBS says neither what it is nor that it is not known has not
        been answered for.
        """
        found: list[Observation] = []
        for ids in _asked([ref.native_id for ref in jobs if ref.native_id is not None]):
            rows = self._history(site, ids, transport)
            hidden = rows.hidden(ids)
            if hidden and not rows.history_off:
                raise SchedulerError(f"qstat said nothing about {', '.join(hidden[:5])}; may the account see them?")
            found += observe(rows.jobs, Evidence.ACCOUNTING).values()
        return found

    def _history(self, site: Site, ids: Sequence[str], transport: Transport) -> Rows:
        arrays = any(is_array(native_id) for native_id in ids)
        return Qstat(bin_dir=PbsSettings.of(site).bin_dir, ids=ids, history=True, subjobs=arrays).ask_until_told(
            transport
        )

    @hookimpl
    def hpcgate_find_by_key(self, site: Site, job: JobRef, transport: Transport) -> KeySearch:
        """See ``hookspecs``. The queue, then what the job may have left in its folder, then the history.

        In this order: a job that leaves the queue before the first look has left its start record by the second.
        """
        bin_dir = PbsSettings.of(site).bin_dir
        native_id = (
            _with_key(Qstat(bin_dir=bin_dir).ask(transport), job.key)
            or _started_as(job, transport)
            or _with_key(Qstat(bin_dir=bin_dir, history=True).ask(transport), job.key)
        )
        if native_id is not None:
            return KeySearch(presence=Presence.PRESENT, native_id=native_id)
        return KeySearch(presence=Presence.ABSENT)

    # --- what is asked of them ----------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """See ``hookspecs``."""
        for ids in _chunks([ref.native_id for ref in jobs if ref.native_id is not None]):
            verbs.Qdel(PbsSettings.of(site).bin_dir, ids).run(transport)
        return True

    @hookimpl
    def hpcgate_cancel_tasks(self, site: Site, job: JobRef, indices: Sequence[int], transport: Transport) -> bool:
        """See ``hookspecs``."""
        for ids in _chunks([task_id(_id(job), index) for index in indices]):
            verbs.Qdel(PbsSettings.of(site).bin_dir, ids).run(transport)
        return True

    @hookimpl
    def hpcgate_hold_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. PBS may note a hold on a running job, to act on it after a rerun; that is refused here."""
        bin_dir, native_id = PbsSettings.of(site).bin_dir, _id(job)
        row = Qstat(bin_dir=bin_dir, ids=[native_id]).ask(transport).jobs.get(native_id)
        if row is None or row.get("job_state") not in (*WAITING, "B"):
            state = "is not in the queue" if row is None else f"is {row.get('job_state')}"
            raise SchedulerError(f"job {native_id} {state} and cannot be held any more", transient=False)
        return verbs.hold(bin_dir, native_id).run(transport)

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``."""
        return verbs.release(PbsSettings.of(site).bin_dir, _id(job)).run(transport)

    @hookimpl
    def hpcgate_requeue_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. PBS lets operators alone do it, so it is no capability of every site."""
        if is_array(_id(job)):
            raise SchedulerError("PBS runs single tasks of an array anew, never the whole", transient=False)
        return verbs.rerun(PbsSettings.of(site).bin_dir, _id(job)).run(transport)

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool:
        """See ``hookspecs``. Every process of the job gets it."""
        return verbs.send(PbsSettings.of(site).bin_dir, signal, _id(job)).run(transport)

    # --- the site -----------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_describe_site(self, site: Site, transport: Transport) -> SiteDescription:
        """See ``hookspecs``."""
        bin_dir = PbsSettings.of(site).bin_dir
        return SiteDescription(
            queues=queue_infos(qstat.queues(bin_dir).run(transport), qstat.server(bin_dir).run(transport)),
            nodes=node_infos(qstat.nodes(bin_dir).run(transport)),
        )

    @hookimpl
    def hpcgate_probe_site(self, site: Site, transport: Transport) -> Probe:
        """See ``hookspecs``."""
        bin_dir = PbsSettings.of(site).bin_dir
        try:
            which = self._facts.version(site, transport)
        except SiteError as error:
            return Probe(checks=(Check(name="pbs", ok=False, detail=error.message),), sees_all_jobs=False)
        if which.torque:
            detail = f"Torque {which.text}; this plugin is for OpenPBS and PBS Professional"
            return Probe(checks=(Check(name="pbs", ok=False, detail=detail),), version=which.text, sees_all_jobs=False)
        first = Check(name="pbs", ok=True, detail=f"version {which.text}")
        try:
            server = qstat.server(bin_dir).run(transport)
        except SiteError as error:
            broken = Check(name="server", ok=False, detail=error.message)
            return Probe(checks=(first, broken), version=which.text, sees_all_jobs=False)
        more = checks(server, service_account=site.identity.mode == "service", now=time.time())
        return Probe(checks=(first, *more), version=which.text, sees_all_jobs=sees_all_jobs(server))


def _id(job: JobRef) -> str:
    if job.native_id is None:
        raise SchedulerError(f"job {job.key} has no native id yet")
    return job.native_id


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _asked(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids for one ``qstat`` after the other: as many as a command line takes, also one that is quoted for ssh."""
    some: list[str] = []
    size = 0
    for native_id in ids:
        needs = 1 + len(shlex.quote(shlex.quote(native_id)))
        if some and (len(some) == ASKED or size + needs > ASKED_BYTES):
            yield some
            some, size = [], 0
        some.append(native_id)
        size += needs
    if some:
        yield some


def _with_key(rows: Rows, key: str) -> str | None:
    """The id of the job that carries a key; of several, the first, for it has the claim or will have it."""
    found = [native_id for native_id, row in rows.jobs.items() if key_of(row) == key]
    return min(found, key=lambda native_id: int(native_id.partition(".")[0].rstrip("[]")), default=None)


def _started_as(job: JobRef, transport: Transport) -> str | None:
    """The native id in a start record of the job's folder; ``None`` = no run has got so far."""
    try:
        names = [entry.name for entry in transport.list(job.folder)]
    except FileNotFoundError:
        return None
    for name in _start_records(names):
        try:
            record = json.loads(transport.read(f"{job.folder}/{name}", length=MAX_RECORD_BYTES).data)
        except (FileNotFoundError, ValueError):
            continue
        if isinstance(record, dict) and isinstance(record.get("native_id"), str):
            return str(record["native_id"])
    return None


def _start_records(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("start."))
