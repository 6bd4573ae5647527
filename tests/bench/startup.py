"""What it costs to be there: imports, the command line, memory at rest."""

from __future__ import annotations

import subprocess
import sys
import time

from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest
from tests.bench.bare import process_ms, python_ms
from tests.bench.options import Options
from tests.bench.places import Home, cpu_s, pss_mb, serving, tree
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import until

_GUNICORN = """
from gunicorn.app.base import BaseApplication
class Hello(BaseApplication):
    def load_config(self):
        for name, value in {"bind": "127.0.0.1:0", "workers": 1, "worker_class": "gthread", "threads": 8}.items():
            self.cfg.set(name, value)
    def load(self):
        from flask import Flask
        return Flask("hello")
Hello().run()
"""
REST_S = 8


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    report.title("being there")
    python = Bare("`python -c pass`", python_ms("pass"))
    took, cpu = process_ms([sys.executable, "-c", "import hpcgate"])
    report.add(
        Line(
            name="`import hpcgate`, whole process",
            value=took,
            unit="ms",
            bare=(python,),
            target="<= 150 ms",
            ok=took <= 150,
            note=f"{cpu:.0f} ms CPU",
        )
    )
    took = python_ms("import hpcgate.gateway", 7)
    report.add(Line(name="`import hpcgate.gateway`, whole process", value=took, unit="ms", bare=(python,)))
    with Home() as home:
        with home.gateway() as gateway:
            for number in range(30):
                spec = JobSpec(name=f"job{number}", command="true", hold=True)
                gateway.jobs.submit(gateway.os_principal(), JobRequest(spec=spec))
        _command(home, report, python)
        _memory(home, report)


def _command(home: Home, report: Report, python: Bare) -> None:
    command = [sys.executable, "-m", "hpcgate", "list"]
    took, cpu = process_ms(command, 9, home.environ)
    select = "SELECT id, name, state FROM job ORDER BY id DESC LIMIT 25"
    database = str(home.path / "hpcgate.db")
    query = f"import sqlite3; print(sqlite3.connect({database!r}).execute({select!r}).fetchall())"
    bare = (Bare("python with sqlite3", python_ms(query)), python)
    report.add(
        Line(
            name="`hpcgate list`, embedded, 30 jobs",
            value=took,
            unit="ms",
            bare=bare,
            target="<= 600 ms",
            ok=took <= 600,
            note=f"{cpu:.0f} ms CPU",
        )
    )


def _memory(home: Home, report: Report) -> None:
    with serving(home) as server:
        until(lambda: len(tree(server.process.pid)) >= 3, 10)
        server.call("GET", "/jobs")
        time.sleep(2)
        members = tree(server.process.pid)
        before = cpu_s(members)
        time.sleep(REST_S)
        busy = 100 * (cpu_s(members) - before) / REST_S
        memory = pss_mb(members)
    bare = Bare("gunicorn with an empty Flask", _gunicorn_mb())
    report.add(
        Line(
            name="`serve` with its worker at rest, PSS",
            value=memory,
            unit="MB",
            bare=(bare,),
            target="<= 130 MB",
            ok=memory <= 130,
            note=f"{len(members)} processes, 30 held jobs; {busy:.1f} % of one core",
        )
    )


def _gunicorn_mb() -> float:
    process = subprocess.Popen([sys.executable, "-c", _GUNICORN], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(tree(process.pid)) >= 2, 10)
        time.sleep(1)
        return pss_mb(tree(process.pid))
    finally:
        process.terminate()
        process.wait()
