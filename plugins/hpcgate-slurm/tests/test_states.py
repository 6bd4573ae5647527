"""What Slurm's words mean, row by row; why jobs wait; and what the site check finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hpcgate_slurm import accounting, probe
from hpcgate_slurm.command import UNIT
from hpcgate_slurm.reasons import REASONS, explain
from hpcgate_slurm.rows import Row
from hpcgate_slurm.settings import SlurmSettings
from hpcgate_slurm.states import HELD_REASONS, STATES, look_up

from hpcgate.model.site import IdentitySettings, PollTable, Site
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.scheduler.command import Answer
from hpcgate.transport.base import CommandResult

S, P, R = JobState, Phase, Reason


def row(word: str, **more) -> Row:
    return Row(native_id="1", word=word, **{"nodes": ("n1",), "started_at": 5.0, **more})


@pytest.mark.parametrize(
    ("word", "state", "phase", "reason"),
    [
        ("PENDING", S.QUEUED, None, None), ("CONFIGURING", S.QUEUED, P.STARTING, None),
        ("POWER_UP_NODE", S.QUEUED, P.STARTING, None), ("RUNNING", S.RUNNING, None, None),
        ("RESIZING", S.RUNNING, None, None), ("SIGNALING", S.RUNNING, None, None),
        ("SUSPENDED", S.SUSPENDED, None, None), ("STOPPED", S.SUSPENDED, None, None),
        ("COMPLETING", S.RUNNING, P.COMPLETING, None), ("STAGE_OUT", S.RUNNING, P.COMPLETING, None),
        ("EXPEDITING", S.RUNNING, P.COMPLETING, None), ("COMPLETED", S.COMPLETED, None, None),
        ("FAILED", S.FAILED, None, R.EXIT_NONZERO), ("CANCELLED", S.CANCELED, None, None),
        ("TIMEOUT", S.FAILED, None, R.TIMEOUT), ("OUT_OF_MEMORY", S.FAILED, None, R.OUT_OF_MEMORY),
        ("NODE_FAIL", S.FAILED, None, R.NODE_FAIL), ("PREEMPTED", S.FAILED, None, R.PREEMPTED),
        ("BOOT_FAIL", S.FAILED, None, R.BOOT_FAIL), ("DEADLINE", S.FAILED, None, R.DEADLINE),
        ("REQUEUED", S.QUEUED, None, None), ("REQUEUE_FED", S.QUEUED, None, None),
        ("REQUEUE_HOLD", S.HELD, None, None), ("SPECIAL_EXIT", S.HELD, None, None),
        ("RESV_DEL_HOLD", S.HELD, None, None), ("REVOKED", S.CANCELED, None, R.REVOKED),
        ("LAUNCH_FAILED", S.FAILED, None, R.LAUNCH_FAILED), ("RECONFIG_FAIL", S.FAILED, None, R.LAUNCH_FAILED),
    ],
)  # fmt: skip
def test_a_word(word, state, phase, reason):
    seen = row(word).observe(Evidence.QUEUE)
    assert (seen.state, seen.phase, seen.reason, seen.native_state) == (state, phase, reason, word)


def test_every_word_is_tested():
    (mark,) = test_a_word.pytestmark
    assert {case[0] for case in mark.args[1]} == STATES.keys()


@pytest.mark.parametrize("word", ["NEWS", "", "completed"])
def test_an_unknown_word_keeps_the_state(word):
    seen = row(word).observe(Evidence.QUEUE)
    assert (seen.state, seen.native_state) == (None, word or None)


@pytest.mark.parametrize(("told", "word"), [("CANCELLED by 1000", "CANCELLED"), ("RUNNING+", "RUNNING"), (" ", "")])
def test_what_slurm_adds_to_a_word(told, word):
    assert look_up(told)[0] == word


@pytest.mark.parametrize("reason", sorted(HELD_REASONS))
def test_a_job_that_waits_for_somebody_is_held(reason):
    assert row("PENDING", reason=reason).state is S.HELD


@pytest.mark.parametrize(
    ("more", "ended"),
    [
        ({"exit_code": 3}, (R.EXIT_NONZERO, 3, None)), ({"exit_code": 0, "signal": 9}, (R.SIGNALED, None, 9)),
        ({"signal": 53}, (R.LAUNCH_FAILED, None, None)),
        ({"nodes": (), "exit_code": 1}, (R.SUBMIT_REJECTED, None, None)),
    ],
)  # fmt: skip
def test_how_a_job_failed(more, ended):
    seen = row("FAILED", **more).observe(Evidence.ACCOUNTING)
    assert (seen.reason, seen.exit_code, seen.signal) == ended


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"canceler": "7", "owner": "7"}, R.CANCELED_BY_USER), ({"canceler": "0", "owner": "7"}, R.CANCELED_BY_ADMIN),
        ({"canceler": "7"}, None), ({}, None),
        ({"reason": "DependencyNeverSatisfied", "nodes": ()}, R.DEPENDENCY_NEVER_SATISFIED),
        ({"reason": "DependencyNeverSatisfied", "nodes": (), "canceler": "7", "owner": "7"}, R.CANCELED_BY_USER),
    ],
)  # fmt: skip
def test_who_canceled_a_job(more, reason):
    assert row("CANCELLED", **more).why() is reason


def test_a_step_that_ran_out_of_memory_says_why_the_job_failed():
    cells = dict.fromkeys(accounting.COLUMNS, "") | {"NodeList": "n1", "Start": "5"}
    lines = [
        cells | {"JobID": "1", "State": "FAILED", "ExitCode": "1:0"},
        cells | {"JobID": "1.batch", "State": "FAILED", "ExitCode": "1:0"},
        cells | {"JobID": "1.0", "State": "OUT_OF_MEMORY", "ExitCode": "0:125", "MaxRSS": "4K"},
        cells | {"JobID": "2", "State": "COMPLETED", "ExitCode": "0:0"},
        cells | {"JobID": "2.0", "State": "OUT_OF_MEMORY", "ExitCode": "0:125"},
    ]
    text = "\n".join(UNIT.join(line.values()) for line in lines)
    failed, completed = accounting.Sacct().parse(Answer("sacct", 0, text, ""))
    assert (failed.state, failed.why(), failed.usage.max_rss_kib) == (S.FAILED, R.OUT_OF_MEMORY, 4)
    assert completed.state is S.COMPLETED, "its script could live with it"


def test_an_end_with_a_code_is_no_success():
    assert row("COMPLETED", exit_code=1).state is S.FAILED


@pytest.mark.parametrize("reason", [*REASONS, "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "QOSGrpNodeLimit"])
def test_a_pending_reason_is_explained(reason):
    assert explain(reason).endswith(f" ({reason})")


def test_a_reason_that_is_not_known_is_passed_on():
    assert explain("NewReason") == "it waits: NewReason"
    assert [explain(word) for word in ("", "None", "N/A")] == [None] * 3


# --- site check

CONFIG = {
    "SLURM_VERSION": "22.05.8", "ClusterName": "kit", "SlurmUser": "slurm(64030)", "PrivateData": "none",
    "AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStoreFlags": "(null)",
    "MinJobAge": "300 sec", "MessageTimeout": "10 sec",
}  # fmt: skip


class Site22:
    """Answers by the program's name."""

    def __init__(self, level: str = "None", user: str = "ann", folders: str = "yes nfs\n", **config: str) -> None:
        lines = "".join(f"{name} = {value}\n" for name, value in (CONFIG | config).items())
        self.said = {"scontrol": lines, "sacctmgr": level, "id": user, "/bin/sh": folders, "date": "1"}

    def run(self, argv, **_more):
        program = next(word for word in argv if word.rpartition("/")[2] in (*self.said, "squeue", "sacct", "sh"))
        if "--json=list" in argv:
            return CommandResult(exit_status=1, stdout=b"", stderr=b"option '--json' doesn't allow an argument")
        return CommandResult(exit_status=0, stdout=self.said.get(program, "").encode(), stderr=b"")


