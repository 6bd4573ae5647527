"""The scheduler plugin: hooks on one side, the engine's commands on the other."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Final

from hpcgate.errors import InvalidSpec, JobRejected, SchedulerError, SiteError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobRef
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
from hpcgate.scheduler.base import Scheduler
from hpcgate.scheduler.command import Answer
from hpcgate.scheduler.wrapper import write_secrets
from hpcgate.transport.base import CommandResult, Transport
from hpcgate_container import labels, tend
from hpcgate_container.create import Container, fits
from hpcgate_container.engine import Create, EngineCommand, Seen, Talk
from hpcgate_container.host import Account, Engine, Hosts
from hpcgate_container.job import FIELDS, Plan, plan
from hpcgate_container.look import Sight, View, inspect
from hpcgate_container.observe import Folders, cancel_mark, key_of, observe
from hpcgate_container.script import batch_script, run_file
from hpcgate_container.settings import ContainerSettings
from hpcgate_container.site import checks, node

#: Signals that the batch script hands on to the job.
SIGNALS: Final = frozenset({"HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM"})
#: How long the engine may take to make a container whose image it has, and one whose image it has to fetch, seconds.
CREATE_S: Final = {"never": 60.0, "missing": 600.0}

#: Stands for what only the host can tell, where a job is shown and not submitted.
_SHOWN_ENGINE: Final = Engine(
    kind="podman", version="", rootless=False, node="HOST", cpus=0, memory_mib=0, runtime="", cgroups="v2",
    limits=frozenset({"cpu", "memory", "pids"}),
)  # fmt: skip
_SHOWN_ACCOUNT: Final = Account(uid=65534, gid=65534, home="~")


class ContainerScheduler(Scheduler):
    """One container a job, through podman or docker. It keeps nothing between calls but what it can ask for again."""

    def __init__(self) -> None:
        self._hosts = Hosts()
        self._sight = Sight()
        self._watch = tend.Watch()

    @hookimpl
    def hpcgate_scheduler_info(self) -> SchedulerInfo:
        """See ``hookspecs``."""
        return SchedulerInfo(
            name="container",
            version=version("hpcgate-container"),
            summary="one container a job, on a host with podman or docker",
            settings=ContainerSettings,
            capabilities=frozenset(
                {
                    Capability.HOLD,
                    Capability.SIGNAL,
                    Capability.SUSPEND,
                    Capability.ARRAYS,
                    Capability.EXEC,
                    Capability.NODES,
                    Capability.WALLTIME,
                    Capability.MEMORY,
                }
            ),
            fields=FIELDS,
            # The engine gives a name once: a submit that comes twice finds the container of the first.
            message_timeout_s=0.0,
        )

    # --- submit -------------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_render_script(self, site: Site, job: Job) -> RenderedScript:
        """See ``hookspecs``. What only the host can tell is left open: its name, the account, which limits it has."""
        wanted = plan(site, job)
        engine = replace(_SHOWN_ENGINE, kind=ContainerSettings.of(site).engine)
        container = Container(
            site=site,
            job=job,
            plan=wanted,
            engine=engine,
            account=_SHOWN_ACCOUNT,
            digest=labels.site_digest(site.name, site.work_root),
            event_spool=site.event_spool,
        )
        return RenderedScript(text=_script(site, job, wanted), argv=tuple(container.argv(wanted.indices[0])))

    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """See ``hookspecs``. Made first, then started: what a crash leaves in between is taken up by the next poll."""
        account = self._hosts.account(site, job.account, transport)
        engine = self._hosts.engine(site, transport)
        placed = replace(job, folder=_absolute(job.folder or "", account))
        wanted = plan(site, placed)
        fits(engine, wanted)
        container = Container(
            site=site,
            job=placed,
            plan=wanted,
            engine=engine,
            account=account,
            digest=self._digest(site, job.account, transport),
            event_spool=None if site.event_spool is None else _absolute(site.event_spool, account),
        )
        argvs = [container.argv(index) for index in wanted.indices]
        self._wait_for_room(site, container.digest, wanted, transport)
        _lay_out(container, _script(site, placed, wanted), transport)
        self._make(site, placed, wanted, argvs, transport)
        return Submitted(
            key=job.key,
            native_id=labels.native_id(job.key),
            stdout_path=wanted.stdout,
            stderr_path=wanted.stderr,
        )

    def _wait_for_room(self, site: Site, digest: str, wanted: Plan, transport: Transport) -> None:
        most = ContainerSettings.of(site).max_running
        if most is None:
            return
        if len(wanted.indices) > most:
            raise InvalidSpec.of("array", f"has {len(wanted.indices)} tasks; at most {most} may run at a time here")
        running = len(Talk(site).ids({labels.SITE: digest}, status="running").run(transport))
        if running + len(wanted.indices) > most:
            raise SchedulerError(f"{running} of at most {most} containers run at site {site.name!r}; the job waits")

    def _make(self, site: Site, job: Job, wanted: Plan, argvs: Sequence[Sequence[str]], transport: Transport) -> None:
        talk, limit_s = Talk(site), CREATE_S[ContainerSettings.of(site).pull]
        names = [labels.container_name(job.key, index) for index in wanted.indices]
        made: list[str] = []
        try:
            fresh = True
            for name, argv in zip(names, argvs, strict=True):
                fresh &= Create(argv, limit_s).run(transport)
                made.append(name)
        except JobRejected:
            if made:
                talk.remove(made).run(transport)
            transport.remove(JobFolder(job.folder or "").secrets)
            raise
        if fresh and job.spec.hold:
            return
        folders = Folders(site.work_root, transport)
        seen = talk.inspect(names).run(transport)
        if not fresh and seen and all(each.ended for each in seen):
            folders.remove_secrets(job.key)  # they were written anew for a job that is over
        new = [each for each in seen if each.new and labels.HOLD not in each.labels]
        if new:
            tend.launch(talk, new, folders, transport)

    # --- what has become of them --------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """See ``hookspecs``. The ids of all containers, and one look at them."""
        at = time.time()
        folders = Folders(site.work_root, transport)
        digest = self._digest(site, None, transport)
        view = self._sight.look(Talk(site), labels.SITE, digest, folders, transport)
        self._tend(site, view, {ref.key for ref in jobs}, digest, transport, at)
        found = [observe(containers, view.ends) for containers in _by_key(view.seen).values()]
        # An ordinary account's own engine does not show the containers of others.
        alone = all(ref.account is None for ref in jobs) or not self._hosts.engine(site, transport).rootless
        return Listing(observations={each.native_id: each for each in found if each}, complete=alone, at=at)

    def _look(self, site: Site, transport: Transport) -> Sequence[Seen]:
        folders, digest = Folders(site.work_root, transport), self._digest(site, None, transport)
        return self._sight.look(Talk(site), labels.SITE, digest, folders, transport).seen

    def _tend(self, site: Site, view: View, active: set[str], digest: str, transport: Transport, now: float) -> None:
        seen, ends = view.seen, view.ends
        settings, talk, folders = ContainerSettings.of(site), Talk(site), Folders(site.work_root, transport)
        ages = self._watch.look(digest, seen)
        for key in {key_of(each) for each in seen if each.name in ends and labels.SECRETS in each.labels} & active:
            if all(each.name in ends for each in seen if key_of(each) == key):
                tend.tidily("secrets of an ended job", lambda key=key: folders.remove_secrets(key))  # type: ignore[misc]
        if broken_off := tend.interrupted(seen, ends.keys(), active, ages):
            tend.tidily("start", lambda: tend.launch(talk, broken_off, folders, transport))
        if late := [each.name for each in tend.overdue(seen, ages, settings.kill_grace_s)]:
            tend.tidily("walltime", lambda: talk.kill(late, "KILL").run(transport))
        if old := [each.name for each in tend.stale(seen, active, now, settings.keep_s)]:
            tend.tidily("clearing away", lambda: talk.remove(old).run(transport))

    @hookimpl
    def hpcgate_find_by_key(self, site: Site, job: JobRef, transport: Transport) -> KeySearch:
        """See ``hookspecs``. The engine, then what the job may have left in its folder before it was removed.

        An array of which containers are missing is not there yet: to submit it again makes the missing ones alone.
        """
        seen = _containers(site, job, transport)
        tasks = int(seen[0].labels.get(labels.TASKS, "1")) if seen else 0
        if (seen and len(seen) >= tasks) or _has_run(job, transport):
            return KeySearch(presence=Presence.PRESENT, native_id=labels.native_id(job.key))
        return KeySearch(presence=Presence.ABSENT)

    # --- what is asked of them ----------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """See ``hookspecs``. TERM, and KILL after the grace time; a mark in the folder says that it was us."""
        talk, keys = Talk(site), {ref.key for ref in jobs}
        seen = self._look(site, transport)
        live = [each for each in seen if key_of(each) in keys and not each.ended]
        folders = Folders(site.work_root, transport)
        for key in {key_of(each) for each in live}:
            transport.write(cancel_mark(folders.of(key)), b"")
        if paused := [each.name for each in live if each.status == "paused"]:
            talk.unpause(paused).run(transport)
        if started := [each.name for each in live if not each.new]:
            talk.stop(started).run(transport)
        return True

    @hookimpl
    def hpcgate_hold_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. Jobs start at once here, so that only those that were submitted held can be."""
        for each in self._of(site, job, transport):
            if not each.new or labels.HOLD not in each.labels:
                raise SchedulerError(f"job {job.native_id} has started and cannot be held any more", transient=False)
        return True

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``."""
        held = [each for each in self._of(site, job, transport) if each.new]
        if held:
            tend.launch(Talk(site), held, Folders(site.work_root, transport), transport)
        return True

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool:
        """See ``hookspecs``. STOP and CONT are for all processes, KILL ends them all; the others reach the script."""
        name = signal.upper().removeprefix("SIG")
        if name not in SIGNALS | {"STOP", "CONT", "KILL"}:
            known = ", ".join(sorted(SIGNALS | {"STOP", "CONT", "KILL"}))
            raise SchedulerError(f"{signal!r} is no signal for a container; it must be one of {known}", transient=False)
        names = [each.name for each in self._of(site, job, transport) if not each.ended and not each.new]
        if not names:
            raise SchedulerError(f"job {job.native_id} does not run", transient=False)
        _signal(Talk(site), names, name).run(transport)
        return True

    @hookimpl
    def hpcgate_exec_in_job(self, site: Site, job: JobRef, argv: Sequence[str], transport: Transport) -> CommandResult:
        """See ``hookspecs``. In the container, with the job's rights."""
        running = [each for each in self._of(site, job, transport) if each.status == "running"]
        if len(running) != 1:
            raise SchedulerError(f"job {job.native_id} has {len(running)} running containers, not one", transient=False)
        account = self._hosts.account(site, job.account, transport)
        words = Talk(site).exec(running[0].name, JobFolder(_absolute(job.folder, account)).work, argv)
        result = transport.run(words)
        answer = Answer(words[0], result.exit_status, result.out, result.err)
        if result.exit_status in (125, 255) and "container state improper" in result.err:
            raise answer.error(transient=False)
        return result

    def _of(self, site: Site, job: JobRef, transport: Transport) -> list[Seen]:
        seen = _containers(site, job, transport)
        if not seen:
            raise SchedulerError(f"the engine has no container of job {job.native_id}", transient=False)
        return seen

    # --- the site -----------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_describe_site(self, site: Site, transport: Transport) -> SiteDescription:
        """See ``hookspecs``. One node; there is no queue."""
        seen = self._look(site, transport)
        return SiteDescription(nodes=(node(self._hosts.engine(site, transport), seen),))

    @hookimpl
    def hpcgate_probe_site(self, site: Site, transport: Transport) -> Probe:
        """See ``hookspecs``."""
        try:
            self._hosts.forget(site)
            account = self._hosts.account(site, None, transport)
            engine = self._hosts.engine(site, transport)
        except SiteError as error:
            return Probe(checks=(Check(name="engine", ok=False, detail=error.message),), sees_all_jobs=False)
        found = checks(site, account, engine, transport)
        return Probe(checks=tuple(found), version=f"{engine.kind} {engine.version}", sees_all_jobs=not engine.rootless)

    def _digest(self, site: Site, account: str | None, transport: Transport) -> str:
        if not site.work_root.startswith("~/"):
            return labels.site_digest(site.name, site.work_root)
        if account is not None:
            raise SchedulerError(
                f"site {site.name!r}: work_root must be absolute where jobs run as several accounts", transient=False
            )
        home = self._hosts.account(site, None, transport)
        return labels.site_digest(site.name, _absolute(site.work_root, home))


