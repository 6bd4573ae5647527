"""Sums over records, kept up to date by whoever changes them."""

from __future__ import annotations

from collections.abc import Sequence

from hpcgate.model.record import Record
from hpcgate.store.session import Session


def apply(session: Session, added: Sequence[Record], removed: Sequence[Record]) -> None:
    """Notes, in the transaction that changes them, records as they are now and as they were before.

    Args:
        session: the database.
        added: what is there now: new records, and changed ones.
        removed: what is there no more: deleted records, and changed ones as they were.
    """
