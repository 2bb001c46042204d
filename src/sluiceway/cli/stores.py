"""`sluiceway init` prepares a place; `sluiceway sweep` removes leftovers of crashed servers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from sluiceway.cli.suggestions import SuggestingCommand
from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.stores.contract import Maintained
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
    click.echo(f"{redact_url(place)} is ready: sluiceway serve --to {redact_url(place)} ...")


@click.command(cls=SuggestingCommand)
@click.argument("place")
@click.option(
    "--older-than",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Only uploads that were not touched for so long.",
)
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for `sluiceway serve`. Repeatable.",
)
def sweep(place: str, older_than: float | None, store_option: tuple[str, ...]) -> None:
    """Remove unfinished uploads that crashed servers left in PLACE.

    Safe beside running servers, which do it themselves now and then. Without --older-than, an
    upload counts as left behind after an hour in a database, after a day in a bucket.
    """
    count = _at(place, store_option, lambda store: store.sweep(older_than))
    click.echo(f"{redact_url(place)}: {count} leftover{'' if count == 1 else 's'} removed")


def _at(place: str, options: tuple[str, ...], do: Callable[[Maintained], Awaitable[T]]) -> T:
    """Exits with 2 for a place that cannot be used like this, with 1 for one that failed."""

    async def work() -> T:
        if not is_place(place):  # opening a folder would create it
            raise BadSetting(
                f"{redact_url(place)} needs no init and no sweep; "
                "`sluiceway serve` does both itself"
            )
        store = open_destination(Settings(to=(place,), store_option=options), Budget(MINIMUM))
        try:
            if not isinstance(store, Maintained):
                raise BadSetting(f"{redact_url(place)} needs no init and no sweep")
            return await do(store)
        finally:
            await store.aclose()

    try:
        return asyncio.run(work())
    except (SluiceError, OSError) as error:
        click.echo(
            f"sluiceway: {error.detail if isinstance(error, SluiceError) else error}", err=True
        )
        sys.exit(2 if isinstance(error, SluiceError) and error.code == "bad-setting" else 1)
