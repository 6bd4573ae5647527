"""What the plugin asks PBS, what it makes of trouble, and how often it asks."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hpcgate_pbs.scheduler import PbsScheduler
from hpcgate_pbs.settings import PbsSettings
from hpcgate_pbs.verbs import Qdel
from pbs_answers import ANSWERS, CTIME, HOST, SERVER, array, document, done, job, jobs

from hpcgate.errors import CommandTimeout, InvalidSpec, JobRejected, SchedulerError
from hpcgate.model.job import Job, JobDependency, JobRef
from hpcgate.model.scheduler import Presence
from hpcgate.model.site import IdentitySettings, Site
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.model.state import JobState
from hpcgate.testing.transports import ScriptedTransport
from hpcgate.transport.remote import line, new_mark

SITE = Site(name="there", scheduler="pbs", transport="local", work_root="/jobs", settings=PbsSettings())
KEY = "01J00000000000000000000001"


@pytest.fixture
def pbs():
    return PbsScheduler()


@pytest.fixture
def transport():
    scripted = ScriptedTransport()
    scripted.on("qstat", "--version", stdout="pbs_version = 23.06.06\n")
    return scripted


def ref(number=41, **more):
    given = {"id": number, "key": KEY, "native_id": f"{number}.{HOST}", "folder": f"/jobs/{KEY}"} | more
    return JobRef(**given)


def submitting(spec=None, folder=f"/jobs/{KEY}", **fields):
    return Job(
        id=7, key=KEY, owner="ann", site="there", spec=spec or JobSpec(**fields), state=JobState.SUBMITTING,
        folder=folder, created_at=0.0, updated_at=0.0,
    )  # fmt: skip


def asked(transport):
    return [" ".join(command.argv) for command in transport.commands]


# --- dependencies -------------------------------------------------------------------------------------------------


def waits_for(*numbers):
    others = tuple(JobDependency(job=ref(number), kind="afterok") for number in numbers)
    return replace(submitting(command="true"), depends_on=others)


def test_a_job_is_not_submitted_while_pbs_does_not_know_one_that_it_waits_for(pbs, transport):
    """PBS would take it, and end it without a word."""
    known = jobs(j41=job("R", 42))
    transport.on("qstat", "-f", stdout=known, exit_status=153, stderr=f"qstat: Unknown Job Id 42.{HOST}\n")
    with pytest.raises(SchedulerError) as caught:
        pbs.hpcgate_submit_job(SITE, waits_for(41, 42), transport)
    assert caught.value.transient
    assert f"42.{HOST}" in str(caught.value)
    assert not any(line.startswith("qsub -") for line in asked(transport))


def test_a_job_that_has_finished_may_still_be_waited_for(pbs, transport):
    """While it is in the history PBS knows how it ended."""
    over = f"qstat: 41.{HOST} Job has finished, use -x or -H to obtain historical job information\n"
    transport.on("qstat", "-f", stdout=document(), exit_status=35, stderr=over)
    transport.on("qsub", stdout=f"43.{HOST}\n")
    assert pbs.hpcgate_submit_job(SITE, waits_for(41), transport).native_id == f"43.{HOST}"


def test_a_job_that_waits_for_nothing_asks_nothing_before(pbs, transport):
    transport.on("qsub", stdout=f"43.{HOST}\n")
    pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport)
    assert [line.partition(" ")[0] for line in asked(transport)] == ["qstat", "qsub"]


def test_a_submit_is_read_in_the_time_zone_of_the_site(pbs, transport):
    """``#PBS -a 0900`` is nine o'clock there."""
    transport.on("qsub", stdout=f"43.{HOST}\n")
    pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport)
    assert [dict(each.environment) for each in transport.commands if each.argv[0] == "qsub"] == [{"LC_ALL": "C.UTF-8"}]


