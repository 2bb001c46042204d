"""`sluiceway init` and `sluiceway sweep`: prepare a place for objects, and free what crashed servers left there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.settings import BadSetting, Settings
from sluiceway.stores.contract import Maintained
from sluiceway.wire.urls import is_place, redact_url

__all__ = ["init", "sweep"]

T = TypeVar("T")


@click.command()
@click.argument("place")
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for `sluiceway serve`. Repeatable.",
)
def init(place: str, store_option: tuple[str, ...]) -> None:
    """Make what PLACE needs to take files: the tables of a database. Safe to run again.

    \b
    sluiceway init 'postgresql://user:password@host/database?table=files'
    """
    _at(place, store_option, lambda store: store.init())
    click.echo(f"{redact_url(place)} is ready: sluiceway serve --to {redact_url(place)} ...")


@click.command()
@click.argument("place")
@click.option(
    "--older-than",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Only what nobody touched for so long.",
)
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for `sluiceway serve`. Repeatable.",
)
def sweep(place: str, older_than: float | None, store_option: tuple[str, ...]) -> None:
    """Free what crashed servers left in PLACE. Safe beside servers that run; they do it themselves now and then.

    Without --older-than each kind of place has its own time after which an upload counts as left behind: an hour in a
    database, a day in a bucket.
    """
    count = _at(place, store_option, lambda store: store.sweep(older_than))
    click.echo(f"{redact_url(place)}: {count} leftover{'' if count == 1 else 's'} freed")


def _at(place: str, options: tuple[str, ...], do: Callable[[Maintained], Awaitable[T]]) -> T:
    """Exits with 2 for a place that cannot be used so, with 1 for one that failed."""

    async def work() -> T:
        if not is_place(place):  # a folder would be made by opening it
            raise BadSetting(
                f"{redact_url(place)} needs no preparing and no sweeping; `sluiceway serve` does both itself"
            )
        store = open_destination(Settings(to=(place,), store_option=options), Budget(MINIMUM))
        try:
            if not isinstance(store, Maintained):
                raise BadSetting(f"{redact_url(place)} needs no preparing and no sweeping")
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
