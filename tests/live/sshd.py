"""An sshd of the test's own on loopback, with an ordinary account whose shell start-up is noisy."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from live.ports import held_ports
from support import eventually

from hpcgate.model.site import Site, SshSettings

if TYPE_CHECKING:
    from hpcgate.transport.ssh import SshTransport

SSHD = "/usr/sbin/sshd"
HOW_TO_GET = "needs sshd, useradd and root: run tests/live/provision.sh"
NOISE = """\
echo 'Welcome to the cluster!'
printf 'no newline at the end of this'
echo 'quota: 99 % used' >&2
alias ls='ls -la'
trap 'echo bye' EXIT
"""


def require_sshd() -> None:
    """Skips where no sshd can be started."""
    if os.geteuid() != 0 or not Path(SSHD).exists() or not shutil.which("useradd") or not shutil.which("ssh-keygen"):
        pytest.skip(HOW_TO_GET)


@dataclass(frozen=True)
class Account:
    """An ordinary user of this machine."""

    name: str

    @property
    def home(self) -> str:
        return pwd.getpwnam(self.name).pw_dir

    def processes(self) -> list[str]:
        """The command lines of all that it runs now."""
        shown = subprocess.run(["ps", "-o", "args=", "-u", self.name], capture_output=True, text=True, check=False)
        return [line for line in shown.stdout.splitlines() if not line.startswith(("sshd:", "/usr/lib/openssh/sftp"))]


@contextlib.contextmanager
def new_account(suffix: str = "", shell: str = "/bin/bash", noise: str = NOISE) -> Iterator[Account]:
    """Makes a user for a while."""
    account = Account(f"hgt{os.getpid()}{suffix}")
    # `*`: no password, but not locked; sshd lets nobody into a locked account.
    subprocess.run(["useradd", "-m", "-s", shell, "-p", "*", account.name], check=True, capture_output=True)
    try:
        # bash as sshd's child reads .bashrc even where it is not interactive; Debian's own returns at once then.
        Path(account.home, ".bashrc").write_text(noise, encoding="utf-8")
        yield account
    finally:
        with contextlib.suppress(ProcessLookupError):
            subprocess.run(["pkill", "-KILL", "-u", account.name], check=False)
        eventually(lambda: _removed(account.name))


def _removed(name: str) -> bool:
    gone = subprocess.run(["userdel", "-r", name], check=False, capture_output=True)
    return gone.returncode in (0, 6, 12)


@dataclass
class Sshd:
    """A server. Its options may be changed between ``stop`` and ``start``.

    Args:
        folder: readable for everybody; has keys and configuration.
        options: further lines of sshd_config.
    """

    folder: Path
    address: str = "127.0.0.1"
    port: int = 22
    options: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)
        for name in ("host_key", "user_key", "other_key"):
            make_key(self.folder / name)
        self.write("authorized_keys", self.read("user_key.pub"))
        self.write("banner", "*** Authorised users only ***\n")
        self.believe("host_key.pub")

    # --- files

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o644)

    def believe(self, key: str) -> None:
        """Puts this key, and no other, into known_hosts."""
        self.write("known_hosts", f"[{self.address}]:{self.port} {self.read(key)}")

    # --- the process

    def start(self) -> None:
        options = {
            "Port": str(self.port),
            "ListenAddress": self.address,
            "HostKey": self.path("host_key"),
            "PidFile": "none",
            "AuthorizedKeysFile": self.path("authorized_keys"),
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "Banner": self.path("banner"),
            "PrintMotd": "yes",
            "MaxStartups": "100",
            "Subsystem": "sftp /usr/lib/openssh/sftp-server",
            **self.options,
        }
        self.write("sshd_config", "".join(f"{name} {value}\n" for name, value in options.items()))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        argv = [*self.prefix, SSHD, "-D", "-f", self.path("sshd_config"), "-E", self.path("log")]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        eventually(self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.read("log")
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    def sessions(self) -> list[int]:
        """The processes of connections, not those of the commands in them."""
        assert self.process is not None
        found, todo = [], [self.process.pid]
        while todo:
            below = [pid for pid in _children(todo.pop()) if _name(pid) == "sshd"]
            found += below
            todo += below
        return found

    def connections(self) -> list[int]:
        """The process of each connection."""
        assert self.process is not None
        return [pid for pid in _children(self.process.pid) if _name(pid) == "sshd"]

    def drop(self) -> None:
        """Breaks all connections at once."""
        broken = self.sessions()
        for pid in reversed(broken):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not set(broken).intersection(self.sessions()))

    def stop(self) -> None:
        """Kills the server and all connections."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGSTOP)  # it takes no new ones while the old ones end
        for pid in reversed(self.sessions()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The server and its connections hang, without being gone."""
        assert self.process is not None
        pids = [self.process.pid, *self.sessions()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def table(self, account: Account, **changed: object) -> dict[str, object]:
        """How a site reaches it, as its table in the configuration says it."""
        return {
            "host": self.address,
            "port": self.port,
            "user": account.name,
            "key_file": self.path("user_key"),
            "known_hosts": self.path("known_hosts"),
            **changed,
        }

    def settings(self, account: Account, **changed: object) -> SshSettings:
        """How a site reaches it."""
        return SshSettings(**self.table(account, **changed))


@contextlib.contextmanager
def new_sshd(**fields: object) -> Iterator[Sshd]:
    """A server that is running; it keeps its port while it is stopped."""
    with tempfile.TemporaryDirectory(prefix="hpcgate-sshd-") as folder, held_ports(1) as (port,):
        server = Sshd(Path(folder), **{"port": port, **fields})
        try:
            server.start()
            yield server
        finally:
            server.stop()


@dataclass(frozen=True)
class Network:
    """A network namespace with one wire to this machine.

    Args:
        name: of the namespace.
        wire: our end.
        here, there: the addresses of the two ends.
    """

    name: str
    wire: str
    here: str
    there: str

    def cut(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        _ip("link", "set", self.wire, "down")

    def mend(self) -> None:
        _ip("link", "set", self.wire, "up")


@contextlib.contextmanager
def new_network() -> Iterator[Network]:
    """Another host's place: an address of its own, reached over a wire that can be cut."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip: run tests/live/provision.sh")
    number = os.getpid() % 16_000
    # 198.18.0.0/15 is set aside for tests.
    here, there = (f"198.18.{number // 64}.{number % 64 * 4 + last}" for last in (1, 2))
    network = Network(f"hgt{number}", f"hgt{number}a", here, there)
    _ip("netns", "add", network.name)
    try:
        _ip("link", "add", network.wire, "type", "veth", "peer", "name", "eth0", "netns", network.name)
        _ip("addr", "add", f"{here}/30", "dev", network.wire)
        _ip("link", "set", network.wire, "up")
        for command in (["addr", "add", f"{there}/30", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            _ip("-n", network.name, *command)
        yield network
    finally:
        _ip("netns", "del", network.name)  # the wire goes with it


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def site_of(ssh: SshSettings, **fields: object) -> Site:
    """A site that is reached so."""
    table = {"name": "there", "scheduler": "local", "work_root": "~/jobs", "settings": None, **fields}
    return Site(transport="ssh", ssh=ssh, **table)


def open_transport(server: Sshd, account: Account, **changed: object) -> SshTransport:
    """A transport with a connection of its own."""
    from hpcgate.transport.ssh import SshOpener

    return SshOpener()(site_of(server.settings(account, **changed)), None)


def make_key(path: Path, kind: str = "ed25519") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)], check=True)


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _name(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
