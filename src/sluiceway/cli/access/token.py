"""`sluiceway token`: adds, lists and removes the names of a token file.

A new secret is printed once, to standard output alone; the file keeps its hash.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from sluiceway.cli.exits import USAGE
from sluiceway.cli.suggestions import SuggestingCommand
from sluiceway.cli.terminal_text import say
from sluiceway.errors import SluiceError

__all__ = ["said_errors", "token"]

WORDS = ("upload-only", "read-only", "admin")
USUAL = "upload,read,list"
SHORTEST_PASSWORD = 12  # characters

_file = click.option(
    "--token-file",
    "path",
    envvar="SLUICEWAY_TOKEN_FILE",
    show_envvar=True,
    required=True,
    help="The file that `sluiceway serve --token-file` reads.",
)


@click.group()
def token() -> None:
    """Say who may do what: names with secrets, rights and limits, in a file."""


@token.command("add", cls=SuggestingCommand)
@click.argument("name")
@_file
@click.option("--upload-only", is_flag=True, help="A drop box: it may upload.")
@click.option("--read-only", is_flag=True, help="It may read and list files.")
@click.option("--admin", is_flag=True, help="It may do everything.")
@click.option("--rights", help=f"Some of upload,read,list,delete,admin. Without it: {USUAL}.")
@click.option("--prefix", help="Its folder, such as acme/: it knows nothing outside.")
@click.option("--max-size", help="Its largest upload, such as 10GiB.")
@click.option("--quota", help="All its files and uploads together, such as 50GiB.")
@click.option("--expires", help="Date or time from which on it opens nothing: 2027-01-31.")
@click.option("--password", is_flag=True, help="Ask for a password, and make no secret.")
def _add(name: str, path: str, password: bool, **options: Any) -> None:
    """Add a name and print its secret.

    \b
    sluiceway token add alice --upload-only --token-file tokens
    """
    from sluiceway.server.access.token_editing import add_token
    from sluiceway.server.access.token_hashes import hash_password, hash_secret, new_secret

    flags = [options.pop(word.replace("-", "_")) for word in WORDS]
    rights = _rights(options.pop("rights"), *flags)
    given = {key.replace("_", "-"): value for key, value in options.items() if value is not None}
    with said_errors():
        secret = _asked() if password else new_secret()
        hashed = hash_password(secret) if password else hash_secret(secret)
        add_token(path, name, hashed, rights, given)
    if not password:
        say(secret)
        say(f"The secret of {name}; it is shown only now", err=True)


@token.command("list", cls=SuggestingCommand)
@_file
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def _list(path: str, as_json: bool) -> None:
    """List the names with their rights and limits; never their secrets."""
    from sluiceway.server.access.token_editing import listed_tokens

    with said_errors():
        tokens = listed_tokens(path)
    for one in tokens:
        grant = one.grant
        facts = {
            "rights": ",".join(sorted(grant.rights)),
            "prefix": grant.prefix or None,
            "max-size": grant.max_size,
            "quota": grant.quota,
            "expires": None
            if grant.expires is None
            else datetime.fromtimestamp(grant.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        given = {key: value for key, value in facts.items() if value is not None}
        if as_json:
            say(json.dumps({"name": one.name, **given}))
        else:
            rights = given.pop("rights")
            limits = "".join(f"  {key}={value}" for key, value in given.items())
            say(f"{one.name:20}  {rights}{limits}")


@token.command("remove", cls=SuggestingCommand, short_help="Remove a name, but not the last.")
@click.argument("name")
@_file
def _remove(name: str, path: str) -> None:
    """Remove a name, but not the last: from now on its secret opens nothing; its files stay."""
    from sluiceway.server.access.token_editing import remove_token

    with said_errors():
        remove_token(path, name)


def _rights(rights: str | None, *flags: bool) -> str:
    given = [word for word, is_given in zip(WORDS, flags, strict=True) if is_given]
    if len(given) + (rights is not None) > 1:
        raise click.UsageError("give one of --upload-only, --read-only, --admin and --rights")
    return rights if rights is not None else (given or [USUAL])[0]


def _asked() -> str:
    from sluiceway.server.settings.guarded import check_token_text

    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    check_token_text(password, "the password")
    if len(password) < SHORTEST_PASSWORD:
        raise click.UsageError(f"a password has at least {SHORTEST_PASSWORD} characters")
    return password


@contextmanager
def said_errors() -> Iterator[None]:
    """Errors of this block are printed in one line, and end the command."""
    try:
        yield
    except (SluiceError, OSError) as error:
        text = error.detail if isinstance(error, SluiceError) else str(error)
        say(f"sluiceway: {text}", err=True)
        is_setting = isinstance(error, SluiceError) and error.code == "bad-setting"
        sys.exit(USAGE if is_setting else 1)
