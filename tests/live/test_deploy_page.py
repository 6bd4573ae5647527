"""docs/how-to/deploy.md, followed from top to bottom in a clean folder: only the names of places are others.

What only root of a real machine has (accounts, systemd) is played by small programs: ``systemctl`` starts what the
installed unit files say.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from docs.pages import DOCS, blocks
from live.ports import held_ports
from live.postgres import Server
from support import eventually

from hpcgate.client.sse import messages

pytestmark = pytest.mark.live

PAGE = [block.text for block in blocks(DOCS / "how-to" / "deploy.md") if block.language == "sh"]
EXAMPLES = DOCS / "examples" / "deploy"
HPCGATE = Path(sys.executable).with_name("hpcgate")

_NGINX = """
daemon off;
{user}
pid {root}/nginx.pid;
error_log {root}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    include {root}/etc/nginx/conf.d/*.conf;
}}
"""

_SYSTEMCTL = """#!{python}
import os, subprocess, sys
from pathlib import Path

verb, *units = [word for word in sys.argv[1:] if not word.startswith("-")]
root = Path({root!r})

def start(name, argv, **environ):
    with (root / f"{{name}}.out").open("wb") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={{**os.environ, **environ}}, cwd=root
        )
    with (root / "pids").open("a") as pids:
        print(process.pid, file=pids)

if verb == "reload":
    assert units == ["nginx"]
    start("nginx", ["nginx"])
for unit in units if verb == "enable" else ():
    template = unit.split("@")[0] + "@" * ("@" in unit)
    lines = (root / "etc/systemd/system" / f"{{template}}.service").read_text().splitlines()
    said = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    environ = dict(item.split("=", 1) for name, value in said if name == "Environment" for item in value.split())
    (command,) = [value for name, value in said if name == "ExecStart"]
    start(unit, command.split(), **environ)
"""


@dataclass
class Machine:
    """A clean folder that stands for a machine."""

    root: Path
    port: int
    names: dict[str, str]
    environ: dict[str, str]
    said: list[str] = field(default_factory=list)

    def in_place(self, text: str) -> str:
        # At one go, for what takes the place of a name may hold another one.
        return re.sub("|".join(map(re.escape, self.names)), lambda found: self.names[found[0]], text)

    def run(self, text: str) -> str:
        """Runs a block of the page, in the shell that keeps what the blocks before it have exported."""
        exports = self.root / "exports"
        script = f". {exports}\n{self.in_place(text)}\nexport -p > {exports}\n"
        ran = subprocess.run(
            ["sh", "-eu", "-c", script], cwd=self.root, env=self.environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, f"{script}\n{ran.stdout}{ran.stderr}\n{self.logs()}"
        return ran.stdout

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in self.root.glob("*.out"))


@pytest.fixture
def machine(postgres: Server, tmp_path: Path) -> Iterator[Machine]:
    for program in ("nginx", "openssl", "curl", "createuser"):
        if shutil.which(program) is None and not Path(f"/usr/sbin/{program}").exists():
            pytest.skip(f"needs {program}: run tests/live/provision.sh")
    me = pwd.getpwuid(os.geteuid()).pw_name
    root = tmp_path / "machine"
    for folder in ("etc/nginx/conf.d", "etc/systemd/system", "docs/examples/deploy", "bin"):
        (root / folder).mkdir(parents=True)
    with held_ports(2) as (front, back):
        names = {
            "-o hpcgate -g hpcgate": "", "-o root -g hpcgate": "",
            "/etc/": f"{root}/etc/", "/var/lib/hpcgate": f"{root}/lib",
            "/opt/hpcgate/bin/hpcgate": str(HPCGATE),
            "postgresql:///hpcgate": postgres.url("hpcgate", user="hpcgate"),
            "gate.example.org": "localhost", "443": str(front), "8080": str(back),
        }  # fmt: skip
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HPCGATE_")},
            "PATH": f"{root}/bin:{os.environ['PATH']}:/usr/sbin",
            "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres",
            "PGPASSWORD": "a-password/that:is@quoted",
        }  # fmt: skip
        machine = Machine(root, front, names, environ)
        (root / "exports").touch()
        for path in EXAMPLES.iterdir():
            (root / "docs/examples/deploy" / path.name).write_text(machine.in_place(path.read_text()))
        user = f"user {me};" if os.geteuid() == 0 else ""
        (root / "nginx.conf").write_text(_NGINX.format(root=root, user=user))
        real = shutil.which("nginx", path=environ["PATH"])
        _program(root, "useradd", "#!/bin/sh\n")
        _program(root, "runuser", '#!/bin/sh\nshift 3\nexec "$@"\n')
        _program(root, "nginx", f'#!/bin/sh\nexec {real} -p {root} -c {root}/nginx.conf "$@"\n')
        _program(root, "systemctl", _SYSTEMCTL.format(python=sys.executable, root=str(root)))
        try:
            yield machine
        finally:
            _stop(root)
            postgres.drop("hpcgate")
            postgres.run("DROP ROLE IF EXISTS hpcgate")


def _program(root: Path, name: str, text: str) -> None:
    path = root / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def _stop(root: Path) -> None:
    pids = [int(line) for line in (root / "pids").read_text().split()] if (root / "pids").exists() else []
    for pid in pids:
        subprocess.run(["kill", "-TERM", str(pid)], check=False, stderr=subprocess.DEVNULL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() and _runs(pid) for pid in pids), 30)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_page(machine: Machine, postgres: Server) -> None:
    accounts, database, configuration, services, tls, front, users, work = PAGE
    machine.run(accounts)
    machine.run(database)
    postgres.run("ALTER ROLE hpcgate PASSWORD 'a-password/that:is@quoted'")  # no local socket to come in by
    assert "missing" not in machine.run(configuration)
    machine.run(services)
    _verify(machine)
    machine.run(tls)
    machine.run(front)
    url = f"https://localhost:{machine.port}"
    trust = ssl.create_default_context(cafile=str(machine.root / "etc/hpcgate/tls/ca.pem"))
    with httpx.Client(base_url=url, verify=trust, timeout=30) as client:
        eventually(lambda: _is_ready(client), 30)
        eventually((machine.root / "lib/admin.token").exists)
        machine.run(users)
        token = (machine.root / "lib/ann.token").read_text().strip()
        assert stat.S_IMODE((machine.root / "lib/admin.token").stat().st_mode) == 0o600
        client.headers["Authorization"] = f"Bearer {token}"
        big = client.get("/api/v1/me", headers={"PROXY": "x" * 20_000})
        assert (big.status_code, big.json()["name"]) == (200, "ann")
        with client.stream("GET", "/api/v1/events", timeout=60) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            seen: list[str] = []
            reader = threading.Thread(target=_read_until_completed, args=(stream, seen))
            reader.start()
            said = machine.run(work)
            reader.join(30)
        assert "hello from the front" in said
        assert seen[0] == "job.created"
        assert seen[-1] == "COMPLETED"  # while the stream is still open: nothing was held back
        (ran,) = client.get("/api/v1/jobs").json()["items"]
        assert (ran["state"], ran["owner"]) == ("COMPLETED", "ann")
        assert client.get("/metrics").status_code == 404


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _read_until_completed(stream: httpx.Response, seen: list[str]) -> None:
    for message in messages(stream.iter_lines()):
        seen.append(message.event)
        if json.loads(message.data).get("data", {}).get("new") == "COMPLETED":
            seen.append("COMPLETED")
            return


def _verify(machine: Machine) -> None:
    """What systemd says of the units, where it is there to ask."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    units = machine.root / "etc/systemd/system"
    for path in units.iterdir():  # there is no such account here
        path.write_text(path.read_text().replace("User=hpcgate", "User=root"))
    names = [str(units / "hpcgate-serve.service"), str(units / "hpcgate-worker@.service")]
    said = subprocess.run([program, "verify", "--man=no", *names], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr.replace("Failed to get SELinux", "")) == (0, ""), said.stderr