# --- submit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "transient"),
    [
        ({"exit_status": 170, "stderr": "qsub: Unknown queue\n"}, JobRejected, None),
        ({"exit_status": 175, "stderr": "qsub: Bad UID for job execution\n"}, JobRejected, None),
        (
            {"exit_status": 1, "stderr": "qsub: could not create/open tmp file /tmp/x for script\n"},
            SchedulerError,
            True,
        ),
        ({"exit_status": 187, "stderr": "qsub: Unknown resource: wings\n"}, JobRejected, None),
        ({"exit_status": 166, "stderr": "qsub: Illegal attribute or resource value\n"}, JobRejected, None),
        ({"exit_status": 2, "stderr": "qsub: illegal -N value\nusage: ...\n"}, JobRejected, None),
        ({"exit_status": 159, "stderr": "qsub: Unauthorized Request \n"}, JobRejected, None),
        ({"exit_status": 50, "stderr": "qsub: please name a project\n"}, JobRejected, None),
        ({"exit_status": 1, "stderr": "qsub: cannot connect to server head (errno=111)\n"}, SchedulerError, True),
        ({"exit_status": 198, "stderr": "qsub: Maximum number of jobs already in queue\n"}, SchedulerError, True),
        ({"exit_status": 1, "stderr": "qsub: would exceed queue generic's per-user limit\n"}, SchedulerError, True),
        ({"exit_status": 212, "stderr": "qsub: Server shutting down\n"}, SchedulerError, True),
        ({"exit_status": 183, "stderr": "qsub: Protocol (ASN.1) error\n"}, CommandTimeout, True),
        ({"exit_status": 1, "stderr": "qsub: End of File\n"}, CommandTimeout, True),
        ({"exit_status": 137}, CommandTimeout, True),
        ({"exit_status": -9}, CommandTimeout, True),
        ({"exit_status": 0, "stdout": "welcome to the cluster\n"}, CommandTimeout, True),
        ({"exit_status": 0, "stdout": ""}, CommandTimeout, True),
    ],
)
def test_a_submit_that_fails_says_what_may_be_done(pbs, transport, answer, error, transient):
    transport.on("qsub", **answer)
    with pytest.raises(error) as caught:
        pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport)
    assert type(caught.value) is error
    assert getattr(caught.value, "transient", None) is transient


def test_a_refusal_is_told_in_pbs_words_without_its_usage(pbs, transport):
    transport.on("qsub", exit_status=2, stderr=ANSWERS["qsub-bad-name"].stderr)
    with pytest.raises(JobRejected, match=r"^qsub: illegal -N value$"):
        pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport)


@pytest.mark.parametrize("native_id", ["41.head", "41", "9[].head.example.org"])
def test_the_id_is_found_behind_a_greeting(pbs, transport, native_id):
    transport.on("qsub", stdout=f"Welcome! 12 users\n{native_id}\n")
    assert pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport).native_id == native_id


def test_the_script_goes_to_stdin_and_the_key_into_the_environment(pbs, transport):
    transport.on("qsub", stdout="41.head\n")
    pbs.hpcgate_submit_job(SITE, submitting(command="echo", args=("it's",)), transport)
    qsub = transport.commands[-1]
    assert f"HPCGATE_JOB_KEY={KEY}" in qsub.argv
    assert b"'it'\"'\"'s'" in qsub.stdin


def test_secrets_go_into_a_private_file_alone(pbs, transport):
    transport.on("qsub", stdout="41.head\n")
    pbs.hpcgate_submit_job(SITE, submitting(command="true", secret_environment={"A": "x\ny", "B": "s3cret"}), transport)
    assert transport.read(f"/jobs/{KEY}/secrets").data == b"A=x\ny\0B=s3cret\0"
    assert transport.stat(f"/jobs/{KEY}/secrets").mode == 0o600
    assert transport.stat(f"/jobs/{KEY}").mode == 0o700
    assert b"s3cret" not in transport.commands[-1].stdin
    assert not any("s3cret" in word for command in transport.commands for word in command.argv)


def test_a_folder_below_the_home_is_found_once(pbs, transport):
    site = replace(SITE, work_root="~/jobs")
    transport.on("/bin/sh", stdout="/home/ann\n")
    transport.on("qsub", stdout="41.head\n")
    for _ in range(2):
        submitted = pbs.hpcgate_submit_job(site, submitting(command="true", folder=f"~/jobs/{KEY}"), transport)
    assert submitted.stdout_path == f"/home/ann/jobs/{KEY}/stdout"
    assert f"-S /home/ann/jobs/{KEY}/shell" in asked(transport)[-1]
    assert asked(transport).count("/bin/sh -c cd && pwd") == 1
    assert asked(transport).count("qstat --version") == 1


