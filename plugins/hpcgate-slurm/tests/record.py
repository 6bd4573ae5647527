"""Records what a live Slurm answers to the plugin's own commands, for ``test_recorded.py``.

Run as root on a machine that has Slurm: ``python plugins/hpcgate-slurm/tests/record.py`` from the root of the source
tree, with ``tests`` in PYTHONPATH. One JSON file an answer, below ``recorded/VERSION/``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hpcgate_slurm.accounting import Sacct
from hpcgate_slurm.command import SlurmCommand
from hpcgate_slurm.queue import Squeue
from hpcgate_slurm.settings import SlurmSettings
from hpcgate_slurm.site import AdminLevel, Load, ShowConfig, Sinfo, SinfoNodes
from hpcgate_slurm.submit import Sbatch
from hpcgate_slurm.verbs import Scancel, Scontrol, Signal
from live.as_user import UserTransport
from live.slurm_cluster import Cluster, ordinary_user, started

from hpcgate.errors import HpcgateError
from hpcgate.transport.base import CommandResult

HERE = Path(__file__).parent / "recorded"
KEY = "01HPCGATERECORDEDJOB00000{:02}"


class Recorder(UserTransport):
    """Keeps every answer under the name that was set last."""

    folder: Path
    name = ""
    said: CommandResult

    def run(self, argv, **more) -> CommandResult:
        self.said = super().run(argv, **more)
        return self.said

    def keep(self, name: str, command: SlurmCommand) -> object:
        """Runs a command and stores what was answered. Names of this machine and of the test's user are replaced."""
        try:
            parsed = command.run(self)
        except HpcgateError as error:
            parsed = error

        def plain(data: bytes) -> str:
            text = data.decode()
            for old, new in ((self._user.pw_name, "ann"), (str(self._user.pw_uid), "1000"), (self.root, "/cluster")):
                text = text.replace(old, new)
            return text

        content = {
            "command": command.line(),
            "exit_status": self.said.exit_status,
            "stdout": plain(self.said.stdout),
            "stderr": plain(self.said.stderr),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False).replace(self._user.pw_name, "ann")
        (self.folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        return parsed


def main() -> None:
    with started() as cluster, ordinary_user() as user:
        cluster.add_user(user.pw_name)
        with Recorder(user, cluster.environment) as transport:
            transport.root = str(cluster.root)
            transport.folder = HERE / cluster.run("sbatch", "--version").stdout.split()[-1].rpartition(".")[0]
            transport.folder.mkdir(parents=True, exist_ok=True)
            Scenario(cluster, transport, user.pw_dir).play()
        cluster.clear()


class Scenario:
    def __init__(self, cluster: Cluster, transport: Recorder, home: str) -> None:
        self.cluster, self.transport, self.home, self.count = cluster, transport, home, 0
        self.keep = transport.keep

    def submit(self, name: str, body: str, *options: str, tasks: int | None = None) -> str:
        self.count += 1
        key = KEY.format(self.count)
        mark = key if tasks is None else f"{key}:{tasks}"
        script = f"#!/bin/sh\n{body}\n"
        words = (f"--comment=hpcgate:{mark}", "--output=/dev/null", *options)
        answer = self.keep(f"sbatch-{name}", Sbatch(SlurmSettings(), f"{self.home}/{key}", words, script))
        return answer if isinstance(answer, str) else ""

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 100
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def word(self, job: str) -> str:
        return self.cluster.run("squeue", "-h", "-a", "-t", "all", "-j", job, "-o", "%T").stdout.split("\n")[0]

    def play(self) -> None:
        keep = self.keep
        keep("config", ShowConfig())
        keep("queue-empty", Squeue())
        limit = self.submit("time-limit", "sleep 600", "--time=0:01")
        for name, option in (
            ("no-partition", "--partition=nosuch"), ("no-option", "--nosuch"), ("memory", "--mem=999999"),
            ("array-too-big", "--array=0-9999999"), ("gpus", "--gpus=1"), ("time", "--time=soon"),
        ):  # fmt: skip
            self.submit(name, "true", option)
        done = self.submit("done", "head -c 30000000 /dev/zero | tail >/dev/null; sleep 1.5", "--nodes=2", "--ntasks=2")
        failed = self.submit("failed", "exit 3", "--job-name=a|b \"c\" 'd' \u2603")
        high = self.submit("failed-high", "exit 255")
        signaled = self.submit("signaled", "kill -SEGV $$")
        unlaunched = self.submit("unlaunched", "true", "--output=/nonexistent/file")
        held = self.submit("held", "true", "--hold")
        never = self.submit("never", "true", "--nodes=64")
        parent = self.submit("parent", "sleep 1; exit 1")
        child = self.submit("child", "true", f"--dependency=afterok:{parent}", "--kill-on-invalid-dep=yes")
        array = self.submit("array", "exit $((SLURM_ARRAY_TASK_ID == 2))", "--array=1-5%2", tasks=5)
        het = self.submit("het", "sleep 600", "--ntasks=1", ":", "--ntasks=1")
        self.until(lambda: self.word(het) == "RUNNING")
        keep("queue-mixed", Squeue())
        keep("queue-load", Load())
        keep("nodes-mixed", SinfoNodes())
        keep("queues", Sinfo())
        keep("hold-running", Scontrol(verb="hold", job=het))
        keep("signal", Signal(job=het, name="USR1"))
        ended = (done, failed, high, signaled, unlaunched, child, array)
        self.until(lambda: all(self.word(job) not in ("PENDING", "RUNNING", "COMPLETING") for job in ended))
        keep("queue-ended", Squeue())
        keep("accounting-ended", Sacct(jobs=(*ended, held, never, parent, het), since=time.time() - 600))
        keep("release", Scontrol(verb="release", job=held))
        keep("cancel", Scancel(jobs=(never, het)))
        keep("cancel-again", Scancel(jobs=(never, het)))
        keep("cancel-unknown", Scancel(jobs=("99999999",)))
        requeued = self.submit("requeue", "sleep 600")
        self.until(lambda: self.word(requeued) == "RUNNING")
        keep("requeue", Scontrol(verb="requeue", job=requeued))
        self.until(lambda: self.word(requeued) == "PENDING")
        keep("queue-requeued", Squeue())

        def again() -> bool:
            self.cluster.run("scontrol", "update", f"jobid={requeued}", "starttime=now")
            return self.word(requeued) == "RUNNING"

        self.until(again)
        outside = self.submit("outside", "sleep 600")
        self.until(lambda: self.word(outside) == "RUNNING")
        self.cluster.run("scancel", outside, requeued)
        many = self.submit("array-canceled", "sleep 600", "--array=0-9:3,20%1", tasks=5)
        self.until(lambda: "RUNNING" in self.word(many) or self.word(many) == "PENDING")
        keep("queue-array", Squeue(jobs=(many,)))
        keep("accounting-array-waiting", Sacct(jobs=(many,), since=time.time() - 600))
        keep("cancel-array", Scancel(jobs=(many,)))
        self.until(lambda: self.word(many) == "CANCELLED" and self.word(outside) == "CANCELLED")
        keep("queue-one-unknown", Squeue(jobs=("99999999",)))
        keep("hold-unknown", Scontrol(verb="hold", job="99999999"))
        keep("requeue-unknown", Scontrol(verb="requeue", job="99999999"))
        keep("signal-unknown", Signal(job="99999999", name="USR1"))
        self.until(lambda: self.word(limit) == "TIMEOUT")
        keep("queue-timeout", Squeue())
        jobs = (limit, never, het, requeued, outside, many)
        keep("accounting-canceled", Sacct(jobs=jobs, since=time.time() - 600))
        keep("accounting-unknown", Sacct(jobs=("99999999",), since=time.time() - 600))
        keep("accounting-all", Sacct(since=time.time() - 600))
        keep("rights", AdminLevel(user="ann"))
        with self.cluster.without("slurmdbd"):
            keep("accounting-down", Sacct(jobs=(done,)))
        self.cluster.change(MessageTimeout=1)
        with self.cluster.without("slurmctld"):
            for name, command in (
                ("queue-down", Squeue()), ("cancel-down", Scancel(jobs=("1",))), ("queues-down", Sinfo()),
                ("config-down", ShowConfig()), ("hold-down", Scontrol(verb="hold", job="1")),
                ("signal-down", Signal(job="1", name="USR1")),
            ):  # fmt: skip
                keep(name, command)
            self.submit("down", "true")
        self.cluster.change(PrivateData="jobs")
        keep("config-private", ShowConfig())


if __name__ == "__main__":
    sys.exit(main())
