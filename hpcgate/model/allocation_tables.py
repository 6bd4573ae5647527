"""Projects and shares as the configuration file has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcgate.model.allocation import Grant, Project, Share, Weighting, seconds


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberTable:
    """``[projects.NAME.members.NAME]``"""

    hours: float | None = _help("what the member has. Default: what the project says of each user", None)
    space_kb: int | None = _help("KiB of the member. Default: likewise", None)

    def grant(self) -> Grant:
        """What the member has."""
        return Grant(time_s=seconds(self.hours), space_kb=self.space_kb)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectTable:
    """``[projects.NAME]``"""

    site: str = field(metadata={"help": "where its jobs run"})
    account: str | None = _help("what the scheduler charges", None)
    qos: str | None = _help("quality of service at the scheduler", None)
    weighting: str = _help("what an hour is: of the clock (`wall`), of a `node`, of a `core`", "wall")
    hours: float | None = _help("hours that each user has; without, time is counted but does not run out", None)
    space_kb: int | None = _help("KiB that each user may have stored; without, likewise", None)
    total_hours: float | None = _help("hours that all users have together", None)
    total_space_kb: int | None = _help("KiB that all users may have stored together", None)
    default: bool = _help("every user has it, and jobs at the site that name no project are of this one", False)
    default_walltime_s: int | None = _help("walltime of jobs that name none, seconds", None)
    groups: tuple[str, ...] = _help("groups whose members have it", ())
    members: Mapping[str, MemberTable] = field(
        default_factory=dict, metadata={"help": "users that have it, and what each of them has"}
    )

    def project(self, name: str) -> Project:
        """The project of this table."""
        return Project(
            name=name,
            site=self.site,
            account=self.account,
            qos=self.qos,
            weighting=Weighting(self.weighting),
            time_s=seconds(self.hours),
            space_kb=self.space_kb,
            total_time_s=seconds(self.total_hours),
            total_space_kb=self.total_space_kb,
            default=self.default,
            default_walltime_s=self.default_walltime_s,
            groups=self.groups,
            managed_by_config=True,
        )

    def grants(self) -> Mapping[str, Grant]:
        """Its members, and what they have."""
        return {name: member.grant() for name, member in self.members.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareTable:
    """``[shares.NAME]``"""

    site: str = field(metadata={"help": "of which it is a slice"})
    queue: str | None = _help("where its jobs go", None)
    capacity: float = _help("what it is meant to have of the site's cores, percent", 100.0)
    max_capacity: float = _help("what its jobs may have together at a time, percent", 100.0)
    cpus: int | None = _help("cores of the site. Default: what its scheduler tells", None)
    open: bool | None = _help("every user may use it. Default: where neither members nor groups are named", None)
    members: tuple[str, ...] = _help("users that may use it", ())
    groups: tuple[str, ...] = _help("groups whose members may use it", ())

    def share(self, name: str) -> Share:
        """The share of this table."""
        return Share(
            name=name,
            site=self.site,
            queue=self.queue,
            capacity=self.capacity,
            max_capacity=self.max_capacity,
            cpus=self.cpus,
            open=not (self.members or self.groups) if self.open is None else self.open,
            groups=self.groups,
            managed_by_config=True,
        )

    def grants(self) -> Mapping[str, Grant]:
        """Its members; there is nothing to grant but membership."""
        return dict.fromkeys(self.members, Grant())
