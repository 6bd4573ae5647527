"""docs/how-to/ssh-certificates.md, tried as it is written, with the names of a host of the test's own."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docs.pages import DOCS, blocks
from live.sshd import new_account, new_sshd
from support import ANN, BOB, ROOT, eventually

from hpcgate.config import config_from
from hpcgate.errors import TransportError
from hpcgate.gateway import open_gateway
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest

pytestmark = pytest.mark.live

PAGE = list(blocks(DOCS / "how-to" / "ssh-certificates.md"))
SHELL = [block.text for block in PAGE if block.language == "sh"]
TOML = [block.text for block in PAGE if block.language == "toml"]
(SSHD,) = [block.text for block in PAGE if block.language == ""]


@pytest.fixture
def there(account, tmp_path):
    """A host and a gateway's folder; and what the names of the page are called there."""
    with new_account("p") as ann, new_account("q") as bob, new_sshd() as server:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        names = {
            "~/.hpcgate": str(home),
            "/etc/ssh": str(server.folder),
            "svc-hpcgate": account.name,
            "ann1": ann.name,
            "bob1": bob.name,
            "login.example.org": server.address,
        }

        def in_place(text: str) -> str:
            for name, other in names.items():
                text = text.replace(name, other)
            return text

        yield server, home, in_place


def run(text: str) -> None:
    subprocess.run(["sh", "-e", "-c", text], check=True, stdin=subprocess.DEVNULL)


def test_the_page(there, tmp_path, monkeypatch):
    server, home, in_place = there
    make, trust, agent = map(in_place, SHELL)
    run(make)
    run(trust)
    server.write("hpcgate_user_ca.pub", (home / "user_ca.pub").read_text())
    server.stop()
    server.write("authorized_keys", "")
    server.options.update(line.split(maxsplit=1) for line in in_place(SSHD).splitlines())
    server.start()
    (home / "known_hosts").write_text(server.read("known_hosts"))

    site = tomllib.loads(in_place(TOML[0]))["sites"]["cluster"]
    site["ssh"]["port"] = server.port
    site |= {"poll": {"min_s": 0.2, "max_s": 1}, "settings": {"linger_s": 0}}
    jobs_of_both(site, tmp_path / "file")
    said = next(block.text for block in PAGE if block.text.startswith("Accepted publickey"))
    begin = said[said.index("hpcgate site") : said.index("request=")]
    assert in_place(begin) in server.read("log")

    as_on_the_page(in_place(TOML[0]), server.port, home, in_place)

    socket = home / "agent"
    # As on the page, but in the foreground, so that it can be ended.
    start, add = agent.splitlines()
    process = subprocess.Popen([*start.split(), "-D"], stdout=subprocess.DEVNULL)
    try:
        eventually(socket.exists)
        run(add)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        (home / "user_ca").unlink()
        with pytest.raises(AssertionError, match="cannot be read"):
            jobs_of_both(site, tmp_path / "gone")
        site["identity"] |= tomllib.loads(in_place(TOML[1]))["sites"]["cluster"]["identity"]
        jobs_of_both(site, tmp_path / "agent")

        # What the host has not listed cannot be entered, whatever the gateway signs.
        Path(in_place("/etc/ssh/hpcgate_principals/bob1")).unlink()
        with (
            open_gateway(config_from({"sites": {"cluster": site}}, home=tmp_path / "none")) as gateway,
            pytest.raises(TransportError, match="the host refused"),
        ):
            gateway._transports.get(gateway.sites["cluster"], in_place("bob1")).run(["true"])
    finally:
        process.terminate()
        process.wait()


def as_on_the_page(toml, port, home, in_place):
    """The commands of the page, by whoever runs this test in ann's place."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    mine = toml.replace("known_hosts =", f"port = {port}\nknown_hosts =").replace("{ann =", f"{{{me} =")
    (home / "hpcgate.toml").write_text(mine)
    (shown,) = [block.text for block in PAGE if block.language == "console"]
    said: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if line.startswith("$ "):
            said[line[2:]] = []
        else:
            said[list(said)[-1]].append(line)
    for command, lines in said.items():
        program = [sys.executable, "-m", *shlex.split(command)]
        env = {**os.environ, "HPCGATE_HOME": str(home)}
        out = subprocess.run(program, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        got = [line.split() for line in out.stdout.splitlines()]
        assert [words[:3] for words in got] == [in_place(line).split()[:3] for line in lines]


def jobs_of_both(site, home):
    with open_gateway(config_from({"sites": {"cluster": site}}, home=home)) as gateway:
        checks = gateway.site_service.check(ROOT, "cluster").checks
        assert all(check.ok for check in checks), [check.detail for check in checks]
        worker = gateway.worker()
        for who, account in site["identity"]["accounts"].items():
            principal = {"ann": ANN, "bob": BOB}[who]
            job = gateway.jobs.submit(principal, JobRequest(spec=JobSpec(command="id", args=("-un",)))).job
            eventually(lambda job=job: worker.step() or gateway.jobs.get(ROOT, job.id).state is JobState.COMPLETED)
            assert gateway.jobs.output(principal, job.id, "stdout").data.decode().strip() == account
