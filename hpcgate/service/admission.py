"""What is said about a job before anything is stored: whether it may come in, and what would become of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ulid import ULID

from hpcgate.config import LimitsTable
from hpcgate.errors import (
    FieldError,
    Forbidden,
    HpcgateError,
    InvalidSpec,
    JobRejected,
    QuotaExceeded,
    SiteDrained,
    nearest,
)
from hpcgate.model.codec import encode
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobDependency
from hpcgate.model.move import Claim, JobDraft
from hpcgate.model.principal import Principal
from hpcgate.model.query import JobFilter
from hpcgate.model.quota import Charge, Load
from hpcgate.model.scheduler import FieldVerdict
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service import honesty
from hpcgate.service.access import Verb, allows, require
from hpcgate.service.accounts import Accounts, check_output_paths
from hpcgate.service.allotment import Allotment, Allotted
from hpcgate.service.dependencies import outlook
from hpcgate.service.notices import NoticeRules

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.store.database import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """By which dialect a job comes, and what only that dialect knows of it.

    Args:
        dialect: its name.
        data: JSON values that it will want again; ``Job.dialect_data``.
        foreign_id: the id by which it will ask for the job; ``None`` = ours, or one that it gives later.
        scope: within which the foreign id is unique, e.g. a user or a project.
        of_spec: what else goes into ``data``, made of the job with what its script's own directives say.
    """

    dialect: str
    data: Mapping[str, Any] = field(default_factory=dict)
    foreign_id: str | None = None
    scope: str = ""
    of_spec: Callable[[JobSpec], Mapping[str, Any]] | None = None

    def completed(self, told: JobSpec) -> Origin:
        """With all of its data."""
        return self if self.of_spec is None else replace(self, data={**self.data, **self.of_spec(told)}, of_spec=None)

    @property
    def foreign(self) -> tuple[str, str, str] | None:
        """As ``JobDraft`` has it."""
        return None if self.foreign_id is None else (self.dialect, self.scope, self.foreign_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job and where it shall run.

    Args:
        spec: the job.
        site: name or alias of a site; may be left out where there is only one.
        origin: of a job that comes by a dialect.
        retry_of: the job of which it runs some tasks again; set by the gateway alone.
    """

    spec: JobSpec
    site: str | None = None
    origin: Origin | None = None
    retry_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A job that may come in.

    Args:
        site: where it goes.
        spec: with the defaults of site, project and share filled in.
        charge: what it is to reserve of its project.
        load: what it is to take of its share.
        origin: the dialect that it came through.
        retry_of: the job of which it runs some tasks again.
    """

    site: Site
    spec: JobSpec
    charge: Charge | None = None
    load: Load | None = None
    origin: Origin | None = None
    retry_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The answer of a dry run.

    Args:
        valid: whether a submit would be accepted.
        errors: why not.
        fields: what becomes of each field that the spec sets.
        script: what would be submitted, without secrets.
        argv: the submit command, where the scheduler has one.
        spec: the job with defaults filled in, and with what its script's own directives say; ``None`` = not valid.
    """

    valid: bool
    errors: tuple[FieldError, ...] = ()
    fields: tuple[FieldVerdict, ...] = ()
    script: str | None = None
    argv: tuple[str, ...] = ()
    spec: JobSpec | None = None


