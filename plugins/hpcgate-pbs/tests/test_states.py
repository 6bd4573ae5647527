"""The tables of states and endings, and what they make of rows."""

from __future__ import annotations

import pytest
from hpcgate_pbs.observe import has_begun, observe
from hpcgate_pbs.states import ENDED, EXECUTION_FAILURES, LETTERS, SUBSTATES, WAITING
from hpcgate_pbs.values import epoch, hosts, indices, kib, seconds

from hpcgate.model.state import AT_SCHEDULER, Evidence, JobState, Phase, Reason

TIMES = {
    "ctime": "Tue Mar  3 08:00:00 2026",
    "stime": "Tue Mar  3 08:00:05 2026",
    "obittime": "Tue Mar  3 08:01:05 2026",
}


def seen(letter, substate=None, *, native_id="1.head", **more):
    row = {"job_state": letter, "Job_Owner": "ann@login", "ctime": TIMES["ctime"], **more}
    if substate is not None:
        row["substate"] = str(substate)
    return observe({native_id: row}, Evidence.QUEUE).get(native_id)


def ended(exit_status=None, substate=92, **more):
    given = {} if exit_status is None else {"Exit_status": str(exit_status)}
    return seen("F", substate, **TIMES | given | more)


@pytest.mark.parametrize(
    ("letter", "substate", "state", "phase"),
    [
        ("Q", 10, JobState.QUEUED, None),
        ("W", 30, JobState.QUEUED, None),
        ("W", 11, JobState.QUEUED, None),
        ("T", 1, JobState.QUEUED, None),
        ("H", 20, JobState.HELD, None),
        ("H", 22, JobState.QUEUED, None),
        ("H", 37, JobState.HELD, None),
        ("H", None, JobState.HELD, None),
        ("R", 41, JobState.QUEUED, Phase.STARTING),
        ("R", 71, JobState.QUEUED, Phase.STARTING),
        ("R", 72, JobState.QUEUED, Phase.STARTING),
        ("R", 42, JobState.RUNNING, None),
        ("R", 43, JobState.SUSPENDED, None),
        ("S", 43, JobState.SUSPENDED, None),
        ("S", 45, JobState.SUSPENDED, None),
        ("U", 45, JobState.SUSPENDED, None),
        ("E", 50, JobState.RUNNING, Phase.COMPLETING),
        ("E", 51, JobState.RUNNING, Phase.COMPLETING),
        ("E", 60, JobState.RUNNING, Phase.COMPLETING),
        ("M", None, None, None),
        ("0", None, None, None),
        ("", None, None, None),
    ],
)
def test_a_job_that_has_not_ended(letter, substate, state, phase):
    found = seen(letter, substate)
    assert (found.state, found.phase) == (state, phase)


def test_the_tables_hold_no_finals():
    """How a job ended is told by its exit status, never by its letter alone."""
    assert {meaning.state for meaning in (*LETTERS.values(), *SUBSTATES.values())} <= AT_SCHEDULER | {None}
    assert not ENDED & LETTERS.keys()
    assert WAITING <= LETTERS.keys()


@pytest.mark.parametrize("letter", sorted(ENDED))
def test_every_final_letter_is_read_by_its_exit_status(letter):
    assert seen(letter, 92, **TIMES, Exit_status="0").state is JobState.COMPLETED
    assert seen(letter, 92, **TIMES, Exit_status="4").exit_code == 4


def test_torque_writes_its_exit_status_small():
    assert seen("C", None, **TIMES, exit_status="4").exit_code == 4


@pytest.mark.parametrize(
    ("status", "state", "reason", "code", "signal"),
    [
        (0, JobState.COMPLETED, None, 0, None),
        (1, JobState.FAILED, Reason.EXIT_NONZERO, 1, None),
        (127, JobState.FAILED, Reason.EXIT_NONZERO, 127, None),
        (128, JobState.FAILED, Reason.EXIT_NONZERO, 128, None),
        (137, JobState.FAILED, Reason.SIGNALED, None, 9),
        (143, JobState.FAILED, Reason.SIGNALED, None, 15),
        (255, JobState.FAILED, Reason.EXIT_NONZERO, 255, None),
        (256, JobState.FAILED, Reason.EXIT_NONZERO, 255, None),
        (265, JobState.FAILED, Reason.SIGNALED, None, 9),
        (271, JobState.FAILED, Reason.SIGNALED, None, 15),
    ],
)
def test_exit_status(status, state, reason, code, signal):
    found = ended(status, 93 if status else 92)
    assert (found.state, found.reason, found.exit_code, found.signal) == (state, reason, code, signal)


@pytest.mark.parametrize("status", sorted(EXECUTION_FAILURES))
def test_negative_exit_status(status):
    found = ended(status, 93)
    assert (found.state, found.exit_code, found.signal) == (JobState.FAILED, None, None)
    assert found.reason is EXECUTION_FAILURES[status].reason
    assert f"Exit_status {status}" in found.message


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (-24, Reason.LIMIT_EXCEEDED),
        (-25, Reason.LIMIT_EXCEEDED),
        (-26, Reason.OUT_OF_MEMORY),
        (-27, Reason.OUT_OF_MEMORY),
        (-28, Reason.TIMEOUT),
        (-29, Reason.TIMEOUT),
        (-1, Reason.LAUNCH_FAILED),
        (-14, Reason.NODE_FAIL),
        (-99, Reason.LAUNCH_FAILED),
    ],
)
def test_limits_and_launch_failures(status, reason):
    assert ended(status, 93).reason is reason


