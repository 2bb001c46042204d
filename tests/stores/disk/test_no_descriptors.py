"""A process without a free descriptor: what a draft holds is not lost, or the upload fails."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sluiceway.errors import SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read

resource = pytest.importorskip("resource")

PIECES = pattern(10_000, 1), pattern(5_000, 2), pattern(90_000, 3)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    yield store
    await store.aclose()


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_what_a_slow_draft_holds_survives_a_file_that_could_not_be_made(
    store: DiskStore,
) -> None:
    draft = await store.draft("upload.0", None)
    assert isinstance(draft, DiskDraft)
    await draft.write(PIECES[0])
    with no_descriptors():
        await draft.become_idle()
    await draft.write(PIECES[1])
    entry = await draft.publish("slow", Metadata("x"))
    assert entry.size == len(PIECES[0] + PIECES[1])
    assert await read(store, "slow") == PIECES[0] + PIECES[1]


async def test_no_offset_is_spoken_for_bytes_that_could_not_be_written(store: DiskStore) -> None:
    draft = await store.begin("upload", None)
    await draft.write(PIECES[0])
    with no_descriptors():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await draft.sync()
    assert draft.kept == 0
    assert await draft.sync() == len(PIECES[0])
    await draft.suspend()
    again = await store.resume("upload", draft.save(), len(PIECES[0]), None)
    await again.publish("kept", Metadata("x"))
    assert await read(store, "kept") == PIECES[0]


async def test_a_piece_that_could_not_be_written_ends_the_draft(store: DiskStore) -> None:
    """A part of it may be in the file, so no later piece may follow it."""
    draft = await store.draft("upload.0", None)
    with no_descriptors(), pytest.raises(SluiceError):
        await draft.write(PIECES[2])
    for _ in range(2):
        with pytest.raises(Unavailable):
            await draft.write(PIECES[0])
        with pytest.raises(Unavailable):
            await draft.publish("key", Metadata("x"))
    await draft.discard()


async def test_a_file_that_another_program_cut_is_not_published(
    store: DiskStore, tmp_path: Path
) -> None:
    draft = await store.draft("upload.0", None)
    assert isinstance(draft, DiskDraft)
    await draft.write(PIECES[2])
    await draft.become_idle()
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    os.truncate(file, 50_000)
    with pytest.raises(StoreFailed, match="90000 bytes were kept and 50000 are left"):
        await draft.publish("key", Metadata("x"))
    await draft.discard()
