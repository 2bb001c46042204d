"""What a watcher sees of an upload that no request brings bytes to: as its ledger knows it.

The same values as `ProgressRecord.snapshot` has.
"""

from __future__ import annotations

from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.states import State

__all__ = ["ended_state", "progress_of", "resting_snapshot"]

CANCELLED = "cancelled"  # the code of an upload that its client ended


def ended_state(code: str) -> State:
    """The state of an upload that has ended with this error code, "" for none."""
    if not code:
        return State.COMPLETE
    return State.CANCELLED if code == CANCELLED else State.FAILED


def resting_snapshot(record: UploadRecord) -> dict[str, object]:
    """Counters and state, as JSON values. An upload at rest waits for its client."""
    ended = record.state in (LedgerState.DONE, LedgerState.GONE)
    return {
        "id": record.id,
        "state": ended_state(record.code).word if ended else "waiting",
        "received": record.offset,
        "forwarded": record.offset,
        "kept": record.offset,
        "kept_by": "destination",
        "length": record.length,
        "code": record.code or None,
    }


def progress_of(record: UploadRecord, table: ProgressTable) -> ProgressRecord:
    """The progress of an upload that a request takes up. One that has ended keeps the record that
    says so."""
    if record.state in (LedgerState.DONE, LedgerState.GONE):
        return table.unwatched(record.id, record.length)
    return table.resume(record.id, record.length, record.offset)
