"""The core tier's part about what a user may write: awkward text arrives byte for byte, hostile text does nothing."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import pytest
from ulid import ULID

from hpcgate.errors import InvalidSpec, JobRejected
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.scheduler import RenderedScript
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.testing.conformance.attempts import ATTEMPTS, COMMANDS, DIRECTIVES, OPTIONS, SCRIPT, Attempt
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.texts import AWKWARD_PATHS


class SafetyConformance:
    """Uses the fixtures ``dry`` of ``StaticConformance`` and ``bench`` of ``LiveConformance``."""

    # --- awkward ----------------------------------------------------------------------------------------------------

    def test_folder_and_files_are_those_that_were_named(self, bench: Bench) -> None:
        """Byte for byte: no part of a name is a host, a variable or a pattern, to no shell and no scheduler."""
        _needs(bench, "working_directory", "stdout_path", "stderr_path")
        # Side by side: one after the other they take many times as long.
        for name, job in [(name, _submitted_in(bench, name)) for name in AWKWARD_PATHS]:
            folder = f"{bench.absolute(JobFolder(job.folder or '').work)}/{name}"
            assert bench.follow(job).seen.state is JobState.COMPLETED, name
            told = [bench.absolute(path or "") for path in (job.stdout_path, job.stderr_path)]
            assert told == [f"{folder}/{name}.out", f"{folder}/{name}.err"]
            assert bench.content(f"{folder}/{name}.out") == f"{folder}\n".encode()
            assert bench.content(f"{folder}/{name}.err") == b"err\n", name
            assert bench.content(f"{folder}/here") == b"", name

    # --- hostile ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("field", sorted({attempt.field for attempt in ATTEMPTS}))
    def test_attempts_are_refused_or_stay_values(self, dry: Bench, field: str) -> None:
        """No word of the command line and no directive comes of them; a refusal names its field."""
        for attempt in (each for each in ATTEMPTS if each.field == field):
            spec = _made(attempt, "/nowhere")
            if spec is None:
                continue
            _needs(dry, field)
            try:
                rendered = dry.life.render_script(dry.site, dry.job(spec))
            except InvalidSpec as error:
                _assert_named(attempt, error)
                continue
            plain = dry.life.render_script(dry.site, dry.job(JobSpec(script=SCRIPT)))
            assert _of_an_attempt(rendered) <= _of_an_attempt(plain), f"{attempt.what!r} became part of the command"

    def test_attempts_run_nothing(self, bench: Bench) -> None:
        """Whether they are refused or carried as they are: no shell runs them. Their jobs run side by side."""
        tried: list[tuple[Attempt, str, Job | None]] = []
        for attempt in COMMANDS:
            canary = f"/tmp/hpcgate-canary-{ULID()}"  # noqa: S108 - the path must hold nothing that a shell takes apart
            spec = _made(attempt, canary)
            if spec is not None and not _missing(bench, attempt.field):
                tried.append((attempt, canary, _submitted(bench, attempt, spec)))
        assert tried
        for attempt, canary, job in tried:
            if job is not None:
                _assert_unchanged(bench, attempt, job)
            assert bench.transport.stat(canary) is None, f"{attempt.what!r} in {attempt.field} was run"


def _submitted_in(bench: Bench, name: str) -> Job:
    """A job whose folder and files have this name."""
    job = bench.job(
        script="#!/bin/sh\npwd\necho err >&2\n: > here\n",
        working_directory=name,
        stdout_path=f"{name}.out",
        stderr_path=f"{name}.err",
    )
    bench.transport.mkdir(f"{JobFolder(job.folder or '').work}/{name}")
    return bench.hand_over(job)


def _missing(bench: Bench, *names: str) -> list[str]:
    """Those of the fields that the scheduler does not honour; the gateway refuses them."""
    return [
        name for name in names if not any(each == name or each.startswith(f"{name}.") for each in bench.info.fields)
    ]


def _needs(bench: Bench, *names: str) -> None:
    if missing := _missing(bench, *names):
        pytest.skip(f"{bench.info.name} does not honour {missing[0]}; the gateway refuses it")


def _made(attempt: Attempt, canary: str) -> JobSpec | None:
    """The spec; ``None`` = it was refused at once, as it should be."""
    try:
        return attempt.spec(canary)
    except InvalidSpec as error:
        _assert_named(attempt, error)
        return None


def _assert_named(attempt: Attempt, error: InvalidSpec) -> None:
    fields = [each.field for each in error.errors]
    assert any(field == attempt.field or field.startswith(f"{attempt.field}.") for field in fields), (
        f"{attempt.what!r} in {attempt.field} is refused as {fields}: {error.message}"
    )


def _submitted(bench: Bench, attempt: Attempt, spec: JobSpec) -> Job | None:
    """The job; ``None`` = it was refused."""
    try:
        return bench.submit(spec)
    except InvalidSpec as error:
        _assert_named(attempt, error)
    except JobRejected:
        pass
    return None


def _assert_unchanged(bench: Bench, attempt: Attempt, job: Job) -> None:
    seen = bench.follow(job).seen
    if job.spec.script is not None and attempt.field != "stdout_path":  # a file that cannot be made is no success
        assert seen.state is JobState.COMPLETED, f"{attempt.what!r} changed what became of the job: {seen}"
        assert bench.output(job) == "fine\n"


def _of_an_attempt(rendered: RenderedScript) -> set[Any]:
    """What an attempt would have brought: words of its own, and directives above the first command."""
    head = takewhile(lambda line: not line.strip() or line.startswith("#"), rendered.text.splitlines())
    return {word for word in rendered.argv if word in OPTIONS} | {line for line in head if line.startswith(DIRECTIVES)}
