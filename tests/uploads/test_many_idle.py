"""Uploads whose senders pause cost next to nothing while they wait, however many there are."""

from __future__ import annotations

import asyncio
import sys
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
# Calls a second, of Python and of C: counted, because what they take depends on the machine. To
# look at each of them ten times a second takes many more.
CALLS = 4 * MANY


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
    rates: list[float] = []
    while not rates or (rates[-1] >= CALLS and len(rates) < 20):  # until the drafts are idle
        rates.append(await calls_in_a_second())

    record = table.find(f"{MANY - 1:022}")
    assert record is not None
    record.cancel_asked = True
    with pytest.raises(Cancelled):
        await asyncio.wait_for(tasks[-1], 30)
    ending.set()
    await asyncio.gather(*tasks[:-1])
    await service.aclose()
    table.close()
    assert rates[-1] < CALLS, rates


async def calls_in_a_second() -> float:
    calls, began = 0, time.monotonic()

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        await asyncio.sleep(1)
    finally:
        sys.setprofile(None)
    return calls / (time.monotonic() - began)
