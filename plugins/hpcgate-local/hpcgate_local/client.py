"""How the plugin speaks to a spool: by calls where it is on this machine, by commands where it is not."""

from __future__ import annotations

import hashlib
import json
import posixpath
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, Final

from hpcgate.errors import SchedulerError
from hpcgate.transport.base import Transport
from hpcgate.transport.local import LocalTransport
from hpcgate_local.spooler import HERE, Refused, Spool


def ask(transport: Transport, spool: str, verb: str, **arguments: Any) -> Any:
    """Asks a spool; the verbs are the methods of ``Spool``.

    Args:
        transport: the way to the machine that the spool is on.
        spool: its folder there.
        verb: name of the method.
        arguments: its arguments, JSON data.

    Returns:
        What it answered, JSON data.

    Raises:
        SchedulerError: it refused (not transient), or could not answer.
        TransportError: there was no answer.
    """
    try:
        if isinstance(transport, LocalTransport):
            return getattr(Spool(spool), verb)(**arguments)
        return _ask_there(transport, spool, verb, arguments)
    except Refused as refusal:
        raise SchedulerError(f"the job {refusal}", transient=False) from None
    except (sqlite3.Error, OSError) as error:
        raise SchedulerError(f"the queue in {spool} does not answer: {error}") from error
    except subprocess.SubprocessError as error:
        raise SchedulerError(f"no spooler comes up in {spool}; see spooler.log there: {error}") from error


_CODE: Final = Path(HERE).read_bytes()
#: The file carries its hash in its name: another version is another file, and one that runs is never changed.
_FILE: Final = f"spooler-{hashlib.sha256(_CODE).hexdigest()[:12]}.py"


def _ask_there(transport: Transport, spool: str, verb: str, arguments: dict[str, Any]) -> Any:
    home = posixpath.dirname(spool)
    program = posixpath.join(home, _FILE)
    if transport.stat(program) is None:
        transport.mkdir(home)
        transport.write(program, _CODE, mode=0o700)
    # Arguments go by stdin, not argv: they hold secrets, and may be many.
    argv = [_in_home(program), verb, "--spool", spool]
    result = transport.run(["python3", "-I", "-S", *argv], stdin=json.dumps(arguments).encode())
    if result.exit_status != 0:
        last_line = result.err.strip().rpartition("\n")[2]
        raise SchedulerError(f"the queue in {spool} does not answer: {last_line or result.exit_status}")
    answer = json.loads(result.stdout)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["answer"]


def _in_home(path: str) -> str:
    # No shell expands `~`; commands start in the home folder.
    return path.removeprefix("~/")
