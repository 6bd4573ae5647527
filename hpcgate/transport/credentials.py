"""What an account is entered with: a key file, or what the gateway's own user has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from hpcgate.errors import TransportError
from hpcgate.transport.agent import agent_listens


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key in a file, without a passphrase; a certificate beside it (``FILE-cert.pub``) is shown too.

    Args:
        path: of the file; ``~`` is the gateway's home folder.
    """

    path: str

    @property
    def life_s(self) -> float:
        """See ``Credentials.life_s``."""
        return math.inf

    def arguments(self, user: str) -> dict[str, Any]:
        """See ``Credentials.arguments``. The file is read at each connection, so it may be replaced."""
        path = Path(self.path).expanduser()
        try:
            key = paramiko.PKey.from_path(path)
        except OSError as error:
            raise TransportError(
                f"the private key for {user} cannot be read: {error.strerror}", transient=False
            ) from error
        except (paramiko.PasswordRequiredException, TypeError) as error:  # TypeError comes from cryptography
            raise TransportError(
                f"the private key for {user} is protected by a passphrase; use one without, or an ssh-agent",
                transient=False,
            ) from error
        except (paramiko.SSHException, paramiko.UnknownKeyType, ValueError):
            # Not chained: what the parser says may quote the file.
            raise TransportError(f"the private key for {user} is no key that can be read", transient=False) from None
        return only(key)


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The ssh-agent of the gateway's user, and the default keys in its ``~/.ssh``."""

    @property
    def life_s(self) -> float:
        """See ``Credentials.life_s``."""
        return math.inf

    def arguments(self, user: str) -> dict[str, Any]:
        """See ``Credentials.arguments``."""
        return {"allow_agent": agent_listens(), "look_for_keys": True}


def only(key: paramiko.PKey) -> dict[str, Any]:
    """Arguments of ``paramiko.SSHClient.connect`` that offer one key and nothing else."""
    return {"pkey": key, "allow_agent": False, "look_for_keys": False}
