"""What a site consists of, and whether it is fit for the gateway."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from hpcgate.model.scheduler import Check, NodeInfo, QueueInfo
from hpcgate_pbs.documents import Attributes, Document
from hpcgate_pbs.values import integer, kib, seconds

_COUNT = re.compile(r"(\w+):(\d+)")
_TRUE: Final = "true"
MOST_CLOCK_OFFSET_S: Final = 60.0


def queue_infos(queues: Document, server: Document) -> tuple[QueueInfo, ...]:
    """Queues, from ``qstat -Q`` and, for the default one, ``qstat -B``."""
    default = next((each.get("default_queue") for each in server.objects.values()), None)
    return tuple(_queue(name, each, default) for name, each in queues.objects.items())


def _queue(name: str, queue: Attributes, default: str | None) -> QueueInfo:
    counts = counts_of(queue.get("state_count", ""))
    walltime = seconds(queue.get("resources_max.walltime"))
    return QueueInfo(
        name=name,
        state=_queue_state(is_true(queue.get("enabled")), is_true(queue.get("started"))),
        default=name == default,
        running=counts.get("Running", 0) + counts.get("Exiting", 0) + counts.get("Begun", 0),
        pending=sum(counts.get(word, 0) for word in ("Transit", "Queued", "Held", "Waiting")),
        max_walltime_s=None if walltime is None else int(walltime),
    )


def _queue_state(enabled: bool, started: bool) -> str:
    """``up``, ``drain`` (takes no jobs), ``inactive`` (starts none) or ``down``."""
    if started:
        return "up" if enabled else "drain"
    return "inactive" if enabled else "down"


def node_infos(nodes: Document) -> tuple[NodeInfo, ...]:
    """Virtual nodes, from ``pbsnodes -a``."""
    return tuple(_node(name, each) for name, each in nodes.objects.items())


def _node(name: str, node: Attributes) -> NodeInfo:
    memory, used = kib(node.get("resources_available.mem")), kib(node.get("resources_assigned.mem"))
    return NodeInfo(
        name=name,
        state=node.get("state", "unknown"),
        cpus=integer(node.get("resources_available.ncpus", node.get("pcpus"))),
        cpus_used=integer(node.get("resources_assigned.ncpus", "0")),
        memory_mib=None if memory is None else memory // 1024,
        memory_used_mib=(used or 0) // 1024,
        gpus=integer(node.get("resources_available.ngpus")),
        reason=node.get("comment"),
    )


def largest_node(nodes: Document) -> tuple[int, int] | None:
    """Most cores and most KiB of memory of any one host, whose virtual nodes count together; ``None`` = not told."""
    cpus: dict[str, int] = defaultdict(int)
    memory: dict[str, int] = defaultdict(int)
    for name, node in nodes.objects.items():
        host = node.get("resources_available.host", name)
        cpus[host] += integer(node.get("resources_available.ncpus")) or 0
        memory[host] += kib(node.get("resources_available.mem")) or 0
    most = max(cpus.values(), default=0), max(memory.values(), default=0)
    return most if all(most) else None


def sees_all_jobs(server: Document) -> bool:
    """Whether an ordinary account is shown the jobs of others; where the server does not say so, it is not."""
    return any(is_true(each.get("query_other_jobs")) for each in server.objects.values())


def checks(server: Document, *, service_account: bool, now: float) -> tuple[Check, ...]:
    """What is to be said of a server.

    Args:
        server: its answer to ``qstat -B``.
        service_account: whether all jobs of the gateway run as the account that polls.
        now: epoch seconds by the gateway's clock.
    """
    name, attributes = next(iter(server.objects.items()), ("?", {}))
    return (
        _server(name, attributes),
        _history(attributes),
        _sight(sees_all_jobs(server), service_account),
        _clock(server.timestamp, now),
        Check(name="arrays", ok=True, detail=f"at most {attributes.get('max_array_size', '10000')} tasks"),
    )


def _server(name: str, server: Attributes) -> Check:
    state, scheduling = server.get("server_state", "unknown"), is_true(server.get("scheduling"))
    starts = "starts jobs" if scheduling else "starts no jobs: scheduling is off"
    ok = scheduling and state.lower() in ("active", "scheduling", "idle")
    return Check(name="server", ok=ok, detail=f"{name} is {state} and {starts}")


def _history(server: Attributes) -> Check:
    if is_true(server.get("job_history_enable")):
        how_long = server.get("job_history_duration", "336:00:00")
        return Check(name="history", ok=True, detail=f"finished jobs are remembered for {how_long}")
    return Check(
        name="history",
        ok=False,
        detail="off: only what jobs leave in their folders tells how they ended, which a job that is killed does not; "
        "an operator can `qmgr -c 'set server job_history_enable = True'`",
    )


def _sight(all_jobs: bool, service_account: bool) -> Check:
    if all_jobs:
        return Check(name="sight", ok=True, detail="the jobs of all accounts are seen")
    return Check(
        name="sight",
        ok=service_account,
        detail="query_other_jobs is off: the polling account sees its own jobs alone"
        + (", which are all that there are" if service_account else "; make it a manager, or set query_other_jobs"),
    )


def _clock(timestamp: float | None, now: float) -> Check:
    if timestamp is None:
        return Check(name="clock", ok=True, detail="the server does not tell its time")
    offset = timestamp - now
    return Check(
        name="clock",
        ok=abs(offset) <= MOST_CLOCK_OFFSET_S,
        detail=f"{offset:+.0f} s from the gateway's; up to {MOST_CLOCK_OFFSET_S:g} s are fine",
    )


def counts_of(text: str) -> Mapping[str, int]:
    """The numbers of ``Transit:0 Queued:1 Held:0``."""
    return {word: int(number) for word, number in _COUNT.findall(text)}


def is_true(text: str | None) -> bool:
    """Whether an attribute says ``True``."""
    return (text or "").lower() == _TRUE
