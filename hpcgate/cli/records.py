"""``hpcgate records``."""

from __future__ import annotations

import click

from hpcgate.cli.record_archives import check, export_records, import_records


@click.group()
def records() -> None:
    """Look after the accounting records of jobs."""


records.add_command(export_records)
records.add_command(import_records)
records.add_command(check)
