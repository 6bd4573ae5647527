"""The wire form of what is no job, for the REST API and for the command line; jobs have theirs in ``model.codec``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpcgate.errors import FieldError
from hpcgate.model.codec import time_to_wire
from hpcgate.model.files import FileInfo
from hpcgate.model.principal import Group, Principal, TokenInfo, User
from hpcgate.model.scheduler import Probe

if TYPE_CHECKING:
    from hpcgate.service.admission import Validation
    from hpcgate.service.explain import Explanation
    from hpcgate.service.sites import SiteStatus

Wire = dict[str, Any]


def site_to_wire(status: SiteStatus) -> Wire:
    """A site and what is known of it."""
    site, health = status.site, status.health
    return {
        "name": site.name,
        "scheduler": site.scheduler,
        "transport": site.transport,
        "aliases": list(site.aliases),
        "default_queue": site.default_queue,
        "stale": status.stale,
        "polled_at": time_to_wire(health.polled_at),
        "failed_at": time_to_wire(health.failed_at),
        "error": health.error,
        "counts": {state.value: count for state, count in status.counts.items()},
    }


def probe_to_wire(site: str, probe: Probe) -> Wire:
    """What a look at a site found."""
    return {
        "site": site,
        "ok": probe.ok,
        "version": probe.version,
        "sees_all_jobs": probe.sees_all_jobs,
        "checks": [asdict(check) for check in probe.checks],
    }


def validation_to_wire(validation: Validation) -> Wire:
    """What would become of a job."""
    return {
        "valid": validation.valid,
        "errors": errors_to_wire(validation.errors),
        "fields": [asdict(verdict) for verdict in validation.fields],
        "script": validation.script,
        "argv": list(validation.argv),
    }


def invalid_to_wire(errors: tuple[FieldError, ...]) -> Wire:
    """The same for a request that describes no job."""
    return {"valid": False, "errors": errors_to_wire(errors), "fields": [], "script": None, "argv": []}


def errors_to_wire(errors: tuple[FieldError, ...]) -> list[Wire]:
    """Wrong fields."""
    return [asdict(error) for error in errors]


def file_to_wire(item: FileInfo) -> Wire:
    """A file or folder of a job."""
    return {
        "name": item.name,
        "size": item.size,
        "modified_at": time_to_wire(item.modified_at),
        "is_dir": item.is_dir,
        "is_link": item.is_link,
    }


def explanation_to_wire(found: Explanation) -> Wire:
    """Why a job is where it is."""
    return {
        "summary": found.summary,
        "notes": list(found.notes),
        "reason": None if found.reason is None else found.reason.value,
        "issuer": None if found.issuer is None else found.issuer.value,
        "advice": found.advice,
        "retryable": found.retryable,
        "native_reason": found.native_reason,
        "task": found.task,
        "stderr": None if found.stderr is None else list(found.stderr),
    }


def user_to_wire(user: User) -> Wire:
    """A user."""
    return {
        "name": user.name,
        "roles": sorted(role.value for role in user.roles),
        "created_at": time_to_wire(user.created_at),
        "has_password": user.has_password,
        "locked": user.locked,
        "email": user.email,
        "groups": sorted(user.groups),
        "managed_by_config": user.managed_by_config,
    }


def token_to_wire(info: TokenInfo) -> Wire:
    """A token, as far as it is remembered."""
    return {
        "id": info.id,
        "user": info.user,
        "roles": sorted(role.value for role in info.roles),
        "created_at": time_to_wire(info.created_at),
        "expires_at": time_to_wire(info.expires_at),
        "revoked_at": time_to_wire(info.revoked_at),
        "comment": info.comment,
        "delegate": info.delegate,
    }


def principal_to_wire(principal: Principal) -> Wire:
    """Who is asking."""
    return {
        "name": principal.name,
        "roles": sorted(role.value for role in principal.roles),
        "groups": sorted(principal.groups),
        "token_id": principal.token_id,
        "delegate": principal.delegate,
    }


def group_to_wire(group: Group) -> Wire:
    """A group."""
    return {
        "name": group.name,
        "members": sorted(group.members),
        "roles": sorted(role.value for role in group.roles),
        "managed_by_config": True,
    }
