"""The draft of an upload in the ledger: begun, or taken up where it was kept, or discarded.

Knows the store and the ledger, and no request.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Sequence

from sluiceway.errors import Gone, NotFound, PeerFailed, SluiceError, Unavailable
from sluiceway.stores.contract import CompositeStore, Store
from sluiceway.stores.unpublished import (
    HoldsDrafts,
    LeasesDrafts,
    ListsDrafts,
    ResumableDraft,
    ResumableStore,
    SavedDraft,
)
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import UploadRecord

__all__ = ["discard", "lease_drafts", "listing_stores", "may_have_draft", "open_draft"]

log: logging.Logger = logging.getLogger("sluiceway")


async def open_draft(
    store: ResumableStore, ledger: Ledger, record: UploadRecord, algorithms: frozenset[str]
) -> ResumableDraft:
    """`algorithms` are the digests that are counted here. Raises what `begin` and `resume` do."""
    request = record.request
    if store.traits.key_first and not algorithms <= {*store.traits.counts}:
        # Digests may have to be read again before the object may be seen under its key.
        request = dataclasses.replace(request, key="")
    if not record.draft and not record.offset:
        return await store.begin(record.id, record.length, request)
    saved = SavedDraft(record.draft, tuple(await ledger.parts(record.id)))
    return await store.resume(record.id, saved, record.offset, record.length, request, record.epoch)


def may_have_draft(record: UploadRecord, store: ResumableStore) -> bool:
    """False where nothing was begun: another server need not begin an upload to forget it, and no
    disk needs room for one. `discard` removes what a kill left there by its name."""
    if record.draft or record.offset:
        return True
    return not all(isinstance(each, HoldsDrafts | ListsDrafts) for each in _stores_of(store))


async def discard(
    opening: Awaitable[ResumableDraft] | None, record: UploadRecord, store: Store
) -> None:
    """Discard what `opening` opens. What another program removed, or another server lost, is gone
    already; what a server has that cannot be reached now expires there.

    Where nothing was written down, a process may have been killed before it could: a new draft does
    not know what is there, so that is removed by its name.
    """
    try:
        if opening is not None:
            await (await opening).discard()
    except (NotFound, Gone):
        pass
    except (PeerFailed, Unavailable) as error:
        log.warning("Upload %s is left at its destination: %s", record.id, error.for_log)
    if record.draft or record.offset:
        return
    for each in listing_stores(store):
        try:
            await each.remove_draft(each.draft_name(record.id))
        except SluiceError as error:
            log.warning("Bytes of upload %s stay until a sweep: %s", record.id, error.for_log)


def lease_drafts(store: Store, seconds: float | None) -> None:
    """Tell the stores whose sweep asks no ledger how long an upload lives here."""
    for each in _stores_of(store):
        if isinstance(each, LeasesDrafts):
            each.lease_drafts(seconds)


def listing_stores(store: Store) -> list[ListsDrafts]:
    """The stores whose drafts have names; an upload to several of them has a draft in each."""
    return [each for each in _stores_of(store) if isinstance(each, ListsDrafts)]


def _stores_of(store: Store) -> Sequence[Store]:
    return store.required_stores if isinstance(store, CompositeStore) else [store]
