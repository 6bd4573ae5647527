"""Tasks in real containers: through the gateway by podman, and charliecloud as an ordinary user."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from live.podman_host import IMAGE, new_podman
from live.tiny_image import unpack
from live.worker import running
from support import ROOT, eventually

from hpcgate.config import config_from
from hpcgate.model.job import Job
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec, Policies, TaskSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.scheduler.steps import with_driver
from hpcgate.service.admission import JobRequest
from hpcgate.testing.conformance.texts import AWKWARD

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def podman():
    """An engine of these tests' own, so that they can say what runs there."""
    with new_podman() as podman:
        yield podman


@pytest.fixture
def gateway(podman, tmp_path, monkeypatch):
    """A gateway whose site has this podman, with a worker."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    podman.program(bin_dir)
    monkeypatch.setenv("PATH", str(bin_dir), prepend=":")
    site = {"scheduler": "local", "runtimes": {"singularity": "podman"}, "settings": {"linger_s": 0.0}}
    with running(config_from({"sites": {"here": site}}, home=tmp_path / "home")) as gateway:
        yield gateway


def contained(script, **more):
    return TaskSpec(image=IMAGE, command="sh", args=("-c", script), **more)


def tasks_of(gateway, job):
    return gateway.jobs.tasks(ROOT, job.id).items


def submit(gateway, *tasks, **more):
    return gateway.jobs.submit(ROOT, JobRequest(spec=JobSpec(tasks=tasks, **more))).job


def ended(gateway, job):
    return eventually(lambda: (now := gateway.jobs.get(ROOT, job.id)).state.final and now, 60)


def test_two_tasks_share_their_folder_and_nothing_else(gateway, podman):
    """What one leaves in the work folder the other finds. No rights, no network, and none of the machine's files."""
    looks = "grep Cap /proc/self/status | tr -s '\\t' ' '; grep NoNewPrivs /proc/self/status; ls /sys/class/net; ls /"
    job = submit(
        gateway,
        contained(f"cat go 2>/dev/null; echo left > file; {looks}"),
        contained('while [ ! -e ../go ]; do sleep 0.05; done; pwd; cat ../file; echo "[$TOKEN]"', workdir="sub"),
        TaskSpec(command="sh", args=("-c", "cat file; exit 3")),
        secret_environment={"TOKEN": "s3cret-in-here"},
    )
    first, _, third = eventually(lambda: (now := tasks_of(gateway, job))[1].state is JobState.RUNNING and now, 60)
    assert (first.state, first.exit_code, third.state) == (JobState.COMPLETED, 0, JobState.QUEUED)
    eventually(lambda: podman.run("ps", "--quiet"))
    shown = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    assert IMAGE in shown
    assert "s3cret" not in shown
    work = f"{gateway.jobs.get(ROOT, job.id).folder}/work"
    Path(f"{work}/go").touch()
    job = ended(gateway, job)
    assert (job.state, job.exit_code) == (JobState.FAILED, 3)
    out = gateway.jobs.output(ROOT, job.id, "stdout").data.decode()
    assert "CapEff: 0000000000000000" in out
    assert "CapBnd: 0000000000000000" in out
    assert "NoNewPrivs:\t1" in out
    assert out.endswith(f"{work}/sub\nleft\n[s3cret-in-here]\nleft\n")
    seen = [(task.state, task.exit_code) for task in tasks_of(gateway, job)]
    assert seen == [(JobState.COMPLETED, 0), (JobState.COMPLETED, 0), (JobState.FAILED, 3)]
    assert "\nlo\n" in out
    assert "eth" not in out
    assert podman.run("ps", "--all", "--quiet") == ""


def test_awkward_variables_and_arguments_in_a_container(gateway):
    names = [f"KIT_{n}" for n in range(len(AWKWARD))]
    words = " ".join(f'"${name}"' for name in names)
    variables = dict(zip(names, AWKWARD, strict=True))
    script = f'for word in "$@" {words}; do echo "[$word]"; done; echo $PATH'
    task = TaskSpec(
        image=IMAGE, command="sh", args=("-c", script, "sh", *AWKWARD), environment={**variables, "PATH": "/bin:/odd"}
    )
    job = ended(gateway, submit(gateway, task))
    assert job.state is JobState.COMPLETED
    out = gateway.jobs.output(ROOT, job.id, "stdout").data.decode()
    assert out == "".join(f"[{text}]\n" for text in (*AWKWARD, *AWKWARD)) + "/bin:/odd\n"


def test_cancel_ends_a_container_that_ignores_it(gateway, podman):
    job = submit(gateway, contained("trap '' TERM; touch up; while :; do sleep 0.1; done"), contained("touch ran"))
    work = f"{gateway.jobs.get(ROOT, job.id).folder}/work"
    eventually(lambda: [task.state for task in tasks_of(gateway, job)] == [JobState.RUNNING, JobState.QUEUED], 60)
    eventually(lambda: Path(f"{work}/up").exists(), 60)
    gateway.jobs.cancel(ROOT, [job.id])
    assert ended(gateway, job).state is JobState.CANCELED
    by_us = (JobState.CANCELED, Reason.CANCELED_BY_USER)
    assert [(task.state, task.reason) for task in tasks_of(gateway, job)] == [by_us, by_us]
    assert not Path(f"{work}/ran").exists()
    eventually(lambda: podman.run("ps", "--quiet") == "")


def test_container_is_tried_again(gateway):
    script = "[ -e first ] && exit 0; touch first; exit 5"
    job = ended(gateway, submit(gateway, contained(script), policies=Policies(max_task_retries=1)))
    assert job.state is JobState.COMPLETED


def test_charliecloud_as_an_ordinary_user(account, tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("ch-run") or not shutil.which("busybox"):
        pytest.skip("needs root, ch-run and busybox: run tests/live/provision.sh")
    image = unpack(tmp_path_factory.mktemp("image") / "tiny")
    for folder in image.parents:
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(0o755)
    folder = f"{account.home}/job"
    subprocess.run(["install", "-d", "-o", account.name, folder, f"{folder}/work"], check=True)
    task = TaskSpec(
        image=str(image),
        command="sh",
        args=("-c", 'pwd; cat ../file; id -u; echo "$A|$HPCGATE_TASK|$TOKEN"'),
        workdir="sub",
        environment={"A": "l1\nl2 $x"},
    )
    spec = JobSpec(
        tasks=(TaskSpec(command="sh", args=("-c", "echo left > file")), task), secret_environment={"TOKEN": "***"}
    )
    job = Job(id=1, key="K", owner="a", site="a", spec=spec, state=JobState.QUEUED, created_at=0, updated_at=0)
    site = Site(name="a", scheduler="x", transport="local", work_root="/w", settings=None)
    site = replace(site, runtimes={"charliecloud": "charliecloud"})
    script = with_driver(site, replace(job, folder=folder)).spec.script
    told = {"HPCGATE_NATIVE_ID": "1", "HPCGATE_ATTEMPT": "1", "TOKEN": "s3cret", "HOME": account.home}
    done = subprocess.run(
        ["setpriv", f"--reuid={account.name}", f"--regid={account.name}", "--init-groups", "sh", "-c", script],
        cwd=f"{folder}/work",
        env={"PATH": "/usr/bin:/bin", **told},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    uid = subprocess.run(["id", "-u", account.name], capture_output=True, text=True, check=True).stdout
    assert (done.returncode, done.stdout, done.stderr) == (0, f"/mnt/sub\nleft\n{uid}l1\nl2 $x|1|s3cret\n", "")
