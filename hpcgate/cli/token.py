"""``hpcgate token``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from collections.abc import Sequence

import click

from hpcgate.cli.arguments import as_json
from hpcgate.cli.backend import Wire
from hpcgate.cli.output import local_time, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.user import ROLE
from hpcgate.cli.values import DURATION
from hpcgate.errors import Forbidden


@click.group()
def token() -> None:
    """Create, list and revoke tokens, and change the key that signs them."""


@token.command("create")
@click.argument("name")
@click.option("--ttl", type=DURATION, help="How long it is good: 12h, 30d. Default: what the gateway is set to.")
@click.option("--role", "roles", type=ROLE, multiple=True, help="Only this role of the user's; may be repeated.")
@click.option("--dialect", help="The only dialect where it is good. Default: everywhere.")
@click.option("--comment", help="What it is for.")
@as_json
@pass_session
def create(
    session: Session,
    name: str,
    ttl: int | None,
    roles: Sequence[str],
    dialect: str | None,
    comment: str | None,
    as_json: bool,
) -> None:
    """Create a token for user NAME and print it, alone.

    \b
    Examples:
      export HPCGATE_TOKEN=$(hpcgate token create alice --ttl 30d)
      hpcgate token create ci --role api --comment 'nightly tests'
    """
    created = session.backend.create_token(name, ttl_s=ttl, roles=roles, comment=comment, dialect=dialect)
    print_json(created) if as_json else click.echo(created["token"])


@token.command("list")
@click.argument("name", required=False)
@as_json
@pass_session
def list_tokens(session: Session, name: str | None, as_json: bool) -> None:
    """List tokens; the tokens themselves are not kept.

    Those of user NAME; without it all of them, or one's own for who is no admin.

    \b
    Example:
      hpcgate token list alice
    """
    tokens = _tokens(session, name)
    if as_json:
        print_json(tokens)
        return
    print_table(
        ("ID", "USER", "ROLES", "CREATED", "EXPIRES", "REVOKED", "COMMENT"),
        [
            (
                t["id"],
                t["user"],
                t["roles"],
                local_time(t["created_at"]),
                local_time(t["expires_at"]),
                local_time(t["revoked_at"]),
                t["comment"],
            )
            for t in tokens
        ],
    )


@token.command("rotate-key")
@pass_session
def rotate_key(session: Session) -> None:
    """Sign tokens with a new key from now on.

    Tokens and stored secrets of before stay good: the old keys stay in the secret file. Take a line out of it by hand
    to end all tokens that its key has signed. Works on the gateway's own machine.

    \b
    Example:
      hpcgate token rotate-key
    """
    from hpcgate.service.secrets import rotate

    if session.remote_url:
        raise click.UsageError("works on the gateway's own machine, on its secret file; unset HPCGATE_URL there")
    session.record()
    path = session.config.secret_key_path
    click.echo(f"{path}: key {rotate(path).kid} signs from now on")


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@pass_session
def revoke(session: Session, token_id: str) -> None:
    """Make a token worthless.

    \b
    Example:
      hpcgate token revoke 01JABCDEFGHJKMNPQRSTVWXYZ0
    """
    session.backend.revoke_token(token_id)


def _tokens(session: Session, name: str | None) -> list[Wire]:
    if name is not None:
        return session.backend.tokens(name)
    try:
        return session.backend.tokens("*")
    except Forbidden:
        return session.backend.tokens(None)