def checks(site_more=None, settings=None, **config):
    site = Site(
        name="s", scheduler="slurm", transport="local", work_root="/jobs", settings=settings or SlurmSettings(),
        poll=PollTable(max_s=120),
    )  # fmt: skip
    found = probe.look(replace(site, **(site_more or {})), Site22(**config), 10)
    return {check.name: check for check in found.checks}, found


def test_a_good_site():
    found, whole = checks()
    assert [name for name, check in found.items() if not check.ok] == ["clock"], "the stand-in's clock stands still"
    assert (whole.version, whole.sees_all_jobs) == ("22.05.8", True)
    assert "an ordinary user" in found["rights"].detail
    assert "AccountingStoreFlags=job_comment" in found["comment"].detail


@pytest.mark.parametrize(
    ("name", "words", "more"),
    [
        (
            "sight",
            "adminlevel=operator",
            {"PrivateData": "jobs", "site_more": {"identity": IdentitySettings(mode="mapped")}},
        ),
        ("purge", "poll.max_s to 100", {"MinJobAge": "200 sec", "AccountingStorageType": "(null)"}),
        ("timeout", "slow", {"MessageTimeout": "100 sec"}),
        ("work_root", "cannot be written", {"folders": "no nfs\n"}),
        ("work_root", "in the memory", {"folders": "yes tmpfs\n"}),
    ],
)
def test_what_is_not_good_says_what_to_do(name, words, more):
    found, _ = checks(**more)
    assert not found[name].ok
    assert words in found[name].detail


@pytest.mark.parametrize(
    "rights", [{"level": "Operator"}, {"level": "Administrator"}, {"user": "slurm"}, {"user": "root"}]
)
def test_who_has_rights_sees_all(rights):
    found, whole = checks(PrivateData="jobs", **rights)
    assert found["sight"].ok
    assert whole.sees_all_jobs


def test_who_has_none_does_not():
    assert not checks(PrivateData="jobs,usage")[1].sees_all_jobs


def test_missed_ends_are_told_by_accounting():
    found, _ = checks(MinJobAge="20 sec")
    assert found["purge"].ok
    assert "accounting tells" in found["purge"].detail


def test_a_site_with_an_event_spool():
    found, _ = checks(site_more={"event_spool": "/events"}, folders="yes nfs\nno nfs\n")
    assert not found["event_spool"].ok
