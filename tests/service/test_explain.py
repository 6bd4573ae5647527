"""Why a job is where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import ANN, BOB, eventually

from hpcgate.errors import NotFound, TransportError
from hpcgate.model.principal import Principal, Role
from hpcgate.model.scheduler import HONOURED
from hpcgate.model.spec import ArraySpec, Dependency, JobSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.testing.fakes import FakeScheduler

MANAGER = Principal(name="mia", roles=frozenset({Role.MANAGER}))


@pytest.fixture
def fake():
    fake = FakeScheduler()
    fake.info = replace(fake.info, fields={**fake.info.fields, "dependencies": HONOURED})
    return fake


@pytest.fixture
def submit(gateway):
    def submit(**fields):
        return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", **fields))).job

    return submit


def bring(gateway, fake, job, state, **changes):
    fake.set_state(job, state, **changes)
    worker = gateway.worker()
    eventually(lambda: (worker.step(), gateway.jobs.get(ANN, job.id).state is state)[1])
    worker.close()


def write(path, data):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)


def test_a_job_that_waits(gateway, fake, submit):
    first = submit()
    job = submit(dependencies=(Dependency(job=first.id),))
    found = gateway.explainer.explain(ANN, job.id)
    assert found.notes == (f"it waits for job {first.id} (afterok), which is QUEUED",)
    assert found.stderr is None
    bring(gateway, fake, job, JobState.HELD)
    held = gateway.explainer.explain(ANN, job.id)
    assert (held.summary, held.advice) == (
        "it is held, and starts once it is released",
        "Release it when it shall start.",
    )


def test_a_job_that_failed_shows_its_last_lines(gateway, fake, submit):
    job = submit()
    lines = [f"line {number}" for number in range(2000)]
    write(job.stderr_path, "\n".join(lines).encode() + b"\n\xff")
    bring(gateway, fake, job, JobState.FAILED, reason=Reason.EXIT_NONZERO, exit_code=3)
    found = gateway.explainer.explain(ANN, job.id)
    assert (found.reason, found.retryable) == (Reason.EXIT_NONZERO, False)
    assert "stderr usually says why" in found.advice
    assert found.stderr == (*lines[-19:], "\ufffd")


def test_who_may_not_read_output_is_not_shown_it(gateway, fake, submit):
    job = submit()
    write(job.stderr_path, b"private\n")
    bring(gateway, fake, job, JobState.FAILED, reason=Reason.SIGNALED, signal=9)
    seen = gateway.explainer.explain(MANAGER, job.id)
    assert (seen.reason, seen.stderr) == (Reason.SIGNALED, None)
    with pytest.raises(NotFound):
        gateway.explainer.explain(BOB, job.id)


def test_a_site_that_does_not_answer_hides_the_output_alone(gateway, fake, submit, monkeypatch):
    job = submit()
    bring(gateway, fake, job, JobState.FAILED, reason=Reason.EXIT_NONZERO, exit_code=1)

    def gone(*args, **kwargs):
        raise TransportError("no route to host")

    monkeypatch.setattr("hpcgate.service.jobs.JobService.output", gone)
    found = gateway.explainer.explain(ANN, job.id)
    assert (found.stderr, found.notes) == (None, ("its stderr cannot be read now: no route to host",))


def test_an_array_shows_the_first_task_that_failed(gateway, fake, submit):
    job = submit(array=ArraySpec(start=3, stop=5))
    write(f"{job.stderr_path}.3", b"of the third\n")
    bring(gateway, fake, job, JobState.FAILED, reason=Reason.EXIT_NONZERO, exit_code=1)
    found = gateway.explainer.explain(ANN, job.id)
    assert (found.task, found.stderr) == (3, ("of the third",))
