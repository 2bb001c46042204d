"""Uploads whose senders pause cost next to nothing while they wait, however many there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.errors import Cancelled
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import PassingSource
from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService

MANY = 5000
# Of a processor. To look at each of them ten times a second takes twice as much.
SHARE = 0.04


async def test_thousands_of_idle_uploads_take_hardly_any_processor_time(tmp_path: Path) -> None:
    """Each has sent a few bytes. A cancel that another process asks for is still found."""
    store, table = DiskStore(str(tmp_path), Budget(64 << 20)), ProgressTable()
    service = UploadService(store, Budget(64 << 20), table)
    ending = asyncio.Event()

    async def pausing() -> AsyncIterator[bytes]:
        yield b"a few bytes"
        await ending.wait()

    async def bring(number: int) -> None:
        async with service.receive(f"{number:022}") as session:
            request = UploadRequest(filename="a", key=f"{number}")
            await session.take(PassingSource(pausing()), request)

    tasks = [asyncio.create_task(bring(number)) for number in range(MANY)]
    await asyncio.sleep(1)
    shares: list[float] = []
    while not shares or (shares[-1] >= SHARE and len(shares) < 10):  # until the drafts are idle
        spent, began = time.process_time(), time.monotonic()
        await asyncio.sleep(1)
        shares.append((time.process_time() - spent) / (time.monotonic() - began))

    record = table.find(f"{MANY - 1:022}")
    assert record is not None
    record.cancel_asked = True
    with pytest.raises(Cancelled):
        await asyncio.wait_for(tasks[-1], 30)
    ending.set()
    await asyncio.gather(*tasks[:-1])
    await service.aclose()
    table.close()
    assert shares[-1] < SHARE
