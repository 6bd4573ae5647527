"""E-mail of users, who acts for them by a token, and the count of logins that were tried."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, Database, DoubleField, Model, TextField


def up(migrator: Any, db: Database) -> None:
    """Adds the columns and the table."""

    class LoginTryRow(Model):
        name = TextField(primary_key=True)
        tries = BigIntegerField()
        since = DoubleField(index=True)

        class Meta:
            database = db
            table_name = "login_try"

    db.create_tables([LoginTryRow])
    for step in (
        "ALTER TABLE principal ADD COLUMN email TEXT",
        "ALTER TABLE principal ADD COLUMN identity TEXT",
        "CREATE UNIQUE INDEX principal_identity ON principal (identity)",
        "ALTER TABLE token ADD COLUMN delegate TEXT",
    ):
        db.execute_sql(step)  # type: ignore[no-untyped-call]
