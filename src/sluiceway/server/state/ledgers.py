"""Where uploads are written down that may outlive a request, and where quotas, links and downloads
are counted: beside the files, in `--state`, or in the database of `--ledger`.

Each destination has uploads of its own. Nothing is connected here; a folder is made.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING

from sluiceway.errors import BadRequest, StoreFailed
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.server.access.token_file import read_tokens
from sluiceway.server.destinations import destination_folders, destination_identity
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.stores.contract import Store
from sluiceway.stores.delivered_later import DeliversLater
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.disk.tree import PRIVATE
from sluiceway.uploads.access.link_uses import FolderUses, LinkUses
from sluiceway.uploads.elsewhere.channel import Channel
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.lifetime.download_counts import DownloadCounts, FolderDownloads
from sluiceway.uploads.quota.account import Account
from sluiceway.uploads.quota.local import LocalAccount
from sluiceway.uploads.quota.quotas import Quotas

if TYPE_CHECKING:
    from sluiceway.uploads.ledger.postgres_database import LedgerDatabase

__all__ = [
    "found_download_counts",
    "has_account",
    "no_ledger_reason",
    "open_channel",
    "open_download_counts",
    "open_ledger",
    "open_link_uses",
    "open_quotas",
]

QUOTAS = "quotas"  # the folder of the account
LINKS, DOWNLOADS = "links", "downloads"  # the folders of their counts


def open_ledger(settings: Settings, store: Store, place: str = "") -> Ledger | None:
    """The ledger of uploads to this store; None where they cannot outlive a request, and nothing
    is reported of them. That of --ledger counts, too, and is always there.

    `place` tells destinations apart that an app chooses by request. Raises BadSetting, OSError.
    """
    if settings.ledger is not None:
        if isinstance(store, DeliversLater):  # of a folder of another server no upload is known
            place = f"{place} spool {store.identity()}"
        return _in_database(settings.ledger, place)
    if not store.traits.resumable and settings.on_finish is None:
        return None
    if settings.state is not None:
        return _in_folder(_state_folder(settings))
    if (root := _own_folder(store)) is not None and HAS_LOCKS:
        return SqliteLedger(os.path.join(root, PRIVATE))
    if settings.on_finish is not None:
        raise BadSetting(
            "--on-finish writes its events down before it sends them: give --state FOLDER or "
            "--ledger postgresql://…"
        )
    return None


def open_channel(ledger: Ledger | None) -> Channel | None:
    """How the servers of a ledger tell each other of uploads under way; None for one server."""
    if (database := _database(ledger)) is None:
        return None
    from sluiceway.uploads.elsewhere.postgres_channel import PostgresChannel

    return PostgresChannel(database)


def open_link_uses(settings: Settings, store: Store, ledger: Ledger | None) -> LinkUses | None:
    """Where the files of links are counted: with the ledger, or in a folder; None without both."""
    if settings.link_key_file is None:
        return None
    if (database := _database(ledger)) is not None:
        from sluiceway.uploads.ledger.postgres_counts import PostgresUses

        return LinkUses(PostgresUses(database))
    folder = _counts_folder(settings, store, LINKS)
    return None if folder is None else LinkUses(FolderUses(folder))


def open_quotas(settings: Settings, store: Store, ledger: Ledger | None) -> Quotas | None:
    """The account of what is stored; None where nothing is limited. Raises BadSetting."""
    total, floor = settings.quota_bytes, settings.keep_free_bytes
    names_have = settings.token_file is not None and any(
        token.grant.quota is not None for token in read_tokens(settings.token_file)
    )
    if settings.quota is None and not floor and not names_have:
        return None
    account: Account | None = None
    if (database := _database(ledger)) is not None:
        from sluiceway.uploads.quota.postgres import PostgresAccount

        account = PostgresAccount(database)
    elif (folder := _counts_folder(settings, store, QUOTAS)) is not None:
        account = LocalAccount(folder)
    if account is None or not store.traits.readable:
        raise BadSetting(
            "--quota, --keep-free and the quota of a name need a place whose files can be listed, "
            "and where to count: a folder as --to, --state FOLDER, or --ledger postgresql://…"
        )
    if not floor:
        return Quotas(account, store, ledger, total)
    if not isinstance(store, DiskStore):
        raise BadSetting("--keep-free needs a folder as --to: it is about the disk of the files")
    return Quotas(account, store, ledger, total, (store.root, floor))


def _counts_folder(settings: Settings, store: Store, name: str) -> str | None:
    """A folder of this machine alone to count in; None where there is none."""
    if settings.ledger is not None or not HAS_LOCKS:
        return None  # servers of other machines store there, too
    if settings.state is not None:
        return os.path.join(_state_folder(settings), name)
    if isinstance(store, DiskStore):
        return os.path.join(store.root, PRIVATE, name)
    return None


def _database(ledger: Ledger | None) -> LedgerDatabase | None:
    """That of a ledger which servers share."""
    return getattr(ledger, "database", None)


async def has_account(settings: Settings, store: Store, ledger: Ledger | None) -> bool:
    """Whether a server accounts for what is stored there: then it deletes what is over itself."""
    if (database := _database(ledger)) is not None:
        counting = "SELECT 1 FROM {t_counting} WHERE place = %s"
        return bool(await database.rows(counting, database.place))
    folder = _counts_folder(settings, store, QUOTAS)
    return folder is not None and await asyncio.to_thread(os.path.isdir, folder)


def open_download_counts(
    settings: Settings, store: Store, ledger: Ledger | None
) -> DownloadCounts | None:
    """Where downloads are counted: with the ledger, or in a folder. Raises BadSetting."""
    if settings.max_downloads is None:
        return None
    if (found := found_download_counts(settings, store, ledger)) is None:
        raise BadSetting(
            "--max-downloads counts in files that are locked, or in a database: give --state "
            "FOLDER, on a system with file locks, or --ledger postgresql://…"
        )
    return found


def found_download_counts(
    settings: Settings, store: Store, ledger: Ledger | None
) -> DownloadCounts | None:
    """The same, whether or not a server counts there; None where none can."""
    if (database := _database(ledger)) is not None:
        from sluiceway.uploads.ledger.postgres_counts import PostgresDownloads

        return PostgresDownloads(database)
    folder = _counts_folder(settings, store, DOWNLOADS)
    return None if folder is None else FolderDownloads(folder)


def no_ledger_reason(settings: Settings, store: Store) -> str:
    """What operators learn at the start where no upload outlives its request; "" where some do."""
    if not store.traits.resumable:
        return "an upload that is cut must be sent again as a whole: this place keeps no part of it"
    if settings.ledger is not None or settings.state is not None or _own_folder(store) is not None:
        return ""
    return (
        "an upload that is cut must be sent again as a whole: "
        "give --state FOLDER or --ledger postgresql://… to write down how far it came"
    )


def _own_folder(store: Store) -> str | None:
    """The folder of a store that keeps bytes in one."""
    if isinstance(store, DiskStore | DeliversLater):
        return store.root
    return None


def _in_database(url: str, place: str) -> Ledger:
    try:
        # Late: a server without a database needs no driver.
        from sluiceway.uploads.ledger.postgres import PostgresLedger
        from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
    except ImportError:
        raise BadSetting("--ledger needs a driver: pip install 'sluiceway[postgresql]'") from None
    try:
        return PostgresLedger(LedgerDatabase(url, place))
    except BadRequest as error:
        raise BadSetting(f"--ledger: {error.detail}") from None


def _in_folder(folder: str) -> Ledger:
    try:
        return SqliteLedger(folder)
    except StoreFailed as error:
        raise BadSetting(f"--state {error.detail}") from None


def _state_folder(settings: Settings) -> str:
    """A folder of the destination's own, so that no other one's uploads are taken for its own."""
    state = os.path.realpath(settings.state or "")
    for folder in destination_folders(settings):
        if os.path.commonpath([state, folder]) == str(folder):
            raise BadSetting(
                f"--state {state} lies in {folder}, whose files are served; choose another folder"
            )
    name = hashlib.sha256(destination_identity(settings).encode()).hexdigest()[:32]
    return os.path.join(state, name)