def test_torque_is_recognised_and_refused(pbs):
    transport = ScriptedTransport()
    transport.on("qstat", "--version", stderr="Version: 6.1.2\nCommit: abc\n")
    with pytest.raises(JobRejected, match="Torque"):
        pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport)
    probe = pbs.hpcgate_probe_site(SITE, transport)
    assert [(check.name, check.ok) for check in probe.checks] == [("pbs", False)]
    assert "Torque 6.1.2" in probe.checks[0].detail


@pytest.mark.parametrize(
    "resources",
    [Resources(cpus_per_node=3), Resources(memory_mib=17_000), Resources(cpus_per_node=2, memory_per_cpu_mib=9_000)],
)
def test_a_job_that_fits_no_node_is_refused(pbs, transport, resources):
    """PBS would take it, and let it wait for ever."""
    transport.on("pbsnodes", stdout=ANSWERS["pbsnodes"].stdout)
    with pytest.raises(InvalidSpec, match="the largest has"):
        pbs.hpcgate_submit_job(SITE, submitting(command="true", resources=resources), transport)
    assert not any(line.startswith("qsub") for line in asked(transport))


def test_nodes_are_counted_once_and_only_for_large_jobs(pbs, transport):
    transport.on("pbsnodes", stdout=ANSWERS["pbsnodes"].stdout)
    transport.on("qsub", stdout="41.head\n")
    pbs.hpcgate_submit_job(SITE, submitting(command="true"), transport)
    assert "pbsnodes -a -F json" not in asked(transport)
    for _ in range(2):
        pbs.hpcgate_submit_job(SITE, submitting(command="true", resources=Resources(cpus_per_node=2)), transport)
    assert asked(transport).count("pbsnodes -a -F json") == 1


def test_a_job_is_taken_where_nodes_cannot_be_counted(pbs, transport):
    transport.on("pbsnodes", exit_status=1, stderr="pbsnodes: Unauthorized Request\n")
    transport.on("qsub", stdout="41.head\n")
    assert pbs.hpcgate_submit_job(SITE, submitting(command="true", resources=Resources(memory_mib=1)), transport)


# --- poll ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 10, 2000])
def test_a_poll_is_one_command_however_many_jobs_there_are(pbs, transport, count):
    rows = {f"j{number}": job("R", 42, ran=True, run_count=1) for number in range(1, count + 1)}
    transport.on("qstat", "-f", stdout=jobs(**rows))
    listing = pbs.hpcgate_poll_jobs(SITE, [ref(number) for number in range(1, count + 1)], transport)
    assert len(listing.observations) == count
    assert listing.complete
    assert asked(transport) == ["qstat -f -F json"]


def test_arrays_that_have_begun_cost_one_command_more(pbs, transport):
    rows = {
        "a8": array("Q", 10, "Queued:3 Running:0 Exiting:0 Expired:0"),
        "a9": array("B", 70, "Queued:2 Running:1 Exiting:0 Expired:0"),
        "j41": job("Q", 10),
    }
    transport.on("qstat", "-f", stdout=jobs(**rows))
    transport.on("qstat", "-t", stdout=ANSWERS["qstat-array-t"].stdout)
    mine = [ref(), ref(8, native_id=f"8[].{HOST}", array=True), ref(9, native_id=f"9[].{HOST}", array=True)]
    listing = pbs.hpcgate_poll_jobs(SITE, mine, transport)
    assert asked(transport) == ["qstat -f -F json", f"qstat -t -f -F json 9[].{HOST}"]
    assert {native_id: each.state for native_id, each in listing.observations.items()} == {
        f"41.{HOST}": JobState.QUEUED,
        f"8[].{HOST}": JobState.QUEUED,
        f"9[].{HOST}": JobState.RUNNING,
    }


