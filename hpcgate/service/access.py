"""Who may do what: one table, asked for every verb of every API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from hpcgate.errors import Forbidden, NotFound
from hpcgate.model.principal import Principal, Role
from hpcgate.model.record import RecordTag, TagScope, Visibility
from hpcgate.service.trail import about, asked, denied


class Verb(StrEnum):
    """What can be done."""

    SUBMIT = "submit jobs"
    READ = "see jobs"
    READ_OUTPUT = "read this job's output and files"
    CHANGE_FILES = "change this job's files"
    CONTROL = "cancel, hold, release, requeue or signal this job"
    DELETE = "delete this job"
    SEE_SITES = "see sites"
    CHECK_SITE = "check sites"
    DRAIN_SITE = "stop or resume sites"
    ACT_FOR = "act for users"
    SEE_GROUP = "see this group"
    WEBHOOKS = "manage webhooks"
    MANAGE_USERS = "manage users and their tokens"
    SEE_ALLOCATION = "see this project or share"
    MANAGE_ALLOCATIONS = "manage projects and shares"
    READ_RECORDS = "see records"
    REPORT_RECORDS = "report jobs and nodes"
    TAG_RECORDS = "tag records"
    DELETE_RECORDS = "delete records"


#: But for clients with the role ``delegate`` alone, which do nothing in their own name.
_ANYBODY = frozenset({Role.ADMIN, Role.MANAGER, Role.SUPPORT, Role.USER, Role.API})

#: Roles that may do it to what is their own (or to nobody's in particular).
OWN: Mapping[Verb, frozenset[Role]] = {
    Verb.SUBMIT: frozenset({Role.ADMIN, Role.MANAGER, Role.USER, Role.API}),
    Verb.READ: _ANYBODY,
    Verb.READ_OUTPUT: _ANYBODY,
    Verb.CHANGE_FILES: _ANYBODY,
    Verb.CONTROL: _ANYBODY,
    Verb.DELETE: _ANYBODY,
    Verb.SEE_SITES: _ANYBODY,
    Verb.CHECK_SITE: frozenset({Role.ADMIN, Role.MANAGER, Role.SUPPORT}),
    Verb.DRAIN_SITE: frozenset({Role.ADMIN}),
    Verb.ACT_FOR: frozenset({Role.DELEGATE}),
    Verb.SEE_GROUP: frozenset(Role),
    Verb.WEBHOOKS: _ANYBODY,
    Verb.MANAGE_USERS: frozenset({Role.ADMIN}),
    Verb.SEE_ALLOCATION: _ANYBODY,
    Verb.MANAGE_ALLOCATIONS: frozenset({Role.ADMIN, Role.MANAGER}),
    Verb.READ_RECORDS: _ANYBODY,
    Verb.REPORT_RECORDS: frozenset({Role.ADMIN, Role.API}),
    Verb.TAG_RECORDS: _ANYBODY,
    Verb.DELETE_RECORDS: frozenset({Role.ADMIN, Role.API}),
}

#: Roles that may do it to what belongs to somebody else.
OTHERS: Mapping[Verb, frozenset[Role]] = {
    Verb.SUBMIT: frozenset(),
    Verb.READ: frozenset({Role.ADMIN, Role.MANAGER, Role.SUPPORT}),
    Verb.READ_OUTPUT: frozenset({Role.ADMIN, Role.SUPPORT}),
    Verb.CHANGE_FILES: frozenset({Role.ADMIN}),
    Verb.CONTROL: frozenset({Role.ADMIN, Role.MANAGER}),
    Verb.DELETE: frozenset({Role.ADMIN}),
    Verb.SEE_SITES: frozenset(),
    Verb.CHECK_SITE: frozenset(),
    Verb.DRAIN_SITE: frozenset(),
    Verb.ACT_FOR: frozenset({Role.DELEGATE}),
    Verb.SEE_GROUP: frozenset({Role.ADMIN, Role.MANAGER, Role.SUPPORT}),
    Verb.WEBHOOKS: frozenset({Role.ADMIN}),
    Verb.MANAGE_USERS: frozenset({Role.ADMIN}),
    Verb.SEE_ALLOCATION: frozenset({Role.ADMIN, Role.MANAGER, Role.SUPPORT}),
    Verb.MANAGE_ALLOCATIONS: frozenset({Role.ADMIN, Role.MANAGER}),
    Verb.READ_RECORDS: frozenset({Role.ADMIN, Role.SUPPORT}),
    Verb.REPORT_RECORDS: frozenset({Role.ADMIN}),
    Verb.TAG_RECORDS: frozenset({Role.ADMIN, Role.MANAGER}),
    Verb.DELETE_RECORDS: frozenset({Role.ADMIN}),
}


def require(principal: Principal, verb: Verb) -> None:
    """Refuses a verb that is about no object in particular.

    Raises:
        Forbidden: none of the principal's roles has it.
    """
    asked(verb.name)
    if not principal.has(*OWN[verb]):
        denied()
        roles = ", ".join(sorted(OWN[verb]))
        raise Forbidden(f"{principal.name!r} may not {verb}; it takes one of the roles {roles}")


#: The only roles that somebody else may have in a user's place.
DELEGABLE = frozenset({Role.USER, Role.API})


def require_oneself(principal: Principal, what: str = "tokens and passwords") -> None:
    """Refuses what a client must not do for a user: whatever would let it in for longer, or keep her out.

    Raises:
        Forbidden: the principal's token was got in exchange.
    """
    if principal.delegate is not None:
        raise Forbidden(f"{principal.delegate!r} may not manage {what} of {principal.name!r} for her")


def allows(principal: Principal, verb: Verb, owner: str) -> bool:
    """Whether the principal may do it to what ``owner`` owns."""
    return principal.has(*(OWN if owner == principal.name else OTHERS)[verb])


def require_on_job(principal: Principal, verb: Verb, job_id: int, owner: str) -> None:
    """Refuses a verb on a job.

    Raises:
        NotFound: the principal may not even see it, so that it learns nothing of it.
        Forbidden: it may see it, but not do this.
    """
    asked(verb.name)
    about("job", job_id)
    if not allows(principal, Verb.READ, owner):
        denied()
        raise no_such_job(job_id)
    if not allows(principal, verb, owner):
        denied()
        raise Forbidden(f"{principal.name!r} may not {verb} (job {job_id} belongs to {owner!r})")


def no_such_job(job_id: int) -> NotFound:
    """The one answer for a job that is not there and for one that the principal may not see."""
    return NotFound(f"there is no job {job_id}")


def only_owner(principal: Principal) -> str | None:
    """The owner to whom lists and streams are restricted; ``None`` = the principal sees everybody's.

    Raises:
        Forbidden: it may not even see its own.
    """
    require(principal, Verb.READ)
    return None if principal.has(*OTHERS[Verb.READ]) else principal.name


# --- records


def is_reporter(principal: Principal) -> bool:
    """Whether it is a program that reports jobs, and nothing else: its rows are everybody's."""
    return principal.roles == {Role.API}


