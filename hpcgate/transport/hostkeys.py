"""Which host keys are believed: the ``known_hosts`` files of OpenSSH, read as OpenSSH reads them.

paramiko's own reader knows one key of a type per name, no wildcards and no revocation; a login name that stands for
several nodes needs the first, and safety the last.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from hpcgate.errors import TransportError

#: What OpenSSH reads where nothing is said.
DEFAULT_FILES: Final = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
_HASHED: Final = "|1|"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line: the names that it is about, and a key."""

    names: tuple[str, ...]
    key_type: str
    key: str
    revoked: bool

    def is_about(self, name: str) -> bool:
        if len(self.names) == 1 and self.names[0].startswith(_HASHED):
            return _hash_matches(self.names[0], name)
        if any(fnmatchcase(name, each[1:]) for each in self.names if each.startswith("!")):
            return False
        # `[` opens a set in fnmatch, but the port in known_hosts.
        return any(name == each or fnmatchcase(name, each.replace("[", "[[]")) for each in self.names)


class KnownHosts:
    """The host keys that are believed.

    Args:
        file: read when a key is looked up; by default the files that OpenSSH reads.
    """

    def __init__(self, file: str | None = None) -> None:
        self.files: tuple[str, ...] = (file,) if file else DEFAULT_FILES
        self._must_exist = file is not None

    def types(self, host: str, port: int) -> frozenset[str]:
        """The types of the keys that are known for a host."""
        return frozenset(line.key_type for line in self._about(host, port) if not line.revoked)

    def check(self, host: str, port: int, key_type: str, key: str) -> None:
        """Believes a host's key, or does not.

        Args:
            host: name or address.
            port: its port.
            key_type: e.g. ``ssh-ed25519``.
            key: in base64.

        Raises:
            TransportError: it is unknown, another one, or revoked.
        """
        about = list(self._about(host, port))
        shown = f"{key_type} {fingerprint(key)}"
        where = " or ".join(self.files)
        if any(line.revoked and line.key == key for line in about):
            raise TransportError(
                f"the host key of {_name(host, port)} ({shown}) is revoked in {where}", transient=False
            )
        known = [line for line in about if not line.revoked]
        if any(line.key == key for line in known):
            return
        if known:
            raise TransportError(
                f"the host key of {_name(host, port)} is not the one in {where}: it shows {shown}. Somebody may be in "
                "between, or the host was set up anew; ask its operator before you change the file",
                transient=False,
            )
        raise TransportError(
            f"the host key of {_name(host, port)} ({shown}) is not known in {where}; compare it with what the "
            "host's operator says and add it there",
            transient=False,
        )

    def _about(self, host: str, port: int) -> Iterable[_Line]:
        name = _name(host, port)
        return (line for line in self._lines() if line.is_about(name))

    def _lines(self) -> Iterable[_Line]:
        for file in self.files:
            try:
                text = Path(file).expanduser().read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError as error:
                if self._must_exist:
                    raise TransportError(f"{file} (known_hosts) is not there", transient=False) from error
                continue
            except OSError as error:
                raise TransportError(
                    f"{file} (known_hosts) cannot be read: {error.strerror}", transient=False
                ) from error
            yield from _parse(text.splitlines())


def fingerprint(key: str) -> str:
    """The SHA-256 fingerprint of a public key, as ``ssh-keygen -l`` shows it.

    Args:
        key: in base64.
    """
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _parse(lines: Sequence[str]) -> Iterable[_Line]:
    for line in lines:
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        # Certificates of hosts are not read, so a line about their authority is about no key of a host.
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        yield _Line(
            tuple(words[0].lower().split(",")) if not words[0].startswith(_HASHED) else (words[0],),
            words[1],
            words[2],
            marker == "@revoked",
        )


def _name(host: str, port: int) -> str:
    """How known_hosts names a host."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hashed.removeprefix(_HASHED).split("|"))
    except (ValueError, binascii.Error):
        return False
    # The format is SHA-1; it hides names and protects nothing else.
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)