def test_an_array_that_ended_between_two_listings_is_not_in_the_queue(pbs, transport):
    transport.on("qstat", "-f", stdout=jobs(a9=array("B", 70, "")))
    transport.on(
        "qstat", "-t", stdout=document(), exit_status=35, stderr=f"qstat: 9[].{HOST} Job has finished, use -x or -H\n"
    )
    assert pbs.hpcgate_poll_jobs(SITE, [ref(9, native_id=f"9[].{HOST}")], transport).observations == {}


def test_jobs_of_others_are_left_out_of_a_listing(pbs, transport):
    transport.on("qstat", "-f", stdout=jobs(j41=job("R", 42), j42=job("R", 42), j43=job("Q", 10)))
    assert pbs.hpcgate_poll_jobs(SITE, [ref(42)], transport).observations.keys() == {f"42.{HOST}"}


@pytest.mark.parametrize(
    "answer",
    [
        {"exit_status": 1, "stderr": "qstat: cannot connect to server head (errno=111)\n"},
        {"exit_status": 153, "stdout": document(), "stderr": "qstat: Unknown Job Id\n"},
        {"exit_status": 0, "stdout": ""},
        {"exit_status": 0, "stdout": "{}"},
        {"exit_status": -9},
    ],
)
def test_a_poll_that_is_not_answered_raises(pbs, transport, answer):
    transport.on("qstat", "-f", "-F", "json", **answer)
    transport.on("qstat", "-f", "-F", "dsv", exit_status=1, stderr="qstat: cannot connect\n")
    with pytest.raises(SchedulerError) as caught:
        pbs.hpcgate_poll_jobs(SITE, [ref()], transport)
    assert caught.value.transient


@pytest.mark.parametrize(
    "broken",
    [{"stdout": "{ nonsense"}, {"exit_status": 2, "stderr": "qstat: invalid option -- 'F'\nusage: qstat"}],
)
def test_the_next_form_is_asked_for_where_one_is_not_understood(pbs, transport, broken):
    transport.on("qstat", "-f", "-F", "json", **broken)
    transport.on("qstat", "-f", "-F", "dsv", **broken)
    transport.on("qstat", "-f", stdout=ANSWERS["qstat-finished-x-plain"].stdout)
    assert pbs.hpcgate_poll_jobs(SITE, [ref()], transport).observations[f"41.{HOST}"].exit_code == 0
    assert asked(transport) == ["qstat -f -F json", "qstat -f -F dsv", "qstat -f"]


@pytest.mark.parametrize(("allowed", "complete"), [("True", True), ("False", False), (None, False)])
def test_a_listing_is_complete_where_the_jobs_of_all_accounts_are_seen(pbs, transport, allowed, complete):
    """Jobs of other accounts that are hidden must not look gone."""
    said = f'"query_other_jobs":\t"{allowed}"' if allowed else '"unset":\t"x"'
    transport.on("qstat", "-B", stdout=SERVER.replace('"query_other_jobs":\t"True"', said))
    transport.on("qstat", "-f", stdout=document())
    assert pbs.hpcgate_poll_jobs(SITE, [ref(account="ann"), ref(42)], transport).complete is complete
    assert pbs.hpcgate_poll_jobs(SITE, [ref()], transport).complete, "its own jobs an account always sees"


# --- history ------------------------------------------------------------------------------------------------------


UNKNOWN = "qstat: Unknown Job Id {}.{}\n".format


def dsv(number, code):
    return f"Job Id: {number}.{HOST}|Job_Name=x|job_state=F|Exit_status={code}|substate=92|ctime={CTIME}\n"


def test_jobs_behind_an_unknown_one_are_asked_for_again(pbs, transport):
    """The JSON form ends at the first id that is not known, the others go on."""
    transport.on("qstat", "-x", stdout=jobs(j1=done(0)), exit_status=153, stderr=UNKNOWN(2, HOST))
    transport.on("qstat", "-x", stdout=dsv(4, 1), exit_status=153, stderr=UNKNOWN(3, HOST))
    rows = pbs.hpcgate_read_accounting(SITE, [ref(number) for number in (1, 2, 3, 4)], transport)
    assert {row.native_id: row.exit_code for row in rows} == {f"1.{HOST}": 0, f"4.{HOST}": 1}
    ids = " ".join(f"{number}.{HOST}" for number in (1, 2, 3, 4))
    assert asked(transport) == [f"qstat -x -f -F json {ids}", f"qstat -x -f -F dsv 3.{HOST} 4.{HOST}"]


