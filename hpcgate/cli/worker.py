"""``hpcgate worker``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import signal
import threading
from types import FrameType

import click

from hpcgate.cli.session import Session, pass_session


@click.command()
@pass_session
def worker(session: Session) -> None:
    """Run the worker alone.

    It brings jobs to their sites and watches them, until SIGTERM or Ctrl-C; jobs go on without it. Several may run:
    each site is looked after by one of them at a time.

    \b
    Examples:
      hpcgate worker
      hpcgate --config /etc/hpcgate/hpcgate.toml worker
    """
    from hpcgate.gateway import open_gateway
    from hpcgate.service.logs import configure_logging
    from hpcgate.service.worker import collect_garbage_seldom

    configure_logging(session.config.server)
    collect_garbage_seldom()
    stop = threading.Event()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        stop.set()

    with open_gateway(session.config) as gateway:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, on_signal)
        click.echo(f"hpcgate: worker for {', '.join(gateway.sites)} started", err=True)
        gateway.worker().run(stop)
    click.echo("hpcgate: worker stopped", err=True)
