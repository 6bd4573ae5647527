"""What the parsers make of recorded conversations with Slurm, whatever commands they were.

``HPCGATE_TEST_TRANSCRIPTS`` names a folder that holds such conversations as ``slurm-VERSION``, one JSON file a command
(``label command exit_status stdout stderr``).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from slurm_reading import Said, reading
from slurm_readings import OF_VERSION, SAME


def recordings() -> list[Path]:
    named = os.environ.get("HPCGATE_TEST_TRANSCRIPTS")
    return sorted(Path(named).glob("slurm-*/*.json")) if named else []


@pytest.mark.skipif(not recordings(), reason="HPCGATE_TEST_TRANSCRIPTS names no folder of recorded conversations")
def test_every_reading_has_its_recording():
    labels = {json.loads(file.read_text())["label"] for file in recordings()}
    assert labels == SAME.keys() | {label for told in OF_VERSION.values() for label in told}


@pytest.mark.parametrize("file", recordings(), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_recording_is_understood(file):
    said = json.loads(file.read_text())
    found = reading(Said(said["command"], said["exit_status"], said["stdout"], said["stderr"]))
    if isinstance(found, str) and found.startswith("taken "):
        assert found.removeprefix("taken ") == said["stdout"].strip()
        found = "taken"
    of_version = OF_VERSION[file.parent.name.removeprefix("slurm-")]
    assert found == (of_version[said["label"]] if said["label"] in of_version else SAME[said["label"]])
