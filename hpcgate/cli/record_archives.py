"""``hpcgate records export``, ``import`` and ``check``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import as_json
from hpcgate.cli.output import note, print_json
from hpcgate.cli.session import Session, pass_session

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate.service.record_archive import RecordArchive
    from hpcgate.service.record_transfer import Fate, Outcome

_folder = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.command("export")
@_folder
@as_json
@pass_session
@click.pass_context
def export_records(ctx: click.Context, session: Session, folder: Path, as_json: bool) -> None:
    """Write the records of all jobs that have ended into FOLDER.

    They are files as ClusterCockpit has them in its job archive. A run that was interrupted is gone on with by the
    same command: what is there already, as it is now, is not written again.

    \b
    Example:
      hpcgate records export /backup/records
    """
    from hpcgate.service.record_archive import RecordArchive
    from hpcgate.service.record_transfer import Fate, exported

    with _gateway(session) as gateway:
        outcomes = exported(gateway.store, RecordArchive(folder), gateway.clusters)
        counts = _told(outcomes, "exporting", gateway.store.archiving.count)
    words = {
        Fate.DONE: "written",
        Fate.THERE: "there already",
        Fate.OPEN: "left out, since their jobs have not ended",
        Fate.BAD: "could not be written",
    }
    _summary(ctx, counts, words, as_json=as_json)


@click.command("import")
@_folder
@as_json
@pass_session
@click.pass_context
def import_records(ctx: click.Context, session: Session, folder: Path, as_json: bool) -> None:
    """Store the records of an archive: one of `export`, of `[records] archive`, or of ClusterCockpit.

    Files that are damaged are named, and the rest goes on; the exit code is then 1. Records that are there already
    stay as they are, so that a run that was interrupted is gone on with by the same command. Measurements
    (`data.json`) are left where they are.

    \b
    Example:
      hpcgate records import /backup/records
    """
    from hpcgate.service.record_archive import RecordArchive
    from hpcgate.service.record_transfer import Fate, imported

    archive = RecordArchive(folder.absolute())
    with _gateway(session) as gateway:
        own = gateway.config.records.archive_path
        archives = own is not None and own.resolve() != archive.root.resolve()
        counts = _told(imported(gateway.store, archive, archives=archives), "importing", lambda: _length(archive))
        if unknown := [name for name in archive.clusters() if gateway.clusters and name not in gateway.clusters]:
            note(f"there is no table [clusters.NAME] for {', '.join(unknown)}")
    words = {Fate.DONE: "stored", Fate.THERE: "there already", Fate.BAD: "damaged"}
    _summary(ctx, counts, words, as_json=as_json)


@click.command()
@_folder
@as_json
@click.pass_context
def check(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Look at every file of an archive, and name those that are damaged; the exit code is then 1.

    \b
    Example:
      hpcgate records check /backup/records
    """
    from hpcgate.service.record_archive import RecordArchive
    from hpcgate.service.record_transfer import Fate, checked

    archive = RecordArchive(folder.absolute())
    counts = _told(checked(archive), "checking", lambda: _length(archive))
    _summary(ctx, counts, {Fate.DONE: "good", Fate.BAD: "damaged"}, as_json=as_json)


@contextmanager
def _gateway(session: Session) -> Iterator[Gateway]:
    from hpcgate.gateway import open_gateway

    if session.remote_url:
        raise click.UsageError("works on the gateway's own machine; unset HPCGATE_URL there")
    session.record()
    with open_gateway(session.config) as gateway:
        yield gateway


def _length(archive: RecordArchive) -> int:
    return sum(1 for _ in archive.places()) if archive.root.is_dir() else 0


def _told(outcomes: Iterator[Outcome], verb: str, total: Callable[[], int]) -> Counter[Fate]:
    """Counts what became of records, says what is bad, and shows somebody who watches how far it is."""
    counts: Counter[Fate] = Counter()
    with _progress(verb, total) as advance:
        for outcome in outcomes:
            counts[outcome.fate] += 1
            if outcome.message:
                note(outcome.message)
            advance()
    return counts


@contextmanager
def _progress(verb: str, total: Callable[[], int]) -> Iterator[Callable[[], None]]:
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=total())
        yield lambda: bar.advance(task)


def _summary(ctx: click.Context, counts: Counter[Fate], words: dict[Fate, str], *, as_json: bool) -> None:
    from hpcgate.service.record_transfer import Fate

    if as_json:
        print_json({fate.value: counts[fate] for fate in words})
    else:
        click.echo(
            ", ".join(f"{counts[fate]} {word}" for fate, word in words.items() if counts[fate] or fate is Fate.DONE)
        )
    ctx.exit(exits.FAILED if counts[Fate.BAD] else exits.OK)
