"""Every endpoint, and every error of it: golden requests and answers."""

from __future__ import annotations

import threading

import pytest
from rimrock_bench import ADMIN, BRIEF_KEYS, HOST, SCRIPT, in_shape, open_bench

from hpcgate.errors import CommandTimeout, JobRejected, SchedulerError, TransportError
from hpcgate.model.job import Attempt
from hpcgate.model.query import JobFilter
from hpcgate.model.state import JobState, Reason

UNKNOWN = "77.ares.cyfronet.pl"


# --- POST /api/jobs


def test_a_job_is_started(bench):
    started = bench.start(tag="vapor", working_directory="~/made/by need", something="else")
    assert list(started) == BRIEF_KEYS
    kept = bench.fake.jobs[-1]
    folder = kept.job.folder
    assert started == {
        "job_id": f"{kept.native_id}.{HOST}",
        "stdout_path": f"{folder}/stdout",
        "stderr_path": f"{folder}/stderr",
        "status": "QUEUED",
        "tag": "vapor",
    }
    made = bench.home / "made" / "by need"
    assert made.is_dir()
    assert (kept.job.spec.script, kept.job.spec.working_directory) == (SCRIPT, str(made))
    assert bench.fake.calls["render"] == 1, "all that a submit asks of the script, it asks once"


def test_without_a_directory_a_job_starts_at_home_and_writes_into_a_folder_of_its_own(bench):
    started = [bench.start() for _ in range(3)]
    assert {known.job.spec.working_directory for known in bench.fake.jobs[-3:]} == {str(bench.home)}
    assert len({each["stdout_path"] for each in started}) == 3
    assert all(each["tag"] is None for each in started)


def test_jobs_may_start_in_a_folder_of_their_own(tmp_path):
    with open_bench(tmp_path / "gateway", default_directory="job") as bench:
        bench.start()
        assert bench.fake.jobs[0].job.spec.working_directory is None


def test_the_id_keeps_the_name_that_was_asked_for(bench):
    assert bench.start(host="athena.cyfronet.pl")["job_id"] == f"{bench.newest.native_id}.athena.cyfronet.pl"
    assert bench.start(host="ares")["job_id"] == f"{bench.newest.native_id}.ares"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"script": SCRIPT}, "host: missing data for required field"),
        ({"host": HOST}, "script: missing data for required field"),
        ({"host": "", "script": SCRIPT}, "host: shorter than minimum length 1"),
        ({"host": 7, "script": SCRIPT}, "host: not a valid string"),
        ({"host": HOST, "script": ""}, "script: is empty"),
        ({"host": HOST, "script": "echo"}, "script: must start with '#!'"),
        ({"host": HOST, "script": SCRIPT, "tag": "a\nb"}, "tag: holds the control character"),
        ({"host": HOST, "script": SCRIPT, "tag": "x" * 256}, "tag: longer than maximum length 255"),
        ({"host": HOST, "script": SCRIPT, "working_directory": "~eve"}, "working_directory: '~eve' is not expanded"),
        (b"{", "the body is no JSON"),
        (b"[]", "body: invalid input type"),
        (b"", "host: missing data for required field"),
    ],
)
def test_what_is_wrong_with_a_request_is_422_and_names_the_field(shared, body, message):
    before = shared.gateway.jobs.count(ADMIN, JobFilter())
    told = in_shape(shared.ask("POST", "/api/jobs", body), 422)
    assert told["error_message"].startswith(message)
    assert (told["exit_code"], told["standard_output"], told["error_output"]) == (-1, "", "")
    assert shared.gateway.jobs.count(ADMIN, JobFilter()) == before


def test_an_unknown_host_is_500(bench):
    told = in_shape(bench.ask("POST", "/api/jobs", {"host": "zeus.cyfronet.pl", "script": SCRIPT}), 500)
    assert told["error_message"].startswith("host: there is no site 'zeus.cyfronet.pl'")


def test_what_the_scheduler_refuses_is_500_with_its_words(bench):
    bench.fake.fail_next("submit", JobRejected("sbatch refuses the job: invalid account"))
    told = in_shape(bench.ask("POST", "/api/jobs", {"host": HOST, "script": SCRIPT}), 500)
    assert told["exit_code"] == 1
    assert told["error_output"] == told["error_message"]
    assert "sbatch refuses the job: invalid account" in told["error_output"]
    assert bench.ask("GET", "/api/jobs").json == []


@pytest.mark.parametrize("error", [SchedulerError("slurmctld is busy"), TransportError("cannot be reached")])
def test_a_host_that_does_not_take_jobs_is_500_and_the_job_is_withdrawn(bench, error):
    bench.fake.fail_next("submit", error)
    told = in_shape(bench.ask("POST", "/api/jobs", {"host": HOST, "script": SCRIPT}), 500)
    assert error.message in told["error_message"]
    assert ends(bench) == (JobState.CANCELED, Reason.SUBMIT_TIMEOUT)
    assert bench.ask("GET", "/api/jobs").json == []


