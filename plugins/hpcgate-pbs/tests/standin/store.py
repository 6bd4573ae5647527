"""The state of the stand-in: one JSON file under a lock, in a folder beside the commands."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import sys
import time
from contextlib import contextmanager
from pathlib import Path

DEFAULTS = {
    "name": "testpbs",
    "version": "23.06.06",
    "cpus": 8,
    "memory_kb": 8_000_000,
    "max_array_size": 10000,
    "history": True,
    "query_other_jobs": True,
    "reachable": True,
    "kill_delay_s": 1.0,
}


def state_folder():
    """``state`` beside the folder of the commands; the way by which a command was called tells where that is."""
    return Path(sys.argv[0]).absolute().parent.parent / "state"


def user():
    return pwd.getpwuid(os.getuid()).pw_name


def now():
    return int(time.time())


@contextmanager
def state(folder):
    """The state, to be read and changed; it is written back unless something is raised."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / "state.json"
        data = json.loads(file.read_text()) if file.exists() else {"next": 1, "jobs": {}}
        data["server"] = {**DEFAULTS, **data.get("server", {})}
        yield data
        draft = folder / "state.json.new"
        draft.write_text(json.dumps(data))
        draft.replace(file)


def configure(folder, **settings):
    """Changes what the server is like: ``history=False``, ``reachable=False``, ..."""
    with state(folder) as data:
        data["server"].update(settings)


def all_jobs(data):
    """Every job and every task of an array, with its id."""
    for native_id, job in data["jobs"].items():
        yield native_id, job
        for index, task in job.get("tasks", {}).items():
            yield task_id(native_id, index), task


def find(data, native_id):
    """The job or task with an id; ``None`` = there is none."""
    return dict(all_jobs(data)).get(native_id)


def task_id(native_id, index):
    return native_id.replace("[]", f"[{index}]")


def parent_of(data, native_id):
    """The array that a task belongs to."""
    head, _, tail = native_id.partition("[")
    return data["jobs"][f"{head}[]{tail.partition(']')[2]}"]