def _script(site: Site, job: Job, wanted: Plan) -> str:
    return batch_script(job, wanted, ContainerSettings.of(site).kill_grace_s, site.event_spool is not None)


def _absolute(path: str, account: Account) -> str:
    return f"{account.home}/{path[2:]}" if path.startswith("~/") else path


def _lay_out(container: Container, script: str, transport: Transport) -> None:
    """Brings what the job needs into its folder, which must be there before it can be mounted."""
    folder, secrets = JobFolder(container.job.folder or ""), container.job.spec.secret_environment
    transport.mkdir(folder.root)
    if container.event_spool is not None:
        transport.mkdir(container.event_spool)
    transport.write(run_file(folder), script.encode("utf-8", "surrogateescape"), mode=0o700)
    if secrets:
        write_secrets(folder, secrets, transport)


def _containers(site: Site, job: JobRef, transport: Transport) -> list[Seen]:
    talk = Talk(site)
    return inspect(talk, talk.ids({labels.KEY: job.key}).run(transport), transport)


def _by_key(seen: Sequence[Seen]) -> Mapping[str, list[Seen]]:
    jobs: dict[str, list[Seen]] = defaultdict(list)
    for each in seen:
        jobs[key_of(each)].append(each)
    return jobs


def _signal(talk: Talk, names: Sequence[str], name: str) -> EngineCommand:
    if name == "STOP":
        return talk.pause(names)
    return talk.unpause(names) if name == "CONT" else talk.kill(names, name)


def _has_run(job: JobRef, transport: Transport) -> bool:
    try:
        entries = transport.list(job.folder)
    except FileNotFoundError:
        return False
    return any(entry.name.startswith(("start.", "exit.", "stopped.")) for entry in entries)
