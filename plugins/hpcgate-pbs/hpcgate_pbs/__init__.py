"""OpenPBS and PBS Professional: the scheduler ``pbs``."""

from __future__ import annotations

from hpcgate_pbs.scheduler import PbsScheduler

plugin = PbsScheduler()
