"""What the log says of an upload, whichever way it came.

Values only: who logs them, and when, others decide.
"""

from __future__ import annotations

from typing import NamedTuple

from sluiceway.uploads.log_event import LogEvent
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.resting import ended_state
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.names import readable_name
from sluiceway.wire.urls import hide_links

__all__ = ["UploadSummary", "ended_event", "summary_of"]


class UploadSummary(NamedTuple):
    """One upload at the end of a request.

    Args:
        id: Its id. While it runs, who knows the id can cancel it: it is logged at its end.
        keys: The keys of its files, as far as they were known.
        received: Bytes that this request brought.
        kept: Bytes of the upload that the destination has.
        state: The word of its state: "complete", "failed", "cancelled", "receiving".
        code: The error code of an upload that failed; "" for none.
        has_ended: Whether this request ended it.
    """

    id: str
    keys: tuple[str, ...]
    received: int
    kept: int
    state: str
    code: str
    has_ended: bool


def summary_of(upload: UploadSession | HeldUpload) -> UploadSummary:
    """The upload as it is now."""
    if isinstance(upload, UploadSession):
        record = upload.record
        return UploadSummary(
            upload.id,
            tuple(map(hide_links, upload.keys)),
            record.taken,
            max(record.kept, upload.left),
            record.state.word,
            record.code or "",
            not upload.is_handed_over,
        )
    held = upload.record
    key = hide_links(held.key or held.request.key or "")
    # To the log, a part is bytes and no upload.
    has_ended, code = (False, "") if held.is_part else (upload.has_ended, held.code)
    state = ended_state(code).word if has_ended else "receiving"
    taken = upload.progress.taken if "progress" in vars(upload) else 0
    return UploadSummary(held.id, (key,) if key else (), taken, held.offset, state, code, has_ended)


def ended_event(upload: HeldUpload) -> LogEvent:
    """The line of an upload that no request ended: it expired, was lost, or was sent on later."""
    found = summary_of(upload)
    owner = upload.record.request.owner
    values = {
        "event": "upload",
        "upload": found.id,
        "key": found.keys[0] if found.keys else "",
        "keys": list(found.keys),
        "name": owner,
        "received": 0,
        "kept": found.kept,
        "state": found.state,
        "code": found.code,
    }
    key = readable_name(found.keys[0]).replace('"', '\\"') if found.keys else ""
    code = f" code={found.code}" if found.code else ""
    by = f" by {owner}" if owner else ""
    return LogEvent(
        f'upload={found.id} key="{key}" in=0 kept={found.kept} state={found.state}{code}{by}',
        values,
    )
