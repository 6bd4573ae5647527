"""The core tier's live part: jobs that run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from hpcgate.errors import CommandTimeout, InvalidSpec, JobRejected, NotSupported, SiteError, TransportError
from hpcgate.model.files import JobFolder
from hpcgate.model.scheduler import Presence, SubmitFailed, Submitted
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.model.state import FINAL, Evidence, JobState, Reason, route
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.sites import host_of
from hpcgate.testing.conformance.texts import AWKWARD, AWKWARD_NAMES
from hpcgate.transport.base import CommandResult, Transport

_LEAK = "HPCGATE_CONFORMANCE_LEAK"
_SECRET = "s3cret-that-must-not-stay"  # noqa: S105 - a marker to look for
_LONG = "#!/bin/sh\necho running\nexec sleep 600\n"
_VERBS = ("run", "read", "write", "list", "stat", "mkdir", "remove")


class LiveConformance:
    """Subclass it and give the fixtures ``plugin``, ``site`` and ``transport``, all of scope ``class``.

    Attributes:
        deadline_s: how long a small job may take from submit to the end, seconds.
        every_s: time between two looks at the queue, seconds.
    """

    deadline_s = 60.0
    every_s = 0.05

    # --- what a subclass may say otherwise --------------------------------------------------------------------------

    def bad_spec(self) -> JobSpec:
        """A spec that can never run at the site."""
        return JobSpec(command="true", resources=Resources(cpus_per_node=60_000, memory_mib=1 << 39))

    def unreachable(self, bench: Bench) -> AbstractContextManager[None]:
        """While it lasts the queue does not answer. By default the transport leads nowhere."""
        return _cut(bench.transport)

    @classmethod
    def begin(cls, bench: Bench) -> None:
        """Submits what is to run beside all other tests."""

    # --- fixtures ---------------------------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def live(cls, plugin: Any, site: Site, transport: Transport) -> Iterator[Bench]:
        """A bench at the site, in a process that has a variable which no job may see."""
        name = plugin.hpcgate_scheduler_info().name
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(_LEAK, "leaked")
            bench = Bench(host_of(name, plugin), site, transport, deadline_s=cls.deadline_s, every_s=cls.every_s)
            cls.begin(bench)
            yield bench
            bench.clean(everything=True)

    @pytest.fixture
    def bench(self, live: Bench) -> Iterator[Bench]:
        """The bench, cleaned after each test."""
        yield live
        live.clean()

    # --- submit -----------------------------------------------------------------------------------------------------

    def test_submit_returns_an_id(self, bench: Bench) -> None:
        """A native id, the job's own key, and where its streams go."""
        job = bench.job(command="true")
        answer = bench.life.submit_job(bench.site, job, bench.transport)
        bench.keep(replace(job, native_id=answer.native_id))
        assert isinstance(answer.native_id, str)
        assert answer.key == job.key
        for path in (answer.stdout_path, answer.stderr_path):
            assert path is None or path.startswith(("/", "~/")), f"{path!r} is not absolute"

    def test_spec_that_cannot_run_is_refused(self, bench: Bench) -> None:
        """``InvalidSpec`` where the plugin knows, ``JobRejected`` where the scheduler says so; nothing is queued."""
        job = bench.job(self.bad_spec())
        with pytest.raises((InvalidSpec, JobRejected)):
            bench.hand_over(job)
        found = bench.life.find_by_key(bench.site, job.ref, bench.transport)
        assert found.presence is not Presence.PRESENT

    def test_many_jobs_are_submitted_in_order_and_one_that_is_bad_spoils_no_other(self, bench: Bench) -> None:
        """One answer for each, in order."""
        jobs = [bench.job(command="true"), bench.job(self.bad_spec()), bench.job(command="true")]
        answers = bench.life.submit_jobs(bench.site, jobs, bench.transport)
        for job, answer in zip(jobs, answers, strict=True):
            assert answer.key == job.key
            if isinstance(answer, Submitted):
                bench.keep(replace(job, native_id=answer.native_id))
        assert [type(answer) for answer in answers] == [Submitted, SubmitFailed, Submitted]
        assert isinstance(answers[1], SubmitFailed)
        assert answers[1].permanent
        assert len({answer.native_id for answer in answers if isinstance(answer, Submitted)}) == 2

    def test_job_that_was_submitted_twice_runs_once(self, bench: Bench) -> None:
        """The second submit under the same key may answer the first id, refuse, or make a job that ends at once."""
        job = bench.job(script="#!/bin/sh\necho once >> marker\nsleep 0.5\n")
        first = bench.hand_over(job)
        taken = [first]
        try:
            taken.append(bench.hand_over(job))
        except CommandTimeout:
            pytest.fail("whether the job was taken twice is not known")
        except (JobRejected, SiteError):
            pass  # refused: that is one way not to run it twice
        outcomes = [bench.follow(each) for each in taken]
        assert JobState.COMPLETED in [outcome.seen.state for outcome in outcomes]
        marker = f"{JobFolder(job.folder or '').work}/marker"
        assert bench.content(marker) == b"once\n"

    # --- what runs --------------------------------------------------------------------------------------------------

    def test_job_completes_with_evidence(self, bench: Bench) -> None:
        """COMPLETED, with exit code 0, times, and a source that can know."""
        outcome = bench.follow(bench.submit(command="true"))
        seen = outcome.seen
        assert (seen.state, seen.exit_code, seen.signal, seen.reason) == (JobState.COMPLETED, 0, None, None)
        assert seen.evidence in (Evidence.QUEUE, Evidence.ACCOUNTING, Evidence.EXIT_FILE)
        assert seen.started_at is not None
        assert seen.ended_at is not None
        assert seen.started_at <= seen.ended_at

    def test_states_come_in_a_legal_order(self, bench: Bench) -> None:
        """RUNNING is seen while it runs, and nothing comes after the end."""
        job = bench.submit(script="#!/bin/sh\necho up\nwhile [ ! -e go ]; do sleep 0.05; done\n")
        bench.reach(job, JobState.RUNNING)
        bench.printed(job, "up")
        bench.transport.write(f"{JobFolder(job.folder or '').work}/go", b"")
        outcome = bench.follow(job)
        assert outcome.seen.state is JobState.COMPLETED
        _assert_legal(
            (JobState.RUNNING, *outcome.states) if outcome.states[0] is not JobState.RUNNING else outcome.states
        )
        again = bench.look(job)
        assert again is not None
        assert again.state is JobState.COMPLETED

    def test_output_is_kept_apart(self, bench: Bench) -> None:
        """What goes to stdout is in stdout, and so for stderr."""
        job = bench.submit(script="#!/bin/sh\necho to stdout\necho to stderr >&2\n")
        bench.follow(job)
        assert (bench.output(job), bench.output(job, "stderr")) == ("to stdout\n", "to stderr\n")

    def test_script_is_run_by_its_own_interpreter_unchanged(self, bench: Bench) -> None:
        """``#!/bin/cat`` prints the script itself."""
        script = "#!/bin/cat\n" + "\n".join(AWKWARD).replace("\r", "") + "\n#SBATCH --no-such-option\nlast line"
        job = bench.submit(script=script)
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.output(job) == script

    def test_arguments_arrive_unchanged(self, bench: Bench) -> None:
        """No shell, directive or command line takes them apart."""
        job = bench.submit(command="printf", args=("[%s]\\n", *AWKWARD))
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.output(job) == "".join(f"[{text}]\n" for text in AWKWARD)

    def test_environment_arrives_unchanged(self, bench: Bench) -> None:
        """Whatever stands in a value."""
        names = [f"KIT_{n}" for n in range(len(AWKWARD))]
        words = " ".join(f'"${name}"' for name in names)
        job = bench.submit(
            script=f"#!/bin/sh\nprintf '[%s]\\n' {words}\n", environment=dict(zip(names, AWKWARD, strict=True))
        )
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.output(job) == "".join(f"[{text}]\n" for text in AWKWARD)

    def test_names_change_nothing(self, bench: Bench) -> None:
        """A name is a name, whatever it looks like."""
        jobs = [bench.submit(name=name, script="#!/bin/sh\necho fine\n") for name in AWKWARD_NAMES]
        for name, job in zip(AWKWARD_NAMES, jobs, strict=True):
            assert (bench.follow(job).seen.state, bench.output(job)) == (JobState.COMPLETED, "fine\n"), name

    def test_environment_of_the_gateway_stays_with_the_gateway(self, bench: Bench) -> None:
        """Its variables may be its secrets: no job sees them, and no plugin changes them."""
        before = dict(os.environ)
        job = bench.submit(script="#!/bin/sh\nenv\n", environment={"KIT": "1"})
        assert bench.follow(job).seen.state is JobState.COMPLETED
        printed = bench.output(job)
        assert "KIT=1\n" in printed
        assert _LEAK not in printed
        assert dict(os.environ) == before

    def test_secret_reaches_the_job_and_is_gone_afterwards(self, bench: Bench) -> None:
        """After the end no file in the job's folder holds it."""
        if "secret_environment" not in bench.info.fields:
            pytest.skip(f"{bench.info.name} does not honour secret_environment")
        job = bench.submit(script='#!/bin/sh\necho "${#TOKEN}"\n', secret_environment={"TOKEN": _SECRET})
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.output(job) == f"{len(_SECRET)}\n"

        def gone() -> bool:
            folder = job.folder or ""
            return not any(_SECRET.encode() in (bench.content(path) or b"") for path in bench.files(folder))

        bench.wait(gone, lambda: "a secret still stands in the job's folder")

    def test_job_starts_in_its_work_folder(self, bench: Bench) -> None:
        """Where its files are looked for."""
        job = bench.submit(script="#!/bin/sh\necho here > file\n")
        assert bench.follow(job).seen.state is JobState.COMPLETED
        assert bench.content(f"{JobFolder(job.folder or '').work}/file") == b"here\n"

    def test_nothing_is_written_outside_the_job_folder(
        self, bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither beside it (but for names that begin with a dot), nor where the gateway happens to be."""
        monkeypatch.chdir(tmp_path)
        before = _visible(bench)
        job = bench.submit(command="true")
        bench.follow(job)
        assert _visible(bench) - before == {job.key}
        assert list(tmp_path.iterdir()) == []

    def test_job_folder_is_private(self, bench: Bench) -> None:
        """Nobody but the account may look into it."""
        job = bench.submit(command="true")
        bench.follow(job)
        folder = bench.transport.stat(job.folder or "")
        assert folder is not None
        assert folder.mode & 0o077 == 0, f"its mode is {folder.mode & 0o777:o}"

    # --- how it ended -----------------------------------------------------------------------------------------------

    def test_exit_codes_are_reported(self, bench: Bench) -> None:
        """Anything but 0 is FAILED."""
        jobs = {code: bench.submit(script=f"#!/bin/sh\nexit {code}\n") for code in (1, 3, 77, 255)}
        for code, job in jobs.items():
            seen = bench.follow(job).seen
            found = (seen.state, seen.reason, seen.exit_code, seen.signal)
            assert found == (JobState.FAILED, Reason.EXIT_NONZERO, code, None)

    def test_signals_are_reported(self, bench: Bench) -> None:
        """A job that a signal ended is FAILED, and says which."""
        jobs = {number: bench.submit(script=f"#!/bin/sh\nkill -{number} $$\n") for number in (9, 15)}
        for number, job in jobs.items():
            seen = bench.follow(job).seen
            assert (seen.state, seen.reason, seen.signal) == (JobState.FAILED, Reason.SIGNALED, number)

    def test_program_that_is_not_there_fails(self, bench: Bench) -> None:
        """FAILED with a reason, and no exit code of 0."""
        seen = bench.follow(bench.submit(command="/no/such/program")).seen
        assert seen.state is JobState.FAILED
        assert seen.reason in (Reason.EXIT_NONZERO, Reason.LAUNCH_FAILED)
        assert seen.exit_code != 0

    # --- poll -------------------------------------------------------------------------------------------------------

    def test_many_jobs_take_one_listing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """As many commands for one job as for five."""
        jobs = [bench.submit(script=_LONG) for _ in range(5)]
        ran: list[Any] = []
        run = bench.transport.run

        def counted(argv: Sequence[str], **more: Any) -> CommandResult:
            ran.append(argv)
            return run(argv, **more)

        monkeypatch.setattr(bench.transport, "run", counted)
        counts = []
        for some in (jobs[:1], jobs):
            rounds = []
            for _ in range(4):  # now and then a round does some housekeeping as well
                ran.clear()
                listing = bench.life.poll_jobs(bench.site, [job.ref for job in some], bench.transport)
                rounds.append(len(ran))
                assert {job.native_id for job in some} <= listing.observations.keys()
            counts.append(min(rounds))
        assert counts[0] == counts[1], f"{counts[0]} commands for one job, {counts[1]} for five"

    def test_unknown_job_is_missing_and_not_final(self, bench: Bench) -> None:
        """What the scheduler does not know it says nothing about."""
        known = bench.submit(script=_LONG)
        unknown = replace(known.ref, native_id=_another(known.native_id or ""), key=bench.job(command="true").key)
        listing = bench.life.poll_jobs(bench.site, [known.ref, unknown], bench.transport)
        assert known.native_id in listing.observations
        assert unknown.native_id not in listing.observations
        assert (bench.life.read_accounting(bench.site, [unknown], bench.transport) or []) == []

    def test_poll_that_fails_raises_and_changes_nothing(self, bench: Bench) -> None:
        """``SiteError``, never an empty listing; afterwards all is as before."""
        job = bench.submit(script=_LONG)
        bench.reach(job, JobState.RUNNING)
        with self.unreachable(bench), pytest.raises(SiteError) as caught:
            bench.life.poll_jobs(bench.site, [job.ref], bench.transport)
        assert caught.value.transient
        seen = bench.look(job)
        assert seen is not None
        assert seen.state is JobState.RUNNING

    # --- find by key ------------------------------------------------------------------------------------------------

    def test_key_is_found(self, bench: Bench) -> None:
        """With the native id that the submit gave."""
        job = bench.submit(script=_LONG)
        asked = replace(job.ref, native_id=None)
        found = bench.life.find_by_key(bench.site, asked, bench.transport)
        assert (found.presence, found.native_id) == (Presence.PRESENT, job.native_id)

    def test_key_that_was_never_submitted_is_not_found(self, bench: Bench) -> None:
        """ABSENT, or UNKNOWN where the scheduler cannot be sure."""
        found = bench.life.find_by_key(bench.site, bench.job(command="true").ref, bench.transport)
        assert found.presence in (Presence.ABSENT, Presence.UNKNOWN)
        assert found.native_id is None

    # --- cancel -----------------------------------------------------------------------------------------------------

    def test_running_job_is_canceled_with_all_its_processes(self, bench: Bench) -> None:
        """CANCELED, and its children are gone: the file that one of them touches is no longer touched."""
        beat = "while :; do echo beat; sleep 0.1; done"
        job = bench.submit(script=f"#!/bin/sh\n( trap '' HUP; {beat} ) &\nwait\n")
        bench.printed(job, "beat")
        bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)
        assert bench.follow(job).seen.state is JobState.CANCELED
        lengths: list[int] = []

        def silent() -> bool:
            lengths.append(len(bench.output(job)))
            return len(lengths) > 8 and len(set(lengths[-8:])) == 1

        bench.wait(silent, lambda: "a process of the job goes on printing")

    def test_cancel_can_be_repeated(self, bench: Bench) -> None:
        """Also at once, and also after the end."""
        job = bench.submit(script=_LONG)
        for _ in range(2):
            bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)
        outcome = bench.follow(job)
        assert outcome.seen.state is JobState.CANCELED
        _assert_legal(outcome.states)
        bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)

    def test_cancel_of_a_finished_job_is_no_error(self, bench: Bench) -> None:
        """And does not change how it ended."""
        job = bench.submit(command="true")
        bench.follow(job)
        bench.life.cancel_jobs(bench.site, [job.ref], bench.transport)
        assert bench.follow(job).seen.state is JobState.COMPLETED

    def test_cancel_of_many_reaches_all(self, bench: Bench) -> None:
        """Those that are gone already do not save the others."""
        gone = bench.submit(command="true")
        bench.follow(gone)
        jobs = [bench.submit(script=_LONG) for _ in range(3)]
        bench.life.cancel_jobs(bench.site, [job.ref for job in (gone, *jobs)], bench.transport)
        assert {bench.follow(job).seen.state for job in jobs} == {JobState.CANCELED}

    # --- the site ---------------------------------------------------------------------------------------------------

    def test_probe_finds_the_site_good(self, bench: Bench) -> None:
        """Every check has a name and says what it found."""
        try:
            probe = bench.life.probe_site(bench.site, bench.transport)
        except NotSupported:
            pytest.skip(f"{bench.info.name} has no probe")
        assert probe.checks
        assert [check for check in probe.checks if not check.ok or not check.name or not check.detail] == []


def _assert_legal(states: tuple[JobState, ...]) -> None:
    for old, new in pairwise(states):
        assert old not in FINAL, f"{states}: nothing comes after {old}"
        assert route(old, new), f"{states}: {old} does not lead to {new}"


def _another(native_id: str) -> str:
    """An id of the same form that no job has."""
    changed, count = re.subn(r"\d+", lambda digits: str(int(digits.group()) + 70_000_000), native_id, count=1)
    return changed if count else native_id[::-1] + "x"


def _visible(bench: Bench) -> set[str]:
    try:
        return {entry.name for entry in bench.transport.list(bench.site.work_root) if not entry.name.startswith(".")}
    except FileNotFoundError:
        return set()


@contextmanager
def _cut(transport: Transport) -> Iterator[None]:
    """Makes every verb of a transport raise; skips the test if the plugin used none of them."""
    used: list[str] = []

    def broken(verb: str) -> Any:
        def fail(*args: Any, **more: Any) -> None:
            used.append(verb)
            raise TransportError("the kit has cut the line")

        return fail

    with pytest.MonkeyPatch.context() as patch:
        for verb in _VERBS:
            patch.setattr(transport, verb, broken(verb))
        try:
            yield
        finally:
            if not used:
                pytest.skip("it asks its queue without the transport; override `unreachable` to say how that can fail")