class Admission:
    """Judges job requests.

    Args:
        sites: by name.
        store, lifecycle, allotment: the parts it works on.
        limits: the ``[limits]`` table.
        notices: judges what jobs ask to be told.
        clock: epoch seconds.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        store: Store,
        lifecycle: Lifecycle,
        allotment: Allotment,
        limits: LimitsTable,
        notices: NoticeRules,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sites = sites
        self._by_alias = {alias: site for site in sites.values() for alias in (site.name, *site.aliases)}
        self._store = store
        self._lifecycle = lifecycle
        self._allotment = allotment
        self._limits = limits
        self._notices = notices
        self._clock = clock
        self._accounts = Accounts(sites, store)

    def accept(self, principal: Principal, request: JobRequest) -> Accepted:
        """Everything that can be said about a job before it is stored, but whether its quota is enough.

        Raises:
            InvalidSpec: the site is unknown, cannot honour a field, or could never run the job.
            Forbidden: there is no account for the principal's jobs.
            JobRejected: a plugin refuses it.
            SiteDrained: the site takes no new jobs now.
        """
        named = self._allotment.named(principal, request.spec)
        site = self._site_of(request, named)
        self._require_open(site)
        self._accounts.account_of(principal, site)
        self._accounts.require_share(principal, site)
        spec, has = self._allotment.place(site, request.spec, named)
        if spec.queue is None and site.default_queue is not None:
            spec = replace(spec, queue=site.default_queue)
        info = self._lifecycle.scheduler(site.scheduler)
        errors = [
            *honesty.refusals(honesty.verdicts(request.spec, info), info),
            *self._notices.refusals(principal.name, spec),
        ]
        if errors:
            raise InvalidSpec(errors)
        check_output_paths(principal, site, spec)
        told = self._lifecycle.render_script(site, self._preview(principal, site, spec)).spec or spec
        spec, told = self._allotment.with_walltime(principal, site, spec, told, has)
        self._lifecycle.job_accepting(principal, site, spec)
        charge, load = self._allotment.weigh(principal, told, has)
        origin = None if request.origin is None else request.origin.completed(told)
        return Accepted(site=site, spec=spec, charge=charge, load=load, origin=origin, retry_of=request.retry_of)

    def _site_of(self, request: JobRequest, named: Allotted) -> Site:
        """The site that a request names, else that of its project or its share."""
        own = [item.site for item in (named.project, named.share) if item is not None]
        return self.site(request.site if request.site is not None or not own else own[0])

    def draft(self, principal: Principal, accepted: Accepted, claim: Claim) -> JobDraft:
        """An accepted job, ready to be stored and to be submitted by whoever holds the claim."""
        site, spec, origin, key = accepted.site, accepted.spec, accepted.origin, str(ULID())
        # A job with inputs has a stage before the scheduler; one without is submitted at once.
        state = JobState.CREATED if spec.staging.inputs else JobState.SUBMITTING
        return JobDraft(
            key=key,
            owner=principal.name,
            site=site.name,
            spec=spec,
            folder=JobFolder.of(site.work_root, key).root,
            account=self._accounts.account_of(principal, site),
            state=state,
            claim=claim,
            charge=accepted.charge,
            load=accepted.load,
            dialect=None if origin is None else origin.dialect,
            dialect_data={} if origin is None else origin.data,
            foreign=None if origin is None else origin.foreign,
            retry_of=accepted.retry_of,
        )

    def require_shares(self, principal: Principal, sites: Iterable[Site]) -> None:
        """Asks once more, in the transaction that stores jobs, for what two principals may have won at once.

        Raises:
            Forbidden: all jobs of one of the sites run as an account that is another principal's meanwhile.
            SiteDrained: one of the sites takes no new jobs any more.
        """
        for site in {site.name: site for site in sites}.values():
            self._accounts.require_share(principal, site)
            self._require_open(site)

    def _require_open(self, site: Site) -> None:
        drain = self._store.sites.drained(site.name)
        if drain is not None:
            raise SiteDrained(f"site {site.name!r} takes no new jobs now: {drain.reason}")

    def without_gifts(self, spec: JobSpec) -> JobSpec:
        """The spec of a job of old, without what project and share gave it."""
        return self._allotment.without_gifts(spec)

    def refusals(self, drafts: Sequence[JobDraft]) -> list[HpcgateError | None]:
        """Which of some jobs their projects have no quota for, each judged after those before it.

        Call it in the transaction that stores the others: nobody else reserves meanwhile.
        """
        purse = self._allotment.purse()
        return [None if draft.charge is None else purse.take(draft.charge) for draft in drafts]

    def _preview(self, principal: Principal, site: Site, spec: JobSpec) -> Job:
        """A job that is not stored, for the scheduler to look at.

        Raises:
            InvalidSpec: it depends on a job that is not there for this principal and site, or not as is asked for.
        """
        now = self._clock()
        masked = replace(spec, secret_environment=dict.fromkeys(spec.secret_environment, "***"))
        job = Job(
            id=0,
            key="0" * 26,
            owner=principal.name,
            site=site.name,
            spec=masked,
            state=JobState.CREATED,
            folder=JobFolder.of(site.work_root, "0" * 26).root,
            account=self._accounts.account_of(principal, site),
            created_at=now,
            updated_at=now,
        )
        return replace(job, depends_on=self._depends_on(principal, site, job)) if spec.dependencies else job

    def _depends_on(self, principal: Principal, site: Site, job: Job) -> tuple[JobDependency, ...]:
        known = {other.id: other for other in self._store.jobs.get_many({each.job for each in job.spec.dependencies})}
        errors = []
        for dependency in job.spec.dependencies:
            other = known.get(dependency.job)
            if other is None or not allows(principal, Verb.READ, other.owner):
                errors.append(FieldError("dependencies", f"there is no job {dependency.job}"))
            elif other.site != site.name:
                message = f"job {other.id} is at site {other.site!r}; both must be at the same one, {site.name!r}"
                errors.append(FieldError("dependencies", message))
        if errors:
            raise InvalidSpec(errors)
        seen = outlook(job, known)
        if seen.never is not None:
            raise InvalidSpec.of("dependencies", seen.never)
        return tuple(each for each in seen.waits_for if each.job.native_id is not None)

    def site(self, name: str | None) -> Site:
        """The site with this name or alias; the only one where no name is given.

        Raises:
            InvalidSpec: there is none, or one must be named.
        """
        if name is None:
            if len(self._sites) == 1:
                return next(iter(self._sites.values()))
            raise InvalidSpec.of("site", f"is required; known are: {', '.join(sorted(self._sites))}")
        if name not in self._by_alias:
            raise InvalidSpec.of("site", f"there is no site {name!r}{nearest(name, sorted(self._by_alias))}")
        return self._by_alias[name]

    def check_active_jobs(self, principal: Principal, more: int) -> None:
        """Holds a principal to ``limits.max_active_jobs``.

        Raises:
            JobRejected: ``more`` jobs would pass the limit.
        """
        most = self._limits.max_active_jobs
        if most is None:
            return
        active = self._store.jobs.count(JobFilter(owner=principal.name, active=True))
        if active + more > most:
            raise JobRejected(
                f"{principal.name!r} has {active} active jobs; {more} more would pass the limit of {most}"
            )

    def validate(self, principal: Principal, request: JobRequest) -> Validation:
        """What a submit would say, without doing it."""
        require(principal, Verb.SUBMIT)
        try:
            site = self._site_of(request, self._allotment.named(principal, request.spec))
        except InvalidSpec as error:
            return Validation(valid=False, errors=error.errors)
        except Forbidden as error:
            return Validation(valid=False, errors=(FieldError("project", error.message),))
        info = self._lifecycle.scheduler(site.scheduler)
        fields = honesty.verdicts(request.spec, info)
        try:
            accepted = self.accept(principal, request)
            if accepted.charge is not None and (short := self._allotment.purse().take(accepted.charge)) is not None:
                raise short
            rendered = self._lifecycle.render_script(site, self._preview(principal, site, accepted.spec))
        except InvalidSpec as error:
            return Validation(valid=False, errors=error.errors, fields=fields)
        except (Forbidden, SiteDrained) as error:
            return Validation(valid=False, errors=(FieldError("site", error.message),), fields=fields)
        except JobRejected as error:
            where = "project" if isinstance(error, QuotaExceeded) else "job"
            return Validation(valid=False, errors=(FieldError(where, error.message),), fields=fields)
        told = rendered.spec or accepted.spec
        return Validation(valid=True, fields=fields, script=rendered.text, argv=rendered.argv, spec=told)


def fingerprint(*requests: JobRequest | InvalidSpec) -> str:
    """A digest of requests, to tell whether an Idempotency-Key comes with the same ones again."""
    digest = hashlib.sha256()
    for request in requests:
        if isinstance(request, InvalidSpec):
            digest.update(request.message.encode("utf-8", "surrogatepass"))
            continue
        data = encode(request.spec)
        data["secret_environment"] = dict(request.spec.secret_environment)
        origin = () if request.origin is None else (encode(replace(request.origin, of_spec=None)),)
        digest.update(json.dumps([request.site, data, *origin], sort_keys=True).encode())
    return digest.hexdigest()
