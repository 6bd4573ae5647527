"""A whole Slurm on this machine: munged, MariaDB, slurmdbd, slurmctld and four nodes, in a folder of its own.

It needs root and Debian's packages (``tests/live/provision.sh``), uses free ports, and ends only what it started.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from live.ports import held_ports

PROGRAMS: Final = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacctmgr")
NODES: Final = ("c1", "c2", "c3", "c4")
SERVERS: Final = ("mariadbd", "slurmdbd", "slurmctld", *NODES)


def missing() -> str | None:
    """Why no cluster can be started here, in one line; ``None`` = it can."""
    if os.geteuid() != 0:
        return "a live Slurm needs root"
    absent = [name for name in PROGRAMS if not _which(name)]
    return f"a live Slurm needs {', '.join(absent)}: run tests/live/provision.sh" if absent else None


@dataclass(frozen=True)
class Commands:
    """A folder of wrapped commands.

    Args:
        folder: where they are.
    """

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def counts(self) -> Counter[str]:
        """How often each was run so far."""
        return Counter(self.log.read_text().split())


class Cluster:
    """A running cluster. ``environment`` leads the commands of Slurm to it.

    Args:
        root: folder for everything; readable by all.
        ports: as many as it has servers that listen; nobody else's as long as it lives.
        options: lines of slurm.conf that replace those of the same name, e.g. ``{"MinJobAge": 2}``.
    """

    def __init__(self, root: Path, ports: Sequence[int], options: Mapping[str, object] | None = None) -> None:
        self.root = root
        self.options = {key.lower(): (key, value) for key, value in (options or {}).items()}
        self.environment = {"SLURM_CONF": str(root / "slurm.conf")}
        self._database_port, self._slurmdbd_port, self._slurmctld_port, *self._node_ports = ports
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # --- life

    def start(self) -> None:
        """Brings everything up; done when all nodes are idle."""
        for name, owner in (("munge", "root"), ("mysql", "mysql"), ("state", "slurm"), ("spool", "root")):
            folder = self.root / name
            folder.mkdir()
            shutil.chown(folder, owner)
        (self.root / "munge").chmod(0o755)
        self._start_munge()
        self._make_database()
        self._start_database()
        self._write_configuration()
        self.start_slurmdbd()
        # Must be there before slurmctld registers the cluster.
        self.run("sacctmgr", "-i", "add", "cluster", "kit", check=True)
        self.run("sacctmgr", "-i", "add", "account", "hpc", check=True)
        self.start_slurmctld()
        for name in NODES:
            self.start_node(name)
        _eventually(self.idle, "all nodes are idle")

    def mend(self) -> None:
        """Starts again what should run and does not: a test that failed may have left it so."""
        daemons = {
            "munged": self._start_munge,
            "mariadbd": self._start_database,
            "slurmdbd": self.start_slurmdbd,
            "slurmctld": self.start_slurmctld,
            **{name: partial(self.start_node, name) for name in NODES},
        }
        for name, start in daemons.items():
            if name not in self._processes or self._processes[name].poll() is not None:
                start()

    def idle(self) -> bool:
        """Whether all nodes wait for work."""
        states = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").stdout.split()
        return states == ["idle"] * len(NODES)

    def stop(self) -> None:
        """Ends everything, jobs first."""
        if "slurmctld" in self._processes:
            self.clear()
        for name in reversed(list(self._processes)):
            self.stop_daemon(name)

    def clear(self) -> None:
        """Ends all jobs; done when none is left."""
        names = sorted(set(self.run("squeue", "-h", "-o", "%A").stdout.split()))
        if names:
            self.run("scancel", *names)
            _eventually(lambda: not self.run("squeue", "-h", "-o", "%A").stdout.split(), "no jobs")

    def stop_daemon(self, name: str) -> None:
        """Ends one daemon."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)

    # --- verbs

    def run(self, *argv: str, check: bool = False, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command of Slurm."""
        prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return subprocess.run(
            [*prefix, *argv],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def add_user(self, name: str) -> None:
        """Lets a user of this machine submit; also one that may do so already."""
        answer = self.run("sacctmgr", "-i", "add", "user", name, "account=hpc")
        assert answer.returncode == 0 or "Nothing new added" in answer.stdout, answer

    @contextmanager
    def without(self, daemon: str) -> Iterator[None]:
        """While it lasts a daemon (``slurmctld``, ``slurmdbd``) is stopped."""
        self.stop_daemon(daemon)
        try:
            yield
        finally:
            {"slurmctld": self.start_slurmctld, "slurmdbd": self.start_slurmdbd}[daemon]()

    def forget_all_jobs(self) -> None:
        """Makes the controller lose its state, and with it where it was with the ids of jobs."""
        with self.without("slurmctld"):
            for name in ("job_state", "last_config_lite"):
                for file in (self.root / "state").glob(f"{name}*"):
                    file.unlink()

    def change(self, **options: object) -> None:
        """Changes slurm.conf and tells everybody."""
        self._set(self.options | {key.lower(): (key, value) for key, value in options.items()})

    @contextmanager
    def changed(self, **options: object) -> Iterator[None]:
        """While it lasts slurm.conf says something else."""
        before = self.options
        self.change(**options)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, options: dict[str, tuple[str, object]]) -> None:
        self.options = options
        self._write_configuration()
        self.run("scontrol", "reconfigure", check=True)

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """While it lasts jobs that were put back into the queue start again soon.

        Slurm holds them back for two minutes, until the credential of the run before has expired everywhere. A node
        refuses one that was made in the same second as it was revoked, so a short wait remains.
        """
        over = threading.Event()

        def hurry() -> None:
            seen: dict[str, float] = {}
            while not over.wait(0.3):
                rows = [
                    line.split() for line in self.run("squeue", "-h", "-t", "PD", "-o", "%A %r").stdout.splitlines()
                ]
                for native_id in (row[0] for row in rows if row[1:] == ["BeginTime"]):
                    if time.monotonic() - seen.setdefault(native_id, time.monotonic()) > 2.5:
                        self.run("scontrol", "update", f"jobid={native_id}", "starttime=now")
                        del seen[native_id]

        thread = threading.Thread(target=hurry)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def commands(self, folder: Path, before: Mapping[str, str] | None = None) -> Commands:
        """Commands of Slurm for a site's ``settings.bin``, which lead to this cluster and are written down.

        Args:
            folder: made; whoever runs the commands must be able to enter it.
            before: command -> lines of shell that come before the real one, which is ``"$real" "$@"``.
        """
        folder.mkdir(mode=0o755)
        commands = Commands(folder)
        commands.log.touch()
        commands.log.chmod(0o666)
        for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr"):
            text = f"#!/bin/sh\nexport SLURM_CONF='{self.root}/slurm.conf'\nreal='{_which(name)}'\n"
            text += f'echo {name} >>\'{commands.log}\'\n{(before or {}).get(name, "")}\nexec "$real" "$@"\n'
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        return commands

    # --- daemons

    def start_slurmctld(self) -> None:
        """Starts the controller; done when it answers."""
        self._spawn("slurmctld", ["slurmctld", "-D"])
        self._until("slurmctld", lambda: self.run("scontrol", "ping").returncode == 0)

    def start_slurmdbd(self) -> None:
        """Starts accounting; done when it answers, which takes it a moment while it makes its tables."""
        self._spawn("slurmdbd", ["slurmdbd", "-D"])
        self._until("slurmdbd", lambda: self.run("sacctmgr", "-n", "list", "cluster").returncode == 0)

    def start_node(self, name: str) -> None:
        """Starts one node."""
        self._spawn(name, ["slurmd", "-D", "-N", name])

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        self._spawn(
            "munged",
            [
                "munged", "-F", f"--socket={folder}/socket", f"--key-file={key}", f"--pid-file={folder}/pid",
                f"--log-file={folder}/log", f"--seed-file={folder}/seed",
            ],
        )  # fmt: skip
        self._until("munged", (folder / "socket").exists)

    def _make_database(self) -> None:
        made = subprocess.run(
            [
                "mariadb-install-db", *self._of_database(), "--skip-test-db", "--skip-name-resolve",
                "--auth-root-authentication-method=normal",
            ],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr

    def _of_database(self) -> list[str]:
        # A server that starts clears its folder for temporary tables: it must not be another one's.
        folder = self.root / "mysql"
        return ["--no-defaults", f"--datadir={folder}/data", f"--tmpdir={folder}", "--user=mysql"]

    def _start_database(self) -> None:
        folder = self.root / "mysql"
        self._spawn(
            "mariadbd",
            [
                "mariadbd", *self._of_database(), f"--socket={folder}/socket", "--bind-address=127.0.0.1",
                f"--port={self._database_port}", f"--pid-file={folder}/pid", "--skip-grant-tables",
                "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-log-bin",
            ],
        )  # fmt: skip
        self._until("mariadbd", lambda: _listens(self._database_port))

    def _write_configuration(self) -> None:
        database = {
            "AuthType": "auth/munge", "AuthInfo": f"socket={self.root}/munge/socket", "DbdHost": "localhost",
            "DbdPort": self._slurmdbd_port, "SlurmUser": "slurm", "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1", "StoragePort": self._database_port, "StorageUser": "slurm",
            "StoragePass": "none", "StorageLoc": "accounting", "PidFile": f"{self.root}/state/slurmdbd.pid",
            "LogFile": f"{self.root}/slurmdbd.log",
        }  # fmt: skip
        file = self.root / "slurmdbd.conf"
        file.write_text("".join(f"{key}={value}\n" for key, value in database.items()))
        file.chmod(0o600)
        shutil.chown(file, "slurm")
        controller: dict[str, object] = {
            "ClusterName": "kit", "SlurmctldHost": "localhost", "SlurmUser": "slurm", "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.root}/munge/socket", "SlurmctldPort": self._slurmctld_port,
            "StateSaveLocation": f"{self.root}/state", "SlurmdSpoolDir": f"{self.root}/spool/%n",
            "SlurmctldPidFile": f"{self.root}/state/slurmctld.pid", "SlurmdPidFile": f"{self.root}/spool/%n.pid",
            "SlurmctldLogFile": f"{self.root}/slurmctld.log", "SlurmdLogFile": f"{self.root}/spool/%n.log",
            "ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none", "ReturnToService": 2,
            "SelectType": "select/cons_tres", "SelectTypeParameters": "CR_Core_Memory", "DefMemPerCPU": 500,
            "MpiDefault": "none",
            "JobAcctGatherType": "jobacct_gather/linux", "JobAcctGatherFrequency": 1,
            "JobAcctGatherParams": "OverMemoryKill", "MinJobAge": 20,
            "SchedulerParameters": "bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0",
            "AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStorageHost": "localhost",
            "AccountingStoragePort": self._slurmdbd_port, "AccountingStoragePass": f"{self.root}/munge/socket",
             "KillWait": 2, "OverTimeLimit": 0, "MailProg": "/bin/true",
            "CompleteWait": 0,
        }  # fmt: skip
        lines = {key.lower(): (key, value) for key, value in controller.items()} | self.options
        text = "".join(f"{key}={value}\n" for key, value in lines.values())
        for name, port in zip(NODES, self._node_ports, strict=True):
            text += f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000\n"
        text += "PartitionName=main Nodes=c[1-4] Default=YES MaxTime=INFINITE State=UP\n"
        text += "PartitionName=debug Nodes=c1 MaxTime=30 State=UP\n"
        (self.root / "slurm.conf").write_text(text)

    def _spawn(self, name: str, argv: Sequence[str]) -> None:
        program = _which(argv[0]) or argv[0]
        with (self.root / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [program, *argv[1:]],
                env={**os.environ, **self.environment},
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _until(self, name: str, condition: Callable[[], object]) -> None:
        """Waits for a daemon that was just started; one that ended instead says why."""

        def ready() -> object:
            status = self._processes[name].poll()
            assert status is None, f"{name} ended with {status}: {(self.root / f'{name}.out').read_text()[-2000:]}"
            return condition()

        _eventually(ready, f"{name} answers")


@contextmanager
def started(options: Mapping[str, object] | None = None) -> Iterator[Cluster]:
    """A cluster in a temporary folder."""
    root = Path(tempfile.mkdtemp(prefix="slurm-live-"))
    root.chmod(0o755)
    try:
        with held_ports(len(SERVERS)) as ports:
            cluster = Cluster(root, ports, options)
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def ordinary_user() -> Iterator[pwd.struct_passwd]:
    """An account for jobs, made for the time of the tests."""
    name = f"hgl{os.getpid()}"
    subprocess.run(["useradd", "-m", "-s", "/bin/bash", name], check=True, capture_output=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", "-r", name], check=False, capture_output=True)


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _eventually(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.05)
