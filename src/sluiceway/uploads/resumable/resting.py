"""What a watcher sees of an upload that no request brings bytes to: as its ledger knows it.

The same values as `ProgressRecord.snapshot` has.
"""

from __future__ import annotations

from sluiceway.pipe.stages import Stages
from sluiceway.stores.contract import Store
from sluiceway.stores.delivered_later import DeliversLater
from sluiceway.stores.unpublished import HoldsDrafts, offers
from sluiceway.uploads.access.grant import owner_mark
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import FOR_BACKEND, ProgressRecord
from sluiceway.uploads.states import State

__all__ = [
    "ended_state",
    "is_elsewhere",
    "is_lost",
    "progress_of",
    "resting_snapshot",
    "shown_kept",
]

CANCELLED = "cancelled"  # the code of an upload that its client ended


def ended_state(code: str) -> State:
    """The state of an upload that has ended with this error code, "" for none."""
    if not code:
        return State.COMPLETE
    return State.CANCELLED if code == CANCELLED else State.FAILED


def is_lost(record: UploadRecord, store: Store) -> bool:
    """Whether bytes of an open upload are where nothing can be added to them any more."""
    return (
        record.state is LedgerState.OPEN
        and bool(record.offset or record.draft)
        and store.traits.resumable
        and offers(store, HoldsDrafts)
        and not store.is_elsewhere(record.draft)
        and not store.holds(record.id)
    )


def is_elsewhere(record: UploadRecord, store: Store) -> bool:
    """Whether another server has the bytes of an open upload, and says how far it is."""
    is_open = record.state is LedgerState.OPEN
    return is_open and offers(store, HoldsDrafts) and store.is_elsewhere(record.draft)


def _kept_by_kernel(record: UploadRecord, store: Store) -> bool:
    elsewhere = offers(store, HoldsDrafts) and store.is_elsewhere(record.draft)
    return store.traits.keeps == "whole" and not elsewhere


def _kept_by(record: UploadRecord, store: Store) -> str:
    """Who has the bytes of an upload that is not delivered."""
    if offers(store, DeliversLater):
        return "spool"
    return "kernel" if _kept_by_kernel(record, store) else "destination"


def resting_snapshot(record: UploadRecord, store: Store) -> dict[str, object]:
    """Counters and state, as JSON values. An upload at rest waits for its client."""
    ended = record.state in (LedgerState.DONE, LedgerState.GONE)
    is_delivered = record.state is LedgerState.DONE and not record.code
    whole = record.offset == record.length and not ended
    waits = whole and offers(store, DeliversLater)
    return {
        "id": record.id,
        "state": ended_state(record.code).word if ended else "waiting",
        "received": record.offset,
        "forwarded": record.offset,
        "kept": record.offset if is_delivered else shown_kept(record, store),
        "kept_by": "destination" if is_delivered else _kept_by(record, store),
        "length": record.length,
        "code": record.code or None,
        **(FOR_BACKEND if waits else {}),
    }


def shown_kept(record: UploadRecord, store: Store) -> int:
    """The offset as a watcher sees it. Where the destination says nothing before it has everything,
    the last byte counts when it has answered."""
    whole = record.offset > 0 and record.offset == record.length
    return record.offset - (whole and store.traits.keeps == "whole")


def progress_of(
    record: UploadRecord, table: ProgressTable, store: Store, stages: Stages
) -> ProgressRecord:
    """The progress of an upload that a request takes up. One that has ended keeps the record that
    says so."""
    if record.state in (LedgerState.DONE, LedgerState.GONE):
        progress = table.unwatched(record.id, record.length)
        progress.is_part = record.is_part
        return progress
    progress = table.resume(record.id, record.length, record.offset)
    progress.by_kernel = _kept_by_kernel(record, store)
    progress.owner = owner_mark(record.request.owner)
    progress.owner_name, progress.stages = record.request.owner, stages
    progress.is_part, progress.whole = record.is_part, record.whole
    progress.key = record.key or record.request.key or record.request.filename
    return progress
