"""The composition root: the only file that knows every part.

A ``Gateway`` is built by ``open_gateway``, never by an import; any number of them may live in one process.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hpcgate.config import Config, SiteTable, load_config
from hpcgate.errors import ConfigError, HpcgateError, InvalidSpec, PluginError
from hpcgate.model.allocation import Allocation
from hpcgate.model.cluster import Cluster
from hpcgate.model.codec import decode
from hpcgate.model.principal import Principal, Role
from hpcgate.model.site import Site
from hpcgate.plugin.lifecycle import Lifecycle
from hpcgate.plugin.manager import PluginHost
from hpcgate.service.addresses import AddressRules
from hpcgate.service.admission import Admission
from hpcgate.service.allocations import Configured, unsupported
from hpcgate.service.allotment import Allotment
from hpcgate.service.audit import AuditLog, open_audit
from hpcgate.service.courier import Courier
from hpcgate.service.duty import Duty, Part
from hpcgate.service.events import EventService
from hpcgate.service.explain import Explainer
from hpcgate.service.fanout import FanOut
from hpcgate.service.figures import Figures
from hpcgate.service.files import FileService
from hpcgate.service.foreign import ForeignService
from hpcgate.service.groups import GroupService
from hpcgate.service.identities import IdentityService
from hpcgate.service.jobs import JobService
from hpcgate.service.leases import KeptLease
from hpcgate.service.notices import NoticeRules
from hpcgate.service.outbox import Outbox
from hpcgate.service.projects import ProjectService
from hpcgate.service.reconcile import Reconciler
from hpcgate.service.recorder import Recorder, at_sites
from hpcgate.service.records import Records
from hpcgate.service.retention import Retention
from hpcgate.service.secrets import FernetCipher, KeyRing
from hpcgate.service.shares import ShareService
from hpcgate.service.shell import ShellService
from hpcgate.service.sites import SiteService
from hpcgate.service.submit import Submitter
from hpcgate.service.transports import Opener, Transports
from hpcgate.service.webhooks import WebhookService
from hpcgate.service.worker import SiteLoop, Worker
from hpcgate.store.database import Store, open_store
from hpcgate.transport.account import open_local

if TYPE_CHECKING:
    from hpcgate.service.outgoing import Outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """An open gateway: configuration, plugins, store and services. A context manager; ``close`` ends it.

    Args:
        config: what it was opened with.
        sites: by name.
        clusters: by name; those of ``[clusters]``.
        plugins: what is installed, and what of it is broken.
        store: the database; for services, not for anybody above them.
        jobs, site_service, files, shell, foreign, explainer, identities, groups, projects, shares, events, webhooks,
        records:
            the use cases.
        audit: where the server and the command line write down who did what.
        recorder: writes the records of own jobs; workers do so all the time.
        holder: the name of this gateway in leases and claims, unique over hosts and restarts.
    """

    config: Config
    sites: Mapping[str, Site]
    clusters: Mapping[str, Cluster]
    plugins: PluginHost
    store: Store
    jobs: JobService
    site_service: SiteService
    files: FileService
    shell: ShellService
    foreign: ForeignService
    explainer: Explainer
    identities: IdentityService
    groups: GroupService
    projects: ProjectService
    shares: ShareService
    events: EventService
    webhooks: WebhookService
    records: Records
    recorder: Recorder
    audit: AuditLog
    holder: str
    _lifecycle: Lifecycle
    _transports: Transports
    _submitter: Submitter

    def worker(self) -> Worker:
        """A worker over all sites."""
        loops = {name: self._loop(site) for name, site in self.sites.items()}
        outbox = Outbox(self.store, self._lifecycle, self.holder)
        return Worker(loops, self.store, outbox, self.retention(), self._duties(), self._chores())

    def _duties(self) -> list[Duty]:
        config, store, acting = self.config, self.store, self.identities.acting
        fan_out = FanOut(store, acting, config.webhooks, config.mail)
        check_ca_file(config)
        parts: dict[str, Part] = {
            "webhooks": Courier(store, fan_out, lambda: _outgoing(config), acting, config.webhooks),
            "records": self.recorder,
        }
        if config.mail is not None:
            from hpcgate.service.mailer import Mailer

            parts["mail"] = Mailer(store, self.identities.address, config.mail, config.gateway.public_url)
        if (folder := config.records.archive_path) is not None:
            from hpcgate.service.archivist import Archivist
            from hpcgate.service.record_archive import RecordArchive

            parts["archive"] = Archivist(store, RecordArchive(folder, durable=True), self.clusters)
        return [Duty(name, part, KeptLease(store, name, self.holder), store) for name, part in parts.items()]

    def _chores(self) -> list[Callable[[float], object]]:
        store, keep_s = self.store, self.config.webhooks.keep_s
        chores: list[Callable[[float], object]] = [
            lambda now: store.deliveries.prune(now - keep_s),
            lambda now: store.webhooks.prune(now - keep_s),
        ]
        if self.config.mail is not None:
            keep_mail_s = self.config.mail.keep_s
            chores.append(lambda now: store.mail.prune(now - keep_mail_s))
        return chores

    def retention(self) -> Retention:
        """What removes what is old; workers do so all the time."""
        config = self.config
        return Retention(self.sites, self.store, self._transports, config.retention, self.holder, config.records)

    def _loop(self, site: Site) -> SiteLoop:
        reconciler = Reconciler(
            site, self.store, self._lifecycle, self._transports, lost_grace_s=self.config.limits.lost_grace_s
        )
        return SiteLoop(site, self.store, self._submitter, reconciler, self._lifecycle, self._transports, self.holder)

    def os_principal(self) -> Principal:
        """The operating-system user as admin of its own gateway, for embedded use."""
        return Principal(name=getpass.getuser(), roles=frozenset({Role.ADMIN, Role.USER}))

    def status(self) -> dict[str, Any]:
        """Readiness: ``{"ready": bool, "database": "ok" | error, "sites": {name: ...}, "outbox": depth}``.

        Of a site: ``ok``, ``error``, and ``drained``, the reason why it takes no new jobs. One that is down does not
        make the gateway unready: it keeps answering for the others.
        """
        try:
            self.store.check_schema()
            health, drains, outbox = self.store.sites.all(), self.store.sites.all_drained(), self.store.outbox.depth()
        except HpcgateError as error:
            # How the sites are stands in the database.
            return {"ready": False, "database": error.message, "sites": {}, "outbox": None}
        sites = {
            name: {
                "ok": name not in health or health[name].failed_at is None,
                "error": _error(health.get(name)),
                "drained": drains[name].reason if name in drains else None,
            }
            for name in self.sites
        }
        return {"ready": True, "database": "ok", "sites": sites, "outbox": outbox}

    def figures(self) -> Figures:
        """Figures for one who watches the gateway, counted from now on."""
        return Figures(self.sites, self.store)

    def release_thread(self) -> None:
        """Gives back what the calling thread holds; for threads that end or wait for long."""
        self.store.release()

    def close(self) -> None:
        """Tells the plugins, closes connections and the database. Jobs go on."""
        try:
            self._lifecycle.gateway_stopping()
            self._transports.close()
        finally:
            self.audit.close()
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_home(config: Config) -> None:
    try:
        config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"HPCGATE_HOME {config.home} cannot be made or is no folder: {error.strerror}") from error


def open_gateway(config: Config | str | Path | None = None, *, plugins: Sequence[tuple[str, object]] = ()) -> Gateway:
    """Opens a gateway.

    Args:
        config: a configuration, or the path of one; by default what ``load_config`` finds.
        plugins: further plugins as (name, object), beside the installed ones.

    Raises:
        ConfigError: the configuration is wrong, or names a plugin that is not installed.
        PluginError: a plugin that a site needs is broken.
    """
    config = config if isinstance(config, Config) else load_config(config)
    host = PluginHost.load(extra=plugins)
    lifecycle = Lifecycle(host)
    sites = {name: build_site(config, name, table, host) for name, table in config.sites.items()}
    clusters = {name: table.cluster(name) for name, table in config.clusters.items()}
    configured_projects = Configured(
        {name: table.project(name) for name, table in config.projects.items()},
        {name: table.grants() for name, table in config.projects.items()},
    )
    configured_shares = Configured(
        {name: table.share(name) for name, table in config.shares.items()},
        {name: table.grants() for name, table in config.shares.items()},
    )
    _check_allocations(config, [*configured_projects.items.values(), *configured_shares.items.values()], host)
    _make_home(config)
    topics = ("hooks",) if host.has_listeners("hpcgate_job_state_changed") else ()
    try:
        keys = KeyRing(config.secret_key_path)
        store = open_store(
            config.database_url, cipher=FernetCipher(keys), topics=topics, pool=config.gateway.database_pool
        )
    except ConfigError as error:
        raise ConfigError(f"{config.where('gateway')} {error.message}") from error
    openers: dict[str, Opener] = {"local": open_local, **host.transports()}
    if any(site.transport == "ssh" for site in sites.values()):
        openers.setdefault("ssh", _ssh_opener())
    transports = Transports(openers)
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    projects = ProjectService(configured_projects, sites, store, lifecycle)
    shares = ShareService(configured_shares, sites, store, lifecycle, transports)
    submitter = Submitter(
        store, lifecycle, transports, shares, holder=holder, claim_s=2 * config.limits.submit_timeout_s + 20
    )
    groups = GroupService(config.groups)
    identities = IdentityService(
        store.identities, store.logins, groups, keys, config.auth, config.home, config.dialects
    )
    webhooks = WebhookService(store, sites, config.webhooks)
    notices = NoticeRules(
        webhooks.url_error,
        sends_mail=config.mail is not None,
        acting=identities.acting,
        address=identities.address,
    )
    admission = Admission(sites, store, lifecycle, Allotment(projects, shares, store), config.limits, notices)
    archives = config.records.archive is not None
    recorder = Recorder(store, at_sites(sites, clusters), archives=archives)
    store.jobs.before_delete = recorder.settle
    jobs = JobService(sites, store, lifecycle, transports, submitter, admission, config.limits)
    gateway = Gateway(
        config=config,
        sites=sites,
        clusters=clusters,
        plugins=host,
        store=store,
        jobs=jobs,
        site_service=SiteService(sites, store, lifecycle, transports),
        files=FileService(sites, store, transports, config.limits),
        shell=ShellService(sites, store, transports, admission),
        foreign=ForeignService(store),
        explainer=Explainer(store, jobs),
        identities=identities,
        groups=groups,
        projects=projects,
        shares=shares,
        events=EventService(store),
        webhooks=webhooks,
        records=Records(store, projects.joined, archives=archives),
        recorder=recorder,
        audit=open_audit(config),
        holder=holder,
        _lifecycle=lifecycle,
        _transports=transports,
        _submitter=submitter,
    )
    lifecycle.gateway_started(tuple(sites.values()))
    return gateway


def build_site(config: Config, name: str, table: SiteTable, host: PluginHost) -> Site:
    """A site from its table, its settings checked by its plugin.

    Raises:
        ConfigError: a setting is wrong, or the scheduler is not installed.
        PluginError: the scheduler plugin is broken.
    """
    where = config.where(f"sites.{name}")
    try:
        info = host.scheduler(table.scheduler)
    except (ConfigError, PluginError) as error:
        raise type(error)(f"{where} scheduler: {error.message}") from error
    try:
        settings = decode(info.settings, table.settings, "settings")
    except InvalidSpec as error:
        raise ConfigError(
            "; ".join(
                f"{config.where(f'sites.{name}.settings')} {each.field.removeprefix('settings.')}: {each.message}"
                for each in error.errors
            )
        ) from error
    run_as = table.identity.run_as
    own = table.transport == "local" and run_as is None
    work_root = table.work_root or (str(config.home / "jobs" / name) if own else "~/hpcgate-jobs")
    if run_as is not None and work_root.startswith("~/"):
        work_root = f"~{run_as}/{work_root[2:]}"
    if table.transport == "local":
        work_root = str(_expanded(where, work_root))
    shared = table.transport == "local" or table.identity.mode == "service"
    return Site(
        name=name,
        scheduler=table.scheduler,
        transport=table.transport,
        work_root=work_root,
        settings=settings,
        event_spool=table.event_spool or (f"{work_root}/.events" if shared else None),
        aliases=table.aliases,
        default_queue=table.default_queue,
        default_walltime_s=table.default_walltime_s,
        require_project=table.require_project,
        runtimes=table.runtimes,
        poll=table.polls(),
        ssh=table.ssh,
        identity=table.identity,
        region=table.region,
        cluster=table.cluster,
    )


def _check_allocations(config: Config, items: Sequence[Allocation], host: PluginHost) -> None:
    """Refuses what a scheduler would refuse with every job of a project or share."""
    for item in items:
        info = host.scheduler(config.sites[item.site].scheduler)
        try:
            unsupported(item, info)
        except InvalidSpec as error:
            table = f"{item.kind}s.{item.name}"
            raise ConfigError(f"{config.where(table)} {error.message}") from error


def _expanded(where: str, path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"{where} work_root: {path.partition('/')[0]!r} has no home folder here") from error


def _ssh_opener() -> Opener:
    """Opens transports over ssh. Imported here: fabric takes a fifth of a second, and is an extra."""
    try:
        from hpcgate.transport.ssh import SshOpener
    except ModuleNotFoundError as error:
        raise ConfigError(f"transport ssh needs {error.name}: pip install 'hpcgate[ssh]'") from error
    return SshOpener()


def check_ca_file(config: Config) -> None:
    """Looks early at what is read late.

    Raises:
        ConfigError: the file that ``[webhooks] ca_file`` names cannot be read, or holds no certificates.
    """
    if config.webhooks.ca_file is not None:
        try:
            ssl.create_default_context(cafile=_ca_file(config))
        except OSError as error:
            raise ConfigError(f"{config.where('webhooks')} ca_file: cannot be read: {error}") from error


def _ca_file(config: Config) -> str:
    return str(Path(config.webhooks.ca_file or "").expanduser())


def _outgoing(config: Config) -> Outgoing:
    """What calls webhooks. Imported here: only a worker that has something to send needs it."""
    import httpx

    from hpcgate.service.outgoing import Outgoing

    context = httpx.create_ssl_context()
    if config.webhooks.ca_file is not None:
        context.load_verify_locations(_ca_file(config))
    return Outgoing(AddressRules.of(config.webhooks.allowed_networks), config.webhooks.timeout_s, context)


def _error(health: Any) -> str | None:
    return None if health is None or health.failed_at is None else health.error
