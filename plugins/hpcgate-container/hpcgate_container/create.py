"""The command line that makes a container."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hpcgate.errors import InvalidSpec, SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.site import Site
from hpcgate_container import labels
from hpcgate_container.host import Account, Engine
from hpcgate_container.job import Plan
from hpcgate_container.script import EVENTS, LATE_S, run_file
from hpcgate_container.settings import ContainerSettings, check_mountable

#: The places that programs expect to be able to write to, where the image's own files are read-only.
_SCRATCH: Final = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - in the container


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the containers of one job have in common.

    Args:
        site: where it runs.
        job: with an absolute folder.
        plan: what it needs.
        engine: that runs it.
        account: whose rights it has.
        digest: of the site.
        event_spool: absolute, or none.
    """

    site: Site
    job: Job
    plan: Plan
    engine: Engine
    account: Account
    digest: str
    event_spool: str | None

    def argv(self, index: int | None) -> list[str]:
        """``podman create ...`` or ``docker create ...`` for the job, or one index of it."""
        settings = ContainerSettings.of(self.site)
        words = [*settings.command(), "create", f"--name={labels.container_name(self.job.key, index)}"]
        words += [f"--label={name}={value}" for name, value in self._labels(index)]
        words += [
            f"--pull={settings.pull}",
            "--entrypoint=/bin/sh",
            "--init=false",
            "--stop-signal=TERM",
            "--no-healthcheck",
        ]
        words += ["--log-driver=none", f"--hostname={self.engine.node}"]
        words += self._locked_up(settings)
        words += self._limits(settings)
        words += self._devices(settings)
        words += [f"--mount={mount}" for mount in self._mounts(settings)]
        if self.engine.kind == "podman":
            # Of the gateway's own surroundings podman would pass on proxies and a socket of systemd.
            words += ["--http-proxy=false", "--sdnotify=ignore", "--image-volume=ignore"]
        task = [] if index is None else [str(index)]
        return [*words, self.plan.image, run_file(JobFolder(self.job.folder or "")), *task]

    def _labels(self, index: int | None) -> Iterator[tuple[str, object]]:
        yield labels.SITE, self.digest
        yield labels.KEY, self.job.key
        yield labels.JOB, self.job.id
        yield labels.ATTEMPT, self.job.attempt
        if index is not None:
            yield labels.INDEX, index
            yield labels.TASKS, len(self.plan.indices)
        if self.job.spec.hold:
            yield labels.HOLD, 1
        if self.job.spec.secret_environment:
            yield labels.SECRETS, 1
        yield labels.CPUS, self.plan.cpus
        yield labels.MEMORY, self.plan.memory_mib
        yield labels.WALLTIME, self.plan.walltime_s

    def _locked_up(self, settings: ContainerSettings) -> Iterator[str]:
        """Everything that keeps a job inside its container."""
        yield "--cap-drop=all"
        yield "--security-opt=no-new-privileges"
        yield f"--network={self.plan.network}"
        yield f"--user={self._user()}"
        if self.engine.rootless and self.engine.kind == "podman":
            yield "--userns=keep-id"
        if settings.read_only:
            yield "--read-only"
            yield from (f"--tmpfs={path}:rw,nosuid,nodev,mode=1777" for path in _SCRATCH)

    def _user(self) -> str:
        if self.engine.rootless and self.engine.kind == "docker":
            return "0:0"  # root in there is the account itself, which has no rights but its own
        if self.account.uid == 0:
            raise SchedulerError(
                f"site {self.site.name!r}: the account is root. A job's folder would be read with root's rights, and "
                "jobs would be root in their containers; use an ordinary account",
                transient=False,
            )
        return f"{self.account.uid}:{self.account.gid}"

    def _limits(self, settings: ContainerSettings) -> Iterator[str]:
        plan, limits = self.plan, self.engine.limits
        if "cpu" in limits:
            yield f"--cpus={plan.cpus}"
        if plan.memory_mib:
            yield f"--memory={plan.memory_mib}m"
            yield f"--memory-swap={plan.memory_mib}m"
        if "pids" in limits:
            yield f"--pids-limit={settings.pids}"
        if plan.walltime_s and self.engine.kind == "podman":
            # The job's own clock comes first, and lets it end in peace; this one cannot be stopped from inside.
            yield f"--timeout={plan.walltime_s + settings.kill_grace_s + LATE_S}"

    def _devices(self, settings: ContainerSettings) -> Iterator[str]:
        if not self.plan.gpus:
            return
        if self.engine.kind == "docker":
            yield f"--gpus={self.plan.gpus}"
            return
        yield from (f"--device={settings.gpu_device}={number}" for number in range(self.plan.gpus))

    def _mounts(self, settings: ContainerSettings) -> Iterator[str]:
        """The job's folder where it stands on the host, the event spool, and what the site lists."""
        relabel = ",relabel=private" if self.engine.selinux and self.engine.kind == "podman" else ""
        folder = self.job.folder or ""
        _mountable(folder)
        yield f"type=bind,source={folder},target={folder}{relabel}"
        if self.event_spool is not None:
            _mountable(self.event_spool)
            shared = relabel.replace("private", "shared")
            yield f"type=bind,source={self.event_spool},target={EVENTS}{shared}"
        for mount in settings.mounted():
            yield f"type=bind,source={mount.source},target={mount.target}" + ("" if mount.writable else ",readonly")


def fits(engine: Engine, plan: Plan) -> None:
    """Refuses what the host does not have, or cannot limit.

    Raises:
        InvalidSpec: the job can never run here.
    """
    if plan.cpus > engine.cpus:
        raise InvalidSpec.of("resources", f"{plan.cpus} cores are asked for; {engine.node} has {engine.cpus}")
    if plan.memory_mib > engine.memory_mib:
        raise InvalidSpec.of(
            "resources.memory_mib", f"{plan.memory_mib} MiB are asked for; {engine.node} has {engine.memory_mib}"
        )
    if plan.memory_mib and "memory" not in engine.limits:
        raise InvalidSpec.of(
            "resources.memory_mib",
            f"cannot be honoured: {engine.kind} cannot limit memory on {engine.node}; leave it out",
        )


def _mountable(path: str) -> None:
    try:
        check_mountable(path)
    except ValueError as error:
        raise SchedulerError(str(error), transient=False) from None
