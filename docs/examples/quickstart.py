"""Starts a gateway, runs one script through its REST API, and shows what became of it.

The gateway is the real one, ``hpcgate serve``, with a home folder of its own. Everything else is plain HTTP, so the
same can be said in any language. With ``--keep`` the gateway goes on serving at the end.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

SCRIPT = """#!/bin/sh
echo "running on $(uname -n) as $(id -un)"
for step in 1 2 3; do
  sleep 0.5
  echo "step $step of 3"
done
echo "the answer is $((6 * 7))"
"""


def main() -> int:
    keep = "--keep" in sys.argv[1:]
    home = Path(os.environ.get("HPCGATE_HOME") or tempfile.mkdtemp(prefix="hpcgate-"))
    with gateway(home) as url:
        # The first start made an administrator, and left a token in a file that only this account can read.
        token = (home / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=30) as api:
            completed = run_one_job(api)
        print(f"\nthe API, to read and to try:  {url}/docs")
        if keep:
            print(f"its token:                    {home / 'admin.token'}")
            print("\nThe gateway goes on serving; Ctrl-C stops it.", flush=True)
            wait_for_interrupt()
    return 0 if completed else 1


# [job]
def run_one_job(api: httpx.Client) -> bool:
    """Submits the script, prints its output as it is written, and then its final state."""
    job = {"script": SCRIPT, "name": "quickstart", "resources": {"walltime_s": 60}}
    # With a key of its own the same request can be sent again without running anything twice.
    answer = api.post("/jobs", json=job, headers={"Idempotency-Key": f"quickstart-{time.time_ns()}"})
    answer.raise_for_status()
    job = answer.json()
    print(f"submitted: job {job['id']} on site {job['site']} is {job['state']}\n")

    with api.stream("GET", f"/jobs/{job['id']}/stdout", params={"follow": "true"}) as stream:
        stream.raise_for_status()
        for event, data in server_sent_events(stream.iter_lines()):
            if event == "log":
                print(data["text"], end="", flush=True)
            elif event == "end":
                break

    job = api.get(f"/jobs/{job['id']}").raise_for_status().json()
    print(f"\nfinal state: {job['state']}, exit code {job['exit_code']}, as told by: {job['evidence']}")
    return bool(job["state"] == "COMPLETED")


# [end]


def server_sent_events(lines: Iterator[str]) -> Iterator[tuple[str, dict]]:
    """The messages of an event stream: name and data of each."""
    event, data = "message", ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            data += value
        elif not line and data:
            yield event, json.loads(data)
            event, data = "message", ""


@contextmanager
def gateway(home: Path) -> Iterator[str]:
    """A gateway on a free port of this machine, stopped at the end; gives its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    home.mkdir(parents=True, exist_ok=True)
    print(f"starting a gateway at {url}, with its home in {home}")
    with (home / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "hpcgate", "serve", "--port", str(port)],
            env={**os.environ, "HPCGATE_HOME": str(home)},
            stdout=log,
            stderr=log,
            # Ctrl-C is for this script, which then stops the server.
            start_new_session=True,
        )
        try:
            wait_until_ready(server, url, home / "serve.log")
            yield url
        finally:
            server.terminate()
            server.wait(timeout=30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the gateway ended with {server.returncode}:\n{log.read_text()}")
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.05)
    sys.exit(f"the gateway did not get ready:\n{log.read_text()}")


def wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\nstopping")


if __name__ == "__main__":
    sys.exit(main())
