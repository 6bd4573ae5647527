"""``[dialects.rimrock.settings]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hpcgate.errors import FieldError, InvalidSpec

HOME: Final = "home"
JOB: Final = "job"
_LEAST_S, _MOST_S = 0.5, 600.0


def _help(text: str, **default: Any) -> Any:
    return field(metadata={"help": text}, **default)


@dataclass(frozen=True, slots=True, kw_only=True)
class X509Settings:
    """``[dialects.rimrock.settings.x509]``: X.509 proxies as credentials."""

    ca: str = _help("authorities that are believed: a file of PEM certificates, or a folder of such files")
    users: Mapping[str, str] = _help("distinguished name of a user's certificate = the gateway's user")
    crl: str | None = _help(
        "revocation lists: a file, or a folder (the same one, say). Each authority needs one. Default: none is asked",
        default=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``[dialects.rimrock.settings]``."""

    process: bool = _help("offer `POST /api/process`, by which users run commands on the login nodes", default=False)
    timeout_s: float = _help("how long a site may take over a job before the answer is 408, seconds", default=20.0)
    process_timeout_s: float = _help("how long a command of `/api/process` may take, seconds", default=10.0)
    default_directory: str = _help(
        "where jobs start that name no `working_directory`: `home`, or `job`, a folder of their own", default=HOME
    )
    timezone: str = _help("of the times in answers, which name none, e.g. `Europe/Warsaw`", default="UTC")
    x509: X509Settings | None = _help("X.509 proxies as credentials. Default: tokens alone", default=None)

    def __post_init__(self) -> None:
        errors = [
            FieldError(name, f"{value:g} is out of range; it must be {_LEAST_S:g} to {_MOST_S:g}")
            for name in ("timeout_s", "process_timeout_s")
            if not _LEAST_S <= (value := getattr(self, name)) <= _MOST_S
        ]
        if self.default_directory not in (HOME, JOB):
            errors.append(FieldError("default_directory", f"{self.default_directory!r} is neither {HOME} nor {JOB}"))
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            errors.append(FieldError("timezone", f"{self.timezone!r} is no time zone such as Europe/Warsaw"))
        if errors:
            raise InvalidSpec(errors)
