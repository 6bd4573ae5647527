"""Answers of PBS 23.06 to every kind of question, in the shapes in which it prints them; all values are made up.

Each has a name, which ``test_replay.READINGS`` says the meaning of.
"""

from __future__ import annotations

import json

from pbs_reading import Said

HOST = "head.example"
CTIME, STIME, ETIME = "Tue Mar  3 08:00:00 2026", "Tue Mar  3 08:00:05 2026", "Tue Mar  3 08:01:05 2026"
ENDED_AT = 1772524865


def document(group=None, objects=None):
    """The JSON form: tabs, one key a line, no group where there is nothing to tell."""
    data = {"timestamp": 1772524900, "pbs_version": "23.06.06", "pbs_server": HOST}
    if objects:
        data[group] = objects
    return json.dumps(data, indent="\t", separators=(",", ":\t"), ensure_ascii=False) + "\n"


def jobs(**rows):
    """``j41=job(...)`` is the job ``41.head.example``, ``a9`` the array ``9[]``, ``t9_3`` its task 3."""
    names = {"j": "{}", "a": "{}[]", "t": "{}[{}]"}
    return document(
        "Jobs", {names[name[0]].format(*name[1:].split("_")) + f".{HOST}": row for name, row in rows.items()}
    )


def job(letter, substate, *, ran=False, ended=False, comment=None, **more):
    """A row. ``ran``: it has a start; ``ended``: it has an end; what is ``None`` in ``more`` is left out."""
    row = {"Job_Name": "model", "Job_Owner": f"ann@{HOST}"}
    if ran and letter == "F":
        row["resources_used"] = {"cpupercent": 98, "cput": "00:00:59", "mem": "20480kb", "walltime": "00:01:00"}
    row |= {"job_state": letter, "queue": "main", "server": HOST, "Checkpoint": "u", "ctime": CTIME}
    row["Error_Path"] = f"{HOST}:/home/ann/model.e"
    if ran:
        row |= {"exec_host": "n7/0*2+n8/1", "exec_vnode": "(n7:ncpus=2)+(n8:ncpus=1)"}
    row |= {"Hold_Types": "n", "Join_Path": "n", "mtime": ETIME, "Priority": 0, "Rerunable": "True"}
    row["Resource_List"] = {"ncpus": 2, "nodect": 1, "place": "pack", "select": "1:ncpus=2", "walltime": "01:00:00"}
    if ran:
        row["stime"] = STIME
    if ended:
        row["obittime"] = ETIME
    row |= {"substate": substate, "Variable_List": {"PBS_O_HOME": "/home/ann", "PBS_O_QUEUE": "main"}}
    if comment:
        row["comment"] = comment
    row["etime"] = CTIME
    if ran:
        row["run_count"] = 1
    row |= {"Submit_arguments": "-N model", "project": "_pbs_project_default", "Submit_Host": HOST}
    return {name: value for name, value in (row | more).items() if value is not None}


def done(exit_status, substate=None, **more):
    substate = substate or (93 if exit_status else 92)
    return job("F", substate, ran=True, ended=True, Exit_status=exit_status, history_timestamp=ENDED_AT, **more)


def array(letter, substate, counts, **more):
    return job(
        letter,
        substate,
        array="True",
        array_state_count=counts,
        array_indices_submitted="4-6",
        array_indices_remaining="-",
        **more,
    )


STARTING = job("R", 41, ran=True, comment="Job run at Tue Mar 03 at 08:00 on (n7:ncpus=2)")
RUNNING = job("R", 42, ran=True, session_id=4711)
KILLED = "Job run at Tue Mar 03 at 08:00 on (n7:ncpus=2) and terminated by ann@head.example"
DELETED_WAITING = job("F", 91, history_timestamp=ENDED_AT)
NEVER_RAN = job("F", 92, depend=f"afterok:40.{HOST}@{HOST}", history_timestamp=ENDED_AT)
UNKNOWN = f"qstat: Unknown Job Id 777777.{HOST}\n"
TOO_BIG = job("Q", 10, comment="Can Never Run: Insufficient amount of resource: ncpus (R: 512 A: 64 T: 64)")
TRICKY = done(0) | {"Variable_List": {"A": 1, "QUOTED": 'a,b \\"q\\" back\\\\slash\nsecond line'}}

