"""`sluiceway ls` and `sluiceway rm`: what is stored at a place or a server. Computes nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from sluiceway.cli.copy_options import network_options
from sluiceway.cli.exits import SOME_FAILED, USAGE
from sluiceway.cli.output import Printer
from sluiceway.cli.quick_start import quick_imports
from sluiceway.cli.signals import ended_by_signals
from sluiceway.cli.suggestions import SuggestingCommand
from sluiceway.cli.terminal_text import amount, printable, say
from sluiceway.pipe.hashes import named_digests

if TYPE_CHECKING:
    from sluiceway.client.retry import RetryPolicy
    from sluiceway.copying.listing.sides import ListedFile, ListedSide
    from sluiceway.errors import SluiceError

__all__ = ["ls", "rm"]

Work = Callable[["ListedSide", "RetryPolicy"], Awaitable[int]]

FIRST = 1000  # objects that are counted before they are deleted


def _side_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the place or server is reached, and the form of what is printed."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
        click.option(
            "--store-option",
            multiple=True,
            metavar="NAME=VALUE",
            help="As for `sluiceway copy`. Repeatable.",
        ),
        network_options,
        click.option(
            "--token",
            envvar="SLUICEWAY_TOKEN",
            show_envvar=True,
            help="Sent as a Bearer token, to the URL's own host only.",
        ),
        click.option(
            "-H", "--header", multiple=True, metavar="'NAME: VALUE'", help="A header. Repeatable."
        ),
        click.argument("url"),
    ):
        command = option(command)
    return command


@click.command(cls=SuggestingCommand)
@click.option("-r", "--recursive", is_flag=True, help="Everything below it, not folder by folder.")
@click.option("--bytes", "exact", is_flag=True, help="Sizes in bytes, not in KiB, MiB, GiB.")
@_side_options
def ls(url: str, recursive: bool, exact: bool, as_json: bool, **options: Any) -> None:
    """List what is stored at URL: a place or a server.

    \b
    sluiceway ls s3://bucket/photos/
    sluiceway ls -r sqlite:///files.db
    sluiceway ls https://host/files/2026/

    A line has size, time of change (UTC) and key; a folder has its name only. The exit code is 3
    where there is nothing, and 6 where the listing had to leave something out.
    """
    printer = Printer(as_json, quiet=False)

    async def work(side: ListedSide, policy: RetryPolicy) -> int:
        from sluiceway.copying.listing.walk import listed
        from sluiceway.stores.contract import Omitted

        left_out = 0
        async for one in listed(side, policy, recursive):
            if isinstance(one, Omitted):
                left_out += 1
                printer.left_out(one.name, one.code, one.detail)
            else:
                say(_as_json(one) if as_json else _as_line(one, exact))
        return SOME_FAILED if left_out else 0

    _run(work, url, options, printer)


@click.command(cls=SuggestingCommand)
@click.option("-r", "--recursive", is_flag=True, help="Delete everything below URL.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before -r deletes.")
@_side_options
def rm(url: str, recursive: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Delete what is stored at URL: one object, or with -r everything below it.

    \b
    sluiceway rm s3://bucket/photos/a.jpg
    sluiceway rm -r --yes 'postgresql://host/database/2025/?table=files'
    sluiceway rm -r https://host/files/2025/

    The exit code is 3 where there is nothing, and 6 where some of many could not be deleted.
    """
    printer = Printer(as_json, quiet=False)

    async def one(side: ListedSide, policy: RetryPolicy) -> int:
        from sluiceway.copying.listing.sides import ListedFile

        if not side.key or side.key.endswith("/"):
            raise click.UsageError(f"{side.display_name} names no object; delete many with -r")
        await policy.run(partial(side.delete, side.key), met=False)
        _deleted(as_json, ListedFile(side.key))
        return 0

    async def many(side: ListedSide, policy: RetryPolicy) -> int:
        from sluiceway.copying.listing.walk import delete_all

        await _confirm(side, policy, yes)
        failures: list[str] = []

        def fail(file: ListedFile, error: SluiceError) -> None:
            failures.append(file.key)
            printer.left_out(file.key, error.code, error.detail)

        await delete_all(side, policy, partial(_deleted, as_json), fail)
        return SOME_FAILED if failures else 0

    _run(many if recursive else one, url, options, printer)


async def _confirm(side: ListedSide, policy: RetryPolicy, yes: bool) -> None:
    """Asks at a terminal; elsewhere --yes is needed. Raises SourceFailed where there is nothing."""
    from sluiceway.copying.listing.walk import listed

    count = 0
    async for _ in listed(side, policy, recursive=True):
        count += 1
        if yes or count > FIRST:
            break
    if yes:
        return
    what = f"more than {FIRST}" if count > FIRST else str(count)
    question = f"Delete {what} object{'' if count == 1 else 's'} at {side.display_name}?"
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say so with --yes")
    if not click.confirm(question, err=True):
        raise click.UsageError("nothing was deleted")


def _deleted(as_json: bool, file: ListedFile) -> None:
    say(json.dumps({"deleted": file.key}) if as_json else f"deleted {printable(file.key)}")


def _as_json(file: ListedFile) -> str:
    if file.is_folder:
        return json.dumps({"folder": file.key})
    facts = {
        "key": file.key,
        "size": file.size,
        "modified": _time(file, "T", "Z"),
        "etag": file.etag,
        "type": file.type,
        **named_digests(file.digests),
    }
    return json.dumps({name: value for name, value in facts.items() if value not in (None, "")})


def _as_line(file: ListedFile, exact: bool) -> str:
    size = "" if file.size is None else str(file.size) if exact else amount(file.size)
    time = "" if file.is_folder else _time(file, " ", "") or ""
    return f"{size:>{15 if exact else 10}}  {time:19}  {printable(file.key)}"


def _time(file: ListedFile, between: str, behind: str) -> str | None:
    if file.modified is None:
        return None
    when = datetime.fromtimestamp(file.modified, UTC).replace(microsecond=0, tzinfo=None)
    return f"{when.isoformat(sep=between)}{behind}"


def _run(work: Work, url: str, options: dict[str, Any], printer: Printer) -> None:
    """Exits with the code of `work`."""
    from sluiceway.cli.copy import name_and_value
    from sluiceway.errors import NotFound, SluiceError, SourceFailed

    with quick_imports(url):
        from sluiceway.copying.listing.sides import open_listed
        from sluiceway.copying.options import CopyOptions

    headers = dict(name_and_value(text, ":", "-H") for text in options.pop("header"))
    stores = dict(name_and_value(text, "=", "--store-option") for text in options["store_option"])

    async def run() -> int:
        checked = CopyOptions.for_listing(
            url, **{**options, "store_option": stores}, headers=headers
        )
        async with open_listed(checked) as side:
            return await work(side, checked.retry_policy)

    try:
        with ended_by_signals():
            code = asyncio.run(run())
    except NotFound as error:
        printer.fail(SourceFailed(error.detail))
    except SluiceError as error:
        printer.fail(error)
    except click.UsageError as error:
        say(f"sluiceway: {error.message}", err=True)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        printer.interrupted()
    sys.exit(code)
