"""An upload reserves disk space in proportion to its received bytes, and gives it back while it
pauses.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.pipe.budget import BLOCK, Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.drafts.file import AHEAD_TIMES, MOST_AHEAD, MOST_RESERVED, Reserve
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read

MIB = 1 << 20
SLACK = 256 << 10  # bytes a file system may round up to


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    yield store
    await store.aclose()


def on_disk(root: Path) -> int:
    """Bytes that all drafts occupy on the disk."""
    folder = root / ".sluiceway" / "drafts"
    return sum((folder / name).stat().st_blocks * 512 for name in os.listdir(folder))


@pytest.mark.parametrize("size", [None, 1 << 40], ids=["unknown", "a-tebibyte"])
@pytest.mark.parametrize("come", [128 << 10, 3 * MIB, 21 * MIB])
async def test_a_draft_reserves_in_proportion_to_its_received_bytes(
    store: DiskStore, tmp_path: Path, size: int | None, come: int
) -> None:
    """For any announced length: a few times the received bytes, and nothing ahead for a small
    file.
    """
    drafts = [await store.draft(f"d{number}", None) for number in range(3)]
    for draft in drafts:
        draft._size = draft._file._size = size  # type: ignore[attr-defined]  # no disk here has room for this length
        for at in range(0, come, 128 << 10):
            await draft.write(pattern(128 << 10, at))

    assert on_disk(tmp_path) <= len(drafts) * ((1 + AHEAD_TIMES) * come + SLACK)
    if come < BLOCK:
        assert on_disk(tmp_path) <= len(drafts) * (come + SLACK)
    for draft in drafts:
        await draft.discard()


async def test_a_draft_whose_sender_pauses_gives_its_reserve_back(
    store: DiskStore, tmp_path: Path
) -> None:
    """Later bytes follow without a gap."""
    draft = await store.draft("slow", None)
    await draft.write(pattern(9 * MIB))
    await draft.sync()
    ahead = on_disk(tmp_path)
    for _ in range(150):
        await asyncio.sleep(0.2)
        if on_disk(tmp_path) <= 9 * MIB + SLACK:
            break

    assert on_disk(tmp_path) <= 9 * MIB + SLACK < ahead
    await draft.write(pattern(1, 9 * MIB))
    await draft.write(pattern(5 * MIB, 9 * MIB + 1))
    await draft.publish("slow", Metadata(filename=""))
    assert await read(store, "slow") == pattern(14 * MIB + 1)
    assert os.stat(tmp_path / "slow").st_blocks * 512 <= 14 * MIB + SLACK


async def test_all_drafts_together_reserve_no_more_than_the_store_may(tmp_path: Path) -> None:
    """The sum is bounded; a draft that ends gives its part back."""
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    store._reserve = Reserve(6 * MIB)
    drafts = [await store.draft(f"d{number}", None) for number in range(5)]
    for draft in drafts:
        await draft.write(pattern(8 * MIB))
        await draft.sync()
    assert 40 * MIB <= on_disk(tmp_path) <= 46 * MIB + SLACK

    for draft in drafts[:4]:
        await draft.discard()
    await drafts[4].publish("kept", Metadata(filename=""))
    assert store._reserve.acquire(MOST_RESERVED) == 6 * MIB
    await store.aclose()


def test_one_upload_cannot_reserve_everything() -> None:
    """A large upload reserves a quarter of the sum at most."""
    assert MOST_AHEAD * 4 <= MOST_RESERVED
