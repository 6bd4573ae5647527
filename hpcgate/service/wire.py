"""The wire form of what is no job, for the REST API and for the command line; jobs have theirs in ``model.codec``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpcgate.errors import FieldError
from hpcgate.model.allocation import Grant, Project, Share
from hpcgate.model.codec import time_to_wire
from hpcgate.model.files import FileInfo
from hpcgate.model.principal import Group, Principal, TokenInfo, User
from hpcgate.model.quota import Balance, Figures
from hpcgate.model.scheduler import Probe
from hpcgate.model.webhook import Delivery, DeliveryState, Webhook

if TYPE_CHECKING:
    from hpcgate.service.admission import Validation
    from hpcgate.service.explain import Explanation
    from hpcgate.service.shares import ShareUsage
    from hpcgate.service.sites import SiteStatus

Wire = dict[str, Any]


def site_to_wire(status: SiteStatus) -> Wire:
    """A site and what is known of it."""
    site, health, drain = status.site, status.health, status.drain
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
        "drained": drain and {"reason": drain.reason, "since": time_to_wire(drain.since), "by": drain.actor},
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


def webhook_to_wire(hook: Webhook) -> Wire:
    """A webhook, without its key."""
    return {
        "id": hook.id,
        "owner": hook.owner,
        "url": hook.url,
        "created_at": time_to_wire(hook.created_at),
        "description": hook.description,
        "events": list(hook.events),
        "states": [state.value for state in hook.states],
        "sites": list(hook.sites),
        "labels": dict(hook.labels),
        "job": hook.job_id,
        "everybody": hook.everybody,
        "callback": hook.callback,
        "enabled": hook.enabled,
        "disabled_reason": hook.disabled_reason,
    }


def delivery_to_wire(delivery: Delivery) -> Wire:
    """A message to a webhook, without its text."""
    waiting = delivery.state is DeliveryState.WAITING
    return {
        "id": delivery.id,
        "type": delivery.type,
        "seq": delivery.seq,
        "job_id": delivery.job_id,
        "state": delivery.state.value,
        "created_at": time_to_wire(delivery.created_at),
        "due_at": time_to_wire(delivery.due_at) if waiting else None,
        "tries": delivery.tries,
        "status": delivery.status,
        "error": delivery.error,
        "ended_at": time_to_wire(delivery.ended_at),
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


def project_to_wire(project: Project, own: Balance | None, total: Balance) -> Wire:
    """A project, what who asks has of it (``None`` = nothing), and what all have."""
    return {
        "name": project.name,
        "site": project.site,
        "account": project.account,
        "qos": project.qos,
        "weighting": project.weighting.value,
        "hours": _hours(project.time_s),
        "space_kb": project.space_kb,
        "total_hours": _hours(project.total_time_s),
        "total_space_kb": project.total_space_kb,
        "default": project.default,
        "default_walltime_s": project.default_walltime_s,
        "groups": list(project.groups),
        "managed_by_config": project.managed_by_config,
        "own": None if own is None else balance_to_wire(own),
        "total": balance_to_wire(total),
    }


def project_member_to_wire(name: str, grant: Grant, balance: Balance) -> Wire:
    """A member of a project."""
    return {
        "name": name,
        "hours": _hours(grant.time_s),
        "space_kb": grant.space_kb,
        "balance": balance_to_wire(balance),
    }


def balance_to_wire(balance: Balance) -> Wire:
    """Weighted seconds, and KiB."""
    return {"time": _figures(balance.time), "space": _figures(balance.space)}


def _figures(figures: Figures) -> Wire:
    return asdict(figures) | {"left": figures.left}


def _hours(time_s: int | None) -> float | None:
    return None if time_s is None else time_s / 3600


def share_to_wire(share: Share, usage: ShareUsage) -> Wire:
    """A share, and what its jobs take now."""
    return {
        "name": share.name,
        "site": share.site,
        "queue": share.queue,
        "capacity": share.capacity,
        "max_capacity": share.max_capacity,
        "cpus": share.cpus,
        "open": share.open,
        "groups": list(share.groups),
        "managed_by_config": share.managed_by_config,
        "usage": {
            "cpus_total": usage.cpus,
            "used_capacity": usage.used_capacity,
            "cpus": usage.running.cpus,
            "memory_mib": usage.running.memory_mib,
            "gpus": usage.running.gpus,
            "active": usage.active,
            "pending": usage.pending,
            "waiting": usage.waiting,
            "counts": {state.value: number for state, number in sorted(usage.jobs.items())},
        },
    }
