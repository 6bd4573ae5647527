"""A process that does the file work of another account, for ``transport/account.py``.

It reads requests on its standard input and answers on its standard output: each a line of JSON, followed by as many
bytes as its ``size`` says. It ends when its input does. What it says is data from that account, never more.
"""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import asdict
from typing import IO, Any

from hpcgate.errors import TransportError
from hpcgate.transport.local import LocalTransport


def send(pipe: IO[bytes], header: dict[str, Any], data: bytes = b"") -> None:
    """Writes one request or answer."""
    pipe.write(json.dumps({**header, "size": len(data)}).encode() + b"\n" + data)
    pipe.flush()


def become(name: str) -> None:
    """Makes this process one of an account, for good."""
    account = pwd.getpwnam(name)
    os.initgroups(name, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def main(name: str) -> None:
    """Serves until nobody asks any more.

    Args:
        name: the account that it is to be.
    """
    if os.geteuid() == 0:
        become(name)
    # What does the work might print; nobody must take that for an answer.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    transport = LocalTransport()
    send(answers, {"uid": os.geteuid()})
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request.pop("size"))
        try:
            header, found = _do(transport, request.pop("verb"), request, data)
        except FileNotFoundError as error:
            header, found = {"missing": str(error)}, b""
        except TransportError as error:
            header, found = {"error": error.message, "transient": error.transient}, b""
        send(answers, header, found)


def _do(transport: LocalTransport, verb: str, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    match verb:
        case "read":
            chunk = transport.read(**request)
            return {"offset": chunk.offset, "total": chunk.size}, chunk.data
        case "write":
            transport.write(data=data, **request)
        case "list":
            return {"files": [asdict(file) for file in transport.list(**request)]}, b""
        case "stat":
            file = transport.stat(**request)
            return {"file": file and asdict(file)}, b""
        case "mkdir":
            transport.mkdir(**request)
        case "remove":
            transport.remove(**request)
    return {}, b""
