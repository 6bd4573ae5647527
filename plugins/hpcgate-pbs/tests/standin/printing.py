"""How the stand-in prints jobs, queues, the server and nodes: as recorded from OpenPBS 23.06."""

from __future__ import annotations

import json
import time

from store import now, task_id


def when(at):
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(at))


def clock(seconds):
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# --- attributes -----------------------------------------------------------------------------------------------------


def job_attributes(data, native_id, job, *, task_of=None):
    """What PBS tells of a job, in its order."""
    server = data["server"]
    name, sequence = server["name"], native_id.partition(".")[0].partition("[")[0]
    suffix = f".{job['index']}" if task_of and job.get("session") else ".^array_index^" if "[" in native_id else ""
    found = {"Job_Name": job["name"], "Job_Owner": f"{job['owner']}@{name}"}
    if job["state"] == "F" and "used" in job:
        found["resources_used"] = {
            "cpupercent": 0,
            "cput": "00:00:00",
            "mem": "2048kb",
            "ncpus": job["ncpus"],
            "vmem": "4096kb",
            "walltime": clock(job["used"]),
        }
    found |= {"job_state": job["state"], "queue": job["queue"], "server": name, "Checkpoint": "u"}
    found["ctime"] = when(job["ctime"])
    if depend := depend_of(data, native_id, job):
        found["depend"] = depend
    found["Error_Path"] = f"{name}:/home/{job['owner']}/{job['name']}.e{sequence}{suffix}"
    if "vnode" in job:
        found |= {"exec_host": f"{name}/0", "exec_vnode": job["vnode"]}
    found |= {"Hold_Types": job["hold"], "Join_Path": "oe", "Keep_Files": "n", "Mail_Points": "n"}
    found["mtime"] = when(job["mtime"])
    found["Output_Path"] = f"{name}:/home/{job['owner']}/{job['name']}.o{sequence}{suffix}"
    found |= {"Priority": job["priority"], "qtime": when(job["ctime"]), "Rerunable": "True"}
    found["Resource_List"] = {"ncpus": job["ncpus"], "nodect": 1, "place": job["place"], "select": job["select"]}
    if job["walltime"] is not None:
        found["Resource_List"]["walltime"] = clock(job["walltime"])
    for key in ("stime", "obittime"):
        if key in job:
            found[key] = when(job[key])
    if "session" in job:
        found["session_id"] = job["session"]
    found["substate"] = job["substate"]
    found["Variable_List"] = {
        "PBS_O_HOME": f"/home/{job['owner']}",
        "PBS_O_LOGNAME": job["owner"],
        "PBS_O_SYSTEM": "Linux",
        **{key: escaped(value) for key, value in job["variables"].items()},
        "PBS_O_QUEUE": job["queue"],
        "PBS_O_HOST": name,
    }
    if job.get("comment"):
        found["comment"] = job["comment"]
    found["etime"] = when(job["ctime"])
    if job["run_count"]:
        found["run_count"] = job["run_count"]
    if "exit_status" in job:
        found |= {"Stageout_status": 1, "Exit_status": job["exit_status"]}
    if task_of is None:
        found["Submit_arguments"] = job["arguments"]
    if "tasks" in job:
        found |= array_attributes(job)
    if task_of is not None:
        found |= {"array_id": task_of, "array_index": job["index"]}
    if "history_timestamp" in job:
        found["history_timestamp"] = job["history_timestamp"]
    return found | {"project": "_pbs_project_default", "Submit_Host": name}


def depend_of(data, native_id, job):
    """What a job depends on, and what depends on it: PBS notes both."""
    after = [(kind, other) for kind, other in job["depends"]]
    before = [
        (kind.replace("after", "before"), child)
        for child, each in data["jobs"].items()
        for kind, other in each["depends"]
        if other == native_id
    ]
    kinds = {}
    for kind, other in after + before:
        kinds.setdefault(kind, [kind]).append(f"{other}@{data['server']['name']}")
    return ",".join(":".join(words) for words in kinds.values())


def array_attributes(job):
    states = [task["state"] for task in job["tasks"].values()]
    left = [index for index, task in job["tasks"].items() if task["state"] in "QH"]
    expired = 0 if job["state"] == "F" else states.count("F")
    return {
        "array": "True",
        "array_state_count": f"Queued:{len(left)} Running:{states.count('R')} Exiting:0 Expired:{expired}",
        "array_indices_submitted": job["range"],
        "array_indices_remaining": ",".join(left) or "-",
    }


