"""Checks of the destinations, the ledger and the spool: whether each can be used now.

A folder or a database file that is missing is not made here: the user who checks need not be the
server's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.server.checks.finding import Finding, failed, from_error, passed, warned
from sluiceway.server.checks.machine import check_folder, check_room
from sluiceway.server.destinations import destination_identity, display_name, open_destination
from sluiceway.server.handlers.readiness import probe
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.spooling import spool_bytes
from sluiceway.server.state.ledgers import (
    no_ledger_reason,
    open_channel,
    open_download_counts,
    open_ledger,
)
from sluiceway.stores.contract import HealthChecked, Store
from sluiceway.stores.disk.tree import PRIVATE
from sluiceway.stores.monitored import Clocked
from sluiceway.stores.sqlite.place import SCHEME, SqlitePlace

__all__ = ["check_all_destinations", "check_place", "check_state"]

TIMEOUT = 15.0  # seconds that one place may take
BEST_EFFORT = "best-effort:"
# Settings that ask something of all destinations together, without which each is opened alone
_OF_ALL: dict[str, Any] = {
    "relay_spool": None,
    "redirect_downloads": 0.0,
    "expire": None,
    "max_downloads": None,
    "retain": None,
    "retain_most": None,
}
UNHEARD = (
    "uploads can be written down, but servers do not hear each other: a pooler in transaction mode "
    "is in between. Each server lists and cancels only its own uploads of one request"
)
SESSIONS = "give --ledger the database itself, or a pooler in session mode"
REACH = "look whether it runs, and whether this machine can reach it"


async def check_place(
    settings: Settings, place: str, budget: Budget, skews: dict[str, float]
) -> AsyncIterator[Finding]:
    """One destination, alone. What its clock says is put into `skews`."""
    required = not place.startswith(BEST_EFFORT)
    plain = place.removeprefix(BEST_EFFORT).removeprefix("required:")
    alone = dataclasses.replace(settings, to=(plain,), **_OF_ALL)
    name = display_name(alone)
    folder = _folder_of(plain)
    if folder is not None:
        found = check_folder("destination", folder)
        yield found
        if found.level == "failed":
            return
        yield check_room(folder, settings.max_upload_bytes)
        if not _is_made(plain, folder):
            return
    try:
        async with asyncio.timeout(TIMEOUT):
            skew = await _try(alone, budget)
    except TimeoutError:
        late = f"{name} did not answer within {TIMEOUT:g} seconds"
        found = failed("destination", late, REACH)
    except (SluiceError, OSError) as error:
        found = from_error("destination", error, REACH)
    else:
        found = passed("destination", f"{name} takes files")
        if skew is not None:
            skews[name] = skew
    if found.level == "failed" and not required:
        found = warned("destination", f"best-effort {found.text}", found.cure)
    yield found


async def _try(settings: Settings, budget: Budget) -> float | None:
    """What the server does at its start, and what a probe of readiness does. Returns the skew."""
    store = open_destination(settings, budget)
    try:
        if isinstance(store, HealthChecked):
            await store.check()
        await probe(store)
        return await store.clock_skew() if isinstance(store, Clocked) else None
    finally:
        await store.aclose()


def check_all_destinations(settings: Settings, budget: Budget) -> tuple[Store | None, Finding]:
    """All together: named twice, no required one, redirects that no place can do.

    Returns the store for the checks after it, to be closed by the caller; None where a folder would
    be made, or where it failed.
    """
    missing = [
        folder
        for place in settings.to
        if (folder := _folder_of(place.removeprefix(BEST_EFFORT))) is not None
        and not _is_made(place.removeprefix(BEST_EFFORT), folder)
    ]
    spool = settings.relay_spool is not None and not _exists(settings.relay_spool)
    try:
        destination_identity(settings)
        if missing or spool:
            return None, passed("destinations", "some are made at the first start")
        store = open_destination(settings, budget)
        ledger = open_ledger(settings, store) if settings.ledger is not None else None
        open_download_counts(settings, store, ledger)
    except (SluiceError, OSError) as error:
        return None, from_error("destinations", error, "correct --to")
    return store, passed("destinations", f"{len(settings.to)} of them fit together")


async def check_state(
    settings: Settings, store: Store | None, skews: dict[str, float]
) -> AsyncIterator[Finding]:
    """The folders of --state and --relay-spool, and the ledger of uploads."""
    for check, given in (("ledger", settings.state), ("spool", settings.relay_spool)):
        if given is not None:
            folder = _folder_of(given) or Path(given)
            found = check_folder(check, folder)
            yield found
            if found.level != "failed":
                most = spool_bytes(settings) if check == "spool" else None
                yield check_room(folder, most)
    if store is None or (settings.state is not None and not _exists(settings.state)):
        return
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await _ledger(settings, store, skews)
    except TimeoutError:
        found = failed("ledger", f"no answer within {TIMEOUT:g} seconds", REACH)
    except (SluiceError, OSError) as error:
        found = from_error("ledger", error, REACH)
    yield found


async def _ledger(settings: Settings, store: Store, skews: dict[str, float]) -> Finding:
    if reason := no_ledger_reason(settings, store):
        return passed("ledger", reason)
    ledger = open_ledger(settings, store)
    if ledger is None:
        return passed("ledger", "this system has no file locks: uploads end with their request")
    try:
        await ledger.check()
        if isinstance(ledger, Clocked) and (skew := await ledger.clock_skew()) is not None:
            skews["the ledger"] = skew
        channel = open_channel(ledger)
        if channel is not None and not await channel.is_heard():
            return warned("ledger", UNHEARD, SESSIONS)
    finally:
        await ledger.aclose()
    return passed("ledger", "uploads that may outlive a request can be written down")


def _folder_of(place: str) -> Path | None:
    """The folder that a place writes into, if it is on this machine."""
    if place.lower().startswith(f"{SCHEME}/"):
        try:
            return Path(SqlitePlace.parse(place).file).parent
        except SluiceError:
            return None
    if "://" in place or place.startswith("memory:"):
        return None
    return Path(os.path.realpath(place))


def _is_made(place: str, folder: Path) -> bool:
    """Whether a server has used it already: only then it is opened, because that makes files."""
    if place.lower().startswith(f"{SCHEME}/"):
        return os.path.exists(SqlitePlace.parse(place).file)
    return (folder / PRIVATE).is_dir()


def _exists(folder: str) -> bool:
    return os.path.isdir(folder)
