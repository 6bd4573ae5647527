"""The dialogue around a command; what is said is the business of each scheduler."""

from dataclasses import dataclass

import pytest

from hpcgate.errors import CommandTimeout, JobRejected, SchedulerError
from hpcgate.scheduler.command import Answer, Command
from hpcgate.testing.transports import ScriptedTransport


@dataclass(frozen=True)
class Submit(Command[int]):
    script: str
    timeout_s = 7.0

    def argv(self):
        return ["qsub", "-N", "a b;c"]

    def stdin(self):
        return self.script.encode()

    def parse(self, answer):
        if "Unknown queue" in answer.stderr:
            raise JobRejected(answer.stderr)
        answer.expect(0)
        return int(answer.stdout)


@pytest.fixture
def transport():
    return ScriptedTransport()


def test_argv_input_environment_and_limits_reach_the_transport(transport):
    transport.on("qsub", stdout="42\n")
    assert Submit("#!/bin/sh\n").run(transport) == 42
    (command,) = transport.commands
    assert command.argv == ("qsub", "-N", "a b;c")
    assert command.stdin == b"#!/bin/sh\n"
    assert command.environment == {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    assert command.timeout_s == 7.0


def test_failure_is_transient_and_in_the_commands_own_words(transport):
    transport.on("qsub", exit_status=2, stderr="qsub: cannot\n  connect\n")
    with pytest.raises(SchedulerError, match="qsub ended with 2: qsub: cannot connect") as caught:
        Submit("").run(transport)
    assert caught.value.transient


def test_refusal_is_what_the_parser_says(transport):
    transport.on("qsub", exit_status=1, stderr="Unknown queue")
    with pytest.raises(JobRejected):
        Submit("").run(transport)


def test_nonsense_is_a_scheduler_error(transport):
    transport.on("qsub", stdout="Welcome to the cluster!\n")
    with pytest.raises(SchedulerError, match="qsub answered what is not understood") as caught:
        Submit("").run(transport)
    assert isinstance(caught.value.__cause__, ValueError)


def test_bugs_of_the_parser_are_not_hidden(transport):
    class Buggy(Submit):
        def parse(self, answer):
            return answer.no_such_attribute

    transport.on("qsub")
    with pytest.raises(AttributeError):
        Buggy("").run(transport)


def test_no_answer_stays_no_answer(transport):
    transport.on("qsub", error=CommandTimeout("qsub ran too long"))
    with pytest.raises(CommandTimeout):
        Submit("").run(transport)


def test_bytes_that_are_no_text_are_replaced(transport):
    transport.on("qsub", exit_status=1, stderr=b"caf\xe9")
    with pytest.raises(SchedulerError, match="caf\ufffd"):
        Submit("").run(transport)


def test_long_complaints_are_cut():
    error = Answer("qsub", 1, "", "x" * 10_000).error(transient=False)
    assert len(error.message) < 400
    assert not error.transient


def test_silent_failure_says_so():
    assert Answer("qsub", 1, "", "").error(transient=True).message == "qsub ended with 1: no message"