PLAIN = f"""\
Job Id: 41.{HOST}
    Job_Name = model
    Job_Owner = ann@{HOST}
    resources_used.cput = 00:00:59
    resources_used.mem = 20480kb
    job_state = F
    ctime = {CTIME}
    exec_host = n7/0*2
    Resource_List.select = 1:ncpus=2
    stime = {STIME}
    obittime = {ETIME}
    substate = 92
    Variable_List = PBS_O_HOME=/home/ann,PBS_O_LANG=C.UTF-8,
\tPBS_O_QUEUE=main,PBS_O_HOST={HOST}
    comment = Job run at Tue Mar 03 at 08:00 on (n7:ncpus=2) and fini
\tshed
    run_count = 1
    Exit_status = 0

"""
DSV = (
    f"Job Id: 41.{HOST}|Job_Name=model|Job_Owner=ann@{HOST}|job_state=R|ctime={CTIME}|exec_host=n7/0|stime={STIME}"
    f"|substate=41|Variable_List=PBS_O_HOME=/home/ann,HPCGATE_JOB_KEY=01J00000000000000000000001|run_count=1\n"
)
TABLE = f"""\
Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
41.{HOST}   model            ann               00:00:59 F main
"""
QUEUE = document(
    "Queue",
    {
        "main": {
            "queue_type": "Execution",
            "total_jobs": 2,
            "state_count": "Transit:0 Queued:1 Held:0 Waiting:0 Running:1 Exiting:0 Begun:0 ",
            "resources_max": {"walltime": "48:00:00"},
            "enabled": "True",
            "started": "True",
        }
    },
)
SERVER = document(
    "Server",
    {
        HOST: {
            "server_state": "Active",
            "scheduling": "True",
            "default_queue": "main",
            "query_other_jobs": "True",
            "max_array_size": 10000,
            "pbs_version": "23.06.06",
            "job_history_enable": "True",
            "job_history_duration": "336:00:00",
        }
    },
)
NODES = document(
    "nodes",
    {
        "n7": {
            "Mom": "n7.example",
            "ntype": "PBS",
            "state": "free",
            "pcpus": 2,
            "jobs": [f"41.{HOST}"],
            "resources_available": {"arch": "linux", "host": "n7", "mem": "16384000kb", "ncpus": 2, "vnode": "n7"},
            "resources_assigned": {"ncpus": 1},
        }
    },
)


def qstat(words, stdout, exit_status=0, stderr=""):
    return Said(f"qstat {words}", exit_status, stdout, stderr)


def taken(words="", native_id=f"41.{HOST}"):
    return Said(f"qsub -N model {words}", stdout=f"{native_id}\n")


def refused(command, exit_status, stderr):
    return Said(command, exit_status, "", stderr)


X, F = f"-x -f -F json 41.{HOST}", f"-f -F json 41.{HOST}"

