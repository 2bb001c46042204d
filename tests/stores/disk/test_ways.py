"""Fast uploads go around the page cache in blocks of the budget; slow ones hold no block."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from sluiceway.pipe.budget import BLOCK, Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read, store_bytes

MIB = 1 << 20
PAGE = 4096
O_DIRECT = 0o40000


@pytest.fixture
def budget() -> Budget:
    return Budget(64 << 20)


@pytest.fixture
async def store(tmp_path: Path, budget: Budget) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path), budget)
    yield store
    await store.aclose()


def draft_name(upload: str) -> str:
    """The end of the name of a draft's file; see `process_lock`."""
    return "." + hashlib.sha256(upload.encode()).hexdigest()[:32]


def flags_of_draft(upload: str) -> list[int]:
    """The open flags of this process's descriptors of a draft."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").endswith(draft_name(upload)):
                info = Path(f"/proc/self/fdinfo/{fd}").read_text()
                found.append(int(info.partition("flags:")[2].split()[0], 8))
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def cached_pages(path: Path) -> int:
    """The number of pages of a file in the page cache (mincore)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    size = path.stat().st_size
    fd = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED
        resident = ctypes.create_string_buffer((size + PAGE - 1) // PAGE)
        assert libc.mincore(address, size, resident) == 0
        libc.munmap(address, size)
    finally:
        os.close(fd)
    return sum(byte & 1 for byte in resident.raw)


async def test_a_fast_upload_goes_around_the_page_cache(store: DiskStore, tmp_path: Path) -> None:
    """With O_DIRECT hardly a page of 24 MiB is in the cache; a slow upload has no such
    descriptor.
    """
    if not await _offers_direct(tmp_path):
        pytest.skip("this file system has no O_DIRECT")
    draft, slow = await store.draft("fast", 24 * MIB + 5), await store.draft("slow", None)
    for at in range(0, 24 * MIB, 256 << 10):
        await draft.write(pattern(256 << 10, at % (4 * MIB)))
    await draft.write(b"tail!")
    await slow.write(pattern(9000))
    await slow.sync()

    assert any(flags & O_DIRECT for flags in flags_of_draft("fast"))
    assert flags_of_draft("slow")
    assert not any(flags & O_DIRECT for flags in flags_of_draft("slow"))
    await draft.publish("fast", Metadata(filename=""))
    assert cached_pages(tmp_path / "fast") <= 16  # the unaligned tail, and the kernel's read-around
    await slow.discard()


async def test_a_slow_upload_holds_no_block_after_a_first_burst(
    store: DiskStore, budget: Budget
) -> None:
    """Clients first send what their buffers hold: the block is released although bytes keep
    coming.
    """
    drafts = [await store.draft(f"slow-{number}", None) for number in range(8)]
    for draft in drafts:
        await draft.write(pattern(70_000))
    assert budget.used >= len(drafts) * BLOCK  # the burst looked fast

    turn = 0
    while budget.used and turn < 300:
        for draft in drafts:
            await draft.write(pattern(100, 70_000 + turn * 100))
        turn += 1
        await asyncio.sleep(0.1)
    assert budget.used == 0
    for number, draft in enumerate(drafts):
        await draft.publish(f"{number}", Metadata(filename=""))
        assert await read(store, f"{number}") == pattern(70_000 + turn * 100)


async def test_an_upload_that_pauses_releases_its_memory(store: DiskStore, budget: Budget) -> None:
    """Between two bursts no memory is held; the second follows the first."""
    draft = await store.draft("pauses", None)
    await draft.write(pattern(3 * MIB))
    for _ in range(300):
        await asyncio.sleep(0.1)
        if not budget.used:
            break
    assert budget.used == 0
    await draft.write(pattern(3 * MIB, 3 * MIB))
    await draft.publish("pauses", Metadata(filename=""))

    assert await read(store, "pauses") == pattern(6 * MIB)


async def test_many_small_pieces_are_joined(store: DiskStore) -> None:
    """A sender of single bytes costs bytes, not an object of sixty bytes for each."""
    draft = cast(DiskDraft, await store.draft("bytes", None))
    for at in range(60_000):
        await draft.write(pattern(1, at))
    held = sum(len(piece) + 60 for piece in draft._pieces._pieces)

    assert held < 128 << 10
    await draft.publish("bytes", Metadata(filename=""))
    assert await read(store, "bytes") == pattern(60_000)


async def _offers_direct(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | O_DIRECT))
    except OSError:
        return False
    (folder / "probe").unlink()
    return True


async def test_the_read_ahead_of_a_fast_download_counts_in_the_budget(
    store: DiskStore, budget: Budget
) -> None:
    """It counts as long as it lasts."""
    await store_bytes(store, "read", pattern(8 * MIB))
    reader = await store.open("read")
    most = 0
    async for _ in reader.open():
        most = max(most, budget.used)
    await reader.aclose()

    assert 0 < most <= 4 * MIB
    assert budget.used == 0
