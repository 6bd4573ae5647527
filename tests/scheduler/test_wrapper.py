"""The wrapper, run by real shells."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import eventually

from hpcgate.model.job import JobRef
from hpcgate.model.state import JobState, Reason
from hpcgate.scheduler.evidence import read_exit
from hpcgate.scheduler.shell import shell_path
from hpcgate.scheduler.wrapper import CLAIMED_EXIT, SETUP_EXIT, Wrapper, render
from hpcgate.testing.conformance.texts import AWKWARD
from hpcgate.transport.local import LocalTransport

KEY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SHELLS = {
    name: argv
    for name, argv in {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}.items()
    if shutil.which(argv[0])
}


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    return SHELLS[request.param]


class Node:
    """A compute node: what runs batch scripts."""

    def __init__(self, root: Path, shell: list[str]) -> None:
        self.root = root
        self.shell = shell
        self.folder = root / "it's $HOME of jobs" / KEY
        self.spool = root / "events"
        self.spool.mkdir(parents=True)

    def wrapper(self, script: str | None = None, **more: object) -> Wrapper:
        text = None if script is None else f"#!/bin/sh\n{script}\n"
        return Wrapper(
            job_id=7,
            key=KEY,
            folder=str(self.folder),
            native_id='"$NATIVE"',
            attempt="1 + ${RESTARTS:-0}",
            script=text,
            event_spool=str(self.spool),
            **more,
        )

    def start(self, wrapper: Wrapper, native_id: str = "41", restarts: int = 0, **variables: str) -> subprocess.Popen:
        file = self.root / f"batch.{native_id}.{restarts}"
        file.write_bytes(render(wrapper).encode())
        return subprocess.Popen(
            [*self.shell, str(file)],
            env={"PATH": os.environ["PATH"], "HOME": str(self.root), "NATIVE": native_id, "RESTARTS": str(restarts)}
            | variables,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, wrapper: Wrapper, *args: object, **variables: object) -> tuple[int, str, str]:
        with self.start(wrapper, *args, **variables) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out.decode(), err.decode()

    def sh(self, script: str, **more: object) -> tuple[int, str, str]:
        return self.run(self.wrapper(script, **more))

    def record(self, name: str) -> dict | None:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def secrets(self, values: dict[str, str]) -> None:
        self.folder.mkdir(parents=True, mode=0o700)
        file = self.folder / "secrets"
        file.write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in values.items()))
        file.chmod(0o600)


@pytest.fixture
def node(tmp_path: Path, shell: list[str]) -> Node:
    return Node(tmp_path / "node", shell)


@pytest.fixture
def running(node: Node) -> Iterator[list[subprocess.Popen]]:
    """Processes that are ended with all their children when the test is over."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


# --- how it ends


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_exit_code_goes_through_and_is_recorded(node, code):
    assert node.sh(f"echo out; echo err >&2; exit {code}") == (code, "out\n", "err\n")
    record = node.record("exit.1")
    assert (record["native_id"], record["exit_code"], record["signal"]) == ("41", code, None)
    assert 0 <= record["ended_at"] - record["started_at"] <= 60
    assert node.record("start.1")["started_at"] == record["started_at"]
    assert node.record("stopped.1") is None
    assert list(node.spool.glob(f"{KEY}.*"))


def test_record_is_read_as_evidence(node):
    node.sh("exit 3")
    seen = read_exit(JobRef(id=7, key=KEY, native_id="41", folder=str(node.folder)), LocalTransport())
    assert (seen.state, seen.reason, seen.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 3)


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "USR1", "HUP"])
def test_signal_of_the_script_itself_goes_through_and_is_recorded(node, name):
    code, _, _ = node.sh(f"ulimit -c 0; kill -{name} $$")
    number = signal.Signals[f"SIG{name}"]
    assert code == -number
    record = node.record("exit.1")
    assert (record["exit_code"], record["signal"]) == (None, number)


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_end_that_may_have_come_from_outside_is_no_proof(node, name):
    """A memory limit kills the script alone: only the scheduler knows that it was one."""
    code, _, _ = node.sh(f"kill -{name} $$")
    assert code == -signal.Signals[f"SIG{name}"]
    assert node.record("exit.1") is None
    assert node.record("stopped.1")["signal"] == signal.Signals[f"SIG{name}"]
    assert list(node.spool.glob(f"{KEY}.*"))


# --- signals


def _ready(node: Node, running: list, script: str, *args: object, **more: object) -> subprocess.Popen:
    process = node.start(node.wrapper(f"{script}\n: > up\nwhile :; do sleep 0.02; done", **more), *args)
    running.append(process)
    eventually(lambda: (node.folder / "work/up").exists())
    return process


