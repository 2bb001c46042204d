"""`sluiceway init` prepares a place; `sluiceway sweep` removes what expired, and
what crashed servers left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click

from sluiceway.cli.suggestions import SuggestingCommand
from sluiceway.cli.terminal_text import say
from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.hashes import DEFAULT_CHOICE
from sluiceway.server.destinations import destination_folders, display_name, open_destination
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.state.ledgers import found_download_counts, has_account, open_ledger
from sluiceway.stores.contract import CompositeStore, Maintained
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.lifetime.file_sweep import sweep_files
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import UploadRules
from sluiceway.wire.urls import is_place, redact_url

__all__ = ["init", "sweep"]

T = TypeVar("T")


@click.command(cls=SuggestingCommand)
@click.argument("place")
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for `sluiceway serve`. Repeatable.",
)
def init(place: str, store_option: tuple[str, ...]) -> None:
    """Create the database tables that PLACE needs to store files. Safe to run again.

    \b
    sluiceway init 'postgresql://user:password@host/database?table=files'

    A SQLite file needs no init: the first use makes its tables.
    """
    _at(place, store_option, lambda store: store.init())
    # The address alone would lack the user and the table, and the whole one may hold a password.
    say(f"{redact_url(place)} is ready. Start a server with the same PLACE:")
    say("sluiceway serve --to PLACE")


@click.command(cls=SuggestingCommand)
@click.argument("places", nargs=-1, required=True, metavar="PLACE...")
@click.option(
    "--older-than",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Of what crashes left, only what was not touched for so long.",
)
@click.option(
    "--files",
    is_flag=True,
    help="Look at the files of a bucket, too: its listing tells no times, so each is a request.",
)
@click.option("--state", metavar="FOLDER", help="As for `sluiceway serve`.")
@click.option("--ledger", metavar="URL", help="As for `sluiceway serve`.")
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for `sluiceway serve`. Repeatable.",
)
def sweep(
    places: tuple[str, ...],
    older_than: float | None,
    files: bool,
    state: str | None,
    ledger: str | None,
    store_option: tuple[str, ...],
) -> None:
    """Remove files and uploads at PLACE that have expired, and what crashed servers left there.

    A file goes by the time that stands beside it (docs/lasting.md), whatever the server's --expire
    says now.

    Give all places of one server together, as its --to options have them. Safe beside running
    servers, which do it themselves now and then. Without --older-than, an upload counts as left
    behind after an hour in a database, after a day in a bucket, and after a week where uploads can
    be resumed. Give --state or --ledger where the servers have it.
    """

    async def work() -> list[str]:
        settings = Settings(to=places, state=state, ledger=ledger, store_option=store_option)
        for folder in destination_folders(settings):
            if not folder.is_dir():  # opening would create it
                raise BadSetting(f"There is no folder {folder}; nothing is to be swept")
        lines = await _sweep(settings, older_than, files)
        return [f"{display_name(settings)}: {line}" for line in lines]

    for line in _run(work):
        say(line)


async def _sweep(settings: Settings, older_than: float | None, files: bool) -> list[str]:
    """What was done, a line each."""
    budget = Budget(MINIMUM)
    store = open_destination(settings, budget)
    lines, found = [], None
    try:
        stores = store.required_stores if isinstance(store, CompositeStore) else [store]
        if maintained := [each for each in stores if isinstance(each, Maintained)]:
            count = sum([await each.sweep(older_than) for each in maintained])
            lines.append(f"{_counted(count, 'leftover')} removed")
        found = open_ledger(settings, store)
        if found is not None and store.traits.resumable:
            rules = UploadRules(store, budget, KeyTemplate(), DEFAULT_CHOICE, None, False)
            uploads = ResumableUploads(found, rules, budget, ProgressTable(), settings.expiry)
            try:
                lines += await _sweep_uploads(uploads, older_than)
            finally:
                await uploads.aclose()
        if store.traits.readable and await has_account(settings, store, found):
            lines.append("files whose time is over are left to the server, which counts quotas")
        elif store.traits.readable and (files or store.traits.lists_metadata):
            counts = found_download_counts(settings, store, found)
            count = await sweep_files(store, counts=counts)
            lines.append(f"{_counted(count, 'file')} deleted whose time was over")
        if not lines:
            raise BadSetting(f"{display_name(settings)} needs no sweep")
    finally:
        if found is not None:
            await found.aclose()
        await store.aclose()
    return lines


async def _sweep_uploads(uploads: ResumableUploads, older_than: float | None) -> list[str]:
    count = await uploads.sweep()
    after = uploads.expiry.after or 0.0
    left = await uploads.sweeps.remove_leftovers(after if older_than is None else older_than)
    line = (
        f"{_counted(count, 'resumable upload')} expired or forgotten, "
        f"{_counted(left.drafts, 'draft')} without an upload removed, "
        f"{_counted(left.uploads, 'upload')} without bytes ended"
    )
    return [line]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _at(place: str, options: tuple[str, ...], do: Callable[[Maintained], Awaitable[T]]) -> T:
    async def work() -> T:
        if not is_place(place):  # opening a folder would create it
            raise BadSetting(f"{redact_url(place)} needs no init; `sluiceway serve` does it itself")
        store = open_destination(Settings(to=(place,), store_option=options), Budget(MINIMUM))
        try:
            if not isinstance(store, Maintained):
                raise BadSetting(f"{redact_url(place)} needs no init and no sweep")
            return await do(store)
        finally:
            await store.aclose()

    return _run(work)


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Exits with 2 for what cannot be used like this, with 1 for what failed."""
    try:
        return asyncio.run(work())
    except (SluiceError, OSError) as error:
        say(f"sluiceway: {error.detail if isinstance(error, SluiceError) else error}", err=True)
        sys.exit(2 if isinstance(error, SluiceError) and error.code == "bad-setting" else 1)