def test_a_job_that_never_ran_because_of_a_dependency_is_canceled():
    """Substate 92 is no success where there is neither an exit status nor a start."""
    found = seen("F", 92, depend="afterok:0.head@head")
    assert (found.state, found.reason) == (JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED)
    assert (found.exit_code, found.started_at) == (None, None)


def test_a_job_that_others_wait_for_did_not_wait_itself():
    """PBS notes on both sides who waits for whom."""
    found = seen("F", 92, depend="beforeok:9.head@head")
    assert (found.state, found.reason) == (JobState.CANCELED, None)


def test_an_array_that_never_began_because_of_a_dependency_is_canceled():
    found = seen(
        "F", 92, native_id="7[].head", depend="afterok:0.head@head", array_indices_submitted="4-6"
    )  # fmt: skip
    assert (found.state, found.reason) == (JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED)
    assert [task.index for task in found.tasks] == [4, 5, 6]


def test_tasks_that_still_seem_to_wait_do_not_outlive_their_array():
    parent = {"job_state": "F", "substate": "92", "depend": "afterok:0.head@head", "array_indices_submitted": "4-5"}
    rows = {"7[].head": parent, "7[4].head": {"job_state": "Q", "substate": "10"}}
    found = observe(rows, Evidence.ACCOUNTING)["7[].head"]
    assert (found.state, len(found.tasks)) == (JobState.CANCELED, 2)


def test_a_finished_array_whose_tasks_are_not_told_is_no_answer():
    row = {**TIMES, "array_indices_submitted": "4-6", "Exit_status": "0"}
    assert seen("F", 92, native_id="7[].head", **row) is None


@pytest.mark.parametrize(
    ("holds", "state"), [("s", JobState.QUEUED), ("us", JobState.HELD), ("os", JobState.HELD), ("ps", JobState.HELD)]
)
def test_a_job_that_waits_for_others_is_held_where_somebody_holds_it_too(holds, state):
    assert seen("H", 22, Hold_Types=holds, depend="afterok:0.head@head").state is state


def test_a_job_that_never_ran_for_no_known_reason_is_canceled_without_one():
    assert (seen("F", 92).state, seen("F", 92).reason) == (JobState.CANCELED, None)


def test_a_job_that_pbs_failed_to_start_failed():
    assert (seen("F", 93).state, seen("F", 93).reason) == (JobState.FAILED, Reason.LAUNCH_FAILED)


def test_a_job_that_ran_and_of_which_no_exit_status_is_left_is_no_answer():
    """COMPLETED needs evidence, and so does FAILED: the record in the job's folder is asked next."""
    assert ended() is None


def test_zero_of_a_failed_job_is_no_success():
    assert ended(0, 93).state is JobState.FAILED


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("Job run at ... and terminated by ann@login", Reason.CANCELED_BY_USER),
        ("Job run at ... and terminated by root@head", Reason.CANCELED_BY_ADMIN),
        ("job held, too many failed attempts to run and terminated", None),
        (None, None),
    ],
)
def test_a_deleted_job_says_who_deleted_it(comment, reason):
    found = ended(271, 91, **({"comment": comment} if comment else {}))
    assert (found.state, found.reason, found.signal) == (JobState.CANCELED, reason, 15)


@pytest.mark.parametrize(
    ("letter", "substate", "runs", "restarts"),
    [("Q", 10, None, 0), ("Q", 10, 1, 1), ("H", 20, 2, 2), ("R", 42, 1, 0), ("R", 42, 3, 2), ("R", 42, None, None)],
)
def test_runs_are_counted(letter, substate, runs, restarts):
    """A job that waits again is one run further than its count."""
    assert seen(letter, substate, **({"run_count": str(runs)} if runs else {})).restarts == restarts


def test_where_and_how_long_it_ran():
    found = ended(
        0,
        exec_host="n7/0*4+n8/1+n7/2",
        **{"resources_used.cput": "30:00:01", "resources_used.mem": "2gb", "Variable_List.HPCGATE_JOB_KEY": "K"},
    )
    assert found.nodes == ("n7", "n8")
    assert (found.usage.cpu_time_s, found.usage.max_rss_kib) == (108_001.0, 2 << 20)
    assert (found.submitted_at, found.started_at, found.ended_at) == (1772524800.0, 1772524805.0, 1772524865.0)
    assert (found.key, found.account) == ("K", "ann")


def test_why_it_waits_is_told():
    words = "Not Running: Insufficient amount of resource: ncpus (R: 64 A: 2 T: 2)"
    assert seen("Q", 10, comment=words).message == words
    assert seen("R", 42, comment="Job run at ...").message is None


