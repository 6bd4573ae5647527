"""``qsub qstat qdel qhold qrls qsig qrerun pbsnodes``, which answer as those of OpenPBS 23.06 do."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import mom
import printing
from store import find, now, parent_of, state, state_folder, task_id, user

USAGE = """usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
RESOURCES = {"ncpus", "mem", "vmem", "mpiprocs", "ompthreads", "ngpus", "host", "arch", "vnode"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9+._-]{0,229}\Z")
ID = re.compile(r"\d+(\[\d*\])?(\.[\w.-]+)?\Z")
UNKNOWN, FINISHED, BAD_STATE, UNKNOWN_SIGNAL = 153, 35, 168, 165


class Refused(Exception):
    """What a command says on stderr, and its exit status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def main(name):
    folder = state_folder()
    with state(folder) as data:
        reachable, version = data["server"]["reachable"], data["server"]["version"]
    if "--version" in sys.argv:
        print(f"pbs_version = {version}")
        return
    if not reachable:
        print("Connection refused", file=sys.stderr)
        print(f"{name}: cannot connect to server {data['server']['name']} (errno=15010)", file=sys.stderr)
        sys.exit(111)
    try:
        COMMANDS[name](folder, sys.argv[1:])
    except Refused as refusal:
        print(f"{name}: {refusal}", file=sys.stderr)
        sys.exit(refusal.status)


def each(name, ids, act):
    """Does something with several jobs: a line for each that is refused, the exit status of the last of them."""
    status = 0
    for native_id in ids:
        try:
            act(native_id)
        except Refused as refusal:
            print(f"{name}: {refusal}", file=sys.stderr)
            status = refusal.status
    if status:
        sys.stdout.flush()
        sys.exit(status)


def known(data, native_id):
    if not ID.match(native_id):
        raise Refused(1, f"illegally formed job identifier: {native_id}")
    job = find(data, native_id)
    if job is None:
        raise Refused(UNKNOWN, f"Unknown Job Id {native_id}")
    return job


# --- qsub -----------------------------------------------------------------------------------------------------------


def qsub(folder, words):
    options, script = read_options(words), sys.stdin.buffer.read()
    for line in script.decode(errors="replace").splitlines():
        if line.startswith("#PBS "):
            options = {**read_options(line[5:].split()), **options}
        elif line.strip() and not line.startswith("#"):
            break
    with state(folder) as data:
        native_id, job = new_job(data, options, words)
        job["script"] = f"script.{data['next'] - 1}"
        (folder / job["script"]).write_bytes(script)
        for task in job.get("tasks", {}).values():
            task["script"] = job["script"]
        data["jobs"][native_id] = job
        mom.cycle(folder, data)
    print(native_id)


def read_options(words):
    found, words = {"l": [], "W": []}, list(words)
    while words:
        word = words.pop(0)
        if not re.match(r"-[A-Za-z]", word):
            raise Refused(2, f"script file:: No such file or directory: {word}")
        letter = word[1]
        if letter in "hVzfIX":
            found[letter] = True
            continue
        value = word[2:] or words.pop(0)
        if letter in "lW":
            found[letter].append(value)
        else:
            found[letter] = value
    return found


def new_job(data, options, words):
    server, at = data["server"], now()
    name = options.get("N", "STDIN")
    if not NAME.match(name):
        raise Refused(2, f"illegal -N value\n{USAGE}")
    if options.get("q", "workq") != "workq":
        raise Refused(170, "Unknown queue")
    select, place, walltime = "1:ncpus=1", "pack", None
    for item in options["l"]:
        key, _, value = item.partition("=")
        if key == "select":
            select = value
        elif key == "place":
            place = value
        elif key == "walltime":
            walltime = seconds(value)
    attributes = dict(item.partition("=")[::2] for item in options["W"])
    depends = list(read_depend(attributes.get("depend", ""), server))
    job = {
        "name": name,
        "owner": user(),
        "queue": "workq",
        "state": "Q",
        "substate": 10,
        "hold": "n",
        "ctime": at,
        "mtime": at,
        "priority": int(options.get("p", 0)),
        "ncpus": cpus_of(select),
        "select": select,
        "place": place,
        "walltime": walltime,
        "variables": dict(part.partition("=")[::2] for part in split(options.get("v", ""))),
        "shell": options.get("S"),
        "output": options.get("o"),
        "run_count": 0,
        "depends": depends,
        "arguments": " ".join(words),
    }
    if options.get("h"):
        job.update(state="H", substate=20, hold="u")
    if depends:
        job.update(state="H", substate=22, hold="us" if options.get("h") else "s")
    number = data["next"]
    native_id = f"{number}.{server['name']}"
    if "J" in options:
        native_id = f"{number}[].{server['name']}"
        add_tasks(server, job, options["J"], attributes.get("max_run_subjobs"))
    data["next"] = number + 1
    return native_id, job


def add_tasks(server, job, text, limit):
    match = re.match(r"(\d+)-(\d+)(?::(\d+))?\Z", text)
    if not match or int(match[1]) >= int(match[2]):
        raise Refused(2, f"illegal -J value\n{USAGE}")
    indices = range(int(match[1]), int(match[2]) + 1, int(match[3] or 1))
    if len(indices) > server["max_array_size"]:
        raise Refused(3, "Array job exceeds server or queue size limit")
    job["range"] = text
    job["limit"] = int(limit or 0)
    base = {**job, "state": "Q", "substate": 10, "hold": "n", "depends": []}
    for key in ("range", "limit"):
        del base[key]
    job["tasks"] = {str(index): {**base, "index": index} for index in indices}


def seconds(text):
    if not re.match(r"[\d:]+\Z", text):
        raise Refused(166, "Illegal attribute or resource value Resource_List.walltime")
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def cpus_of(select):
    total = 0
    for chunk in select.split("+"):
        count, *resources = chunk.split(":")
        cpus = 1
        for resource in resources:
            name, _, value = resource.partition("=")
            if name not in RESOURCES:
                raise Refused(187, f"Unknown resource: {name}")
            if name == "ncpus":
                cpus = int(value)
        total += int(count) * cpus
    return total


def read_depend(text, server):
    """Pairs of kind and id; a kind that is named twice counts by its last list alone, as the server has it."""
    kinds = dict(part.partition(":")[::2] for part in text.split(",") if part)
    for kind, others in kinds.items():
        for other in others.split(":"):
            if kind not in ("after", "afterok", "afternotok", "afterany") or not other:
                raise Refused(2, f"illegal -W value\n{USAGE}")
            if re.search(r"\[\d+\]", other):
                raise Refused(2, f"cannot have dependancy on subjob or range\nqsub: illegal -W value\n{USAGE}")
            yield kind, other if "." in other else f"{other}.{server['name']}"


def split(text):
    return [part for part in re.findall(r"(?:\\.|[^,\\])+", text) if part]


# --- qstat ----------------------------------------------------------------------------------------------------------


def qstat(folder, words):
    flags = {word for word in words if re.match(r"-[xftQB]\Z", word)}
    form = words[words.index("-F") + 1] if "-F" in words else None
    ids = [word for word in words if not word.startswith("-") and word != form]
    with state(folder) as data:
        pass
    server = data["server"]
    if "-Q" in flags:
        sys.stdout.write(printing.as_json(server, "Queue", printing.queue_attributes(data)))
        return
    if "-B" in flags:
        sys.stdout.write(printing.as_json(server, "Server", printing.server_attributes(data)))
        return
    history, complaints, wanted = "-x" in flags, [], []
    for native_id in ids or [None]:
        if history and not server["history"]:
            tail = f" {native_id}" if native_id else ""
            complaints.append((0, f"PBS is not configured to maintain job history{tail}"))
        elif native_id is None:
            wanted += data["jobs"]
        else:
            complaint = about(data, native_id, history)
            if complaint:
                complaints.append(complaint)
            elif not (complaints and form == "json"):
                wanted.append(native_id)  # in JSON nothing more is shown behind an id that was refused
    shown = printing.jobs_of(data, history=history, subjobs="-t" in flags, only=wanted, viewer=user())
    if form == "json":
        sys.stdout.write(printing.as_json(server, "Jobs", shown))
    elif form == "dsv":
        sys.stdout.write(printing.as_dsv(shown))
    else:
        sys.stdout.write(printing.as_plain(shown) if "-f" in flags else printing.as_table(shown))
    for _, text in complaints:
        print(f"qstat: {text}", file=sys.stderr)
    sys.stdout.flush()
    sys.exit(complaints[-1][0] if complaints else 0)


def about(data, native_id, history):
    """Why a job is not told: exit status and words; ``None`` = it is."""
    if not ID.match(native_id):
        return 1, f"illegally formed destination: {native_id}"
    job = find(data, native_id)
    if job is None:
        return UNKNOWN, f"Unknown Job Id {native_id}"
    if job["state"] == "F" and not history:
        return FINISHED, f"{native_id} Job has finished, use -x or -H to obtain historical job information"
    return None


# --- what is asked of jobs --------------------------------------------------------------------------------------------


def qdel(folder, words):
    erase = "-x" in words
    ids = [word for word in words if not word.startswith("-")]

    def delete(native_id):
        with state(folder) as data:
            job = known(data, native_id)
            if erase:
                data["jobs"].pop(native_id, None)
                return
            if job["state"] == "F":
                return
            remove(folder, data, native_id, job)
            mom.cycle(folder, data)
            mom.forget(data)

    each("qdel", ids, delete)


def remove(folder, data, native_id, job):
    who = user()
    for index, task in job.get("tasks", {}).items():
        task["deleted_by"] = who
        end_or_drop(folder, data, task_id(native_id, index), task)
    job["deleted_by"] = who
    if "tasks" not in job:
        end_or_drop(folder, data, native_id, job)
    elif all(task["state"] == "F" for task in job["tasks"].values()):
        mom.end_array(job)
    if "[" in native_id and "tasks" not in job:
        mom.end_array(parent_of(data, native_id))


def end_or_drop(folder, data, native_id, job):
    """A running job is signalled, and stays where it is until it has ended; one that waits ends at once."""
    if job["state"] == "R":
        job["comment"] = f"{job['comment']} and terminated by {user()}@{data['server']['name']}"
        mom.ask(folder, native_id, "deleted")
    elif job["state"] != "F":
        job.update(state="F", substate=91, mtime=now(), history_timestamp=now())


def qhold(folder, words):
    def hold(native_id):
        with state(folder) as data:
            job = known(data, native_id)
            if job["state"] not in "QHW":
                raise Refused(BAD_STATE, f"Request invalid for state of job {native_id}")
            job.update(state="H", mtime=now(), **({"hold": "us"} if job["depends"] else {"hold": "u", "substate": 20}))

    each("qhold", without_options(words, "h"), hold)


def qrls(folder, words):
    def release(native_id):
        with state(folder) as data:
            job = known(data, native_id)
            if job["state"] == "H" and job["depends"]:
                job.update(hold="s", mtime=now())
            elif job["state"] == "H":
                job.update(state="Q", substate=10, hold="n", mtime=now())
            elif job["state"] == "F":
                raise Refused(BAD_STATE, f"Request invalid for state of job {native_id}")
            mom.cycle(folder, data)

    each("qrls", without_options(words, "h"), release)


def qsig(folder, words):
    name = words[words.index("-s") + 1] if "-s" in words else "SIGTERM"

    def send(native_id):
        with state(folder) as data:
            job = known(data, native_id)
            if name in ("suspend", "resume"):
                raise Refused(159, f"Unauthorized Request  {native_id}")
            number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
            if number is None:
                raise Refused(UNKNOWN_SIGNAL, f"Unknown/illegal signal name {native_id}")
            tasks = [task for task in job.get("tasks", {}).values() if task["state"] == "R"]
            if job["state"] != "R" and not tasks:
                raise Refused(BAD_STATE, f"Request invalid for state of job {native_id}")
            for one in tasks or [job]:
                mom.signal_session(one.get("session"), number)

    each("qsig", without_options(words, "s"), send)


def qrerun(folder, words):
    def rerun(native_id):
        with state(folder) as data:
            job = known(data, native_id)
            if job["state"] != "R":
                raise Refused(BAD_STATE, f"Request invalid for state of job {native_id}")
            if not data["server"].get("operator"):
                raise Refused(159, f"Unauthorized Request  {native_id}")
            mom.ask(folder, native_id, "rerun")

    each("qrerun", words, rerun)


def without_options(words, letters):
    """The words that are no option, nor the value of one of ``letters``."""
    found, words = [], list(words)
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            if word[1] in letters and len(word) == 2:
                words.pop(0)
        else:
            found.append(word)
    return found


def pbsnodes(folder, words):
    with state(folder) as data:
        pass
    sys.stdout.write(printing.as_json(data["server"], "nodes", printing.node_attributes(data)))


COMMANDS = {each.__name__: each for each in (qsub, qstat, qdel, qhold, qrls, qsig, qrerun, pbsnodes)}


def install(folder):
    """Makes ``folder/bin`` with the commands; their state is in ``folder/state``.

    Returns:
        The folder of the commands.
    """
    bin_dir = Path(folder) / "bin"
    bin_dir.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        script = bin_dir / name
        with suppress(FileNotFoundError):
            script.unlink()
        here = str(Path(__file__).resolve().parent)
        script.write_text(
            f"#!{sys.executable} -SE\nimport sys\nsys.path.insert(0, {here!r})\n"
            f"from commands import main\nmain({name!r})\n"
        )
        script.chmod(0o755)
    return bin_dir
