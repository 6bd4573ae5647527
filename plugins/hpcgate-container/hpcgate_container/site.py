"""The host for people: what ``hpcgate site check`` and ``/sites/NAME/nodes`` show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpcgate.errors import SiteError
from hpcgate.model.scheduler import Check, NodeInfo
from hpcgate.model.site import Site
from hpcgate.transport.base import Transport
from hpcgate_container import labels
from hpcgate_container.engine import EngineCommand, Seen, Talk
from hpcgate_container.host import Account, Engine
from hpcgate_container.settings import ContainerSettings

_LIMITS = ("cpu", "memory", "pids")


def node(engine: Engine, seen: Sequence[Seen]) -> NodeInfo:
    """The host, with what the site's running jobs may use of it."""
    running = [each for each in seen if each.status == "running"]
    return NodeInfo(
        name=engine.node,
        state="up",
        cpus=engine.cpus,
        cpus_used=sum(int(each.labels.get(labels.CPUS, "0")) for each in running),
        memory_mib=engine.memory_mib,
        memory_used_mib=sum(int(each.labels.get(labels.MEMORY, "0")) for each in running),
    )


def checks(site: Site, account: Account, engine: Engine, transport: Transport) -> Iterator[Check]:
    """What was looked at, besides that the engine answers."""
    settings = ContainerSettings.of(site)
    mode = "as an ordinary account" if engine.rootless else "as root"
    detail = f"{engine.kind} {engine.version} runs {mode}, by {engine.runtime}, control groups {engine.cgroups}"
    yield Check(name="engine", ok=True, detail=detail)
    yield _account(account, engine)
    yield _limits(engine)
    yield _image(settings, Talk(site), transport)
    yield Check(
        name="host",
        ok=True,
        detail=f"{engine.node} has {engine.cpus} cores and {engine.memory_mib} MiB; {_room(settings)}",
    )


def _account(account: Account, engine: Engine) -> Check:
    if account.uid == 0:
        return Check(name="account", ok=False, detail="is root; jobs are run for ordinary accounts alone")
    return Check(name="account", ok=True, detail=f"jobs run as {account.uid}:{account.gid}, without privileges")


def _limits(engine: Engine) -> Check:
    missing = [name for name in _LIMITS if name not in engine.limits]
    if not missing:
        return Check(name="limits", ok=True, detail="cpu, memory and pids can be limited")
    advice = "delegate the controllers to the account" if engine.cgroups == "v2" else "it needs control groups v2"
    return Check(
        name="limits", ok=False, detail=f"no limits for {', '.join(missing)}: {advice if engine.rootless else ''}"
    )


def _image(settings: ContainerSettings, talk: Talk, transport: Transport) -> Check:
    if settings.image is None:
        allowed = ", ".join(settings.images)
        detail = f"jobs name their own, of: {allowed}" if allowed else "none is allowed: set `image` or `images`"
        return Check(name="image", ok=bool(allowed), detail=detail)
    try:
        EngineCommand([*talk.command, "image", "inspect", "--format={{.Id}}", settings.image]).run(transport)
    except SiteError as error:
        fetched = settings.pull == "missing"
        detail = f"{settings.image} is not there yet; the first job fetches it" if fetched else error.message
        return Check(name="image", ok=fetched, detail=detail)
    return Check(name="image", ok=True, detail=f"{settings.image} is there")


def _room(settings: ContainerSettings) -> str:
    return "jobs start at once" if settings.max_running is None else f"at most {settings.max_running} containers run"