ANSWERS = {
    "version": Said("qstat --version", stdout="pbs_version = 23.06.06\n"),
    "qsub-stdin-ok": taken(),
    "qstat-running": qstat(F, jobs(j41=STARTING)),
    "qstat-finished-without-x": qstat(
        F, document(), 35, f"qstat: 41.{HOST} Job has finished, use -x or -H to obtain historical job information\n"
    ),
    "qstat-finished-x": qstat(X, jobs(j41=done(0))),
    "qstat-finished-x-plain": qstat(f"-x -f 41.{HOST}", PLAIN),
    "qsub-exit3": taken(),
    "qstat-exit3": qstat(X, jobs(j41=done(3))),
    "qsub-long": taken(),
    "qdel-running": Said("qdel 41"),
    "qstat-killed": qstat(X, jobs(j41=RUNNING | {"comment": KILLED})),
    "qdel-finished": Said("qdel 41"),
    "qdel-x-finished": Said("qdel -x 41"),
    "qstat-purged": qstat(X, document(), 153, UNKNOWN),
    "qsub-held": taken("-h"),
    "qstat-held": qstat(F, jobs(j41=job("H", 20, Hold_Types="u"))),
    "qdel-held": Said("qdel 41"),
    "qstat-deleted-while-held": qstat(X, jobs(j41=DELETED_WAITING)),
    "qsub-held2": taken("-h"),
    "qrls": Said("qrls 41"),
    "qsub-walltime": taken("-l walltime=00:01:00"),
    "qsub-array": taken("-J 4-6", f"9[].{HOST}"),
    "qstat-array": qstat(f"-f -F json '9[].{HOST}'", jobs(a9=array("Q", 10, "Queued:2 Running:1 Exiting:0 Expired:0"))),
    "qstat-array-t": qstat(
        f"-t -f -F json '9[].{HOST}'",
        jobs(
            a9=array("B", 70, "Queued:2 Running:1 Exiting:0 Expired:0", stime=STIME, comment="Job Array Began"),
            t9_4=job("R", 41, ran=True, array_index=4),
            t9_5=job("Q", 10, stime=STIME),
            t9_6=job("Q", 10, stime=STIME),
        ),
    ),
    "qsub-parent": taken(),
    "qsub-afterok": taken("-W depend=afterok:40"),
    "qstat-child": qstat(F, jobs(j41=job("H", 22, depend=f"afterok:40.{HOST}@{HOST}", Hold_Types="s"))),
    "qstat-walltime-exceeded": qstat(X, jobs(j41=RUNNING)),
    "qstat-array-done": qstat(
        f"-x -t -f -F json '9[].{HOST}'",
        jobs(
            a9=array("F", 93, "Queued:0 Running:0 Exiting:0 Expired:0", stime=STIME, obittime=ETIME, Exit_status=0),
            t9_4=done(0, array_index=4),
            t9_5=done(1, array_index=5),
            t9_6=done(0, array_index=6),
        ),
    ),
    "qstat-child-after-failed-parent": qstat(X, jobs(j41=NEVER_RAN)),
    "qstat-unknown": qstat(F, document(), 153, UNKNOWN),
    "qstat-malformed": qstat("-f -F json 'no id'", document(), 1, "qstat: illegally formed destination: no id\n"),
    "qdel-unknown": refused("qdel 777777", 153, f"qdel: Unknown Job Id 777777.{HOST}\n"),
    "qsub-bad-queue": refused("qsub -q nowhere", 170, "qsub: Unknown queue\n"),
    "qsub-bad-resource": refused("qsub -l select=1:wings=2", 187, "qsub: Unknown resource: wings\n"),
    "qsub-too-many-cpus": taken("-l select=1:ncpus=512"),
    "qstat-never-runs": qstat("-f -F json", jobs(j6=RUNNING, j41=TOO_BIG)),
    "qsub-bad-name": refused("qsub -N '9 lives'", 2, "qsub: illegal -N value\nusage: qsub [-a date_time]\n"),
    "qsub-empty-stdin": taken(),
    "qsub-tricky-env": taken("-V"),
    "qstat-tricky-env": qstat(X, jobs(j41=TRICKY)),
    "qsub-two-a": taken(),
    "qstat-two-one-unknown": qstat(
        f"-x -f -F json 41.{HOST} 777777.{HOST} 40.{HOST}", jobs(j41=STARTING), 153, UNKNOWN
    ),
    "qstat-queues": qstat("-Q -f -F json", QUEUE),
    "qstat-server": qstat("-B -f -F json", SERVER),
    "pbsnodes": Said("pbsnodes -a -F json", stdout=NODES),
    "qselect": Said("qselect -u ann", stdout=f"40.{HOST}\n41.{HOST}\n"),
    "qselect-x-name": Said("qselect -x -N model", stdout=f"40.{HOST}\n41.{HOST}\n"),
    "qstat-all-history": qstat(
        "-x -f -F json",
        jobs(
            j0=done(0),
            j1=done(0),
            j3=done(271, 91, comment=KILLED),
            j4=DELETED_WAITING,
            j5=done(0),
            j6=done(-29),
            j8=done(1),
            j9=NEVER_RAN,
            j12=TOO_BIG,
            j13=done(127),
            j14=done(0),
            j15=STARTING,
        ),
    ),
    "qselect-big": Said("qselect -N model", stdout=f"41.{HOST}\n"),
    "qdel-force": Said("qdel -W force 41"),
    "qstat-killed-final": qstat(X, jobs(j41=done(271, 91, comment=KILLED))),
    "qstat-walltime-final": qstat(X, jobs(j41=done(-29))),
    "qstat-plain-x": qstat("-x", TABLE),
    "qsub-key-by-v": taken("-v HPCGATE_JOB_KEY=01J00000000000000000000001"),
    "qstat-dsv": qstat(f"-f -F dsv 41.{HOST}", DSV),
    "qstat-plain-f": qstat(
        f"-f 41.{HOST}",
        PLAIN.replace("= F\n", "= R\n").replace("= 92\n", "= 41\n").replace("    Exit_status = 0\n", ""),
    ),
    "qsig-suspend": refused("qsig -s suspend 41", 159, f"qsig: Unauthorized Request  41.{HOST}\n"),
    "qsig-usr1": Said("qsig -s SIGUSR1 41"),
    "qalter-name-running": Said("qalter -N other 41"),
    "qsub-hold-then": taken(),
    "qhold-running-or-done": refused("qhold 41", 168, f"qhold: Request invalid for state of job 41.{HOST}\n"),
    "qrerun-running": refused("qrerun 41", 168, f"qrerun: Request invalid for state of job 41.{HOST}\n"),
    "qdel-many": refused(
        "qdel 40 41 777777",
        153,
        f"qdel: Request invalid for state of job 40.{HOST}\nqdel: Unknown Job Id 777777.{HOST}\n",
    ),
    "qsub-empty-resource": refused(
        "qsub -l walltime=x", 166, "qsub: Illegal attribute or resource value Resource_List.walltime\n"
    ),
    "qsub-bad-depend": taken("-W depend=afterok:777777"),
    "qsub-array-too-big": refused("qsub -J 1-9", 3, "qsub: Array job exceeds server or queue size limit\n"),
    "no-query-others-qstat-x": qstat(X, document()),
    "no-query-others-qstat-all": qstat("-f -F json", document()),
    "no-query-others-qsub": taken(),
    "history-off-qstat-x": qstat(X, document(), 0, f"qstat: PBS is not configured to maintain job history 41.{HOST}\n"),
    "history-off-qstat-all": qstat("-f -F json", jobs(j41=job("H", 20, Hold_Types="u"))),
    "history-off-qsub": taken(),
}