def escaped(value):
    """qstat itself puts a backslash before quotes and backslashes."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def jobs_of(data, *, history, subjobs, only, viewer):
    """The jobs that are told, by id."""
    server, found = data["server"], {}
    for native_id, job in data["jobs"].items():
        if native_id not in only or (job["state"] == "F" and not history):
            continue
        if not server["query_other_jobs"] and job["owner"] != viewer:
            continue
        found[native_id] = job_attributes(data, native_id, job)
        if subjobs:
            for index, task in job.get("tasks", {}).items():
                attributes = job_attributes(data, task_id(native_id, index), task, task_of=native_id)
                if job["state"] != "F" and task["state"] == "F":
                    attributes["job_state"] = "X"
                if task["state"] in "QH" and "stime" in job:
                    attributes["stime"] = when(job["stime"])
                found[task_id(native_id, index)] = attributes
    return found


def queue_attributes(data):
    counts = state_count(data)
    return {
        "workq": {
            "queue_type": "Execution",
            "total_jobs": sum(job["state"] != "F" for job in data["jobs"].values()),
            "state_count": counts,
            "enabled": "True",
            "started": "True",
        }
    }


def server_attributes(data):
    server = data["server"]
    found = {
        "server_state": "Active",
        "server_host": server["name"],
        "scheduling": "True",
        "total_jobs": len(data["jobs"]),
        "state_count": state_count(data),
        "default_queue": "workq",
        "query_other_jobs": str(server["query_other_jobs"]),
        "max_array_size": server["max_array_size"],
        "pbs_version": server["version"],
    }
    if server["history"]:
        found["job_history_enable"] = "True"
    return {server["name"]: found}


def state_count(data):
    letters = [job["state"] for job in data["jobs"].values()]
    words = {"Transit": "T", "Queued": "Q", "Held": "H", "Waiting": "W", "Running": "R", "Exiting": "E", "Begun": "B"}
    return "".join(f"{word}:{letters.count(letter)} " for word, letter in words.items())


def node_attributes(data):
    server = data["server"]
    running = [native_id for native_id, job in data["jobs"].items() if job["state"] == "R"]
    used = sum(job["ncpus"] for job in data["jobs"].values() if job["state"] == "R")
    node = {"Mom": server["name"], "ntype": "PBS", "state": "free", "pcpus": server["cpus"]}
    if running:
        node["jobs"] = running
    node["resources_available"] = {
        "arch": "linux",
        "host": server["name"],
        "mem": f"{server['memory_kb']}kb",
        "ncpus": server["cpus"],
        "vnode": server["name"],
    }
    node["resources_assigned"] = {"ncpus": used} if used else {}
    return {server["name"]: node | {"resv_enable": "True", "sharing": "default_shared", "license": "l"}}


# --- forms ----------------------------------------------------------------------------------------------------------


def as_json(server, group, objects):
    """Tabs, one key a line; no group at all where there is nothing to tell."""
    document = {"timestamp": now(), "pbs_version": server["version"], "pbs_server": server["name"]}
    if objects:
        document[group] = objects
    return _json(document, 1) + "\n"


def _json(value, depth):
    tabs = "\t" * depth
    if isinstance(value, dict):
        lines = ",\n".join(f"{tabs}{json.dumps(key)}:\t{_json(each, depth + 1)}" for key, each in value.items())
        return f"{{\n{lines}\n{tabs[:-1]}}}" if lines else f"{{\n{tabs[:-1]}}}"
    if isinstance(value, list):
        return "[" + ", ".join(json.dumps(each) for each in value) + "]"
    if isinstance(value, str) and value.isdigit() and (value == "0" or value[0] != "0"):
        return value  # PBS takes what looks like a number for one
    return json.dumps(value, ensure_ascii=False)


def as_dsv(objects):
    return "".join(
        f"Job Id: {native_id}|" + "|".join(f"{name}={value}" for name, value in flat(attributes)) + "\n"
        for native_id, attributes in objects.items()
    )


def as_plain(objects):
    lines = []
    for native_id, attributes in objects.items():
        lines.append(f"Job Id: {native_id}")
        for name, value in flat(attributes):
            text = f"    {name} = {value}"
            lines.append(text[:79])
            lines += [f"\t{text[at : at + 71]}" for at in range(79, len(text), 71)]
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def flat(attributes):
    for name, value in attributes.items():
        if name == "Variable_List":
            yield name, ",".join(f"{key}={each}".replace(",", "\\,") for key, each in value.items())
        elif isinstance(value, dict):
            for key, each in value.items():
                yield f"{name}.{key}", each
        else:
            yield name, value


def as_table(objects):
    lines = [
        "Job id            Name             User              Time Use S Queue",
        "----------------  ---------------- ----------------  -------- - -----",
    ]
    for native_id, each in objects.items():
        owner = each["Job_Owner"].partition("@")[0]
        used = each.get("resources_used", {}).get("cput", "0")
        lines.append(
            f"{native_id:<17} {each['Job_Name'][:16]:<16} {owner[:16]:<16}  {used:>8} {each['job_state']} {'workq':<16}"
        )
    return "".join(f"{line}\n" for line in lines) if objects else ""