@pytest.mark.parametrize("name", ["INT", "QUIT", "HUP", "USR1", "USR2", "ALRM"])
def test_signals_are_handed_on(node, running, name):
    process = _ready(node, running, f"trap 'echo caught; exit 5' {name}")
    os.kill(process.pid, signal.Signals[f"SIG{name}"])
    assert process.communicate(timeout=30)[0] == b"caught\n"
    assert process.returncode == 5
    assert node.record("exit.1")["exit_code"] == 5


def test_signals_that_the_script_survives_do_not_end_the_wrapper(node, running):
    process = _ready(node, running, "n=0\ntrap 'n=$((n + 1)); : > got$n; [ $n -lt 3 ] || exit 6' USR1")
    for count in (1, 2, 3):
        os.kill(process.pid, signal.SIGUSR1)
        eventually(lambda count=count: (node.folder / f"work/got{count}").exists())
    assert process.wait(timeout=30) == 6


def test_term_gives_the_script_its_time_and_leaves_no_proof(node, running):
    """A requeue sends TERM too: whatever the script answers, the attempt after it may be the one that counts."""
    process = _ready(node, running, "trap 'echo saved; exit 0' TERM")
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == b"saved\n"
    assert process.returncode == 0
    assert node.record("exit.1") is None
    assert node.record("stopped.1")["exit_code"] == 0


def test_kill_of_everything_leaves_no_proof(node, running):
    process = _ready(node, running, ":")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    assert node.record("exit.1") is None
    assert node.record("start.1") is not None


# --- claim and attempts


def test_second_native_id_runs_nothing(node):
    node.sh("echo ran >> marker")
    code, out, err = node.run(node.wrapper("echo ran >> marker"), "42")
    assert (code, out) == (CLAIMED_EXIT, "")
    assert "41" in err
    assert "42" in err
    assert (node.folder / "work/marker").read_text() == "ran\n"
    assert node.record("exit.1")["native_id"] == "41"


def test_many_at_once_run_once(node):
    wrapper = node.wrapper("echo ran >> marker")
    processes = [node.start(wrapper, str(native_id)) for native_id in range(12)]
    for process in processes:
        process.communicate(timeout=60)
    codes = sorted(process.returncode for process in processes)
    assert codes == [0] + 11 * [CLAIMED_EXIT]
    assert (node.folder / "work/marker").read_text() == "ran\n"


def test_requeue_passes_and_its_record_is_of_its_own_attempt(node, running):
    wrapper = node.wrapper("[ -e first ] && exit 3\n: > first\n: > up\nwhile :; do sleep 0.02; done")
    process = node.start(wrapper)
    running.append(process)
    eventually(lambda: (node.folder / "work/up").exists())
    os.kill(process.pid, signal.SIGTERM)
    process.wait(timeout=30)
    assert node.run(wrapper, "41", 1)[0] == 3
    assert node.record("exit.1") is None
    assert node.record("exit.2")["exit_code"] == 3
    seen = read_exit(JobRef(id=7, key=KEY, native_id="41", attempt=2, folder=str(node.folder)), LocalTransport())
    assert seen.exit_code == 3


def test_claim_that_died_at_once_does_not_lock_the_job_out(node):
    """Whatever is left half done, the native id is either there or not."""
    (node.folder / "claim").mkdir(parents=True)
    assert node.sh("exit 0")[0] == 0


def test_tasks_of_an_array_share_a_claim(node):
    wrapper = node.wrapper('echo "index $HPCGATE_ARRAY_INDEX"; exit $HPCGATE_ARRAY_INDEX', index='"$INDEX"', tasks=2)
    for index in (1, 2):
        assert node.run(wrapper, INDEX=str(index)) == (index, f"index {index}\n", "")
        assert node.record(f"exit.1.{index}")["exit_code"] == index
    assert node.run(wrapper, "42", INDEX="3")[0] == CLAIMED_EXIT


# --- what the job gets


def test_awkward_arguments_environment_and_secrets(node):
    node.secrets({f"TOKEN{number}": text for number, text in enumerate(AWKWARD)})
    variables = " ".join(f'"${name}{number}"' for name in ("VALUE", "TOKEN") for number in range(len(AWKWARD)))
    wrapper = node.wrapper(
        argv=["/bin/sh", "-c", f'printf "[%s]" "$@" {variables}', "sh", *AWKWARD],
        environment={f"VALUE{number}": text for number, text in enumerate(AWKWARD)},
        secrets=True,
    )
    code, out, _ = node.run(wrapper)
    assert code == 0
    assert out == "".join(f"[{text}]" for text in AWKWARD * 3).replace("\r\n", "\n")
    assert not (node.folder / "secrets").exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.from_regex(r"HPC[A-Z0-9_]{0,5}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
        max_size=3,
    )
)
def test_any_text_is_a_secret(tmp_path_factory, values):
    node = Node(tmp_path_factory.mktemp("any") / "node", ["/bin/sh"])
    node.secrets(values)
    names = sorted(values)
    check = "import os, sys, json; json.dump([os.environ[name] for name in sys.argv[1:]], sys.stdout)"
    code, out, err = node.run(node.wrapper(argv=["python3", "-c", check, *names], secrets=True))
    assert (code, err) == (0, "")
    assert json.loads(out) == [values[name] for name in names]


