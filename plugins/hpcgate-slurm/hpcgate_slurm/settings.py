"""The ``[sites.NAME.settings]`` table of a Slurm site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.site import Site

#: Options of sbatch that jobs may give themselves, in ``native`` or in ``#SBATCH`` lines, where a site says nothing.
ALLOWED: Final = (
    "begin", "contiguous", "core-spec", "cores-per-socket", "cpu-freq", "deadline", "distribution", "exclude",
    "gpu-bind", "gpu-freq", "gpus", "gpus-per-socket", "gpus-per-task", "gres", "gres-flags", "hint", "licenses",
    "mail-type", "mail-user", "mem-bind", "mem-per-gpu", "mincpus", "network", "nice", "no-kill", "no-requeue",
    "nodelist", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket", "open-mode", "overcommit", "oversubscribe",
    "prefer", "profile", "requeue", "signal", "sockets-per-node", "spread-job", "switches", "thread-spec",
    "threads-per-core", "time-min", "tres-bind", "tres-per-task", "use-min-nodes", "wckey",
)  # fmt: skip

#: Options of sbatch that no site can allow, and why.
NEVER: Final = {
    "wrap": "give a command instead",
    "export": "a job gets its own environment alone; give environment",
    "export-file": "give environment",
    "get-user-env": "a job gets its account's login environment anyway",
    "uid": "a job runs as the account that the gateway gives it",
    "gid": "a job runs as the account that the gateway gives it",
    "clusters": "the site has one cluster; choose another site",
    "wait": "ask the gateway how the job is",
    "test-only": "ask the gateway to validate the job",
    "parsable": "the gateway reads sbatch's answer",
    "quiet": "the gateway reads sbatch's answer",
    "verbose": "the gateway reads sbatch's answer",
    "help": "it is no option of a job",
    "usage": "it is no option of a job",
    "version": "it is no option of a job",
    "ignore-pbs": "#PBS lines are ignored anyway",
    "input": "a job reads nothing; open the file in the script",
    "kill-on-invalid-dep": "a job whose dependency can never be satisfied is always canceled",
    "propagate": "a job gets the limits of its node",
    "dependency": "give dependencies",
    "comment": "the gateway's key stands there",
}


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """``[sites.NAME.settings]``"""

    bin: str | None = _help("folder of Slurm's commands, where it is not in the account's PATH", None)
    cluster: str | None = _help("cluster, where the login node speaks for several", None)
    allow: tuple[str, ...] = _help("options of sbatch that jobs may give themselves, without the dashes", ALLOWED)
    listing: str = _help(
        "form of the listing: `text`, or `json`, which shows more of a job's state but is ten times as large", "text"
    )
    accounting_days: float = _help("how far back a job is looked for by its key in accounting, days", 7.0)

    def __post_init__(self) -> None:
        errors = [
            FieldError("settings.allow", f"{name!r} can never be allowed: {NEVER[name]}")
            for name in self.allow
            if name in NEVER
        ]
        errors += [
            FieldError("settings.allow", f"{name!r} is no option{nearest(name, ALLOWED)}")
            for name in self.allow
            if name.startswith("-") or not name.replace("-", "").isalnum()
        ]
        if self.bin is not None and not self.bin.startswith("/"):
            errors.append(FieldError("settings.bin", f"{self.bin!r} is not absolute"))
        if self.cluster is not None and (self.cluster.startswith("-") or not self.cluster.isprintable()):
            errors.append(FieldError("settings.cluster", f"{self.cluster!r} is no name of a cluster"))
        if self.listing not in ("text", "json"):
            errors.append(FieldError("settings.listing", f"{self.listing!r} is neither 'text' nor 'json'"))
        if self.accounting_days <= 0:
            errors.append(FieldError("settings.accounting_days", f"{self.accounting_days} must be more than 0"))
        if errors:
            raise InvalidSpec(errors)

    @classmethod
    def of(cls, site: Site) -> SlurmSettings:
        """The settings of a site."""
        assert isinstance(site.settings, cls), f"site {site.name} has settings of another plugin"
        return site.settings
