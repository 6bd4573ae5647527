"""The kit finds what is wrong: each scheduler below breaks one promise, and the test of that promise fails."""

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hpcgate.errors import HpcgateError, InvalidSpec, SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Observation
from hpcgate.model.scheduler import Capability, KeySearch, Listing, Presence, RenderedScript
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import Evidence, JobState
from hpcgate.scheduler.steps import with_driver
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.sites import default_site, host_of
from hpcgate.testing.conformance.suite import SchedulerConformance
from hpcgate.testing.conformance.texts import AWKWARD
from hpcgate.testing.running import RunningScheduler
from hpcgate.transport.local import LocalTransport

LIVE = {}
STATIC = {}


def breaks(test, *args):
    """Says which test of the kit a scheduler must fail, and with what arguments besides the bench."""

    def register(kind):
        LIVE[f"{kind.__name__}-{test}"] = (kind, test, args)
        return kind

    return register


class Altered(RunningScheduler):
    """Changes what is observed."""

    def alter(self, seen: Observation) -> Observation:
        return seen

    def hpcgate_poll_jobs(self, site, jobs, transport):
        listing = super().hpcgate_poll_jobs(site, jobs, transport)
        return replace(listing, observations={key: self.alter(seen) for key, seen in listing.observations.items()})


@breaks("test_environment_arrives_unchanged")
@breaks("test_environment_of_the_gateway_stays_with_the_gateway")
class LosesEnvironment(RunningScheduler):
    def _environment(self, run, index):
        job = replace(run.job, spec=replace(run.job.spec, environment={}))
        return super()._environment(replace(run, job=job), index)


@breaks("test_environment_arrives_unchanged")
class CutsEnvironmentAtLineBreaks(RunningScheduler):
    def _environment(self, run, index):
        return {name: value.partition("\n")[0] for name, value in super()._environment(run, index).items()}


@breaks("test_environment_of_the_gateway_stays_with_the_gateway")
class PassesEverythingOn(RunningScheduler):
    def _environment(self, run, index):
        return {**os.environ, **super()._environment(run, index)}


