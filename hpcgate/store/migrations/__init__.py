"""The steps that bring a database to the present tables, one numbered file each.

A file that was released is never changed. It declares frozen copies of the tables as they were then.

While a gateway is upgraded, processes of the old version work on the upgraded database. A step that only adds (tables,
indices, columns that may be left out) lets them. One that does not calls ``breaks_older`` in its ``up``: from then on
the old version refuses the database, and its running processes find that out and end.
"""

from __future__ import annotations

from peewee import Database


def breaks_older(db: Database, step: int) -> None:
    """Keeps programs away that do not know a step.

    Args:
        db: as ``up`` got it.
        step: its number.
    """
    db.execute_sql(f"UPDATE counter SET value = {step:d} WHERE name = 'schema_floor'")  # type: ignore[no-untyped-call]  # noqa: S608
