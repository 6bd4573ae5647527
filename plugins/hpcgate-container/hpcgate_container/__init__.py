"""hpcgate on a host with podman or docker: the scheduler ``container``."""

from __future__ import annotations

from hpcgate_container.scheduler import ContainerScheduler

plugin = ContainerScheduler()
