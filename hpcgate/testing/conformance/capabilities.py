"""The capability tier: one section for each ``Capability``, skipped where it is not claimed."""

from __future__ import annotations

from posixpath import relpath
from typing import Any

import pytest

from hpcgate.errors import SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.scheduler import Approximated, Capability
from hpcgate.model.spec import ArraySpec, Dependency, Policies, Resources, TaskSpec
from hpcgate.model.state import FINAL, Evidence, JobState, Reason
from hpcgate.scheduler.evidence import read_tasks
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.texts import AWKWARD

#: Sits in a loop, so that a signal is acted on at once.
_WAIT = "while :; do sleep 0.1; done"


class CapabilityConformance:
    """Uses the fixture ``bench`` of ``LiveConformance``.

    Attributes:
        walltime_s: the shortest walltime that the scheduler enforces, seconds.
        walltime_ahead: whether that takes so long that the job runs beside all other tests.
        index_variable: the variable in which a task of an array finds its index, whatever the scheduler.
    """

    walltime_s = 1
    walltime_ahead = False
    index_variable = "HPCGATE_ARRAY_INDEX"

    def suspend(self, bench: Bench, job: Job) -> None:
        """Suspends a running job; by default with STOP."""
        bench.needs(Capability.SIGNAL)
        bench.life.signal_job(bench.site, job.ref, "STOP", bench.transport)

    def resume(self, bench: Bench, job: Job) -> None:
        """Lets a suspended job go on; by default with CONT."""
        bench.life.signal_job(bench.site, job.ref, "CONT", bench.transport)

    # --- hold -------------------------------------------------------------------------------------------------------

    def test_hold_keeps_a_job_until_it_is_released(self, bench: Bench) -> None:
        """Submitted with ``hold``, released, ended."""
        bench.needs(Capability.HOLD)
        job = bench.submit(command="true", hold=True)
        bench.reach(job, JobState.HELD)
        bench.life.hold_job(bench.site, job.ref, bench.transport)
        bench.reach(job, JobState.HELD)
        bench.life.release_job(bench.site, job.ref, bench.transport)
        assert bench.follow(job).seen.state is JobState.COMPLETED

    def test_hold_of_a_running_job_is_refused(self, bench: Bench) -> None:
        """``SchedulerError``, and the job goes on."""
        bench.needs(Capability.HOLD)
        job = bench.submit(script=f"#!/bin/sh\n{_WAIT}\n")
        bench.reach(job, JobState.RUNNING)
        with pytest.raises(SchedulerError):
            bench.life.hold_job(bench.site, job.ref, bench.transport)
        bench.reach(job, JobState.RUNNING)

    def test_hold_does_not_save_a_job_from_cancel(self, bench: Bench) -> None:
        """A held job can be canceled."""
        bench.needs(Capability.HOLD)
        job = bench.submit(command="true", hold=True)
        bench.reach(job, JobState.HELD)
        bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)
        assert bench.follow(job).seen.state is JobState.CANCELED

    # --- signal -----------------------------------------------------------------------------------------------------

    def test_signal_reaches_the_job(self, bench: Bench) -> None:
        """The script's own handler runs."""
        bench.needs(Capability.SIGNAL)
        job = bench.submit(script=f"#!/bin/sh\ntrap 'echo caught; exit 5' USR1\necho ready\n{_WAIT}\n")
        bench.printed(job, "ready")
        bench.reach(job, JobState.RUNNING)
        bench.life.signal_job(bench.site, job.ref, "USR1", bench.transport)
        seen = bench.follow(job).seen
        assert (seen.state, seen.exit_code) == (JobState.FAILED, 5)
        assert "caught" in bench.output(job)

    def test_signal_of_no_such_name_is_refused(self, bench: Bench) -> None:
        """``SchedulerError``, and the job goes on."""
        bench.needs(Capability.SIGNAL)
        job = bench.submit(script=f"#!/bin/sh\n{_WAIT}\n")
        bench.reach(job, JobState.RUNNING)
        with pytest.raises(SchedulerError):
            bench.life.signal_job(bench.site, job.ref, "NOSUCHSIGNAL", bench.transport)
        bench.reach(job, JobState.RUNNING)

    # --- requeue ----------------------------------------------------------------------------------------------------

    def test_requeue_runs_the_job_anew_under_the_same_id(self, bench: Bench) -> None:
        """The second run finds what the first left, and is counted as a restart."""
        bench.needs(Capability.REQUEUE)
        job = bench.submit(script=f"#!/bin/sh\n[ -e first ] && exit 0\ntouch first\necho up\n{_WAIT}\n")
        bench.printed(job, "up")
        bench.reach(job, JobState.RUNNING)
        bench.life.requeue_job(bench.site, job.ref, bench.transport)
        seen = bench.follow(job).seen
        assert (seen.state, seen.native_id, seen.restarts) == (JobState.COMPLETED, job.native_id, 1)

    # --- arrays -----------------------------------------------------------------------------------------------------

    def test_arrays_run_once_per_index(self, bench: Bench) -> None:
        """Each index has its own output and its own observation; COMPLETED once all are."""
        bench.needs(Capability.ARRAYS)
        job = bench.submit(script=self._script("echo index $i"), array=ArraySpec.parse("2-6:2"))
        seen = bench.follow(job).seen
        assert (seen.state, seen.exit_code) == (JobState.COMPLETED, 0)
        tasks = {task.index: task for task in seen.tasks}
        ended = {index: (task.state, task.exit_code) for index, task in tasks.items()}
        assert ended == dict.fromkeys((2, 4, 6), (JobState.COMPLETED, 0))
        assert [bench.output(job, index=index) for index in (2, 4, 6)] == ["index 2\n", "index 4\n", "index 6\n"]

    def test_arrays_fail_with_their_first_failed_index(self, bench: Bench) -> None:
        """FAILED after all indices have ended, with that index's exit code."""
        bench.needs(Capability.ARRAYS)
        job = bench.submit(script=self._script("exit $((i * 10))"), array=ArraySpec.parse("0-2"))
        seen = bench.follow(job).seen
        assert (seen.state, seen.reason, seen.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 10)
        assert {task.index: task.exit_code for task in seen.tasks} == {0: 0, 1: 10, 2: 20}

    def test_arrays_are_canceled_as_a_whole(self, bench: Bench) -> None:
        """No index goes on."""
        bench.needs(Capability.ARRAYS)
        job = bench.submit(script=self._script(_WAIT), array=ArraySpec.parse("0-2"))
        bench.reach(job, JobState.RUNNING)
        bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)
        assert bench.follow(job).seen.state is JobState.CANCELED

    def test_cancel_tasks_lets_the_others_go_on(self, bench: Bench) -> None:
        """Also one that waits; the array has ended, and is CANCELED, when the others have ended."""
        bench.needs(Capability.CANCEL_TASKS)
        others = "while [ ! -e go ]; do sleep 0.1; done"
        script = self._script(f"case $i in 1|2) {_WAIT};; *) {others};; esac")
        job = bench.submit(script=script, array=ArraySpec.parse("0-3"))
        bench.reach(job, JobState.RUNNING)
        bench.life.cancel_tasks(bench.site, job.ref, [1, 2], bench.transport)
        bench.transport.write(f"{JobFolder(job.folder or '').work}/go", b"")
        seen = bench.follow(job).seen
        assert (seen.state, seen.exit_code) == (JobState.CANCELED, None)
        ended = {task.index: task.state for task in seen.tasks}
        assert ended == {
            0: JobState.COMPLETED,
            1: JobState.CANCELED,
            2: JobState.CANCELED,
            3: JobState.COMPLETED,
        }

    def test_array_limit_holds(self, bench: Bench) -> None:
        """With a limit of 1 no two indices meet."""
        bench.needs(Capability.ARRAY_LIMIT)
        alone = "mkdir alone || exit 9\nsleep 0.2\nrmdir alone"
        job = bench.submit(script=self._script(alone), array=ArraySpec.parse("0-3%1"))
        assert bench.follow(job).seen.state is JobState.COMPLETED

    def _script(self, body: str) -> str:
        return f'#!/bin/sh\ni="${self.index_variable}"\n{body}\n'

    # --- accounting -------------------------------------------------------------------------------------------------

    def test_accounting_knows_how_a_job_ended(self, bench: Bench) -> None:
        """State, exit code and times, from accounting."""
        bench.needs(Capability.ACCOUNTING)
        job = bench.submit(script="#!/bin/sh\nexit 4\n")
        bench.follow(job)

        def rows() -> list[JobState | None]:
            found = bench.life.read_accounting(bench.site, [job.ref], bench.transport) or []
            return [row.state for row in found if row.native_id == job.native_id and row.state in FINAL]

        assert bench.wait(rows, lambda: "accounting does not know the job") == [JobState.FAILED]
        (row,) = bench.life.read_accounting(bench.site, [job.ref], bench.transport) or []
        assert (row.exit_code, row.reason, row.evidence) == (4, Reason.EXIT_NONZERO, Evidence.ACCOUNTING)

    # --- exec -------------------------------------------------------------------------------------------------------

    def test_exec_runs_beside_the_job(self, bench: Bench) -> None:
        """In its work folder, with argv as it was given."""
        bench.needs(Capability.EXEC)
        job = bench.submit(script=f"#!/bin/sh\necho mine > file\necho up\n{_WAIT}\n")
        bench.printed(job, "up")
        bench.reach(job, JobState.RUNNING)
        argv = ["sh", "-c", 'cat file; printf "[%s]" "$1"; exit 3', "sh", "it's $HOME"]
        answer = bench.life.exec_in_job(bench.site, job.ref, argv, bench.transport)
        assert (answer.exit_status, answer.out) == (3, "mine\n[it's $HOME]")

    # --- queues and nodes -------------------------------------------------------------------------------------------

    def test_queues_are_described(self, bench: Bench) -> None:
        """Each with a name and a state, at most one of them the default."""
        bench.needs(Capability.QUEUES)
        queues = bench.life.describe_site(bench.site, bench.transport).queues
        assert queues
        assert all(queue.name and queue.state for queue in queues)
        assert sum(queue.default for queue in queues) <= 1

    def test_nodes_are_described(self, bench: Bench) -> None:
        """Each with a name and a state, once."""
        bench.needs(Capability.NODES)
        nodes = bench.life.describe_site(bench.site, bench.transport).nodes
        assert nodes
        assert all(node.name and node.state for node in nodes)
        assert len({node.name for node in nodes}) == len(nodes)

    # --- limits -----------------------------------------------------------------------------------------------------

    def test_walltime_ends_a_job(self, bench: Bench) -> None:
        """FAILED, TIMEOUT; not the signal that did it."""
        bench.needs(Capability.WALLTIME)
        job = bench.begun("walltime", **self._overdue())
        seen = bench.follow(job).seen
        assert (seen.state, seen.reason) == (JobState.FAILED, Reason.TIMEOUT)

    @classmethod
    def begin(cls, bench: Bench) -> None:
        """The job whose walltime is over later."""
        if cls.walltime_ahead and Capability.WALLTIME in bench.info.capabilities:
            bench.begin("walltime", **cls._overdue())

    @classmethod
    def _overdue(cls) -> dict[str, Any]:
        return {"script": "#!/bin/sh\nsleep 600\n", "resources": Resources(walltime_s=cls.walltime_s)}

    def test_memory_limit_ends_a_job(self, bench: Bench) -> None:
        """FAILED, OUT_OF_MEMORY, for one that takes ten times what it asked for."""
        bench.needs(Capability.MEMORY)
        hog = "#!/bin/sh\nhead -c 640000000 /dev/zero | tail | wc -c\n"
        seen = bench.follow(bench.submit(script=hog, resources=Resources(memory_mib=64))).seen
        assert (seen.state, seen.reason) == (JobState.FAILED, Reason.OUT_OF_MEMORY)

    # --- dependencies -----------------------------------------------------------------------------------------------

    def test_dependencies_are_waited_for(self, bench: Bench) -> None:
        """A job that depends on another starts after its end."""
        bench.needs(Capability.DEPENDENCIES)
        first = bench.submit(script="#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\n: > ended\n")
        work = JobFolder(first.folder or "").work
        # It fails if it runs before the first has ended, whatever the clocks say. From its own work folder, for no
        # argument is a home folder to a program.
        ended = relpath(f"{work}/ended", JobFolder.of(bench.site.work_root, "second").work)
        second = bench.submit(command="test", args=("-e", ended), dependencies=(Dependency(job=first.id),))
        bench.reach(first, JobState.RUNNING)
        bench.reach(second, JobState.QUEUED, JobState.HELD)
        bench.transport.write(f"{work}/go", b"")
        assert [bench.follow(job).seen.state for job in (first, second)] == [JobState.COMPLETED] * 2

    def test_a_dependency_asks_for_an_end(self, bench: Bench) -> None:
        """After a failure ``afternotok`` and ``afterany`` start; ``afterok`` never does, and is CANCELED for it."""
        bench.needs(Capability.DEPENDENCIES)
        first = bench.submit(script="#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\nexit 3\n")
        kinds = ("afternotok", "afterany", "afterok")
        waiting = [bench.submit(command="true", dependencies=(Dependency(job=first.id, kind=kind),)) for kind in kinds]
        bench.reach(first, JobState.RUNNING)
        bench.transport.write(f"{JobFolder(first.folder or '').work}/go", b"")
        seen = [bench.follow(job).seen for job in waiting]
        assert [each.state for each in seen[:2]] == [JobState.COMPLETED] * 2
        assert (seen[2].state, seen[2].reason) == (JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED)

    # --- tasks: a field and no capability -----------------------------------------------------------------------------

    def _tasks(self, bench: Bench, *scripts: str, **policies: Any) -> Job:
        """Submits a job whose tasks run these scripts."""
        needed = {"tasks", *(f"policies.{name}" for name in policies)}
        if missing := needed - bench.info.fields.keys():
            pytest.skip(f"{bench.info.name} does not honour {', '.join(sorted(missing))}")
        if isinstance(support := bench.info.fields["tasks"], Approximated):
            pytest.skip(f"{bench.info.name} takes tasks in part: {support.how}")
        tasks = tuple(TaskSpec(command="/bin/sh", args=("-c", script)) for script in scripts)
        return bench.submit(tasks=tasks, policies=Policies(**policies))

    def _told(self, bench: Bench, job: Job) -> list[tuple[JobState, int | None, int | None]]:
        """What the record in the job's folder says of its tasks."""
        known = read_tasks(job.ref, bench.transport) or ()
        return [(task.state, task.exit_code, task.signal) for task in known]

    def test_tasks_run_one_after_the_other(self, bench: Bench) -> None:
        """Each with its variables and in its folder; the record follows them."""
        job = self._tasks(bench, "while [ ! -e go ]; do sleep 0.05; done; echo one > file", "cat file; pwd")
        bench.reach(job, JobState.RUNNING)
        bench.wait(lambda: self._told(bench, job), lambda: "there is no record of the tasks")
        assert self._told(bench, job) == [(JobState.RUNNING, None, None)]
        work = JobFolder(job.folder or "").work
        bench.transport.write(f"{work}/go", b"")
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert self._told(bench, job) == [(JobState.COMPLETED, 0, None)] * 2
        assert bench.output(job).startswith("one\n/")

    def test_tasks_get_what_they_are_given(self, bench: Bench) -> None:
        """Arguments and variables, the job's and their own, whatever stands in them."""
        if "tasks" not in bench.info.fields:
            pytest.skip(f"{bench.info.name} does not honour tasks")
        names = [f"KIT_{n}" for n in range(len(AWKWARD))]
        words = " ".join(f'"${name}"' for name in names)
        task = TaskSpec(
            command="/bin/sh",
            args=("-c", f'printf "[%s]\\n" "$@" {words} "$JOB"', "sh", *AWKWARD),
            environment=dict(zip(names, AWKWARD, strict=True)),
        )
        job = bench.submit(tasks=(task,), environment={"JOB": "the job's"})
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.output(job) == "".join(f"[{text}]\n" for text in (*AWKWARD, *AWKWARD, "the job's"))

    def test_tasks_stop_at_the_first_that_fails(self, bench: Bench) -> None:
        """Its exit code is the job's, and what comes after it does not run."""
        job = self._tasks(bench, "true", "exit 7", "echo ran")
        seen = bench.follow(job).seen
        assert (seen.state, seen.exit_code) == (JobState.FAILED, 7)
        assert bench.output(job) == ""
        assert self._told(bench, job) == [(JobState.COMPLETED, 0, None), (JobState.FAILED, 7, None)]

    def test_tasks_go_on_after_a_failure_where_it_is_ignored(self, bench: Bench) -> None:
        """The first failure is the job's all the same."""
        job = self._tasks(bench, "exit 7", "echo ran; exit 8", ignore_task_failures=True)
        assert bench.follow(job).seen.exit_code == 7
        assert bench.output(job) == "ran\n"
        assert self._told(bench, job) == [(JobState.FAILED, 7, None), (JobState.FAILED, 8, None)]

    def test_tasks_are_tried_again(self, bench: Bench) -> None:
        """So often as asked for, and no more once one has succeeded."""
        job = self._tasks(bench, "echo try; [ -e first ] && exit 0; : > first; exit 3", max_task_retries=5)
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.output(job) == "try\ntry\n"

    def test_tasks_are_canceled_with_their_job(self, bench: Bench) -> None:
        """The one that runs is ended, and no other starts."""
        job = self._tasks(bench, f"echo up; {_WAIT}", "echo ran")
        bench.printed(job, "up")
        bench.reach(job, JobState.RUNNING)
        bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)
        assert bench.follow(job).seen.state is JobState.CANCELED
        assert bench.output(job) == "up\n"

    # --- suspend ----------------------------------------------------------------------------------------------------

    def test_suspend_is_seen_and_can_be_undone(self, bench: Bench) -> None:
        """SUSPENDED, RUNNING, and then the job's own end."""
        bench.needs(Capability.SUSPEND)
        job = bench.submit(script="#!/bin/sh\necho up\nwhile [ ! -e go ]; do sleep 0.05; done\n")
        bench.printed(job, "up")
        bench.reach(job, JobState.RUNNING)
        self.suspend(bench, job)
        bench.reach(job, JobState.SUSPENDED)
        self.resume(bench, job)
        bench.reach(job, JobState.RUNNING)
        bench.transport.write(f"{JobFolder(job.folder or '').work}/go", b"")
        assert bench.follow(job).seen.state is JobState.COMPLETED