def sees_records(principal: Principal, projects: Callable[[Principal], tuple[str, ...]]) -> Visibility:
    """Whose records, and which tags, a principal sees.

    Args:
        principal: who asks.
        projects: the projects that it is a member of.

    Raises:
        Forbidden: it may not even see its own.
    """
    require(principal, Verb.READ_RECORDS)
    everybody = principal.has(*OTHERS[Verb.READ_RECORDS]) or is_reporter(principal)
    return Visibility(
        user=None if everybody else principal.name,
        projects=projects(principal) if principal.has(Role.MANAGER) and not everybody else (),
        viewer=principal.name,
        admin_tags=everybody,
    )


def require_to_tag(principal: Principal, tag: RecordTag, owner: str) -> None:
    """Refuses to put a tag on a record that the principal sees, or to take it away.

    Raises:
        Forbidden: it takes another role.
    """
    may = principal.has(Role.ADMIN) or is_reporter(principal)
    if tag.scope is TagScope.PRIVATE:
        may = tag.owner == principal.name
    elif tag.scope is TagScope.GLOBAL:
        may = may or allows(principal, Verb.TAG_RECORDS, owner)
    if not may:
        denied()
        raise Forbidden(f"{principal.name!r} may not {Verb.TAG_RECORDS} of {owner!r} with the scope {tag.scope}")


def require_to_report(principal: Principal, verb: Verb) -> None:
    """Refuses to report or delete records to all but admins and reporters.

    Raises:
        Forbidden: it is neither.
    """
    require(principal, verb)
    if not (is_reporter(principal) or principal.has(*OTHERS[verb])):
        denied()
        raise Forbidden(f"{principal.name!r} may not {verb}; it takes the role admin, or api alone")