def test_jobs_behind_an_unknown_one_are_asked_for_also_where_every_form_ends_there(pbs, transport):
    transport.on("qstat", "-x", stdout=document(), exit_status=153, stderr=UNKNOWN(1, HOST))
    transport.on("qstat", "-x", stdout="", exit_status=153, stderr=UNKNOWN(2, HOST))
    transport.on("qstat", "-x", stdout=dsv(3, 0))
    rows = pbs.hpcgate_read_accounting(SITE, [ref(number) for number in (1, 2, 3)], transport)
    assert [row.native_id for row in rows] == [f"3.{HOST}"]


@pytest.mark.parametrize(("count", "commands"), [(10, 1), (2000, 1), (10_000, 4)])
def test_the_history_of_many_jobs_is_few_commands(pbs, transport, count, commands):
    """At most 5,000 jobs each, and no more than one argument of a command takes, as which a line comes over ssh."""
    host = "head.cluster.example.org"
    numbers = range(1_000_000, 1_000_000 + count)
    unknown = "".join(UNKNOWN(number, host) for number in numbers)
    transport.on("qstat", "-x", stdout=document(), exit_status=153, stderr=unknown)
    mine = [ref(number, native_id=f"{number}.{host}") for number in numbers]
    assert pbs.hpcgate_read_accounting(SITE, mine, transport) == []
    assert len(transport.commands) == commands
    told = [native_id for command in transport.commands for native_id in command.argv[5:]]
    assert told == [each.native_id for each in mine]
    for command in transport.commands:
        line(command.argv, command.environment, 60.0, new_mark())


def test_the_history_of_many_arrays_fits_on_a_line_too(pbs, transport):
    mine = [ref(number, native_id=f"{number}[].{HOST}", array=True) for number in range(1_000_000, 1_006_000)]
    unknown = "".join(UNKNOWN(f"{each.id}[]", HOST) for each in mine)
    transport.on("qstat", "-x", stdout=document(), exit_status=153, stderr=unknown)
    pbs.hpcgate_read_accounting(SITE, mine, transport)
    assert 1 < len(transport.commands) < 6
    for command in transport.commands:
        line(command.argv, command.environment, 60.0, new_mark())


def test_silence_about_a_job_is_no_answer(pbs, transport):
    """With query_other_jobs=False PBS says nothing of another's job, with exit status 0."""
    transport.on("qstat", "-x", stdout=document())
    with pytest.raises(SchedulerError, match="said nothing about") as caught:
        pbs.hpcgate_read_accounting(SITE, [ref()], transport)
    assert caught.value.transient


def test_a_server_without_history_knows_nothing_of_finished_jobs(pbs, transport):
    said = ANSWERS["history-off-qstat-x"]
    transport.on("qstat", "-x", stdout=said.stdout, stderr=said.stderr)
    assert pbs.hpcgate_read_accounting(SITE, [ref()], transport) == []


def test_trouble_among_unknown_jobs_is_no_answer(pbs, transport):
    transport.on(
        "qstat", "-x", stdout=document(), exit_status=153, stderr="qstat: End of File\nqstat: Unknown Job Id x\n"
    )
    with pytest.raises(SchedulerError):
        pbs.hpcgate_read_accounting(SITE, [ref()], transport)


# --- find by key --------------------------------------------------------------------------------------------------


def test_a_key_that_is_nowhere_is_absent(pbs, transport):
    transport.on("qstat", stdout=document())
    assert pbs.hpcgate_find_by_key(SITE, ref(native_id=None), transport).presence is Presence.ABSENT
    assert asked(transport) == ["qstat -f -F json", "qstat -x -f -F json"]


def test_a_key_of_a_job_that_has_ended_is_found_in_the_history(pbs, transport):
    mine = done(0) | {"Variable_List": {"HPCGATE_JOB_KEY": KEY}}
    transport.on("qstat", "-f", stdout=document())
    transport.on("qstat", "-x", stdout=jobs(j40=done(0), j41=mine))
    found = pbs.hpcgate_find_by_key(SITE, ref(native_id=None), transport)
    assert (found.presence, found.native_id) == (Presence.PRESENT, f"41.{HOST}")


