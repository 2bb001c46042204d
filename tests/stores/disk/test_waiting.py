"""Complete drafts that wait for the rest of their form: closed, never swept, never published
changed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.errors import Forbidden, StoreFailed
from sluiceway.pipe.budget import BLOCK, Budget
from sluiceway.stores.contract import Metadata, Pausable
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.stores.disk.drafts.live_drafts import MOST_WAITING_OPEN
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read

SIZE = 3 * BLOCK + 5


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    yield store
    await store.aclose()


async def waiting(store: DiskStore, name: str, data: bytes) -> DiskDraft:
    """A complete draft that waits and is closed."""
    draft = await store.draft(name, None)
    assert isinstance(draft, DiskDraft)
    assert isinstance(draft, Pausable)
    await draft.write(data)
    await draft.pause()
    await draft.close_file()
    return draft


def open_drafts() -> int:
    """The number of open drafts of this process."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "/.sluiceway/drafts/" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return count


async def test_hundreds_of_drafts_wait_with_few_descriptors_and_are_published(
    store: DiskStore,
) -> None:
    """In any order, each with its own bytes."""
    drafts = []
    for number in range(MOST_WAITING_OPEN + 100):
        draft = await store.draft(f"d{number}", None)
        assert isinstance(draft, Pausable)
        await draft.write(pattern(5000, number))
        await draft.pause()
        drafts.append(draft)
        assert open_drafts() <= MOST_WAITING_OPEN + 1
    assert not store._live._receiving, "drafts that wait are looked at"

    for number in (3, MOST_WAITING_OPEN + 99):  # one that was closed, one that was not
        await drafts[number].publish(f"{number}", Metadata(filename=""))
        assert await read(store, f"{number}") == pattern(5000, number)
    for draft in drafts:
        await draft.discard()
    assert open_drafts() == 0
    assert os.listdir(os.path.join(store.root, ".sluiceway", "drafts")) == []


@pytest.mark.parametrize("size", [0, 1, 5000, SIZE])
async def test_a_draft_that_waited_can_be_published_discarded_or_continued(
    store: DiskStore, size: int
) -> None:
    """With any size, direct or through the page cache."""
    published = await waiting(store, "published", pattern(size))
    entry = await published.publish("published", Metadata(filename=""))
    longer = await waiting(store, "longer", pattern(size))
    await longer.write(pattern(SIZE, size))
    await longer.publish("longer", Metadata(filename=""))
    shorter = await waiting(store, "shorter", pattern(size))
    await shorter.truncate(size // 2)
    await shorter.publish("shorter", Metadata(filename=""))
    await (await waiting(store, "discarded", pattern(size))).discard()

    assert entry.size == size
    assert await read(store, "published") == pattern(size)
    assert await read(store, "longer") == pattern(size + SIZE)
    assert await read(store, "shorter") == pattern(size // 2)
    assert os.listdir(os.path.join(store.root, ".sluiceway", "drafts")) == []


async def test_a_sweep_of_another_process_keeps_waiting_drafts(store: DiskStore) -> None:
    """A second store on the folder sweeps at its start: a closed draft belongs to a living
    process.
    """
    draft = await waiting(store, "d", pattern(5000))
    other = DiskStore(store.root, Budget(64 << 20))
    await other.aclose()
    await draft.publish("d", Metadata(filename=""))

    assert await read(store, "d") == pattern(5000)


async def test_leftovers_of_a_dead_process_are_swept(store: DiskStore, tmp_path: Path) -> None:
    """The next start removes drafts and lock of a killed server, and keeps those of a living
    one.
    """
    folder = tmp_path / ".sluiceway"
    draft = await waiting(store, "d", b"mine")
    (folder / "drafts" / "0123456789abcdef.left").write_bytes(b"left")
    (folder / "servers" / "0123456789abcdef").write_bytes(b"")
    other = DiskStore(str(tmp_path), Budget(64 << 20))

    assert len(os.listdir(folder / "servers")) == 2
    assert len(os.listdir(folder / "drafts")) == 1
    await other.aclose()
    await draft.discard()


@pytest.mark.parametrize("how", ["replaced", "link", "longer", "gone"])
async def test_a_file_that_was_changed_while_it_waited_is_not_published(
    store: DiskStore, tmp_path: Path, how: str
) -> None:
    """Neither another file under its name nor the target of a link is published."""
    draft = await waiting(store, "d", pattern(5000))
    (there,) = (tmp_path / ".sluiceway" / "drafts").iterdir()
    (tmp_path / "secret").write_bytes(pattern(5000))
    if how == "longer":
        with there.open("ab") as file:
            file.write(b"!")
    else:
        there.rename(tmp_path / "moved")
    if how == "replaced":
        there.write_bytes(pattern(5000))
    elif how == "link":
        there.symlink_to(tmp_path / "secret")
    with pytest.raises((StoreFailed, Forbidden)):
        await draft.publish("d", Metadata(filename=""))
    await draft.discard()

    assert not (tmp_path / "d").exists()
    assert (tmp_path / "secret").read_bytes() == pattern(5000)
