"""hpcgate on Slurm: the scheduler ``slurm``."""

from __future__ import annotations

from hpcgate_slurm.scheduler import SlurmScheduler

plugin = SlurmScheduler()
