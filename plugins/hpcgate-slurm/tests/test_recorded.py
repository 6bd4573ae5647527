"""What a live Slurm answered to the plugin's own commands, read again. ``record.py`` makes the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hpcgate_slurm import arrays
from hpcgate_slurm.accounting import Sacct
from hpcgate_slurm.queue import Squeue
from hpcgate_slurm.site import AdminLevel, Facts, Load, ShowConfig, Sinfo, SinfoNodes
from hpcgate_slurm.submit import Sbatch
from hpcgate_slurm.verbs import Scancel, Scontrol, Signal

from hpcgate.errors import JobRejected, SchedulerError
from hpcgate.model.job import Observation
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.scheduler.command import Answer

HERE = Path(__file__).parent / "recorded"
FILES = sorted(HERE.glob("*/*.json"))
VERSIONS = sorted({file.parent.name for file in FILES})
_COMMANDS: dict[str, Callable[[], object]] = {
    "sbatch": Sbatch, "queue": Squeue, "accounting": Sacct, "config": ShowConfig, "nodes": SinfoNodes,
    "queues": Sinfo, "rights": AdminLevel, "cancel": Scancel, "hold": Scontrol, "release": Scontrol,
    "requeue": Scontrol, "signal": Signal,
}  # fmt: skip


def answer(file: Path) -> Answer:
    content = json.loads(file.read_text(encoding="utf-8"))
    return Answer(content["command"][0], content["exit_status"], content["stdout"], content["stderr"])


def parse(version: str, name: str):
    kind = _COMMANDS[name.partition("-")[0]] if name != "queue-load" else Load
    command = Squeue(jobs=("1",)) if name == "queue-one-unknown" else kind()
    return command.parse(answer(HERE / version / f"{name}.json"))


def jobs(version: str, name: str) -> dict[str, Observation]:
    evidence = Evidence.QUEUE if name.startswith("queue") else Evidence.ACCOUNTING
    return {
        native_id: arrays.observe(rows, evidence) for native_id, rows in arrays.gather(parse(version, name)).items()
    }


def submitted(version: str, name: str) -> str:
    return parse(version, f"sbatch-{name}")


@dataclass(frozen=True)
class End:
    state: JobState
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None


S, R = JobState, Reason
ENDS = {
    "done": End(S.COMPLETED, exit_code=0),
    "failed": End(S.FAILED, R.EXIT_NONZERO, 3),
    "failed-high": End(S.FAILED, R.EXIT_NONZERO, 255),
    "signaled": End(S.FAILED, R.SIGNALED, signal=11),
    "unlaunched": End(S.FAILED, R.LAUNCH_FAILED),
    "child": End(S.CANCELED, R.DEPENDENCY_NEVER_SATISFIED),
    "parent": End(S.FAILED, R.EXIT_NONZERO, 1),
}


def end(seen: Observation) -> End:
    return End(seen.state, seen.reason, seen.exit_code, seen.signal)


pytestmark = pytest.mark.parametrize("version", VERSIONS)


def test_every_file_is_read_or_is_a_failure_that_is_understood(version):
    files = sorted((HERE / version).glob("*.json"))
    assert len(files) > 50
    for file in files:
        try:
            parse(version, file.stem)
        except (JobRejected, SchedulerError) as error:
            assert answer(file).exit_status != 0, file.name
            assert error.message


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("source", ["queue-ended", "accounting-ended"])
def test_how_a_job_ended(version, source, name):
    seen = jobs(version, source)[submitted(version, name)]
    wanted = ENDS[name]
    if name == "failed-high" and source == "accounting-ended":
        wanted = End(S.FAILED, R.EXIT_NONZERO, 127)  # sacct takes 128 off; the exit record makes it good
    assert end(seen) == wanted
    assert seen.ended_at is not None
    assert (seen.started_at is not None) == (wanted.reason not in (R.LAUNCH_FAILED, R.DEPENDENCY_NEVER_SATISFIED))


def test_accounting_knows_what_was_used_and_where(version):
    seen = jobs(version, "accounting-ended")[submitted(version, "done")]
    assert seen.nodes == ("c1", "c2")
    assert seen.usage.max_rss_kib > 1000
    assert seen.usage.cpu_time_s >= 0.05
    assert seen.submitted_at <= seen.started_at < seen.ended_at


def test_keys_come_from_the_comment_and_from_the_submit_line(version):
    for source in ("queue-ended", "accounting-ended"):
        assert jobs(version, source)[submitted(version, "done")].key == "01HPCGATERECORDEDJOB0000008"


def test_what_waits_and_why(version):
    queue = jobs(version, "queue-mixed")
    held, never, child = (queue[submitted(version, name)] for name in ("held", "never", "child"))
    assert (held.state, held.native_reason) == (S.HELD, "JobHeldUser")
    assert "holds it" in held.message
    assert (never.state, "will not start" in never.message) == (S.QUEUED, True)
    assert (child.state, child.message) == (S.QUEUED, "it waits for another job (Dependency)")
    assert jobs(version, "accounting-ended")[submitted(version, "held")].state is S.HELD


def test_what_a_refused_submit_leaves_behind_is_not_taken_for_a_run(version):
    with pytest.raises(JobRejected, match="Memory specification"):
        submitted(version, "memory")
    (left,) = [row for row in parse(version, "queue-ended") if row.refused]
    assert end(left.observe(Evidence.QUEUE)) == End(S.FAILED, R.SUBMIT_REJECTED)


def test_an_array_is_one_job(version):
    native_id = submitted(version, "array")
    begun = jobs(version, "queue-mixed")[native_id]
    assert begun.state is S.RUNNING
    assert [task.index for task in begun.tasks] == [1, 2, 3, 4, 5]
    assert {task.state for task in begun.tasks} == {S.COMPLETED, S.RUNNING, S.QUEUED}
    late = jobs(version, "queue-requeued")[native_id]
    assert end(late) == End(S.FAILED, R.EXIT_NONZERO, 1)
    assert [task.exit_code for task in late.tasks] == [0, 1, 0, 0, 0]


def test_an_array_that_waits_unfolds_from_both(version):
    native_id = submitted(version, "array-canceled")
    queue = jobs(version, "queue-array")[native_id]
    assert (queue.state, [task.index for task in queue.tasks]) == (S.QUEUED, [0, 3, 6, 9, 20])
    canceled = jobs(version, "accounting-canceled")[native_id]
    assert (canceled.state, canceled.reason) == (S.CANCELED, R.CANCELED_BY_USER)
    assert [task.index for task in canceled.tasks] == [0, 3, 6, 9, 20]


def test_heterogeneous_job_is_one_job(version):
    native_id = submitted(version, "het")
    assert jobs(version, "queue-mixed")[native_id].state is S.RUNNING
    assert end(jobs(version, "accounting-ended")[native_id]) == End(S.FAILED, R.SIGNALED, signal=10)


def test_requeued_job_is_the_same_job_anew(version):
    native_id = submitted(version, "requeue")
    seen = jobs(version, "queue-requeued")[native_id]
    assert (seen.state, seen.restarts, seen.started_at, seen.nodes) == (S.QUEUED, 1, None, ())
    last = jobs(version, "accounting-canceled")[native_id]
    assert (last.state, last.reason, last.restarts) == (S.CANCELED, R.CANCELED_BY_ADMIN, 1)


def test_who_canceled_it_and_what_ran_out_of_time(version):
    seen = jobs(version, "accounting-canceled")
    assert end(seen[submitted(version, "outside")]) == End(S.CANCELED, R.CANCELED_BY_ADMIN)
    assert end(seen[submitted(version, "never")]) == End(S.CANCELED, R.CANCELED_BY_USER)
    limit = submitted(version, "time-limit")
    assert end(seen[limit]) == End(S.FAILED, R.TIMEOUT)
    assert end(jobs(version, "queue-timeout")[limit]) == End(S.FAILED, R.TIMEOUT)


@pytest.mark.parametrize("name", ["no-partition", "no-option", "memory", "array-too-big", "gpus", "time"])
def test_refusals_are_for_good_and_in_slurms_words(version, name):
    with pytest.raises(JobRejected, match=r"^sbatch refuses the job: "):
        submitted(version, name)


@pytest.mark.parametrize(
    "name",
    [f"{command}-down" for command in "sbatch queue cancel queues config signal hold accounting".split()],
)
def test_nobody_answers(version, name):
    with pytest.raises(SchedulerError) as caught:
        parse(version, name)
    assert caught.value.transient


@pytest.mark.parametrize("name", ["hold-unknown", "requeue-unknown", "signal-unknown"])
def test_what_is_asked_of_a_job_that_is_not_there(version, name):
    with pytest.raises(SchedulerError, match="Invalid job id") as caught:
        parse(version, name)
    assert not caught.value.transient


@pytest.mark.parametrize("name", ["cancel", "cancel-again", "cancel-unknown", "cancel-array"])
def test_cancel_of_what_is_gone_is_no_error(version, name):
    assert parse(version, name) is None


@pytest.mark.parametrize("name", ["queue-empty", "queue-one-unknown", "accounting-unknown"])
def test_nothing_is_an_answer_too(version, name):
    assert parse(version, name) == ()


def test_site_is_described(version):
    main, debug = parse(version, "queues")
    assert (main.name, main.default, main.state, main.nodes, main.cpus) == ("main", True, "up", 4, 8)
    assert (debug.max_walltime_s, main.max_walltime_s) == (1800, None)
    assert parse(version, "queue-load")["main"] == (7, 5)
    nodes = parse(version, "nodes-mixed")
    assert [node.name for node in nodes] == ["c1", "c2", "c3", "c4"]
    assert (nodes[0].state, nodes[0].cpus, nodes[0].cpus_used, nodes[0].memory_mib) == ("allocated", 2, 2, 4000)


def test_configuration(version):
    facts = Facts(parse(version, "config"))
    assert (facts.get("SLURM_VERSION").rpartition(".")[0], facts.accounting) == (version, True)
    assert (facts.private_jobs, facts.comments_stored, facts.seconds("MinJobAge")) == (False, False, 20)
    assert Facts(parse(version, "config-private")).private_jobs


def test_completing_is_a_phase(version):
    rows = [row for row in parse(version, "queue-ended") if row.word == "RUNNING"]
    assert rows
    assert all(row.observe(Evidence.QUEUE).phase is not Phase.STARTING for row in rows)
