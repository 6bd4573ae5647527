"""Shell completion: the script for a shell, and the ids and sites that it offers."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from hpcgate.cli.session import Session
from hpcgate.errors import HpcgateError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      hpcgate completion bash > ~/.local/share/bash-completion/completions/hpcgate
      hpcgate completion zsh > ~/.zfunc/_hpcgate
      hpcgate completion fish > ~/.config/fish/completions/hpcgate.fish
    """
    from hpcgate.cli.main import COMPLETE_VAR

    kind = get_completion_class(shell)
    assert kind is not None
    # click looks for a new enough bash when it writes the script itself; the script alone needs none.
    maker = kind(ctx.find_root().command, {}, "hpcgate", COMPLETE_VAR)
    click.echo(maker.source_template % maker.source_vars())


def complete_sites(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of sites that begin so; nothing when they cannot be had."""
    return _offer(ctx, incomplete, lambda session: _site_names(session))


def complete_job_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of recent jobs that begin so, with name and state."""
    return _offer(ctx, incomplete, _recent_jobs)


def _offer(ctx: click.Context, incomplete: str, names: Any) -> list[CompletionItem]:
    try:
        with Session(ctx.find_root().params.get("config_path")) as session:
            offered: dict[str, str] = names(session)
    except (HpcgateError, OSError):
        return []  # what is wrong is told when the command runs, not while somebody types it
    return [CompletionItem(name, help=text) for name, text in offered.items() if name.startswith(incomplete)]


def _site_names(session: Session) -> dict[str, str]:
    if session.remote_url:
        return {site["name"]: site["scheduler"] for site in session.backend.sites()}
    return {name: site.scheduler for name, site in session.config.sites.items()}


def _recent_jobs(session: Session) -> dict[str, str]:
    from hpcgate.model.query import JobFilter

    jobs, _ = session.backend.page(JobFilter(), cursor=None, limit=50)
    return {str(job["id"]): f"{job['name']} {job['state']}" for job in jobs}
