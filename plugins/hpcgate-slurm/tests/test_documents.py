"""JSON documents of several versions of Slurm, cut to what is read. Recorded ones stand in ``documents``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hpcgate_slurm import arrays
from hpcgate_slurm.documents import choose, read_jobs
from hpcgate_slurm.indices import indices
from hpcgate_slurm.queue import Squeue
from hpcgate_slurm.site import JsonParsers
from hpcgate_slurm.states import CAUSES, FLAGS, STATES, shown

from hpcgate.errors import SchedulerError
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.scheduler.command import Answer

HERE = Path(__file__).parent / "documents"
S = JobState


def recorded(version: str):
    rows = read_jobs((HERE / f"squeue-{version}.json").read_text(encoding="utf-8"))
    return {name: arrays.observe(each, Evidence.QUEUE) for name, each in arrays.gather(rows).items()}


def one(**job):
    (row,) = read_jobs(json.dumps({"jobs": [{"job_id": 7, "job_state": ["RUNNING"], **job}], "errors": []}))
    return row


def number(value: int | None) -> dict:
    return {"set": value is not None, "infinite": False, "number": value or 0}


def test_a_recorded_document_of_22_05():
    jobs = recorded("22.05")
    assert {name: seen.state for name, seen in jobs.items()} == {"60": S.CANCELED, "73": S.RUNNING, "494": S.RUNNING}
    assert (jobs["73"].nodes, jobs["73"].submitted_at, jobs["73"].restarts) == (("c1", "c2"), 1795309209.0, 0)
    assert jobs["494"].nodes == ("c1", "c2"), "two components are one job"


def test_a_recorded_document_of_26_05():
    jobs = recorded("26.05")
    assert {name: seen.state for name, seen in jobs.items()} == {"1": S.RUNNING, "21": S.QUEUED}
    assert (jobs["1"].nodes, jobs["1"].started_at, jobs["1"].account) == (("d1", "d2"), 1795310137.0, "ann")
    assert (jobs["21"].native_reason, jobs["21"].nodes) == ("Resources", ())


@pytest.mark.parametrize(
    ("told", "ending"),
    [
        (768, (3, 0)), (11, (0, 11)), (None, (None, None)),
        ({"return_code": 3, "status": "ERROR"}, (3, 0)),
        ({"return_code": number(3), "signal": {"id": number(None), "name": ""}}, (3, 0)),
        ({"return_code": number(None), "signal": {"id": number(9), "name": "KILL"}}, (None, 9)),
        ({"return_code": 0, "signal": {"signal_id": 9}}, (0, 0)),
    ],
)  # fmt: skip
def test_exit_codes_of_all_forms(told, ending):
    row = one(exit_code=told)
    assert (row.exit_code, row.signal) == ending


def test_tasks_that_wait_together_are_folded_open():
    job = {"job_id": 9, "array_job_id": number(9), "array_task_id": number(None), "array_task_string": "1-5:2,8%2"}
    rows = read_jobs(json.dumps({"jobs": [{**job, "job_state": ["PENDING"]}]}))
    assert [(row.native_id, row.index) for row in rows] == [("9", 1), ("9", 3), ("9", 5), ("9", 8)]
    cut = {**job, "job_state": ["PENDING"], "array_task_string": "1,3,5,..."}
    assert read_jobs(json.dumps({"jobs": [cut]})) == ()


def test_one_task_has_its_own_row():
    row = one(array_job_id=number(9), array_task_id=number(0))
    assert (row.native_id, row.index) == ("9", 0)


@pytest.mark.parametrize("comment", ["hpcgate:01KEY:3", {"job": "hpcgate:01KEY:3", "system": ""}])
def test_a_comment_is_text_or_an_object(comment):
    mark = one(comment=comment).mark
    assert (mark.key, mark.tasks) == ("01KEY", 3)


def test_times_that_are_not_known():
    row = one(start_time=0, end_time=number(None), submit_time=number(5))
    assert (row.started_at, row.ended_at, row.submitted_at) == (None, None, 5.0)


@pytest.mark.parametrize("text", ["[]", "{}", '{"jobs": 1}', "{", "", '{"jobs": [], "errors": ["no"]}', "null"])
def test_what_is_no_listing_is_no_answer(text):
    class Silent:
        def run(self, *_args, **_more):
            return type("Result", (), {"exit_status": 0, "out": text, "err": ""})()

    with pytest.raises(SchedulerError) as caught:
        Squeue(version="v0.0.42").run(Silent())
    assert caught.value.transient


def test_old_versions_list_all_whatever_is_asked():
    text = (HERE / "squeue-22.05.json").read_text()
    rows = Squeue(jobs=("73",), version="").parse(Answer("squeue", 0, text, ""))
    assert {row.native_id for row in rows} == {"73"}


def test_the_version_is_named_where_there_are_several():
    assert "--json=v0.0.42" in Squeue(version="v0.0.42").words()
    assert "--json" in Squeue(version="").words()
    assert choose("data_parser/v0.0.43\ndata_parser/v0.0.42\ndata_parser/v9.9.99\n") == "v0.0.43"
    assert choose("data_parser/v9.9.99") == ""
    refuses = Answer("squeue", 1, "", "squeue: option '--json' doesn't allow an argument\n")
    assert JsonParsers().parse(refuses) == ""
    assert JsonParsers().parse(Answer("squeue", 1, "", "squeue: unrecognized option '--json=list'\n")) is None


# --- states and flags


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["RUNNING"], "RUNNING"), (["COMPLETED", "COMPLETING"], "COMPLETING"), (["PENDING", "REQUEUED"], "REQUEUED"),
        (["RUNNING", "CONFIGURING", "POWER_UP_NODE"], "CONFIGURING"), (["PENDING", "POWER_UP_NODE"], "POWER_UP_NODE"),
        (["FAILED", "LAUNCH_FAILED"], "LAUNCH_FAILED"), (["PENDING", "LAUNCH_FAILED"], "PENDING"),
        (["FAILED", "RECONFIG_FAIL"], "RECONFIG_FAIL"), (["PENDING", "SPECIAL_EXIT"], "SPECIAL_EXIT"),
        (["SUSPENDED", "STOPPED"], "STOPPED"), (["NEWS"], "NEWS"), ([], ""),
    ],
)  # fmt: skip
def test_of_several_words_one_counts(words, word):
    assert shown(words) == word
    assert shown(list(reversed(words))) == word


def test_a_flag_that_says_why_a_job_failed():
    row = one(job_state=["FAILED", "LAUNCH_FAILED"], exit_code=256, nodes="c1")
    assert (row.state, row.why()) == (S.FAILED, Reason.LAUNCH_FAILED)


def test_completing_hides_the_end():
    seen = one(job_state=["FAILED", "COMPLETING"]).observe(Evidence.QUEUE)
    assert (seen.state, seen.phase, seen.ended_at) == (S.RUNNING, Phase.COMPLETING, None)


def test_every_flag_has_a_meaning():
    assert set(FLAGS) | set(CAUSES) <= STATES.keys()


def test_lists_of_indices():
    assert list(indices("[0,3-9:3%1]")) == [0, 3, 6, 9]
    for wrong in ("", "a", "0-99999999"):
        with pytest.raises(ValueError, match=r"\S"):
            list(indices(wrong))
