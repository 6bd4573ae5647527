"""Signing with a key that an ssh-agent holds: the gateway has its public half, and never sees the other."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import paramiko

from hpcgate.errors import TransportError

#: RSA is signed with SHA-2; hosts refuse certificates that were signed with the SHA-1 of old.
_ALGORITHMS: Final = {"ssh-rsa": "rsa-sha2-512"}
#: An agent that asks a person about each use must not hold up the gateway for good, seconds.
_TIMEOUT_S: Final = 20.0


def sign_with_agent(public_key: str, data: bytes) -> bytes:
    """Has an ssh-agent (``$SSH_AUTH_SOCK``) sign.

    Args:
        public_key: a line as in a ``.pub`` file; its private half must be in the agent.
        data: what is signed.

    Returns:
        The signature as ssh writes it: name of the algorithm, and what it gave.

    Raises:
        TransportError: there is no agent, it has no such key, or it refused.
    """
    name, blob = public_key.split()[0], key_blob(public_key)
    with _agent() as agent:
        for key in agent.get_keys():
            if key.blob == blob:
                try:
                    return bytes(key.sign_ssh_data(data, algorithm=_ALGORITHMS.get(name)))
                except (paramiko.SSHException, OSError) as error:
                    raise TransportError(f"the ssh-agent did not sign: {error}") from error
    raise TransportError("the ssh-agent (SSH_AUTH_SOCK) does not have the private half of the key in ca_key_file")


def agent_listens() -> bool:
    """Whether an ssh-agent is behind ``$SSH_AUTH_SOCK``.

    Asked before paramiko is: where the agent has gone, it never closes the socket that it tried.
    """
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(path)
        except (OSError, ValueError):  # ValueError: a path with a NUL
            return False
    return True


def key_blob(public_key: str) -> bytes:
    """A public key as ssh sends it.

    Args:
        public_key: a line as in a ``.pub`` file.

    Raises:
        TransportError: it is none.
    """
    words = public_key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
        if paramiko.Message(blob).get_text() == words[0]:
            return blob
    except (IndexError, ValueError):
        pass
    raise TransportError("the key of the certificate authority is no public key that can be read", transient=False)


@contextmanager
def _agent() -> Iterator[Any]:
    if not agent_listens():
        raise TransportError("no ssh-agent (SSH_AUTH_SOCK) answers, which would have the key in ca_key_file")
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError) as error:
        raise TransportError(f"the ssh-agent does not answer: {error}") from error
    with closing(agent):
        if isinstance(getattr(agent, "_conn", None), socket.socket):
            agent._conn.settimeout(_TIMEOUT_S)  # noqa: SLF001 - paramiko waits for an agent without end
        yield agent
