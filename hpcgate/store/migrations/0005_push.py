"""Webhooks, what is sent to them, and mail."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BlobField, BooleanField, Database, DoubleField, IntegerField, Model, TextField


def up(migrator: Any, db: Database) -> None:
    """Makes the tables. What was there before is told to nobody: the place in the event log is that of now."""

    class WebhookRow(Model):
        id = TextField(primary_key=True)
        owner = TextField()
        url = TextField()
        created_at = DoubleField()
        after_seq = BigIntegerField()
        description = TextField(null=True)
        events = TextField(null=True)
        states = TextField(null=True)
        sites = TextField(null=True)
        labels = TextField(null=True)
        job_id = BigIntegerField(null=True, index=True)
        everybody = BooleanField()
        callback = BooleanField()
        enabled = BooleanField()
        disabled_reason = TextField(null=True)
        secrets = BlobField(null=True)

        class Meta:
            database = db
            table_name = "webhook"
            indexes = ((("owner", "id"), False),)

    class DeliveryRow(Model):
        id = TextField(primary_key=True)
        number = BigIntegerField()
        webhook_id = TextField()
        seq = BigIntegerField(null=True)
        job_id = BigIntegerField(null=True)
        type = TextField()
        body = TextField()
        created_at = DoubleField()
        due_at = DoubleField()
        give_up_at = DoubleField()
        state = TextField()
        tries = IntegerField()
        status = IntegerField(null=True)
        error = TextField(null=True)
        ended_at = DoubleField(null=True)

        class Meta:
            database = db
            table_name = "delivery"
            indexes = ((("webhook_id", "number"), True), (("webhook_id", "state", "number"), False))

    for columns in (("webhook_id", "due_at"), ("webhook_id", "job_id", "number")):
        fields = [getattr(DeliveryRow, name) for name in columns]
        DeliveryRow.add_index(
            DeliveryRow.index(
                *fields, where=DeliveryRow.state == "WAITING", name=f"delivery_waiting_{'_'.join(columns)}"
            )
        )
    DeliveryRow.add_index(DeliveryRow.index(DeliveryRow.ended_at, where=DeliveryRow.ended_at.is_null(False)))

    class CallbackKeyRow(Model):
        owner = TextField(primary_key=True)
        secrets = BlobField()

        class Meta:
            database = db
            table_name = "callback_key"

    class MailRow(Model):
        seq = BigIntegerField(primary_key=True)
        job_id = BigIntegerField()
        owner = TextField()
        status = TextField()
        created_at = DoubleField()
        due_at = DoubleField()
        tries = IntegerField()
        state = TextField()
        error = TextField(null=True)
        ended_at = DoubleField(null=True)

        class Meta:
            database = db
            table_name = "mail"
            indexes = ((("state", "due_at"), False), (("owner", "ended_at"), False))

    class CounterRow(Model):
        name = TextField(primary_key=True)
        value = BigIntegerField()

        class Meta:
            database = db
            table_name = "counter"

    db.create_tables([WebhookRow, DeliveryRow, CallbackKeyRow, MailRow])
    last = CounterRow.get_by_id("event").value
    names = ("delivery", "webhook_delivered", "webhook_failed", "webhook_dead", "mail_sent", "mail_failed", "mail_dead")
    CounterRow.insert_many([{"name": "push", "value": last}, *({"name": name, "value": 0} for name in names)]).execute()
