"""``hpcgate serve``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import click

from hpcgate.cli.session import Session, pass_session


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="Port; 0 = any free one.")
@click.option("--no-worker", is_flag=True, help="Serve the API alone; `hpcgate worker` runs elsewhere.")
@pass_session
def serve(session: Session, host: str, port: int, no_worker: bool) -> None:
    """Serve the REST API.

    The first start on an empty database makes an admin and says where its token is. The worker runs beside the server
    unless told otherwise. SIGTERM and Ctrl-C end both; jobs go on.

    \b
    Examples:
      hpcgate serve
      hpcgate --config /etc/hpcgate/hpcgate.toml serve --host 0.0.0.0 --port 443
    """
    from hpcgate.gateway import open_gateway

    config = session.config
    try:
        from hpcgate.server.serve import serve as serve_forever
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hpcgate"):
            raise
        raise click.ClickException(
            f"the server needs {error.name}, which is not installed; pip install 'hpcgate[server]'"
        ) from error
    serve_forever(config, host, port, worker=not no_worker, open_gateway=open_gateway)
