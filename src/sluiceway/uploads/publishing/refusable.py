"""The publish of an upload of the ledger that an app may still refuse.

The process may die before the app was asked. The next one has nothing with which to put a replaced
object back: so the ledger knows whether there was one, and then the new object stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from sluiceway.errors import NotFound, SluiceError
from sluiceway.stores.contract import Draft, Entry, Replace, UploadRequest
from sluiceway.stores.keys.revocable import RevocablePublish
from sluiceway.uploads.hooks.around import AppAround
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.publishing.all_or_none import partly
from sluiceway.uploads.rules import UploadRules

__all__ = ["refusable_publish", "replacing_details", "take_back"]

REPLACES = "replaces"  # in the details of an upload: its key had an object before it was published


def refusable_publish(
    app: AppAround | None, rules: UploadRules, draft: Draft, upload: str
) -> RevocablePublish | None:
    """None where nobody is asked, or nothing can be undone."""
    if app is None or not app.asks_published or not rules.store.traits.undoable:
        return None
    return RevocablePublish(rules.store, draft, upload)


async def replacing_details(
    rules: UploadRules, key: str, request: UploadRequest, details: Mapping[str, str]
) -> Mapping[str, str]:
    """The details, which say whether something is at the key."""
    if request.replace.allowed and rules.store.traits.readable:
        with suppress(NotFound):
            await rules.store.stat(key)
            return {**details, REPLACES: "1"}
    return details


async def take_back(
    rules: UploadRules,
    publish: RevocablePublish | None,
    entry: Entry,
    record: UploadRecord,
    error: SluiceError,
) -> SluiceError:
    """Undo what the app refused. Returns the error, which says where the file stays.

    `publish` is None where an earlier process published it.
    """
    undoable = rules.store.traits.undoable
    if publish is not None:
        is_undone = await rules.take_back(publish, entry.key)
    elif is_undone := undoable and REPLACES not in record.details:
        # Else an upload that has replaced it, and is refused as well, would bring it back.
        async with rules.undo_locks.acquire(entry.key), rules.quota.changing(entry.key):
            with suppress(SluiceError):  # deleted or replaced: no longer ours
                await rules.store.delete(entry.key, Replace(allowed=True, etag=entry.etag))
    if is_undone or not undoable:
        return error
    return partly(error, [entry.key], is_undoable=True)
