"""Where uploads are written down that may outlive a request: beside the files, in `--state`, or in
the database of `--ledger`.

Each destination has uploads of its own. Nothing is connected here; a folder is made.
"""

from __future__ import annotations

import hashlib
import os

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
from sluiceway.uploads.access.link_uses import LinkUses
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.lifetime.download_counts import DownloadCounts
from sluiceway.uploads.quota.quotas import Quotas

__all__ = [
    "found_download_counts",
    "has_account",
    "no_ledger_reason",
    "open_download_counts",
    "open_ledger",
    "open_link_uses",
    "open_quotas",
]

QUOTAS = "quotas"  # the folder of the account
LINKS, DOWNLOADS = "links", "downloads"  # the folders of their counts


def open_ledger(settings: Settings, store: Store, place: str = "") -> Ledger | None:
    """The ledger of uploads to this store; None where they cannot outlive a request, and nothing
    is reported of them.

    `place` tells destinations apart that an app chooses by request. Raises BadSetting, OSError.
    """
    if not store.traits.resumable and settings.on_finish is None:
        return None
    if settings.ledger is not None:
        return _in_database(settings.ledger, place)
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


def open_link_uses(settings: Settings, store: Store) -> LinkUses | None:
    """Where the files of links are counted: beside the ledger's own folder; None without one."""
    if settings.link_key_file is None or not HAS_LOCKS:
        return None
    if settings.state is not None:
        return LinkUses(os.path.join(_state_folder(settings), LINKS))
    if isinstance(store, DiskStore):
        return LinkUses(os.path.join(store.root, PRIVATE, LINKS))
    return None


def open_quotas(settings: Settings, store: Store, ledger: Ledger | None) -> Quotas | None:
    """The account of what is stored; None where nothing is limited. Raises BadSetting."""
    total, floor = settings.quota_bytes, settings.keep_free_bytes
    names_have = settings.token_file is not None and any(
        token.grant.quota is not None for token in read_tokens(settings.token_file)
    )
    if settings.quota is None and not floor and not names_have:
        return None
    folder = _account_folder(settings, store)
    if folder is None or not HAS_LOCKS or not store.traits.readable:
        raise BadSetting(
            "--quota, --keep-free and the quota of a name need a place whose files can be listed, "
            "and a folder of one machine to count in: a folder as --to, or --state FOLDER"
        )
    if floor and not isinstance(store, DiskStore):
        raise BadSetting("--keep-free needs a folder as --to: it is about the disk of the files")
    return Quotas(folder, store, ledger, total, floor)


def _account_folder(settings: Settings, store: Store) -> str | None:
    if settings.ledger is not None:
        return None  # servers of other machines store there, too
    if settings.state is not None:
        return os.path.join(_state_folder(settings), QUOTAS)
    if isinstance(store, DiskStore):
        return os.path.join(store.root, PRIVATE, QUOTAS)
    return None


def has_account(settings: Settings, store: Store) -> bool:
    """Whether a server accounts for what is stored there: then it deletes what is over itself."""
    folder = _account_folder(settings, store)
    return folder is not None and os.path.isdir(folder)


def open_download_counts(settings: Settings, store: Store) -> DownloadCounts | None:
    """Where downloads are counted: beside the ledger's own folder. Raises BadSetting."""
    if settings.max_downloads is None:
        return None
    if (found := found_download_counts(settings, store)) is None:
        raise BadSetting(
            "--max-downloads counts in files that are locked: give --state FOLDER, on a system "
            "with file locks"
        )
    return found


def found_download_counts(settings: Settings, store: Store) -> DownloadCounts | None:
    """The same, whether or not a server counts there; None where none can."""
    if HAS_LOCKS and settings.state is not None:
        return DownloadCounts(os.path.join(_state_folder(settings), DOWNLOADS))
    if HAS_LOCKS and isinstance(store, DiskStore):
        return DownloadCounts(os.path.join(store.root, PRIVATE, DOWNLOADS))
    return None


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
    except ImportError:
        raise BadSetting("--ledger needs a driver: pip install 'sluiceway[postgresql]'") from None
    try:
        return PostgresLedger(url, place)
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
