"""Uploads of unknown length that are fast from their first byte: their file is made once."""

from __future__ import annotations

import anyio

from sluiceway.pipe.budget import BLOCK, Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.store import DiskStore


async def test_fast_uploads_of_unknown_length_make_their_file_once(tmp_path: object) -> None:
    """Twenty at once, each begins with three blocks: the writer threads must not race to create the
    file.
    """
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    data = bytes(range(256)) * (3 * BLOCK // 256)

    async def one(number: int) -> None:
        draft = await store.draft(f"draft-{number}", None)
        await draft.write(data)
        entry = await draft.publish(f"key-{number}", Metadata(filename="x"))
        assert entry.size == len(data)
        await store.delete(entry.key)

    try:
        for _ in range(5):
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(one, number)
    finally:
        await store.aclose()
