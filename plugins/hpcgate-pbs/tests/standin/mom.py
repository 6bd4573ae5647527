"""Starts what fits, and runs each job in a process of its own, as the MOM of a node does.

``python mom.py STATE_FOLDER NATIVE_ID`` is such a process: it owns the job's session and its clock.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from store import all_jobs, find, now, parent_of, state, user

RUNNING = "RBE"


def moment(at):
    return time.strftime("%a %b %d at %H:%M", time.localtime(at))


# --- the scheduler's cycle ------------------------------------------------------------------------------------------


def cycle(folder, data):
    """Starts the jobs that fit, in order; to be called under the lock, after every change."""
    for job in data["jobs"].values():
        look_at_dependencies(data, job)
    for native_id, job in list(data["jobs"].items()):
        if "tasks" not in job:
            if job["state"] == "Q":
                start(folder, data, native_id, job)
            continue
        for index, task in job["tasks"].items():
            if job["state"] not in "QB":
                break
            running = sum(each["state"] == "R" for each in job["tasks"].values())
            if task["state"] == "Q" and running < (job["limit"] or len(job["tasks"])):
                start(folder, data, native_id.replace("[]", f"[{index}]"), task)
                if task["state"] == "R" and job["state"] == "Q":
                    at = now()
                    job.update(state="B", substate=70, stime=at, comment=f"Job Array Began at {moment(at)}")


def start(folder, data, native_id, job):
    server = data["server"]
    if job["ncpus"] > server["cpus"]:
        job["comment"] = (
            f"Can Never Run: Insufficient amount of resource: ncpus (R: {job['ncpus']} A: {server['cpus']} "
            f"T: {server['cpus']})"
        )
        return
    free = server["cpus"] - sum(each["ncpus"] for _, each in all_jobs(data) if each["state"] == "R")
    if job["ncpus"] > free:
        job["comment"] = (
            f"Not Running: Insufficient amount of resource: ncpus (R: {job['ncpus']} A: {free} T: {server['cpus']})"
        )
        return
    at = now()
    vnode = f"({server['name']}:ncpus={job['ncpus']})"
    job.update(state="R", substate=41, stime=at, mtime=at, run_count=job["run_count"] + 1, vnode=vnode)
    job["comment"] = f"Job run at {moment(at)} on {vnode}"
    log = (folder / "mom.log").open("a")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-SE", __file__, str(folder), native_id],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    process.returncode = 0  # it outlives this command; nobody waits for it


def look_at_dependencies(data, job):
    """Releases a job whose dependencies are met, and aborts one that has a dependency which never will be."""
    if job["state"] != "H" or job["substate"] != 22:
        return
    left = []
    for kind, native_id in job["depends"]:
        met = is_met(kind, find(data, native_id))
        if met is False:
            at = now()
            job.update(state="F", substate=92, aborted=True, mtime=at, history_timestamp=at)
            return
        if met is None:
            left.append([kind, native_id])
    if job["depends"] and not left:
        held = "u" in job["hold"]
        job.update({"state": "H", "substate": 20, "hold": "u"} if held else {"state": "Q", "substate": 10, "hold": "n"})
        job["mtime"] = now()
    job["depends"] = left


def is_met(kind, other):
    """Whether a dependency is met: ``None`` = not yet, ``False`` = it never will be.

    A job that is not known meets none, nor does one that was itself aborted for its dependencies.
    """
    if other is None or other.get("aborted"):
        return False
    if kind == "after":
        return True if other.get("stime") else False if other["state"] == "F" else None
    if other["state"] != "F":
        return None
    if other.get("deleted_by"):
        return kind != "afterok"
    codes = [each.get("exit_status") for each in (other, *other.get("tasks", {}).values())]
    return {"afterok": not any(codes), "afternotok": any(codes), "afterany": True}[kind]


def finish(data, native_id, job, exit_status):
    """Writes down how a job ended."""
    at = now()
    deleted = job.get("deleted_by")
    if exit_status == -29:
        words, substate = "exceeded resource walltime", 93
    elif deleted:
        words, substate = f"terminated by {deleted}@{data['server']['name']}", 91
    else:
        words, substate = ("failed", 93) if exit_status else ("finished", 92)
    comment = job["comment"].split(" and ")[0] + f" and {words}"
    job.update(state="F", substate=substate, exit_status=exit_status, comment=comment, mtime=at, obittime=at)
    job.update(history_timestamp=at, used=max(at - job["stime"], 0))
    if "[" in native_id:
        end_array(parent_of(data, native_id))


def end_array(array):
    """Ends an array whose tasks have all ended; its own Exit_status is 0 whatever became of them."""
    tasks = array["tasks"].values()
    if any(task["state"] != "F" for task in tasks):
        return
    at = now()
    failed = any(task.get("exit_status") for task in tasks)
    words = "failed" if failed else "finished"
    substate = 91 if array.get("deleted_by") else 93 if failed else 92
    if array.get("deleted_by"):
        words = f"terminated by {array['deleted_by']}"
    array["comment"] = f"{array.get('comment', 'Job Array')} and {words}"
    array.update(state="F", substate=substate, exit_status=0, mtime=at, obittime=at, history_timestamp=at)


def forget(data):
    """A server without history forgets what has ended."""
    if not data["server"]["history"]:
        data["jobs"] = {native_id: job for native_id, job in data["jobs"].items() if job["state"] != "F"}


# --- one job --------------------------------------------------------------------------------------------------------


class Mom:
    """Runs one job."""

    def __init__(self, folder, native_id):
        self.folder = folder
        self.native_id = native_id
        self.stop = None  # "deleted", "rerun" or "walltime"
        self.stopped_at = None

    def run(self):
        with state(self.folder) as data:
            job = dict(find(data, self.native_id))
            delay = data["server"]["kill_delay_s"]
        self.process = self.spawn(job)
        with state(self.folder) as data:
            find(data, self.native_id).update(substate=42, session=self.process.pid)
        self.watch(job, delay)
        signal_session(self.process.pid, signal.SIGKILL)
        self.write_down()

    def spawn(self, job):
        home = pwd.getpwuid(os.getuid()).pw_dir
        script = self.folder / f"{self.native_id}.SC"
        script.write_bytes((self.folder / job["script"]).read_bytes())
        script.chmod(0o700)
        # The shell is told the name of the script on its stdin, as pbs_mom does it.
        names, tell = os.pipe()
        os.write(tell, f"{script}\n".encode())
        os.close(tell)
        shell = job["shell"] or pwd.getpwuid(os.getuid()).pw_shell
        with self.stream(job["output"]) as output:
            process = subprocess.Popen(
                [f"-{Path(shell).name}"],
                executable=shell,
                cwd=home,
                env=self.environment(job, home, shell),
                stdin=names,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        os.close(names)
        return process

    def stream(self, path):
        return Path(path or "/dev/null").open("ab")

    def environment(self, job, home, shell):
        chunk = dict(part.partition("=")[::2] for part in job["select"].partition("+")[0].split(":")[1:])
        ranks = int(chunk.get("mpiprocs", 1))
        nodes = self.folder / f"{self.native_id}.nodes"
        nodes.write_text("node\n" * ranks)
        environment = {
            "HOME": home,
            "USER": user(),
            "LOGNAME": user(),
            "SHELL": shell,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "NCPUS": chunk.get("ompthreads", str(int(chunk.get("ncpus", 1)) // ranks)),
            "PBS_NODEFILE": str(nodes),
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBCOOKIE": "cookie",
            "PBS_JOBDIR": home,
            "PBS_JOBID": self.native_id,
            "PBS_JOBNAME": job["name"],
            "PBS_QUEUE": job["queue"],
            **job["variables"],
        }
        if "[" in self.native_id:
            environment["PBS_ARRAY_INDEX"] = str(job["index"])
            environment["PBS_ARRAY_ID"] = self.native_id.replace(f"[{job['index']}]", "[]")
        return environment

    def watch(self, job, delay):
        until = None if job["walltime"] is None else time.monotonic() + job["walltime"]
        while True:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
                return
            asked = request(self.folder, self.native_id)
            if asked.exists():
                self.end(asked.read_text())
            if until is not None and time.monotonic() > until and self.stop is None:
                self.end("walltime")
            if self.stopped_at is not None and time.monotonic() > self.stopped_at + delay:
                signal_session(self.process.pid, signal.SIGKILL)

    def end(self, why):
        if self.stop is None:
            self.stop, self.stopped_at = why, time.monotonic()
            signal_session(self.process.pid, signal.SIGTERM)

    def write_down(self):
        status = self.process.returncode
        exit_status = 256 - status if status < 0 else status
        request(self.folder, self.native_id).unlink(missing_ok=True)
        with state(self.folder) as data:
            job = find(data, self.native_id)
            if self.stop == "rerun":
                job.update(state="Q", substate=10, mtime=now())
                for name in ("vnode", "session", "stime"):
                    job.pop(name, None)
            else:
                finish(data, self.native_id, job, -29 if self.stop == "walltime" else exit_status)
            cycle(self.folder, data)
            forget(data)


def request(folder, native_id):
    """The file by which a command asks a running job's MOM for something: ``deleted`` or ``rerun``."""
    return folder / f"{native_id}.request"


def ask(folder, native_id, what):
    draft = folder / f"{native_id}.request.new"
    draft.write_text(what)
    draft.replace(request(folder, native_id))


def signal_session(session, number):
    """Sends a signal to every process of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                    os.kill(int(entry.name), number)


if __name__ == "__main__":
    Mom(Path(sys.argv[1]), sys.argv[2]).run()
