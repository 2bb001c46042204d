"""Makes uploads of the ledger of files that came in one request and wait for their destination.

Each file gets an upload of its own, because each is a request of its own to the destination. The
client learns of them when they are durable, and not before.
"""

from __future__ import annotations

import dataclasses
import time
from typing import cast

from sluiceway.errors import Exists
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace
from sluiceway.stores.delivered_later import DeliveredLater, DeliversLater
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.resumable.asked import ASKED
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = ["SPOOLED", "hand_over"]

SPOOLED = "spool"  # the dialect of their records: no client adds bytes to them


async def hand_over(
    uploads: ResumableUploads, upload: str, files: list[tuple[Draft, str, Metadata, Replace]]
) -> list[Entry]:
    """Returns what the client learns of each file. The first one keeps the id that it knows.

    Raises NoSpace, StoreFailed: then nothing was acknowledged.
    """
    found: list[Entry] = []
    for draft, key, metadata, replace in files:
        own = await shield_until_done(
            _hand_over(uploads, upload if not found else new_id(), draft, key, replace)
        )
        size = draft.written
        found.append(Entry(key, size, "", time.time(), metadata, waits_as=own))
    return found


async def _hand_over(
    uploads: ResumableUploads, upload: str, draft: Draft, key: str, replace: Replace
) -> str:
    waiting = cast("DeliveredLater", draft)
    asked = waiting.request
    request = dataclasses.replace(
        asked, key=key, fields=tuple(asked.fields), replace=replace, size_is_certain=True
    )
    try:
        record = await uploads.create(SPOOLED, request, draft.written, ASKED, upload)
    except Exists:  # an id that its client has used before
        record = await uploads.create(SPOOLED, request, draft.written, ASKED, new_id())
    async with uploads.hold(record.id, brief=True) as held:
        # First the note: one without bytes is found, and bytes without one would be forgotten.
        await cast("DeliversLater", uploads.store).expect(record.id, waiting.name)
        await held.adopt(draft)
    return record.id