def test_a_host_that_is_too_slow_is_408_and_the_job_is_canceled_there(tmp_path):
    with open_bench(tmp_path / "gateway", timeout_s=0.5) as bench:
        bench.start()
        with bench.fake.pause("submit"):
            told = in_shape(bench.ask("POST", "/api/jobs", {"host": HOST, "script": SCRIPT}), 408)
            assert told["error_message"].startswith("timeout")
            assert told["exit_code"] == -1
        assert ends(bench) == (JobState.CANCELED, Reason.SUBMIT_TIMEOUT)
        assert len(bench.ask("GET", "/api/jobs").json) == 1


def test_a_lost_answer_is_408_and_no_job(bench):
    bench.fake.lose_answer_next_submit()
    told = in_shape(bench.ask("POST", "/api/jobs", {"host": HOST, "script": SCRIPT}), 408)
    assert told["error_message"].startswith("timeout: site 'ares' did not say that it took the job: ")
    assert told["exit_code"] == -1
    assert ends(bench) == (JobState.CANCELED, Reason.SUBMIT_TIMEOUT)
    assert set(bench.fake.canceled) == {bench.fake.jobs[-1].native_id}, "the scheduler had it, and was told"


def ends(bench):
    """How the newest job ends."""
    for _ in range(400):
        newest = bench.newest
        if newest.state.final:
            return newest.state, newest.reason
        bench.step()
        threading.Event().wait(0.01)
    raise AssertionError(newest)


def test_a_scheduler_that_counts_from_the_start_again(bench):
    old = bench.start(tag="old")["job_id"]
    bench.becomes(old, JobState.COMPLETED)
    again = f"{int(bench.newest.native_id) + 1}.{HOST}"
    bench.gateway.foreign.give(ADMIN, bench.newest.id, "rimrock", again, scope=bench.names["ann"])
    assert bench.start(tag="new")["job_id"] == again
    assert bench.ask("GET", f"/api/jobs/{again}").json["tag"] == "new"


# --- GET


def test_jobs_are_listed_newest_first(bench):
    ids = [bench.start(tag=tag)["job_id"] for tag in ("a", "b", "a")]
    bench.start("bob", tag="a")
    assert [each["job_id"] for each in bench.ask("GET", "/api/jobs").json] == ids[::-1]
    listed = lambda query: [each["job_id"] for each in bench.ask("GET", f"/api/jobs?{query}").json]  # noqa: E731
    assert listed("tag=a") == [ids[2], ids[0]]
    assert listed("tag=none") == []
    assert listed("tag=") == ids[::-1]
    assert listed(f"job_id={ids[1]}&job_id={ids[0]}&job_id={UNKNOWN}") == [ids[1], ids[0]]
    assert listed(f"job_id={ids[1]}&tag=a") == []


def test_a_list_of_ids_of_which_none_is_known_is_404_and_names_them(bench):
    told = in_shape(bench.ask("GET", f"/api/jobs?job_id={UNKNOWN}&job_id=78.x"), 404)
    assert told["error_message"] == f"Job with {UNKNOWN}, 78.x id does not exist (not found)"


def test_nobody_has_jobs_at_first(bench):
    assert bench.ask("GET", "/api/jobs").json == []


def test_what_a_run_tells_is_there_once_it_is_known(bench):
    job_id = bench.start()["job_id"]
    assert list(bench.ask("GET", f"/api/jobs/{job_id}").json) == BRIEF_KEYS
    running = bench.becomes(job_id, JobState.RUNNING, nodes=("c1", "c2"))
    assert running["status"] == "RUNNING"
    assert set(running) - set(BRIEF_KEYS) == {"nodes", "cores", "start_time", "queue_time"}
    ended = bench.becomes(job_id, JobState.COMPLETED)
    assert ended["status"] == "FINISHED"
    assert set(ended) - set(running) == {"end_time", "wall_time"}
    assert running["nodes"] == ended["nodes"] == "2"
    assert bench.ask("GET", "/api/jobs").json == [ended]
    (short,) = bench.ask("GET", "/api/jobs?format=short").json
    assert list(short) == BRIEF_KEYS
    assert bench.ask("GET", "/api/jobs?format=other").json == [ended]


def test_a_job_that_is_put_back_keeps_what_was_known(bench, monkeypatch):
    job_id = bench.start()["job_id"]
    before = bench.becomes(job_id, JobState.RUNNING, nodes=("c1",))
    bench.fake.set_state(job_id.partition(".")[0], JobState.QUEUED, restarts=1)
    for _ in range(200):
        bench.step()
        now = bench.ask("GET", f"/api/jobs/{job_id}").json
        if now["status"] == "QUEUED":
            break
    assert now == before | {"status": "QUEUED"}
    assert isinstance(bench.gateway.jobs.attempts(ADMIN, bench.newest.id)[0], Attempt)


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", {"action": "abort"}), ("DELETE", None)])
def test_a_job_that_is_not_there_or_anothers_is_404(bench, method, body):
    theirs = bench.start("bob")["job_id"]
    for job_id in (UNKNOWN, theirs, "77", "no such"):
        told = in_shape(bench.ask(method, f"/api/jobs/{job_id}", body), 404)
        assert told["error_message"] == f"Job with {job_id} id does not exist (not found)"
        assert told["exit_code"] == 0
    assert bench.fake.canceled == []


