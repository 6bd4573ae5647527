"""What the parsers make of every kind of answer of PBS: those in ``pbs_answers``, and recorded ones.

``HPCGATE_TEST_TRANSCRIPTS`` names a folder of recorded conversations, one JSON file a command (``label command
exit_status stdout stderr``), or one that holds such a folder called ``pbs``. Recordings mean the same as the answers of
their label here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pbs_answers import ANSWERS
from pbs_reading import Said, reading

#: Taken or refused and how; for `qstat` the jobs in order, then how many ids are unknown, how many have finished, and
#: whether the server keeps no history.
READINGS = {
    "version": ("version", True, False),
    "qsub-stdin-ok": "taken",
    "qstat-running": (["QUEUED starting"], 0, 0, False),
    "qstat-finished-without-x": ([], 0, 1, False),
    "qstat-finished-x": (["COMPLETED 0"], 0, 0, False),
    "qstat-finished-x-plain": (["COMPLETED 0"], 0, 0, False),
    "qsub-exit3": "taken",
    "qstat-exit3": (["FAILED EXIT_NONZERO 3"], 0, 0, False),
    "qsub-long": "taken",
    "qdel-running": True,
    "qstat-killed": (["RUNNING"], 0, 0, False),
    "qdel-finished": True,
    "qdel-x-finished": True,
    "qstat-purged": ([], 1, 0, False),
    "qsub-held": "taken",
    "qstat-held": (["HELD"], 0, 0, False),
    "qdel-held": True,
    "qstat-deleted-while-held": (["CANCELED"], 0, 0, False),
    "qsub-held2": "taken",
    "qrls": True,
    "qsub-walltime": "taken",
    "qsub-array": "array taken",
    "qstat-array": (["QUEUED"], 0, 0, False),
    "qstat-array-t": (["RUNNING [QUEUED QUEUED QUEUED]"], 0, 0, False),
    "qsub-parent": "taken",
    "qsub-afterok": "taken",
    "qstat-child": (["QUEUED"], 0, 0, False),
    "qstat-walltime-exceeded": (["RUNNING"], 0, 0, False),
    "qstat-array-done": (["FAILED EXIT_NONZERO 1 [COMPLETED FAILED COMPLETED]"], 0, 0, False),
    "qstat-child-after-failed-parent": (["CANCELED DEPENDENCY_NEVER_SATISFIED"], 0, 0, False),
    "qstat-unknown": ([], 1, 0, False),
    "qstat-malformed": "SchedulerError transient",
    "qdel-unknown": True,
    "qsub-bad-queue": "rejected",
    "qsub-bad-resource": "rejected",
    "qsub-too-many-cpus": "taken",
    "qstat-never-runs": (["RUNNING", "QUEUED"], 0, 0, False),
    "qsub-bad-name": "rejected",
    "qsub-empty-stdin": "taken",
    "qsub-tricky-env": "taken",
    "qstat-tricky-env": (["COMPLETED 0"], 0, 0, False),
    "qsub-two-a": "taken",
    "qstat-two-one-unknown": (["QUEUED starting"], 1, 0, False),
    "qstat-queues": [("up", 1, 1)],
    "qstat-server": "sees all",
    "pbsnodes": [("free", 2, 1)],
    "qselect": [True, True],
    "qselect-x-name": [True, True],
    "qstat-all-history": (
        [
            "COMPLETED 0",
            "COMPLETED 0",
            "CANCELED CANCELED_BY_USER signal 15",
            "CANCELED",
            "COMPLETED 0",
            "FAILED TIMEOUT",
            "FAILED EXIT_NONZERO 1",
            "CANCELED DEPENDENCY_NEVER_SATISFIED",
            "QUEUED",
            "FAILED EXIT_NONZERO 127",
            "COMPLETED 0",
            "QUEUED starting",
        ],
        0,
        0,
        False,
    ),
    "qselect-big": [True],
    "qdel-force": True,
    "qstat-killed-final": (["CANCELED CANCELED_BY_USER signal 15"], 0, 0, False),
    "qstat-walltime-final": (["FAILED TIMEOUT"], 0, 0, False),
    "qstat-plain-x": "Unreadable transient",
    "qsub-key-by-v": "taken",
    "qstat-dsv": (["QUEUED starting"], 0, 0, False),
    "qstat-plain-f": (["QUEUED starting"], 0, 0, False),
    "qsig-suspend": "SchedulerError permanent",
    "qsig-usr1": True,
    "qalter-name-running": True,
    "qsub-hold-then": "taken",
    "qhold-running-or-done": "SchedulerError permanent",
    "qrerun-running": "SchedulerError permanent",
    "qdel-many": True,
    "qsub-empty-resource": "rejected",
    "qsub-bad-depend": "taken",
    "qsub-array-too-big": "rejected",
    "no-query-others-qstat-x": ([], 0, 0, False),
    "no-query-others-qstat-all": ([], 0, 0, False),
    "no-query-others-qsub": "taken",
    "history-off-qstat-x": ([], 0, 0, True),
    "history-off-qstat-all": (["HELD"], 0, 0, False),
    "history-off-qsub": "taken",
}


def recordings():
    named = os.environ.get("HPCGATE_TEST_TRANSCRIPTS")
    if not named:
        return []
    folder = Path(named, "pbs") if Path(named, "pbs").is_dir() else Path(named)
    return sorted(folder.glob("*.json"))


def test_every_answer_has_a_reading():
    assert ANSWERS.keys() == READINGS.keys()


@pytest.mark.parametrize("label", ANSWERS)
def test_an_answer_is_understood(label):
    assert reading(ANSWERS[label]) == READINGS[label]


@pytest.mark.skipif(not recordings(), reason="HPCGATE_TEST_TRANSCRIPTS names no folder of recorded conversations")
def test_there_is_a_recording_of_every_answer():
    labels = [json.loads(file.read_text())["label"] for file in recordings()]
    assert sorted(labels) == sorted(READINGS)


@pytest.mark.parametrize("file", recordings(), ids=lambda file: file.stem)
def test_a_recording_is_understood(file):
    said = json.loads(file.read_text())
    read = reading(Said(said["command"], said["exit_status"], said["stdout"], said["stderr"]))
    assert read == READINGS[said["label"]]