def test_a_key_of_a_job_that_has_ended_without_history_is_found_in_its_folder(pbs, transport):
    transport.on("qstat", stdout=document())
    transport.mkdir(f"/jobs/{KEY}")
    transport.write(f"/jobs/{KEY}/start.1", b'{"native_id": "43.head", "started_at": 1}\n')
    assert pbs.hpcgate_find_by_key(SITE, ref(native_id=None), transport).native_id == "43.head"


def test_of_two_jobs_with_a_key_the_first_counts(pbs, transport):
    mine = job("R", 42) | {"Variable_List": {"HPCGATE_JOB_KEY": KEY}}
    transport.on("qstat", "-f", stdout=jobs(j100=mine, j99=mine))
    assert pbs.hpcgate_find_by_key(SITE, ref(native_id=None), transport).native_id == f"99.{HOST}"


# --- what is asked of jobs ------------------------------------------------------------------------------------------


def test_jobs_are_deleted_in_chunks_and_never_with_their_history(pbs, transport):
    transport.on("qdel")
    pbs.hpcgate_cancel_jobs(SITE, [ref(number) for number in range(250)] + [ref(native_id=None)], transport)
    assert [len(command.argv) - 1 for command in transport.commands] == [100, 100, 50]
    assert not any("-x" in command.argv for command in transport.commands)


@pytest.mark.parametrize(
    ("status", "stderr"),
    [
        (0, ""),
        (153, "qdel: Unknown Job Id 41.head\n"),
        (35, "qdel: 41.head Job has finished, use -x or -H\n"),
        (168, "qdel: Request invalid for state of job 41.head\n"),
        (153, "qdel: Request invalid for state of job 40.head\nqdel: Unknown Job Id 41.head\n"),
    ],
)
def test_jobs_that_are_gone_or_going_are_no_failure_of_a_delete(pbs, transport, status, stderr):
    transport.on("qdel", exit_status=status, stderr=stderr)
    assert pbs.hpcgate_cancel_jobs(SITE, [ref()], transport) is True


@pytest.mark.parametrize(
    ("status", "stderr", "transient"),
    [
        (159, "qdel: Unauthorized Request  41.head\n", False),
        (153, "qdel: Unauthorized Request  40.head\nqdel: Unknown Job Id 41.head\n", False),
        (1, "qdel: cannot connect to server head (errno=111)\n", True),
        (137, "", True),
    ],
)
def test_a_delete_that_was_not_taken_says_so(pbs, transport, status, stderr, transient):
    transport.on("qdel", exit_status=status, stderr=stderr)
    with pytest.raises(SchedulerError) as caught:
        pbs.hpcgate_cancel_jobs(SITE, [ref()], transport)
    assert caught.value.transient is transient


def test_words_beside_a_delete_that_was_taken_do_no_harm():
    said = replace(ANSWERS["qdel-running"], stderr="a greeting\n")
    assert Qdel(None, ["41"]).parse(said.answer) is True


@pytest.mark.parametrize("letter", ["R", "E", "S", "F"])
def test_a_job_that_has_begun_is_not_held(pbs, transport, letter):
    transport.on("qstat", stdout=jobs(j41=job(letter, 42)))
    with pytest.raises(SchedulerError, match="cannot be held any more") as caught:
        pbs.hpcgate_hold_job(SITE, ref(), transport)
    assert not caught.value.transient


def test_a_job_that_waits_is_held_and_released(pbs, transport):
    transport.on("qstat", stdout=jobs(j41=job("Q", 10)))
    transport.on("qhold")
    transport.on("qrls")
    assert pbs.hpcgate_hold_job(SITE, ref(), transport) is True
    assert pbs.hpcgate_release_job(SITE, ref(), transport) is True
    assert asked(transport)[1:] == [f"qhold -h u 41.{HOST}", f"qrls -h u 41.{HOST}"]


