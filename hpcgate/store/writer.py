"""The lock of whoever writes to a PostgreSQL database, and what becomes of one that keeps it."""

from __future__ import annotations

import logging
import time
from typing import Final

from psycopg import errors

from hpcgate.store.pool import Connection

_log = logging.getLogger(__name__)

#: Key of the advisory lock that a writing transaction holds until it ends.
KEY: Final = 0x68706367
#: How long a process may be silent within a transaction before the others put it out, seconds.
SILENT_S: Final = 10.0
#: How long a writer waits for the others, seconds.
WAIT_S: Final = 30.0

TAKE: Final = f"SELECT pg_advisory_xact_lock({KEY})"

#: The server waits for this process's next word: it is not computing. ``idle_in_transaction_session_timeout`` does not
#: see one that was stopped half-way through a row of statements, or while it was given an answer; for the server it
#: is active.
_PUT_OUT: Final = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND objsubid = 1 AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND wait_event_type = 'Client' AND state_change < clock_timestamp() - make_interval(secs => %s)
"""


def begin(connection: Connection) -> None:
    """Begins a transaction and waits until nobody else writes.

    Raises:
        psycopg.errors.LockNotAvailable: others write for too long.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            connection.execute(f"BEGIN; SET LOCAL lock_timeout = {int(SILENT_S * 1000)}; {TAKE}")
        except errors.LockNotAvailable:
            connection.execute("ROLLBACK")
            if time.monotonic() >= deadline:
                raise
            _put_out_the_silent(connection)
        else:
            return


def _put_out_the_silent(connection: Connection) -> None:
    """Ends the session of a process that was stopped while it wrote; what it had written is undone."""
    for pid, _ in connection.execute(_PUT_OUT, (KEY, SILENT_S)).fetchall():
        _log.warning("database: session %d has been silent within a transaction for %g s; ended it", pid, SILENT_S)
