"""What projects and shares mean for one job: where it goes, what it runs under, what it costs, what it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.allocation import MOST, Project, Share
from hpcgate.model.principal import Principal
from hpcgate.model.quota import Charge, Load, cores_of, load_of, stored_kb, tasks_of, units_of, width_of
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.service.projects import ProjectService, Purse
from hpcgate.service.shares import ShareService

if TYPE_CHECKING:
    from hpcgate.store.database import Store

_WALLTIME: Final = "resources.walltime_s"


@dataclass(frozen=True, slots=True)
class Allotted:
    """The project and the share of a job; ``None`` = it has none."""

    project: Project | None = None
    share: Share | None = None


class Allotment:
    """Finds the project and the share of jobs, and weighs jobs.

    Args:
        projects, shares: what there is.
        store: where balances are.
    """

    def __init__(self, projects: ProjectService, shares: ShareService, store: Store) -> None:
        self._store = store
        self._projects = projects
        self._shares = shares

    def named(self, principal: Principal, spec: JobSpec) -> Allotted:
        """What a spec names.

        Raises:
            InvalidSpec: there is no such project or share for this principal.
            Forbidden: it may look at it, but not use it.
        """
        return Allotted(
            None if spec.project is None else self._projects.usable(principal, spec.project),
            None if spec.share is None else self._shares.usable(principal, spec.share),
        )

    def place(self, site: Site, spec: JobSpec, named: Allotted) -> tuple[JobSpec, Allotted]:
        """A spec with what its project and its share give, or the site's default project where it names none.

        Raises:
            InvalidSpec: project or share are of another site, or say otherwise than the spec does.
        """
        project = named.project or self._projects.default_at(site.name)
        if project is None and site.require_project:
            raise InvalidSpec.of("project", f"is required: site {site.name!r} takes no job without one")
        errors = [
            FieldError(kind, f"{kind} {item.name!r} is at site {item.site!r}, not at {site.name!r}")
            for kind, item in (("project", project), ("share", named.share))
            if item is not None and item.site != site.name
        ]
        given: dict[str, Any] = {}
        if project is not None:
            given["project"] = project.name
            errors += _give(spec, given, f"project {project.name!r}", account=project.account, qos=project.qos)
        if named.share is not None:
            errors += _give(spec, given, f"share {named.share.name!r}", queue=named.share.queue)
        if errors:
            raise InvalidSpec(errors)
        return replace(spec, **given), Allotted(project, named.share)

    def without_gifts(self, spec: JobSpec) -> JobSpec:
        """The spec of a job of old without what its project and its share gave it, so that they give it anew."""
        project = None if spec.project is None else self._projects.find(spec.project)
        share = None if spec.share is None else self._shares.find(spec.share)
        own = {
            "account": project and project.account,
            "qos": project and project.qos,
            "queue": share and share.queue,
        }
        emptied: dict[str, Any] = {name: None for name, value in own.items() if value is not None}
        return replace(spec, **emptied)

    def with_walltime(
        self, principal: Principal, site: Site, spec: JobSpec, told: JobSpec, has: Allotted
    ) -> tuple[JobSpec, JobSpec]:
        """``spec`` and ``told`` with a walltime, where their project needs one and neither of them says it.

        Args:
            principal: its owner.
            site: where it goes.
            spec: the job.
            told: the spec with what its script says.
            has: its project.

        Raises:
            InvalidSpec: nobody says one.
        """
        project = has.project
        if project is None or told.resources.walltime_s is not None:
            return spec, told
        walltime_s = project.default_walltime_s or site.default_walltime_s
        if walltime_s is not None:
            return _lasting(spec, walltime_s), _lasting(told, walltime_s)
        if self._projects.limits(project, principal.name).time_s is not None or project.total_time_s is not None:
            raise InvalidSpec.of(
                _WALLTIME, f"is required: project {project.name!r} has a quota of hours, and no default walltime"
            )
        return spec, told

    def purse(self) -> Purse:
        """What is left of all projects now."""
        return Purse(self._projects, self._store)

    def weigh(self, principal: Principal, told: JobSpec, has: Allotted) -> tuple[Charge | None, Load | None]:
        """What a job costs its project, and what it takes of its share.

        Args:
            principal: its owner.
            told: its spec, with what its script says.
            has: its project and its share.

        Raises:
            InvalidSpec: its share never has so much.
        """
        return _charge(principal, told, has.project), _load(told, has.share)


def _lasting(spec: JobSpec, walltime_s: int) -> JobSpec:
    return replace(spec, resources=replace(spec.resources, walltime_s=walltime_s))


def _give(spec: JobSpec, given: dict[str, Any], giver: str, **values: str | None) -> list[FieldError]:
    """Notes what is given; an error for each field where the spec says something else."""
    errors = []
    for name, value in values.items():
        if value is None:
            continue
        asked = getattr(spec, name)
        if asked not in (None, value):
            errors.append(FieldError(name, f"is {asked!r}, but {giver} has {value!r}; leave it out"))
        given[name] = value
    return errors


def _charge(principal: Principal, told: JobSpec, project: Project | None) -> Charge | None:
    if project is None:
        return None
    units = units_of(told, project.weighting)
    time_s = (told.resources.walltime_s or 0) * units * tasks_of(told)
    if time_s > MOST:
        raise InvalidSpec.of(_WALLTIME, f"makes {time_s} s of {project.weighting} time, which no project has")
    return Charge(
        project=project.name,
        principal=principal.name,
        weighting=project.weighting,
        units=units,
        width=width_of(told),
        time_s=time_s,
        space_kb=stored_kb(told),
    )


def _load(told: JobSpec, share: Share | None) -> Load | None:
    if share is None:
        return None
    load = load_of(share.name, told)
    if share.most_cpus is not None and load.cpus > share.most_cpus:
        if told.array is not None and (most := share.most_cpus // cores_of(told.resources)):
            raise InvalidSpec.of("array", f"must have a limit of {most} for share {share.name!r}, e.g. 0-99%{most}")
        raise InvalidSpec.of(
            "resources", f"ask for {load.cpus} cores; share {share.name!r} has at most {share.most_cpus}"
        )
    return load
