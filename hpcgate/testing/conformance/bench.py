"""``Bench``: submits jobs to one scheduler and watches them, as the gateway would."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import pytest
from ulid import ULID

from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobDependency, Observation
from hpcgate.model.scheduler import Capability, SchedulerInfo
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import AT_SCHEDULER, FINAL, JobState
from hpcgate.plugin.lifecycle import Lifecycle
from hpcgate.plugin.manager import PluginHost
from hpcgate.scheduler.evidence import read_exit
from hpcgate.transport.base import Transport

T = TypeVar("T")

#: Ids that no earlier run of the kit at the same site used.
_IDS: Final = itertools.count(int(time.time() * 1000))
_CHUNK: Final = 1 << 20
#: What takes long is looked at less and less often, but at least so often, seconds.
_LONGEST_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Args:
        seen: the final observation.
        states: what was seen on the way, without repetitions, the final included.
    """

    seen: Observation
    states: tuple[JobState, ...]


class Bench:
    """One scheduler at one site.

    Args:
        host: holds the scheduler's plugin alone.
        site: where jobs go.
        transport: the way there.
        deadline_s: how long anything may take, seconds.
        every_s: time between the first two looks, seconds.
    """

    def __init__(
        self, host: PluginHost, site: Site, transport: Transport, *, deadline_s: float = 60.0, every_s: float = 0.05
    ) -> None:
        self.life = Lifecycle(host)
        self.info: SchedulerInfo = host.scheduler(site.scheduler)
        self.site = site
        self.transport = transport
        self.deadline_s = deadline_s
        self._every_s = every_s
        self._jobs: list[Job] = []
        self._ended: set[str] = set()
        self._canceled: set[str] = set()
        self._beside: dict[str, Job] = {}

    def needs(self, capability: Capability) -> None:
        """Skips the test unless the scheduler claims a capability."""
        if capability not in self.info.capabilities:
            pytest.skip(f"{self.info.name} does not claim {capability.value}")

    # --- submit -----------------------------------------------------------------------------------------------------

    def job(self, spec: JobSpec | None = None, **fields: Any) -> Job:
        """A job as the gateway has it just before the submit. Its folder is not there yet.

        Args:
            spec: what runs; or else
            fields: the fields of the spec.
        """
        key, now = str(ULID()), time.time()
        spec = spec or JobSpec(**fields)
        taken = {job.id: job.ref for job in self._jobs}
        return Job(
            id=next(_IDS),
            key=key,
            owner="kit",
            site=self.site.name,
            spec=spec,
            state=JobState.SUBMITTING,
            folder=JobFolder.of(self.site.work_root, key).root,
            created_at=now,
            updated_at=now,
            depends_on=tuple(JobDependency(job=taken[each.job], kind=each.kind) for each in spec.dependencies),
        )

    def submit(self, spec: JobSpec | None = None, **fields: Any) -> Job:
        """Submits a job; arguments as for ``job``."""
        return self.hand_over(self.job(spec, **fields))

    def hand_over(self, job: Job) -> Job:
        """Submits this job, and keeps what the scheduler answered."""
        answer = self.life.submit_job(self.site, job, self.transport)
        taken = replace(
            job,
            native_id=answer.native_id,
            stdout_path=answer.stdout_path,
            stderr_path=answer.stderr_path,
            submitted_at=time.time(),
        )
        self._jobs.append(taken)
        return taken

    def begin(self, name: str, **fields: Any) -> None:
        """Submits a job that no cleaning ends; ``begun`` gives it to the test that it is for."""
        self._beside[name] = self.submit(**fields)
        self._jobs.remove(self._beside[name])

    def begun(self, name: str, **fields: Any) -> Job:
        """The job that was begun under this name, or else a new one."""
        job = self._beside.pop(name, None)
        if job is None:
            return self.submit(**fields)
        self._jobs.append(job)
        return job

    def keep(self, job: Job) -> None:
        """Takes a job, submitted in another way, into the cleaning at the end."""
        self._jobs.append(job)

    # --- watch ------------------------------------------------------------------------------------------------------

    def look(self, job: Job) -> Observation | None:
        """What is known of a job now, from queue, accounting or exit record; ``None`` = nothing."""
        ref = job.ref
        listing = self.life.poll_jobs(self.site, [ref], self.transport)
        for native_id, each in listing.observations.items():
            assert each.native_id == native_id, f"{each.native_id!r} is listed under {native_id!r}"
            assert each.state in AT_SCHEDULER | FINAL or each.state is None, f"a scheduler does not say {each.state}"
        seen = listing.observations.get(ref.native_id or "")
        if seen is not None:
            return seen
        for row in self.life.read_accounting(self.site, [ref], self.transport) or ():
            if row.native_id == ref.native_id:
                return row
        return read_exit(ref, self.transport)

    def follow(self, job: Job) -> Outcome:
        """Waits until a job has ended."""
        states: list[JobState] = []

        def ended() -> Observation | None:
            seen = self.look(job)
            if seen is None or seen.state is None:
                return None
            if not states or states[-1] is not seen.state:
                states.append(seen.state)
            return seen if seen.state in FINAL else None

        seen = self.wait(ended, lambda: f"job {job.native_id} did not end; it was {states or 'never seen'}")
        self._ended.add(job.key)
        return Outcome(seen, tuple(states))

    def reach(self, job: Job, *wanted: JobState) -> Observation:
        """Waits until a job is in one of these states.

        Raises:
            AssertionError: it ended in another one, or never came there.
        """
        last: list[JobState | None] = [None]

        def there() -> Observation | None:
            seen = self.look(job)
            last[0] = seen.state if seen else None
            if last[0] in wanted:
                return seen
            assert last[0] not in FINAL, f"job {job.native_id} is {last[0]}, not {' or '.join(wanted)}: {seen}"
            return None

        return self.wait(there, lambda: f"job {job.native_id} is {last[0]}, not {' or '.join(wanted)}")

    def wait(self, condition: Callable[[], T | None], complaint: Callable[[], str]) -> T:
        """Waits until a condition gives something true.

        Raises:
            AssertionError: with the complaint, after ``deadline_s``.
        """
        until, pause_s = time.monotonic() + self.deadline_s, self._every_s
        while True:
            result = condition()
            if result:
                return result
            assert time.monotonic() < until, f"{complaint()} ({self.deadline_s:g} s)"
            time.sleep(pause_s)
            pause_s = max(self._every_s, min(pause_s * 1.2, _LONGEST_PAUSE_S))

    # --- what is left -----------------------------------------------------------------------------------------------

    def output(self, job: Job, stream: str = "stdout", index: int | None = None) -> str:
        """What a job has printed so far.

        Args:
            job: that printed it.
            stream: ``stdout`` or ``stderr``.
            index: of an array.
        """
        if index is None:
            chunk = self.life.read_output(self.site, job.ref, stream, 0, _CHUNK, self.transport)
            if chunk is not None:
                return chunk.data.decode("utf-8", "replace")
        path = job.stdout_path if stream == "stdout" else job.stderr_path
        folder = JobFolder(job.folder or "")
        path = path or (folder.stdout() if stream == "stdout" else folder.stderr())
        return (self.content(path if index is None else f"{path}.{index}") or b"").decode("utf-8", "replace")

    def printed(self, job: Job, text: str) -> None:
        """Waits until a job has printed this."""
        self.wait(lambda: text in self.output(job), lambda: f"job {job.native_id} printed {self.output(job)!r}")

    def absolute(self, path: str) -> str:
        """A path at the site, where one below ``~/`` stands for one below the account's home."""
        if not path.startswith("~/"):
            return path
        home = self.transport.run(["sh", "-c", "cd && pwd"]).stdout.decode().strip()
        return f"{home}/{path[2:]}"

    def content(self, path: str) -> bytes | None:
        """What stands in a file; ``None`` = there is none."""
        try:
            return self.transport.read(path).data
        except FileNotFoundError:
            return None

    def files(self, path: str) -> Iterator[str]:
        """The paths of all files below a folder; links and sockets among them."""
        for entry in self.transport.list(path):
            if entry.is_dir and not entry.is_link:
                yield from self.files(f"{path}/{entry.name}")
            else:
                yield f"{path}/{entry.name}"

    def clean(self, *, everything: bool = False) -> None:
        """Ends what still runs, and removes the folders of jobs that have ended.

        What takes its time to end is not waited for: it is looked at again when the bench is cleaned next.

        Args:
            everything: waits for all, and for what was begun too.
        """
        if everything:
            self._jobs += self._beside.values()
            self._beside.clear()
        unsure = [job for job in self._jobs if job.key not in self._ended]
        active = [job for job in unsure if (seen := self.look(job)) is not None and seen.state not in FINAL]
        fresh = [job for job in active if job.key not in self._canceled]
        if fresh:
            self.life.cancel_jobs(self.site, [job.ref for job in fresh], self.transport)
        self._canceled = {job.key for job in active}
        if everything:
            for job in active:
                self.follow(job)
            active.clear()
        for job in self._jobs:
            if job not in active:
                self.transport.remove(job.folder or "")
        self._jobs = active
        self._ended.clear()
