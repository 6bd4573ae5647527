"""The error tree: what can go wrong, in words a caller can act on. Nothing here knows HTTP.

Every error has a stable ``code`` (the same in the REST API, the CLI's ``--json`` output and the docs) and a
message of one sentence that names the field, the value and what would be right. ``server/errors.py`` maps the
classes to status codes, ``cli`` to exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class HpcgateError(Exception):
    """Base of all errors that hpcgate raises on purpose."""

    code = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(HpcgateError):
    """The configuration is wrong; the message names file, table and key."""

    code = "config_invalid"


class SchemaTooNew(ConfigError):
    """A later version has changed the database so that this one cannot work on it."""

    code = "schema_too_new"


class Unauthenticated(HpcgateError):
    """No credential, or one that is malformed, expired, revoked or forged."""

    code = "unauthenticated"


class Forbidden(HpcgateError):
    """The principal is known and may see the object, but may not do this to it."""

    code = "forbidden"


class TooManyTries(HpcgateError):
    """There were too many logins for a user or from an address; ``retry_after_s`` says when the next one is heard."""

    code = "too_many_tries"

    def __init__(self, message: str, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class IssuerUnavailable(HpcgateError):
    """The issuer of a token does not give the keys by which it could be checked."""

    code = "issuer_unavailable"


class NotFound(HpcgateError):
    """There is no such object, or none that the principal may see."""

    code = "not_found"


class EventsGone(HpcgateError):
    """A cursor is older than the events that are kept: going on would leave some out."""

    code = "events_gone"


class Conflict(HpcgateError):
    """The object is not in a state in which this can be done."""

    code = "conflict"


class DuplicateRecord(Conflict):
    """There is a record of this job already; ``record_id`` is its id."""

    code = "duplicate_record"

    def __init__(self, message: str, record_id: int = 0) -> None:
        super().__init__(message)
        self.record_id = record_id


class ManagedByConfig(Conflict):
    """It stands in the configuration file, and only there it can be changed."""

    code = "managed_by_config"


class IdempotencyMismatch(HpcgateError):
    """An Idempotency-Key was used before with another request body."""

    code = "idempotency_mismatch"


class NotSupported(HpcgateError):
    """The scheduler behind the site has no such capability."""

    code = "not_supported"


class JobRejected(HpcgateError):
    """A plugin or the scheduler refused the job for good; trying again unchanged is hopeless."""

    code = "job_rejected"


class QuotaExceeded(JobRejected):
    """A project, or a user's part of it, has less left than the job asks for.

    Args:
        project: its name.
        quota: what is short: ``time`` (weighted seconds) or ``space`` (KiB) of the user, ``total_time`` or
            ``total_space`` of all users together.
        asked: what the job asks for.
        left: what is left; less than 0 where jobs took more than they had reserved.
    """

    code = "quota_exceeded"

    def __init__(self, message: str, *, project: str, quota: str, asked: int, left: int) -> None:
        super().__init__(message)
        self.project, self.quota, self.asked, self.left = project, quota, asked, left


class SiteDrained(HpcgateError):
    """An operator lets the site take no new jobs for a while; the message has the reason."""

    code = "site_drained"
    retry_after_s = 60


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field.

    Args:
        field: dotted path as the user wrote it, e.g. ``resources.walltime_s``.
        message: what is wrong and what would be right.
    """

    field: str
    message: str


class InvalidSpec(HpcgateError):
    """The request describes no job that could run; ``errors`` has one entry per bad field."""

    code = "invalid_spec"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors: tuple[FieldError, ...] = tuple(errors)
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors))

    @classmethod
    def of(cls, field: str, message: str) -> InvalidSpec:
        """An error about a single field."""
        return cls([FieldError(field, message)])


class SiteError(HpcgateError):
    """A site did not do what was asked. ``transient`` says whether the same call may work later.

    A site error during a poll never says anything about a job: it only makes what is known older.
    """

    code = "site_error"

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class SchedulerError(SiteError):
    """The batch system answered with a refusal or with nonsense."""

    code = "scheduler_error"


class TransportError(SiteError):
    """The site could not be reached, or a file or command could not be carried there."""

    code = "transport_error"


class CommandTimeout(TransportError):
    """A command ran past its limit; whether it took effect is not known."""

    code = "site_timeout"


class OutputTooLarge(TransportError):
    """A command printed more than the transport reads."""

    code = "output_too_large"


class PluginError(HpcgateError):
    """A plugin could not be loaded, or broke the hook contract; the message names it and its version."""

    code = "plugin_error"


class LeaseLost(HpcgateError):
    """The writer no longer holds the site's lease; nothing was written."""

    code = "lease_lost"


class DatabaseUnavailable(HpcgateError):
    """The database cannot be reached, or did not take the work in time; trying again later may help."""

    code = "database_unavailable"


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a misspelt name, for the end of an error message.

    Returns:
        ``"; did you mean 'x'?"`` where something is near, else ``"; known are: a, b"`` (or ``""`` without names).
    """
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known are: {', '.join(sorted(known))}" if known else ""