def test_no_host_is_asked_by_those_that_look(bench):
    job_id = bench.start()["job_id"]
    before = dict(bench.fake.calls)
    for path in ("/api/jobs", f"/api/jobs/{job_id}", "/api/jobs?format=short", f"/api/jobs?job_id={job_id}"):
        assert bench.ask("GET", path).status_code == 200
    assert dict(bench.fake.calls) == before


# --- PUT and DELETE


def test_abort_keeps_the_job(bench):
    job_id = bench.start()["job_id"]
    answer = bench.ask("PUT", f"/api/jobs/{job_id}", {"action": "abort"})
    assert (answer.status_code, answer.data) == (204, b"")
    for _ in range(200):
        bench.step()
        if (now := bench.ask("GET", f"/api/jobs/{job_id}").json)["status"] != "QUEUED":
            break
    assert now["status"] == "ABORTED"
    assert bench.ask("GET", "/api/jobs").json == [now]


def test_abort_leaves_a_job_that_has_ended_as_it_is(bench):
    job_id = bench.start()["job_id"]
    ended = bench.becomes(job_id, JobState.COMPLETED)
    assert bench.ask("PUT", f"/api/jobs/{job_id}", {"action": "abort"}).status_code == 204
    assert bench.ask("GET", f"/api/jobs/{job_id}").json == ended
    assert bench.fake.canceled == []


@pytest.mark.parametrize("body", [{"action": "start"}, {"action": ""}, {"action": None}, {}, b"", b"[1]"])
def test_any_other_action_is_422(bench, body):
    job_id = bench.start()["job_id"]
    told = in_shape(bench.ask("PUT", f"/api/jobs/{job_id}", body), 422)
    assert told["error_message"].startswith(("action: ", "body: "))
    assert bench.fake.canceled == []


def test_delete_aborts_and_forgets_and_removes_no_files(bench):
    job_id = bench.start()["job_id"]
    answer = bench.ask("DELETE", f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.data) == (204, b"")
    assert bench.fake.canceled == [job_id.partition(".")[0]]
    in_shape(bench.ask("GET", f"/api/jobs/{job_id}"), 404)
    in_shape(bench.ask("DELETE", f"/api/jobs/{job_id}"), 404)
    assert bench.ask("GET", "/api/jobs").json == []
    assert bench.newest.folder is not None, "the gateway still knows it"


def test_a_host_that_does_not_hear_of_it_keeps_nobody(bench, monkeypatch):
    monkeypatch.setattr("hpcgate_dialect_rimrock.routes.CANCEL_S", 0.2)
    job_id = bench.start()["job_id"]
    with bench.fake.pause("cancel"):
        assert bench.ask("PUT", f"/api/jobs/{job_id}", {"action": "abort"}).status_code == 204
        assert bench.newest.canceling
    assert ends(bench)[0] is JobState.CANCELED


def test_a_wish_that_is_not_noted_in_time_is_408(bench, monkeypatch):
    monkeypatch.setattr("hpcgate_dialect_rimrock.routes.CANCEL_S", 0.1)
    job_id = bench.start()["job_id"]
    gate = threading.Event()
    monkeypatch.setattr(bench.gateway.jobs, "cancel", lambda *_: gate.wait(20))
    try:
        told = in_shape(bench.ask("DELETE", f"/api/jobs/{job_id}"), 408)
    finally:
        gate.set()
    assert told["error_message"].startswith("timeout")
    assert bench.ask("GET", f"/api/jobs/{job_id}").status_code == 200, "it was not forgotten"


# --- output


def test_output_is_read_by_id(bench):
    job_id = bench.start()["job_id"]
    for stream, text in (("stdout", b"hello\n"), ("stderr", b"\xff")):
        bench.fake.job(job_id.partition(".")[0]).output[stream] = text
        answer = bench.ask("GET", f"/api/jobs/{job_id}/{stream}")
        assert (answer.status_code, answer.data, answer.headers["X-Size"]) == (200, text, str(len(text)))
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert bench.ask("GET", f"/api/jobs/{job_id}/stdout?offset=2").data == b"llo\n"
    in_shape(bench.ask("GET", f"/api/jobs/{job_id}/stdout?offset=-1"), 422)
    in_shape(bench.ask("GET", f"/api/jobs/{UNKNOWN}/stdout"), 404)
    in_shape(bench.ask("GET", f"/api/jobs/{job_id}/stdout", user="bob"), 404)


def test_output_of_a_host_that_hangs_is_408(bench, monkeypatch):
    job_id = bench.start()["job_id"]

    def hang(*_, **__):
        raise CommandTimeout("cat did not answer")

    monkeypatch.setattr(bench.gateway.jobs, "output", hang)
    assert in_shape(bench.ask("GET", f"/api/jobs/{job_id}/stdout"), 408)["error_message"].startswith("timeout: cat")
