"""The counts of links are right whatever request is cancelled."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from sluiceway.uploads.access.grant import FULL
from sluiceway.uploads.access.link_uses import FolderUses, LinkUses


async def test_a_request_that_is_cancelled_costs_its_link_no_use(tmp_path: Path) -> None:
    """Also while it is counted: the thread that counts goes on."""
    uses = LinkUses(FolderUses(str(tmp_path)))
    grant = dataclasses.replace(FULL, link="l" * 20, count=5)

    async def use() -> None:
        async with uses.counted(grant, 2):
            await asyncio.sleep(60)

    for rounds in (0, 1, 2, 5):
        request = asyncio.create_task(use())
        for _ in range(rounds):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
    assert await FolderUses(str(tmp_path)).add(grant.link, None, 5) == 5
