"""The quick start: what the README's first command runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

QUICKSTART = Path(__file__).parents[2] / "docs" / "examples" / "quickstart.py"

pytestmark = pytest.mark.live


def test_it_runs_a_script_through_rest_and_shows_what_became_of_it():
    result = subprocess.run([sys.executable, QUICKSTART], capture_output=True, text=True, timeout=100)
    assert (result.returncode, result.stderr) == (0, "")
    said = result.stdout
    assert re.search(r"submitted: job 1 on site local is (SUBMITTING|QUEUED|RUNNING)", said)
    assert "step 1 of 3\nstep 2 of 3\nstep 3 of 3\nthe answer is 42\n" in said
    assert re.search(r"final state: COMPLETED, exit code 0, as told by: (queue|exit_file|accounting)", said)
    (page,) = re.findall(r"(http://127\.0\.0\.1:\d+/docs)", said)
    with pytest.raises(httpx.ConnectError):
        httpx.get(page)


def test_with_keep_it_goes_on_serving_until_it_is_interrupted():
    process = subprocess.Popen([sys.executable, QUICKSTART, "--keep"], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            said = ""
            while "Ctrl-C stops it" not in said:
                line = process.stdout.readline()
                assert line, f"it ended: {said}"
                said += line
            (page,) = re.findall(r"(http://127\.0\.0\.1:\d+/docs)", said)
            answer = httpx.get(page, follow_redirects=True)
            assert answer.status_code == 200
            assert "html" in answer.headers["Content-Type"]
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    with pytest.raises(httpx.ConnectError):
        httpx.get(page)