@breaks("test_environment_of_the_gateway_stays_with_the_gateway")
class ChangesTheGateway(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        os.environ["CHANGED_BY_A_PLUGIN"] = "1"
        return super().hpcgate_submit_job(site, job, transport)


@breaks("test_arguments_arrive_unchanged")
class UsesAShell(RunningScheduler):
    def _start(self, run, index):
        line = " ".join([run.job.spec.command, *run.job.spec.args])
        spec = replace(run.job.spec, command="/bin/sh", args=("-c", line))
        run.job = replace(run.job, spec=spec)
        return super()._start(run, index)


@breaks("test_exit_codes_are_reported")
class CallsEverythingCompleted(Altered):
    def alter(self, seen):
        return replace(seen, state=JobState.COMPLETED, exit_code=0, reason=None) if seen.state.final else seen


@breaks("test_exit_codes_are_reported")
class LosesExitCodes(Altered):
    def alter(self, seen):
        return replace(seen, exit_code=1) if seen.exit_code else seen


@breaks("test_signals_are_reported")
class ReportsSignalsAsExitCodes(Altered):
    def alter(self, seen):
        return replace(seen, signal=None, exit_code=128 + seen.signal) if seen.signal else seen


@breaks("test_job_completes_with_evidence")
class Guesses(Altered):
    def alter(self, seen):
        return replace(seen, evidence=Evidence.GATEWAY)


@breaks("test_states_come_in_a_legal_order")
class GoesBack(Altered):
    def alter(self, seen):
        return replace(seen, state=JobState.QUEUED) if seen.state is JobState.RUNNING else seen

    deadline_s = 1.0


@breaks("test_submit_returns_an_id")
class GivesNumbersAsIds(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        return replace(super().hpcgate_submit_job(site, job, transport), native_id=17)


@breaks("test_unknown_job_is_missing_and_not_final")
class CallsUnknownJobsCompleted(RunningScheduler):
    def hpcgate_poll_jobs(self, site, jobs, transport):
        listing = super().hpcgate_poll_jobs(site, jobs, transport)
        made_up = {
            ref.native_id: Observation(native_id=ref.native_id, state=JobState.COMPLETED, evidence=Evidence.QUEUE)
            for ref in jobs
            if ref.native_id not in listing.observations
        }
        return replace(listing, observations={**listing.observations, **made_up})


@breaks("test_poll_that_fails_raises_and_changes_nothing")
class TakesFailureForAnEmptyQueue(RunningScheduler):
    def hpcgate_poll_jobs(self, site, jobs, transport):
        try:
            return super().hpcgate_poll_jobs(site, jobs, transport)
        except SchedulerError:
            return Listing(observations={}, complete=True, at=0.0)


@breaks("test_many_jobs_take_one_listing")
class AsksForEachJob(RunningScheduler):
    def hpcgate_poll_jobs(self, site, jobs, transport):
        for job in jobs:
            transport.run(["true", job.native_id])
        return super().hpcgate_poll_jobs(site, jobs, transport)


@breaks("test_key_is_found")
class ForgetsKeys(RunningScheduler):
    def hpcgate_find_by_key(self, site, job, transport):
        return KeySearch(presence=Presence.ABSENT)


@breaks("test_key_that_was_never_submitted_is_not_found")
class FindsEverything(RunningScheduler):
    def hpcgate_find_by_key(self, site, job, transport):
        return KeySearch(presence=Presence.PRESENT, native_id="1")


@breaks("test_job_that_was_submitted_twice_runs_once")
class RunsTwice(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        self._by_key.pop(job.key, None)
        return super().hpcgate_submit_job(site, job, transport)


@breaks("test_cancel_can_be_repeated")
@breaks("test_cancel_of_a_finished_job_is_no_error")
class FailsToCancelWhatIsGone(RunningScheduler):
    def hpcgate_cancel_jobs(self, site, jobs, transport):
        if any(self.job(ref).state.final for ref in jobs):
            raise SchedulerError("unknown job")
        return super().hpcgate_cancel_jobs(site, jobs, transport)


@breaks("test_cancel_of_many_reaches_all")
class CancelsTheFirstAlone(RunningScheduler):
    deadline_s = 1.0

    def hpcgate_cancel_jobs(self, site, jobs, transport):
        return super().hpcgate_cancel_jobs(site, jobs[:1], transport)


@breaks("test_spec_that_cannot_run_is_refused")
@breaks("test_many_jobs_are_submitted_in_order_and_one_that_is_bad_spoils_no_other")
class TakesAnything(RunningScheduler):
    def _check(self, site, job):
        pass


@breaks("test_many_jobs_are_submitted_in_order_and_one_that_is_bad_spoils_no_other")
class GivesUpAtTheFirstBadJob(RunningScheduler):
    def hpcgate_submit_jobs(self, site, jobs, transport):
        return [self.hpcgate_submit_job(site, job, transport) for job in jobs]


@breaks("test_output_is_kept_apart")
class MixesStreams(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        submitted = super().hpcgate_submit_job(site, job, transport)
        return replace(submitted, stderr_path=submitted.stdout_path)


@breaks("test_script_is_run_by_its_own_interpreter_unchanged")
class RunsScriptsBySh(RunningScheduler):
    def _make_folder(self, job):
        super()._make_folder(job)
        if job.spec.script:
            Path(JobFolder(job.folder).script).write_text(job.spec.script.replace("#!/bin/cat", "#!/bin/sh", 1))


@breaks("test_secret_reaches_the_job_and_is_gone_afterwards")
class LeavesSecrets(RunningScheduler):
    deadline_s = 1.0

    def _make_folder(self, job):
        super()._make_folder(job)
        Path(JobFolder(job.folder).secrets).write_text("\0".join(job.spec.secret_environment.values()))


@breaks("test_nothing_is_written_outside_the_job_folder")
class LittersTheWorkRoot(RunningScheduler):
    def _make_folder(self, job):
        super()._make_folder(job)
        Path(job.folder).parent.joinpath(f"slurm-{job.id}.out").touch()


@breaks("test_nothing_is_written_outside_the_job_folder")
class LittersWhereTheGatewayIs(RunningScheduler):
    def _make_folder(self, job):
        super()._make_folder(job)
        Path(f"{job.key}.out").touch()


@breaks("test_job_folder_is_private")
class OpensTheFolder(RunningScheduler):
    def _make_folder(self, job):
        super()._make_folder(job)
        Path(job.folder).chmod(0o755)


@breaks("test_job_starts_in_its_work_folder")
class StartsElsewhere(RunningScheduler):
    def _make_folder(self, job):
        super()._make_folder(job)
        Path(JobFolder(job.folder).script).write_text(job.spec.script.replace("\n", "\ncd ..\n", 1))


@breaks("test_folder_and_files_are_those_that_were_named")
class StartsInTheFirstWord(RunningScheduler):
    def _start(self, run, index):
        spec = run.job.spec
        first = spec.working_directory.split()[0]
        Path(JobFolder(run.job.folder).work, first).mkdir(exist_ok=True)
        run.job = replace(run.job, spec=replace(spec, working_directory=first))
        return super()._start(run, index)


@breaks("test_folder_and_files_are_those_that_were_named")
class TakesAPathForAHost(RunningScheduler):
    def _start(self, run, index):
        spec = replace(run.job.spec, stdout_path="file.out")
        run.job = replace(run.job, spec=spec)
        return super()._start(run, index)


@breaks("test_attempts_run_nothing")
class TellsAShell(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        transport.run(["/bin/sh", "-c", f"echo {job.spec.name} {job.spec.account}"])
        return super().hpcgate_submit_job(site, job, transport)


@breaks("test_attempts_run_nothing")
class NamesAnotherField(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        raise InvalidSpec.of("queue", "is full")


@breaks("test_hold_keeps_a_job_until_it_is_released")
class IgnoresHold(RunningScheduler):
    def hpcgate_submit_job(self, site, job, transport):
        return super().hpcgate_submit_job(site, replace(job, spec=replace(job.spec, hold=False)), transport)


@breaks("test_signal_reaches_the_job")
class ClaimsWhatItHasNot(RunningScheduler):
    def hpcgate_signal_job(self, site, job, signal, transport):
        return None


@breaks("test_requeue_runs_the_job_anew_under_the_same_id")
class DoesNotCountRestarts(Altered):
    def alter(self, seen):
        return replace(seen, restarts=None)


@breaks("test_arrays_fail_with_their_first_failed_index")
class ForgetsFailedIndices(Altered):
    def alter(self, seen):
        return replace(seen, state=JobState.COMPLETED) if seen.state is JobState.FAILED else seen


@breaks("test_cancel_tasks_lets_the_others_go_on")
class CancelsTheWholeArray(RunningScheduler):
    def hpcgate_cancel_tasks(self, site, job, indices, transport):
        return self.hpcgate_cancel_jobs(site, [job], transport)


@breaks("test_array_limit_holds")
class IgnoresTheArrayLimit(RunningScheduler):
    def _run_all(self, run):
        array = replace(run.job.spec.array, limit=None)
        run.job = replace(run.job, spec=replace(run.job.spec, array=array))
        super()._run_all(run)


@breaks("test_walltime_ends_a_job")
class CallsATimeoutASignal(Altered):
    def alter(self, seen):
        from hpcgate.model.state import Reason

        return replace(seen, reason=Reason.SIGNALED) if seen.reason is Reason.TIMEOUT else seen


@breaks("test_accounting_knows_how_a_job_ended")
class HasNoAccounting(RunningScheduler):
    deadline_s = 1.0

    def account(self, *args, **more):
        pass


@breaks("test_exec_runs_beside_the_job")
class LosesTheWorkFolder(RunningScheduler):
    def hpcgate_exec_in_job(self, site, job, argv, transport):
        return transport.run(argv)


@breaks("test_dependencies_are_waited_for")
class IgnoresDependencies(RunningScheduler):
    def _may_start(self, job):
        return True


@breaks("test_a_dependency_asks_for_an_end")
class TakesAnyEnd(RunningScheduler):
    def _satisfied(self, dependency):
        return super()._satisfied(replace(dependency, kind="afterany"))


class Driven(RunningScheduler):
    """Changes the program that runs a job's tasks, or the tasks before."""

    def change(self, spec):
        return spec

    def drive(self, text):
        return text

    def hpcgate_submit_job(self, site, job, transport):
        driven = with_driver(site, replace(job, spec=self.change(job.spec)))
        script = self.drive(driven.spec.script)
        return super().hpcgate_submit_job(site, replace(driven, spec=replace(driven.spec, script=script)), transport)


@breaks("test_tasks_run_one_after_the_other")
@breaks("test_tasks_stop_at_the_first_that_fails")
class LeavesNoRecordOfTasks(Driven):
    deadline_s = 1.0

    def drive(self, text):
        return text.replace("/tasks.$HPCGATE_ATTEMPT", "/other.$HPCGATE_ATTEMPT")


@breaks("test_tasks_stop_at_the_first_that_fails")
class RunsTasksAfterAFailure(Driven):
    def change(self, spec):
        return replace(spec, policies=replace(spec.policies, ignore_task_failures=True))


@breaks("test_tasks_go_on_after_a_failure_where_it_is_ignored")
class IgnoresIgnoreTaskFailures(Driven):
    def change(self, spec):
        return replace(spec, policies=replace(spec.policies, ignore_task_failures=False))


@breaks("test_tasks_are_tried_again")
class NeverTriesTasksAgain(Driven):
    def change(self, spec):
        return replace(spec, policies=replace(spec.policies, max_task_retries=0))


@breaks("test_tasks_get_what_they_are_given")
class LosesTheVariablesOfTasks(Driven):
    def change(self, spec):
        return replace(spec, tasks=tuple(replace(task, environment={}) for task in spec.tasks))


@breaks("test_tasks_are_canceled_with_their_job")
class DoesNotCancelTasks(RunningScheduler):
    deadline_s = 1.0

    def hpcgate_cancel_jobs(self, site, jobs, transport):
        return True


@breaks("test_suspend_is_seen_and_can_be_undone")
class NeverSuspended(Altered):
    deadline_s = 1.0

    def alter(self, seen):
        return replace(seen, state=JobState.RUNNING) if seen.state is JobState.SUSPENDED else seen


@breaks("test_queues_are_described")
class HasNoQueues(RunningScheduler):
    queues = property(lambda self: (), lambda self, value: None)


@pytest.mark.parametrize("case", LIVE)
def test_kit_finds_it(case, tmp_path, monkeypatch):
    kind, test, args = LIVE[case]
    monkeypatch.setenv("HPCGATE_CONFORMANCE_LEAK", "leaked")
    monkeypatch.delenv("CHANGED_BY_A_PLUGIN", raising=False)
    scheduler = kind()
    suite = Suite(scheduler)
    site = default_site("fake", scheduler, tmp_path)
    arguments = {"tmp_path": tmp_path / "cwd", "monkeypatch": monkeypatch}
    arguments["tmp_path"].mkdir()
    with LocalTransport() as transport:
        bench = Bench(
            host_of("fake", scheduler), site, transport, deadline_s=getattr(kind, "deadline_s", 20.0), every_s=0.01
        )
        method = getattr(suite, test)
        wanted = [arguments[name] for name in method.__code__.co_varnames[:4] if name in arguments]
        try:
            with pytest.raises((AssertionError, HpcgateError, pytest.fail.Exception)):
                method(bench, *args, *wanted)
        finally:
            scheduler.close()
            monkeypatch.undo()


class Suite(SchedulerConformance):
    """The kit's tests, to be called one by one."""

    def __init__(self, scheduler):
        self.scheduler = scheduler

    @contextmanager
    def unreachable(self, bench):
        self.scheduler.fail_next("poll", SchedulerError("no route"))
        yield


# --- the static part ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Helpless:
    cpus: int = 1


@dataclass
class Changeable:
    cpus: int = field(default=1, metadata={"help": "cores"})


class Renders(RunningScheduler):
    """Renders in another way."""

    text = staticmethod(lambda job: "")
    argv = ()

    def hpcgate_render_script(self, site, job):
        return RenderedScript(text=self.text(job), argv=self.argv)


class SplitsNames(RunningScheduler):
    def hpcgate_render_script(self, site, job):
        return RenderedScript(text="", argv=("sbatch", "-J", *job.spec.name.split()))


def with_info(**changes):
    scheduler = RunningScheduler()
    scheduler.info = replace(scheduler.info, **changes)
    return scheduler


def renders(text, argv=()):
    return type("Renders", (Renders,), {"text": staticmethod(text), "argv": argv})()


class Forgetful(RunningScheduler):
    def hpcgate_scheduler_info(self):
        self.count = getattr(self, "count", 0) + 1
        return replace(self.info, summary=f"asked {self.count} times")


STATIC = {
    "two lines of summary": (lambda: with_info(summary="one\ntwo"), "test_info_is_complete", ()),
    "name with blanks": (lambda: with_info(name="a b"), "test_info_is_complete", ()),
    "changing info": (Forgetful, "test_info_is_always_the_same", ()),
    "newer contract": (lambda: with_info(contract="1.9"), "test_contract_version_is_one_that_the_host_has", ()),
    "no help": (lambda: with_info(settings=Helpless), "test_settings_have_help", ()),
    "not frozen": (lambda: with_info(settings=Changeable), "test_settings_cannot_be_changed", ()),
    "no such field": (lambda: with_info(fields={"resources.cores": "honoured"}), "test_declared_fields_exist", ()),
    "odd support": (lambda: with_info(fields={"name": "maybe"}), "test_declared_support_is_said_in_full", ()),
    "no scripts": (lambda: with_info(fields={"command": "honoured"}), "test_core_field_is_honoured", ("script",)),
    "no walltime": (
        lambda: with_info(fields={"command": "honoured"}, capabilities=frozenset({Capability.WALLTIME})),
        "test_capabilities_have_their_fields",
        (),
    ),
    "not installed": (RunningScheduler, "test_entry_point_has_its_name", ()),
    "secret in the text": (
        lambda: renders(lambda job: "".join(job.spec.secret_environment.values())),
        "test_rendering_shows_no_secret",
        (),
    ),
    "not the script": (lambda: renders(lambda job: "#!/bin/sh\n"), "test_script_is_part_of_what_is_shown", ()),
    "another script each time": (
        lambda: renders(lambda job, count=[]: count.append(1) or str(len(count))),
        "test_rendering_has_no_memory",
        (),
    ),
    "argv is a string": (
        lambda: renders(lambda job: "printf", "sbatch --x"),
        "test_script_with_awkward_args_and_environment",
        (AWKWARD[0],),
    ),
    "argv holds numbers": (
        lambda: renders(lambda job: "printf", ("sbatch", 1)),
        "test_script_with_awkward_args_and_environment",
        (AWKWARD[0],),
    ),
    "splits names": (
        SplitsNames,
        "test_attempts_are_refused_or_stay_values",
        ("name",),
    ),
    "writes directives from names": (
        lambda: renders(lambda job: f"#!/bin/sh\n#SBATCH {job.spec.name.removeprefix('x ')}\n"),
        "test_attempts_are_refused_or_stay_values",
        ("name",),
    ),
    "changes the environment": (
        lambda: renders(lambda job: os.environ.update(job.spec.environment) or ""),
        "test_rendering_leaves_the_environment_alone",
        (),
    ),
}


@pytest.mark.parametrize("case", STATIC)
def test_kit_finds_it_without_a_job(case, tmp_path, monkeypatch):
    make, test, args = STATIC[case]
    scheduler, good = make(), RunningScheduler()
    site = default_site("fake", good, tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("HPCGATE_KIT", "0")
    method = getattr(Suite(scheduler), test)
    arguments = {"plugin": scheduler, "info": scheduler.hpcgate_scheduler_info(), "site": site}
    names = method.__code__.co_varnames[1 : method.__code__.co_argcount]
    if "dry" in names:
        arguments["dry"] = Bench(host_of("fake", scheduler), site, LocalTransport())
    wanted = {name: arguments[name] for name in names if name in arguments}
    rest = dict(zip([name for name in names if name not in arguments], args, strict=True))
    with pytest.raises((AssertionError, HpcgateError)):
        method(**wanted, **rest)


def test_host_refuses_a_plugin_that_breaks_the_contract(tmp_path):
    class Misspelt(RunningScheduler):
        def hpcgate_poll_job(self, site, jobs, transport): ...

    with pytest.raises(HpcgateError, match="unknown hook 'hpcgate_poll_job'"):
        host_of("fake", Misspelt())


# --- nothing is left out --------------------------------------------------------------------------------------------

PREFIX = {
    Capability.ARRAY_LIMIT: "test_array_limit_",
    Capability.MEMORY: "test_memory_limit_",
}


@pytest.mark.parametrize("capability", Capability)
def test_each_capability_has_a_section(capability):
    prefix = PREFIX.get(capability, f"test_{capability.value}_")
    assert [name for name in dir(SchedulerConformance) if name.startswith(prefix)]


def test_spec_that_cannot_run_is_a_valid_spec():
    assert isinstance(SchedulerConformance().bad_spec(), JobSpec)