def test_secret_is_in_no_command_line(node):
    """While the job runs and while it is set up: nothing with the secret among its arguments is ever started."""
    node.secrets({"TOKEN": "s3cret-word"})
    tools = node.root / "tools"
    tools.mkdir()
    for tool in ("od", "tr", "sed", "env", "date", "rm", "mv", "cat"):
        (tools / tool).write_text(f'#!/bin/sh\necho "$0 $*" >> "{node.root}/seen"\nexec {shutil.which(tool)} "$@"\n')
        (tools / tool).chmod(0o755)
    wrapper = node.wrapper('tr "\\0" " " </proc/$$/cmdline; echo "${#TOKEN}"', secrets=True)
    code, out, _ = node.run(wrapper, PATH=f"{tools}:{os.environ['PATH']}")
    assert code == 0
    assert out.endswith("11\n")
    assert "s3cret" not in out + (node.root / "seen").read_text() + render(wrapper)


def test_secrets_stay_for_a_requeue_and_for_the_last_task(node, running):
    node.secrets({"TOKEN": "x"})
    process = _ready(node, running, ":", secrets=True)
    os.kill(process.pid, signal.SIGTERM)
    process.wait(timeout=30)
    assert (node.folder / "secrets").exists()
    shutil.rmtree(node.folder)
    node.secrets({"TOKEN": "x"})
    wrapper = node.wrapper('[ "$TOKEN" = x ]', secrets=True, index='"$INDEX"', tasks=2)
    assert node.run(wrapper, INDEX="0")[0] == 0
    assert (node.folder / "secrets").exists()
    assert node.run(wrapper, INDEX="5")[0] == 0
    assert not (node.folder / "secrets").exists()


@pytest.mark.parametrize("text", ["\n".join(AWKWARD), AWKWARD[0]], ids=["all", "one"])
def test_script_runs_verbatim_by_its_own_interpreter(node, text):
    rest = f"#!/usr/bin/tail -n+2\n{text}\n"
    assert node.run(replace(node.wrapper(), script=rest)) == (0, f"{text}\n", "")
    assert (node.folder / "script").read_bytes() == rest.encode()


def test_script_that_holds_the_delimiter(node):
    script = "#!/bin/sh\ncat <<'X'\nHPCGATE_SCRIPT_0\nHPCGATE_SCRIPT_1\nX\n"
    assert node.run(replace(node.wrapper(), script=script))[1] == "HPCGATE_SCRIPT_0\nHPCGATE_SCRIPT_1\n"


def test_script_without_a_last_line_break_and_one_of_a_megabyte(node):
    open_ended = "#!/bin/cat\n%s 'x' end"
    assert node.run(replace(node.wrapper(), script=open_ended))[1] == open_ended
    shutil.rmtree(node.folder)
    big = "#!/bin/sh\n" + "# filler $HOME `x` 'y'\n" * 45_000 + "echo big\n"
    assert node.run(replace(node.wrapper(), script=big))[1] == "big\n"


def test_environment_may_replace_what_the_wrapper_needs(node):
    wrapper = node.wrapper(
        argv=["/bin/sh", "-c", 'echo "$PATH $HOME $IFS"'],
        environment={"PATH": "/nowhere", "HOME": "/none", "IFS": "x", "hpcgate_folder": "/etc", "hpcgate_term": "yes"},
    )
    assert node.run(wrapper)[0] == 0
    assert node.record("exit.1")["exit_code"] == 0


def test_job_finds_itself_in_its_environment(node):
    script = 'echo "$HPCGATE_JOB_ID $HPCGATE_JOB_KEY $HPCGATE_NATIVE_ID $HPCGATE_ATTEMPT $HPCGATE_CPUS"; pwd'
    code, out, _ = node.run(node.wrapper(script, setup="export HPCGATE_CPUS=4"), "41", 2)
    assert (code, out) == (0, f"7 {KEY} 41 3 4\n{node.folder}/work\n")


