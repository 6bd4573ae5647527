"""Exit codes. Scripts switch on them, so they do not change.

``hpcgate run`` ends with the job's own code instead, or 128 + the number of the signal that ended it; where a job
ended without a code of its own (never started, lost, canceled) it ends with ``NO_CODE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hpcgate import errors
from hpcgate.errors import HpcgateError

OK: Final = 0
#: A job failed or was canceled, a check is not good, or what was asked could not be done.
FAILED: Final = 1
#: A wrong option, config file or job description.
USAGE: Final = 2
#: No such job, site, user or token, or none that may be seen.
NOT_FOUND: Final = 3
#: A server or site did not answer.
UNREACHABLE: Final = 4
#: No valid token, or not allowed.
DENIED: Final = 5
#: ``--timeout`` was over before the jobs had ended, as with ``timeout(1)``.
TIMED_OUT: Final = 124
#: ``run``: the job ended without an exit code.
NO_CODE: Final = 125
#: Ctrl-C.
INTERRUPTED: Final = 130
#: Whoever read the output went away.
PIPE: Final = 141
#: SIGTERM.
TERMINATED: Final = 143

_BY_ERROR: tuple[tuple[type[HpcgateError], int], ...] = (
    (errors.ConfigError, USAGE),
    (errors.InvalidSpec, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.Unauthenticated, DENIED),
    (errors.Forbidden, DENIED),
    (errors.TooManyTries, DENIED),
    (errors.IssuerUnavailable, UNREACHABLE),
    (errors.SiteError, UNREACHABLE),
)


def code_of_error(error: HpcgateError) -> int:
    """The exit code that an error ends a command with."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), FAILED)


def code_of_jobs(jobs: Iterable[Mapping[str, Any]]) -> int:
    """The exit code after a wait: OK if all jobs have completed, TIMED_OUT if one has not ended, else FAILED."""
    states = {job["state"] for job in jobs}
    if not states - {"COMPLETED"}:
        return OK
    return FAILED if states <= {"COMPLETED", "FAILED", "CANCELED"} else TIMED_OUT


def code_of_run(job: Mapping[str, Any]) -> int:
    """The exit code of ``run`` for a job that has ended."""
    if job["state"] == "COMPLETED":
        return job["exit_code"] or OK
    if job["signal"]:
        return 128 + int(job["signal"])
    return int(job["exit_code"] or NO_CODE)
