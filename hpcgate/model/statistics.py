"""What is counted of records: sums and histograms, by user, project, cluster, sub-cluster, state or day."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hpcgate.model.record import Record, RecordState

#: The most that one record adds to a sum of seconds; what reports more than 300 years of a million cores is wrong, and
#: sums of a million of them still fit into the database.
MOST_S: Final = 10**13
#: Jobs that ended sooner are short, seconds.
SHORT_S: Final = 300


class GroupBy(StrEnum):
    """What the jobs of a group have in common."""

    USER = "user"
    PROJECT = "project"
    CLUSTER = "cluster"
    SUBCLUSTER = "subcluster"
    STATE = "state"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many jobs have how much of something.

    Args:
        name: of what.
        unit: of ``bounds``.
        bounds: where each bin begins; it goes up to the next one, the last one up to anything.
    """

    name: str
    unit: str
    bounds: tuple[int, ...]

    def bin_of(self, value: int) -> int:
        """The number of the bin that a value falls into."""
        return max(0, bisect_right(self.bounds, value) - 1)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its bins, as roll-ups have them."""
        return tuple(f"{self.name}_{number}" for number in range(len(self.bounds)))


DURATION: Final = Histogram("duration", "seconds", (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 172_800))
NODES: Final = Histogram("nodes", "nodes", (1, 2, 3, 5, 9, 17, 33, 65, 129, 257))
CORES: Final = Histogram("cores", "hardware threads", (0, 1, 2, 5, 17, 65, 257, 1025, 4097))
WAIT: Final = Histogram("wait", "seconds", (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400))

HISTOGRAMS: Final[Mapping[str, Histogram]] = {each.name: each for each in (DURATION, NODES, CORES, WAIT)}

#: What is summed up, in the order of roll-ups. ``waited``: of how many jobs ``wait_s`` is known.
SUMS: Final = ("jobs", "short_jobs", "run_s", "wait_s", "waited", "node_s", "core_s", "accelerator_s")
#: All that a roll-up holds.
VALUES: Final = (*SUMS, *(column for each in HISTOGRAMS.values() for column in each.columns))


def values_of(record: Record) -> tuple[int, ...]:
    """What a record that has ended adds to each of ``VALUES``."""
    ran = min(record.duration_s, MOST_S)
    wait = None if record.submitted_at is None else min(max(0, record.started_at - record.submitted_at), MOST_S)
    sums = (
        1,
        int(ran < SHORT_S),
        ran,
        wait or 0,
        int(wait is not None),
        min(ran * record.num_nodes, MOST_S),
        min(ran * record.num_hwthreads, MOST_S),
        min(ran * record.num_accelerators, MOST_S),
    )
    return (
        *sums,
        *_bins(DURATION, ran),
        *_bins(NODES, record.num_nodes),
        *_bins(CORES, record.num_hwthreads),
        *_bins(WAIT, wait),
    )


def _bins(histogram: Histogram, value: int | None) -> list[int]:
    bins = [0] * len(histogram.bounds)
    if value is not None:
        bins[histogram.bin_of(value)] = 1
    return bins


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsQuery:
    """What is asked for. Every filter that is given must hold, by one of its values.

    Args:
        group_by: what the jobs of a group have in common.
        clusters, subclusters, users, projects, states: empty = any.
        since, until: started at or after, and before, epoch seconds.
        histograms: names in ``HISTOGRAMS``.
    """

    group_by: GroupBy
    clusters: tuple[str, ...] = ()
    subclusters: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    states: tuple[RecordState, ...] = ()
    since: int | None = None
    until: int | None = None
    histograms: tuple[str, ...] = ()


@dataclass(slots=True)
class Counted:
    """Sums over some jobs; times are seconds. What runs counts with what it has used so far.

    Args:
        jobs: all of them.
        short_jobs: those that ended within ``SHORT_S``.
        run_s: how long they ran.
        wait_s: how long those waited of which it is known, ``waited`` in number.
        node_s, core_s, accelerator_s: run time times nodes, hardware threads, accelerators.
        running: how many have not ended.
        histograms: jobs of each bin, by name; of the duration only jobs that have ended.
    """

    # As in ``SUMS``.
    jobs: int = 0
    short_jobs: int = 0
    run_s: int = 0
    wait_s: int = 0
    waited: int = 0
    node_s: int = 0
    core_s: int = 0
    accelerator_s: int = 0
    running: int = 0
    histograms: dict[str, list[int]] = field(default_factory=dict)


#: What a group is called: its user, its cluster and sub-cluster, its day (days since 1970-01-01 UTC) ...
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """What groups of jobs add up to. There may be many more groups than anybody looks at.

    Args:
        rows: by the group's key: ``SUMS``, then the bins of each histogram, then how many jobs run.
        histograms: names in ``HISTOGRAMS``.
    """

    rows: Mapping[Key, Sequence[int]]
    histograms: tuple[str, ...] = ()

    def of(self, key: Key) -> Counted:
        """A group; one of which nothing is known has no jobs."""
        return self._counted(self.rows[key]) if key in self.rows else Counted()

    def total(self) -> Counted:
        """All groups together."""
        return self._counted([*map(sum, zip(*self.rows.values(), strict=True))]) if self.rows else Counted()

    def most(self, measure: str) -> list[Key]:
        """The keys of the groups, those first that have most of something.

        Args:
            measure: one of ``SUMS``, or ``running``.
        """
        place = -1 if measure == "running" else SUMS.index(measure)
        return sorted(sorted(self.rows), key=lambda key: self.rows[key][place], reverse=True)

    def _counted(self, row: Sequence[int]) -> Counted:
        jobs, short_jobs, run_s, wait_s, waited, node_s, core_s, accelerator_s, *_, running = row
        counted = Counted(jobs, short_jobs, run_s, wait_s, waited, node_s, core_s, accelerator_s, running)
        begin = len(SUMS)
        for name in self.histograms:
            end = begin + len(HISTOGRAMS[name].bounds)
            counted.histograms[name] = list(row[begin:end])
            begin = end
        return counted


def names_of(group_by: GroupBy) -> Sequence[str]:
    """What the parts of a group's key are; a sub-cluster has a name within its cluster alone."""
    return ("cluster", "subcluster") if group_by is GroupBy.SUBCLUSTER else (group_by.value,)
