"""hpcgate on the machine that it runs on: the scheduler ``local``."""

from __future__ import annotations

from hpcgate_local.scheduler import LocalScheduler

plugin = LocalScheduler()
