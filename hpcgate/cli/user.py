"""``hpcgate user``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from hpcgate.cli.arguments import as_json
from hpcgate.cli.output import local_time, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.model.principal import Role

ROLE = click.Choice([role.value for role in Role])


@click.group()
def user() -> None:
    """Add, list, change and remove users."""


@user.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Give it the roles admin and user.")
@click.option("--role", "roles", type=ROLE, multiple=True, help="Role; may be repeated. Default: user.")
@click.option("--password-stdin", is_flag=True, help="Read a password from standard input.")
@click.option("--email", help="Where its mail goes.")
@as_json
@pass_session
def add(
    session: Session,
    name: str,
    admin: bool,
    roles: Sequence[str],
    password_stdin: bool,
    email: str | None,
    as_json: bool,
) -> None:
    """Add a user.

    Without a password the user needs a token that an admin makes.

    \b
    Examples:
      hpcgate user add alice
      pass show gate/bob | hpcgate user add bob --role support --password-stdin
    """
    wanted = dict.fromkeys([*roles, *(("admin", "user") if admin else ())]) or ("user",)
    password = _password() if password_stdin else None
    added = session.backend.add_user(name, roles=list(wanted), password=password, email=email)
    print_json(added) if as_json else click.echo(f"user {added['name']} has the roles {', '.join(added['roles'])}")


@user.command("list")
@as_json
@pass_session
def list_users(session: Session, as_json: bool) -> None:
    """List the users.

    \b
    Example:
      hpcgate user list
    """
    users = session.backend.users()
    if as_json:
        print_json(users)
        return
    print_table(
        ("NAME", "ROLES", "GROUPS", "CREATED", "PASSWORD", "LOCKED", "EMAIL"),
        [
            (
                u["name"],
                u["roles"],
                u["groups"],
                local_time(u["created_at"]),
                u["has_password"],
                u["locked"],
                u["email"],
            )
            for u in users
        ],
    )


@user.command("remove")
@click.argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a user; its tokens become worthless, its jobs stay.

    \b
    Example:
      hpcgate user remove alice
    """
    session.backend.remove_user(name)


@user.command("lock")
@click.argument("name")
@pass_session
def lock(session: Session, name: str) -> None:
    """Refuse a user's tokens and password from now on; its jobs go on.

    \b
    Example:
      hpcgate user lock alice
    """
    session.backend.update_user(name, {"locked": True})


@user.command("unlock")
@click.argument("name")
@pass_session
def unlock(session: Session, name: str) -> None:
    """Let a locked user in again, with the tokens that it had.

    \b
    Example:
      hpcgate user unlock alice
    """
    session.backend.update_user(name, {"locked": False})


@user.command("email")
@click.argument("name")
@click.argument("address", required=False)
@pass_session
def email(session: Session, name: str, address: str | None) -> None:
    """Set where a user's mail goes; without ADDRESS it gets none.

    \b
    Example:
      hpcgate user email alice alice@example.org
    """
    session.backend.update_user(name, {"email": address})


def _password() -> str:
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise click.UsageError("--password-stdin: standard input holds no password")
    return password