# --- arrays -------------------------------------------------------------------------------------------------------


def array(parent, **tasks):
    """``array((letter, substate), t3=row)``: an array of the indices 3 to 5."""
    letter, substate, *more = parent
    rows = {
        "9[].head": {
            "job_state": letter,
            "substate": str(substate),
            "array_indices_submitted": "3-5",
            "Job_Owner": "ann@login",
            **(more[0] if more else {}),
        }
    }
    for name, row in tasks.items():
        rows[f"9[{name[1:]}].head"] = {"Job_Owner": "ann@login", **row}
    return observe(rows, Evidence.QUEUE).get("9[].head")


def task(letter, substate=None, exit_status=None):
    row = {"job_state": letter}
    if letter in "RFX":
        row |= {"stime": TIMES["stime"], "exec_host": "n7/0"}
    if letter in "FX":
        row |= {"obittime": TIMES["obittime"]}
    if substate is not None:
        row["substate"] = str(substate)
    if exit_status is not None:
        row["Exit_status"] = str(exit_status)
    return row


GOOD, BAD = task("X", 92, 0), task("X", 93, 3)


def test_the_exit_status_of_the_parent_says_nothing():
    done = array(("F", 92, {"Exit_status": "0"}), t3=GOOD, t4=BAD, t5=GOOD)
    assert (done.state, done.reason, done.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 3)
    assert [each.native_id for each in done.tasks] == ["9[3].head", "9[4].head", "9[5].head"]


def test_an_array_is_complete_once_every_task_is():
    assert array(("F", 92), t3=GOOD, t4=GOOD, t5=GOOD).state is JobState.COMPLETED
    assert array(("F", 92), t3=GOOD, t5=GOOD) is None, "nothing is known of one of its tasks"


def test_an_array_runs_while_one_task_does():
    assert array(("B", 70), t3=GOOD, t4=task("R", 42), t5=task("Q", 10)).state is JobState.RUNNING


def test_an_array_runs_on_where_nothing_is_told_of_tasks_that_are_over():
    found = array(("B", 70), t3={"job_state": "X"}, t4=task("Q", 10), t5=task("Q", 10))
    assert found.state is JobState.RUNNING
    assert [each.index for each in found.tasks] == [4, 5]


def test_a_task_that_waits_has_not_started():
    """PBS shows the start of the whole array on it."""
    found = array(("B", 70), t3=task("R", 42), t4=task("Q", 10) | {"stime": TIMES["stime"]})
    assert [each.started_at for each in found.tasks] == [1772524805.0, None]


def test_a_deleted_array_is_canceled_also_where_tasks_had_not_begun():
    found = array(("F", 91, {"comment": "and terminated by ann@login"}), t3=GOOD)
    assert found.state is JobState.CANCELED
    assert [each.state for each in found.tasks] == [JobState.COMPLETED, JobState.CANCELED, JobState.CANCELED]
    assert found.reason is Reason.CANCELED_BY_USER


def test_an_array_that_waits_or_is_held():
    assert array(("Q", 10)).state is JobState.QUEUED
    assert array(("H", 20)).state is JobState.HELD


@pytest.mark.parametrize(
    ("letter", "counts", "begun"),
    [
        ("Q", "Queued:3 Running:0 Exiting:0 Expired:0 ", False),
        ("Q", "Queued:2 Running:1 Exiting:0 Expired:0 ", True),
        ("B", "Queued:2 Running:0 Exiting:0 Expired:1 ", True),
        ("B", "", True),
        ("H", "Queued:3 Running:0 Exiting:0 Expired:0 ", False),
    ],
)
def test_tasks_are_asked_for_once_an_array_has_begun(letter, counts, begun):
    assert has_begun({"job_state": letter, "array_state_count": counts}) is begun


def test_tasks_of_an_array_that_is_not_told_are_no_jobs():
    assert observe({"9[3].head": task("R", 42)}, Evidence.QUEUE) == {}


def test_an_array_whose_indices_are_not_told_never_ends():
    found = {"9[].head": {"job_state": "F", "substate": "92"}, "9[3].head": GOOD}
    assert observe(found, Evidence.QUEUE) == {}
    assert observe({"9[].head": {"job_state": "B"}}, Evidence.QUEUE)["9[].head"].state is JobState.RUNNING


# --- values -------------------------------------------------------------------------------------------------------


def test_values():
    assert epoch("Sun Nov 22 00:54:32 2026") == 1795308872.0
    assert (epoch("1795308872"), epoch("soon"), epoch(None)) == (1795308872.0, None, None)
    assert (seconds("100:00:00"), seconds("90"), seconds("1:30"), seconds("x")) == (360000.0, 90.0, 90.0, None)
    assert (kib("7076kb"), kib("1gb"), kib("2048b"), kib("2048"), kib("x"), kib("128w")) == (
        7076,
        1 << 20,
        2,
        2,
        None,
        1,
    )
    assert hosts("a/0*2+b/1+a/3") == ("a", "b")
    assert (indices("1-3"), indices("2-6:2%2"), indices("1,4-5")) == ((1, 2, 3), (2, 4, 6), (1, 4, 5))