@pytest.mark.parametrize("name", ["suspend", "resume", "NOSUCH", "", "9", "TERM 1"])
def test_what_is_no_signal_is_not_sent(pbs, transport, name):
    with pytest.raises(SchedulerError, match="is no signal") as caught:
        pbs.hpcgate_signal_job(SITE, ref(), name, transport)
    assert not caught.value.transient
    assert transport.commands == []


def test_signals_are_sent_by_name(pbs, transport):
    transport.on("qsig")
    pbs.hpcgate_signal_job(SITE, ref(), "usr1", transport)
    assert asked(transport) == [f"qsig -s SIGUSR1 41.{HOST}"]


def test_whole_arrays_are_not_run_again(pbs, transport):
    with pytest.raises(SchedulerError, match="never the whole"):
        pbs.hpcgate_requeue_job(SITE, ref(native_id=f"9[].{HOST}"), transport)


# --- the site -----------------------------------------------------------------------------------------------------


def test_queues_and_nodes_are_described(pbs, transport):
    transport.on("qstat", "-Q", stdout=ANSWERS["qstat-queues"].stdout)
    transport.on("qstat", "-B", stdout=SERVER)
    transport.on("pbsnodes", stdout=ANSWERS["pbsnodes"].stdout)
    found = pbs.hpcgate_describe_site(SITE, transport)
    (queue,), (node,) = found.queues, found.nodes
    assert (queue.name, queue.state, queue.default, queue.running, queue.pending) == ("main", "up", True, 1, 1)
    assert queue.max_walltime_s == 172_800
    assert (node.name, node.state, node.cpus, node.cpus_used, node.memory_mib) == ("n7", "free", 2, 1, 16_000)


def test_a_probe_of_a_good_site(pbs, transport):
    transport.on("qstat", "-B", stdout=fresh(SERVER))
    probe = pbs.hpcgate_probe_site(SITE, transport)
    assert [check.name for check in probe.checks if check.ok] == [
        "pbs",
        "server",
        "history",
        "sight",
        "clock",
        "arrays",
    ]
    assert (probe.version, probe.sees_all_jobs) == ("23.06.06", True)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ('"job_history_enable":\t"True"', '"job_history_enable":\t"False"', "history"),
        ('"scheduling":\t"True"', '"scheduling":\t"False"', "server"),
        ('"timestamp":\t', '"timestamp":\t1', "clock"),
    ],
)
def test_a_probe_shows_what_is_wrong(pbs, transport, old, new, name):
    transport.on("qstat", "-B", stdout=fresh(SERVER).replace(old, new))
    assert [check.name for check in pbs.hpcgate_probe_site(SITE, transport).checks if not check.ok] == [name]


@pytest.mark.parametrize(("mode", "ok"), [("service", True), ("mapped", False)])
def test_a_probe_shows_whether_the_jobs_of_others_are_seen(pbs, transport, mode, ok):
    hidden = fresh(SERVER).replace('"query_other_jobs":\t"True"', '"query_other_jobs":\t"False"')
    transport.on("qstat", "-B", stdout=hidden)
    probe = pbs.hpcgate_probe_site(replace(SITE, identity=IdentitySettings(mode=mode)), transport)
    assert not probe.sees_all_jobs
    assert next(check for check in probe.checks if check.name == "sight").ok is ok


def test_a_probe_of_a_site_that_does_not_answer(pbs):
    transport = ScriptedTransport()
    transport.on("qstat", exit_status=1, stderr="qstat: cannot connect to server head (errno=111)\n")
    probe = pbs.hpcgate_probe_site(SITE, transport)
    assert not probe.ok
    assert not probe.sees_all_jobs


def fresh(text):
    return text.replace('"timestamp":\t1772524900', f'"timestamp":\t{time.time():.0f}')


def test_the_times_of_commands_are_asked_for_in_utc(pbs, transport):
    transport.on("qstat", "-f", stdout=jobs(j41=job("Q", 10)))
    seen = pbs.hpcgate_poll_jobs(SITE, [ref()], transport).observations[f"41.{HOST}"]
    assert transport.commands[-1].environment["TZ"] == "UTC"
    assert (CTIME, seen.submitted_at) == ("Tue Mar  3 08:00:00 2026", 1772524800.0)