def test_working_directory_below_the_work_folder_or_elsewhere(node):
    (node.folder / "work/sub dir").mkdir(parents=True)
    assert node.sh("pwd", working_directory="sub dir")[1] == f"{node.folder}/work/sub dir\n"
    assert node.sh("pwd", working_directory="/")[1] == "/\n"
    (node.root / "mine").mkdir()
    assert node.sh("pwd", working_directory="~/mine")[1] == f"{node.root}/mine\n"


@pytest.mark.parametrize(
    "change", [{"working_directory": "/no/such"}, {"secrets": True}, {"redirect": ("/no/such/out", "/no/such/err")}]
)
def test_what_cannot_be_set_up_is_said(node, change):
    code, out, err = node.sh("echo ran", **change)
    assert (code, out) == (SETUP_EXIT, "")
    assert "hpcgate: job" in err
    assert (node.record("exit.1")["reason"], node.record("exit.1")["exit_code"]) == ("LAUNCH_FAILED", SETUP_EXIT)


def test_program_that_is_not_there(node):
    code, _, err = node.run(node.wrapper(argv=["/no/such/program"]))
    assert code == 127
    assert "/no/such/program" in err
    assert node.record("exit.1")["exit_code"] == 127


def test_stdin_is_empty(node):
    assert node.sh("cat; echo end")[1] == "end\n"


# --- output


def test_output_that_the_wrapper_opens(node):
    out, err = f"{node.root}/out file", f"{node.root}/err"
    wrapper = node.wrapper("echo one; echo two >&2", redirect=(out, err))
    assert node.run(wrapper) == (0, "", "")
    assert (Path(out).read_text(), Path(err).read_text()) == ("one\n", "two\n")
    assert node.run(wrapper, "42")[0] == CLAIMED_EXIT
    assert Path(out).read_text() == "one\n"
    both = node.wrapper("echo one; echo two >&2", redirect=(out, out), index='"$INDEX"')
    assert node.run(both, INDEX="3")[0] == 0
    assert Path(f"{out}.3").read_text() == "one\ntwo\n"


def test_output_that_the_scheduler_opens_is_emptied_only_by_whoever_has_the_claim(node):
    wrapper = node.wrapper("echo new", fresh_output=True)
    target = node.root / "stdout"

    def run(native_id: str) -> int:
        with target.open("ab") as file:
            script = node.root / "batch"
            script.write_text(render(wrapper))
            return subprocess.run(
                [*node.shell, script],
                env={"PATH": os.environ["PATH"], "NATIVE": native_id},
                stdout=file,
                stderr=subprocess.DEVNULL,
                check=False,
            ).returncode

    target.write_text("old\n")
    assert run("41") == 0
    assert target.read_text() == "new\n"
    assert run("42") == CLAIMED_EXIT
    assert target.read_text() == "new\n"


# --- rendering


def test_directives_come_first():
    text = render(Wrapper(job_id=1, key="K", folder="/f", native_id="1", argv=["true"], directives=["#SBATCH -n1"]))
    assert text.splitlines()[:2] == ["#!/bin/sh", "#SBATCH -n1"]


@pytest.mark.parametrize("line", ["#SBATCH -n1\nrm -rf /", "rm", "", "#PBS \x85 x", "#SBATCH \u2028x"])
def test_directive_of_two_lines_is_refused(line):
    with pytest.raises(ValueError, match="one line"):
        render(Wrapper(job_id=1, key="K", folder="/f", native_id="1", argv=["true"], directives=[line]))


def test_folder_below_home(node):
    wrapper = replace(node.wrapper("pwd"), folder=f"~/it's $jobs/{KEY}")
    assert node.run(wrapper)[1] == f"{node.root}/it's $jobs/{KEY}/work\n"
    assert shell_path("~/a b") == "\"$HOME\"/'a b'"


def test_folder_that_the_wrapper_makes_is_private(node):
    node.sh("true")
    assert node.folder.stat().st_mode & 0o777 == 0o700


def test_word_is_left_beside_what_others_put_into_the_event_spool(node):
    theirs = node.root / "precious"
    theirs.write_text("whole")
    os.mkfifo(node.spool / f"{KEY}.fifo")
    (node.spool / KEY).symlink_to(theirs)
    (node.spool / f"{KEY}.x").symlink_to(node.root / "not there")
    assert node.sh("exit 0")[0] == 0
    assert theirs.read_text() == "whole"
    assert not (node.root / "not there").exists()
    words = [path for path in node.spool.iterdir() if path.is_file() and not path.is_symlink()]
    assert len(words) == 2, "of the start, and of the end"
    assert all(path.stat().st_mode & 0o777 == 0o600 and path.name.startswith(f"{KEY}.") for path in words)


def test_event_spool_that_is_not_there_is_no_failure(node):
    node.spool.rmdir()
    assert node.sh("exit 0")[0] == 0
