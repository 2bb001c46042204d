"""An upload is claimed from the processes of all servers: its holder is asked to let go.

Knows the ledger, and no draft.
"""

from __future__ import annotations

import asyncio
import time

from sluiceway.errors import Locked, NotFound
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import UploadRecord

__all__ = ["claim", "has_let_go"]

ASK_AGAIN = 0.02  # seconds between looks whether another process has let go
CLAIM_AGAIN = 0.2  # seconds until the upload is claimed, and asked for, again


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
        await has_let_go(ledger, record, CLAIM_AGAIN)


async def has_let_go(ledger: Ledger, record: UploadRecord, within: float) -> bool:
    """Wait until the holder has let go, for so many seconds at most: it may have died. To read
    hinders nobody, where each claim would wait for the holder's own writes."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        await asyncio.sleep(ASK_AGAIN)
        found = await ledger.find(record.id)
        if found is None or (found.holder, found.epoch) != (record.holder, record.epoch):
            return True
    return False
