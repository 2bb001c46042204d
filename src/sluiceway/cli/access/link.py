"""`sluiceway link`: signed links, their keys, and what is revoked. Asks no server."""

from __future__ import annotations

from typing import Any

import click

from sluiceway.cli.access.token import said_errors
from sluiceway.cli.suggestions import SuggestingCommand
from sluiceway.cli.terminal_text import say
from sluiceway.errors import BadRequest

__all__ = ["link"]

MOST_SECONDS = 1e10  # as for POST /links

_file = click.option(
    "--link-key-file",
    "path",
    envvar="SLUICEWAY_LINK_KEY_FILE",
    show_envvar=True,
    required=True,
    help="The file that `sluiceway serve --link-key-file` reads.",
)


@click.group()
def link() -> None:
    """Let somebody upload or read, within limits and without a token: by a signed link."""


@link.command("make", cls=SuggestingCommand)
@click.argument("server")
@_file
@click.option("--key", default="", help="The one file that the link is for.")
@click.option("--prefix", default="", help="Or the folder that it is for: inbox/.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(["GET", "PUT", "POST"]),
    help="POST or PUT to upload (the default), GET to read. Repeatable.",
)
@click.option("--max-size", help="The largest upload, such as 10GiB.")
@click.option("--quota", help="All its files together, such as 50GiB.")
@click.option("--type", "types", multiple=True, help="Media type that may be uploaded. Repeatable.")
@click.option("--count", type=int, help="Files that may be uploaded in all.")
@click.option(
    "--expires", type=float, default=86400.0, show_default=True, help="Seconds; 0 for never."
)
@click.option("--owner", default="", help="The name that its files get.")
@click.option("--field", "fields", multiple=True, help="NAME=VALUE kept with files. Repeatable.")
def _make(server: str, path: str, **options: Any) -> None:
    """Print a link to SERVER, which ends in /.

    \b
    sluiceway link make https://files.example.com --prefix inbox/ --count 3 --link-key-file keys
    """
    from sluiceway.cli.copy import name_and_value
    from sluiceway.server.access.link_keys import first_key
    from sluiceway.server.settings.guarded import BadSetting
    from sluiceway.uploads.access.links import link as make

    expires = options.pop("expires")
    if not 0 <= expires < MOST_SECONDS:
        raise click.UsageError(f"--expires is seconds from now, 0 for never, not {expires:g}")
    method = options.pop("methods") or "POST"
    fields = dict(name_and_value(text, "=", "--field") for text in options.pop("fields"))
    with said_errors():
        key_text = first_key(path)
        try:
            url = make(
                server, key_text, method=method, expires=expires or None, fields=fields, **options
            )
        except BadRequest as error:
            raise BadSetting(error.detail) from None
        say(url)


@link.command("new-key", cls=SuggestingCommand, short_help="Put a fresh key in front.")
@_file
def _new_key(path: str) -> None:
    """Put a fresh key in front; the others still check what they signed. Makes the file."""
    from sluiceway.server.access.link_keys import add_key

    with said_errors():
        say(f"links are signed by key {add_key(path)} from now on", err=True)


@link.command("revoke", cls=SuggestingCommand)
@click.argument("link_or_id")
@_file
def _revoke(link_or_id: str, path: str) -> None:
    """Let a link, or the link of an id, open nothing any more."""
    from sluiceway.server.access.link_keys import link_id, revoke_link

    with said_errors():
        revoke_link(path, link_id(path, link_or_id))
