"""An upload is claimed from the processes of all servers: its holder is asked to let go.

Knows the ledger, and no draft.
"""

from __future__ import annotations

import asyncio
import time

from sluiceway.errors import Locked, NotFound
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import UploadRecord

__all__ = ["claim"]

ASK_AGAIN = 0.02  # seconds between looks whether another process has let go
LOOKS = 10  # of these, before the upload is claimed, and asked for, again


async def claim(ledger: Ledger, upload: str, within: float) -> UploadRecord:
    """Become the holder, within so many seconds. Raises NotFound, Locked."""
    until = time.monotonic() + within
    while True:
        record = await ledger.claim(upload)
        if record is None:
            raise NotFound("There is no such upload, or it ended long ago")
        if record.holder == ledger.process:
            return record
        if time.monotonic() > until:
            raise Locked("Another request still holds this upload; try again")
        await ledger.ask(record)
        await _wait_for_holder(ledger, record)


async def _wait_for_holder(ledger: Ledger, record: UploadRecord) -> None:
    """Until it has let go, or for a while: it may have died. To read hinders nobody, where each
    claim would wait for the holder's own writes."""
    for _ in range(LOOKS):
        await asyncio.sleep(ASK_AGAIN)
        found = await ledger.find(record.id)
        if found is None or (found.holder, found.epoch) != (record.holder, record.epoch):
            return
