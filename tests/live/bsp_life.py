"""The whole life of jobs through the dialect ``bsp``, by curl: the same on every batch system."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from live.served import Curled, Serving, curl
from support import eventually

GRANTED_S = 36_000
#: What a portal of the service sends: the zip comes unchanged, and the command unpacks it.
UNPACK = (
    "unzip -q model.zip; cd model; chmod +x run.sh; ./run.sh; status=$?; "
    "cd ..; cat; cp model/OUTPUT/x out.dat; exit $status"
)


def tables(site: str) -> str:
    """Both kinds of systems on one site."""
    return f"""
[projects.bsp_01]
site = "{site}"
hours = {GRANTED_S // 3600}
space_kb = 1000
default = true
[groups.hhnb]
members = ["hhnb-pizdaint", "hhnb-nsg", "hhnb-refused"]
[projects.hhnb_daint_cscs]
site = "{site}"
hours = {GRANTED_S // 3600}
groups = ["hhnb"]
[dialects.bsp]
hosts = ["bspsa.cineca.it"]
max_body_bytes = 100_000
[dialects.bsp.settings.hpc.PIZDAINT]
site = "{site}"
kind = "command"
projects = ["bsp_01", "hhnb_daint_cscs"]
default_project = "bsp_01"
[dialects.bsp.settings.hpc.NSG]
site = "{site}"
kind = "tool"
projects = ["bsp_01", "hhnb_daint_cscs"]
default_project = "bsp_01"
tools = {{SH_TG = "sh", BLUEPYOPT_EXPANSE = "python3"}}
"""


def zipped(*entries: tuple[str, str]) -> bytes:
    """A zip as clients pack it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries:
            archive.writestr(name, text)
    return packed.getvalue()


MODEL = zipped(
    ("model/run.sh", "#!/bin/sh\nread x </dev/null\necho $((6 * 7))\necho oops >&2\ncp data.txt OUTPUT/x\n"),
    ("model/data.txt", "cells\n"),
    ("model/OUTPUT/", ""),
)


class Portal:
    """A client of the service."""

    def __init__(self, server: Serving, folder: Path) -> None:
        self._server = server
        self.zip = folder / "model.zip"
        self.zip.write_bytes(MODEL)

    def ask(self, method: str, path: str, *more: str) -> Curled:
        own = ("-X", method, "-H", f"Authorization: Bearer {self._server.token}")
        return curl(*own, *more, f"{self._server.url}/bsp{path}")

    def submit(self, hpc: str, *body: str, **payload: Any) -> dict[str, Any]:
        head = ("-H", "Content-Disposition: attachment; filename=model.zip") if body else ()
        answer = self.ask("POST", f"/jobs/{hpc}/", *head, "-H", f"Payload: {json.dumps(payload)}", *body)
        assert answer.status == 201, answer
        assert not answer.json["terminal_stage"]
        return dict(answer.json)

    @property
    def raw(self) -> tuple[str, ...]:
        return ("--data-binary", f"@{self.zip}")

    @property
    def form(self) -> tuple[str, ...]:
        return ("-F", f"file=@{self.zip}")

    def at(self, job: dict[str, Any], what: str = "jobs") -> str:
        return f"/{what}/{job['project_hpc'].lower()}/{job['project_name']}/{job['job_id']}"

    def ended(self, job: dict[str, Any], stage: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            now = self.ask("GET", f"{self.at(job)}/").json
            return now if now["terminal_stage"] else None

        now: dict[str, Any] = eventually(there, 90)
        assert now["stage"] == stage, (now, self.read(job, "stderr"))
        assert now["end_date"] >= now["init_date"]
        return now

    def read(self, job: dict[str, Any], name: str) -> bytes:
        return self.ask("GET", f"{self.at(job, 'files')}/{name}/").body

    def left_s(self) -> int:
        return int(self.ask("GET", "/quotas/pizdaint/bsp_01/").json["time_left"])


def live(portal: Portal) -> None:
    """Jobs of both kinds: submitted, looked at, read, canceled and deleted."""
    wanted = {"node_number": "1", "runtime": "0.2"}
    raw = portal.submit("pizdaint", *portal.raw, command=UNPACK, title="raw", **wanted)
    form = portal.submit("pizdaint", *portal.form, command=UNPACK, title="form", **wanted)
    tool = portal.submit("nsg", *portal.form, tool="SH_TG", init_file="run.sh", **wanted)
    fails = portal.submit("pizdaint", command="echo in vain; exit 3", **wanted)
    lasts = portal.submit("pizdaint", command="echo begun; sleep 1000", **wanted)

    for job in (raw, form):
        portal.ended(job, "SUCCESSFUL")
        files = portal.ask("GET", f"{portal.at(job, 'files')}/").json
        assert files == ["/stdout", "/stderr", "/model.zip", "/out.dat"]
        assert portal.read(job, "stdout") == b"42\n"
        assert portal.read(job, "stderr") == b"oops\n"
        assert portal.read(job, "out.dat") == b"cells\n"
        assert portal.read(job, "model.zip") == portal.zip.read_bytes(), "raw and multipart leave the same bytes"

    assert not portal.ended(tool, "COMPLETED")["failed"]
    files = {each["filename"]: each["fileid"] for each in portal.ask("GET", f"{portal.at(tool, 'files')}/").json}
    assert set(files) == {"STDOUT", "STDERR", "output.tar.gz"}
    assert portal.read(tool, files["STDOUT"]) == b"42\n"
    with tarfile.open(fileobj=io.BytesIO(portal.read(tool, files["output.tar.gz"]))) as results:
        names = results.getnames()
    assert "model/OUTPUT/x" in names
    assert all(name.partition("/")[0] == "model" for name in names)

    assert portal.ended(fails, "FAILED")["failed"]

    eventually(lambda: portal.read(lasts, "stdout") == b"begun\n", 60)
    assert portal.ask("DELETE", portal.at(lasts)).json["stage"] == "CANCELED"
    # What a canceled job had reserved comes back when the batch system has ended it.
    eventually(lambda: portal.left_s() > GRANTED_S - 5 * 120, 90)
    assert portal.ask("DELETE", portal.at(lasts)).json["stage"] == "DELETED"
    assert portal.ask("GET", f"{portal.at(lasts, 'files')}/").status == 404
    listed = {each["job_id"]: each["stage"] for each in portal.ask("GET", "/jobs/").json}
    assert listed[lasts["job_id"]] == "DELETED"
    assert len(listed) == 5


def is_held_to_the_limit(portal: Portal, folder: Path) -> None:
    """Bodies in chunks too, raw and as a form."""
    large = folder / "large.bin"
    large.write_bytes(b"x" * 200_000)
    head = ("-H", 'Payload: {"command": "true", "runtime": 0.1}', "-H", "Transfer-Encoding: chunked")
    for body in (("--data-binary", f"@{large}"), ("-F", f"file=@{large}")):
        answer = portal.ask("POST", "/jobs/pizdaint/", *head, *body)
        assert answer.status == 413, answer
        assert isinstance(answer.json, str)
