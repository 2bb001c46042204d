"""Small files that are published at the same time: one that fails, fails alone; none is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from sluiceway.errors import BadName, Exists, PreconditionFailed, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace
from sluiceway.stores.disk.drafts.publishing import MOST_FOLDERS
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.group_commit import MOST_TOGETHER
from sluiceway.testing.store_suite import pattern, read

MANY = 5 * MOST_TOGETHER + 3
SMALL = 1000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    yield store
    await store.aclose()


async def drafted(store: DiskStore, number: int, size: int = SMALL) -> Draft:
    draft = await store.draft(f"upload-{number}.0", size)
    await draft.write(pattern(size, number))
    return draft


async def outcome(draft: Draft, key: str, replace: Replace = Replace()) -> Entry | SluiceError:
    try:
        return await draft.publish(key, Metadata(filename="x"), replace)
    except SluiceError as error:
        await draft.discard()
        return error


async def publish_all(
    store: DiskStore, keys: list[str], replace: Replace = Replace()
) -> list[Entry | SluiceError]:
    drafts = [await drafted(store, number) for number in range(len(keys))]
    return await asyncio.gather(
        *(outcome(draft, key, replace) for draft, key in zip(drafts, keys, strict=True))
    )


def open_below(folder: Path) -> list[str]:
    """What this process has open there, on Linux. The rest of the process opens and closes, too."""
    found = list[str]()
    for name in os.listdir("/proc/self/fd") if sys.platform == "linux" else ():
        with suppress(FileNotFoundError):  # the one of this listing itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(path for path in found if Path(path).is_relative_to(folder))


@pytest.mark.parametrize("slow", [False, True], ids=["fast disk", "slow disk"])
@pytest.mark.parametrize("folders", ["", "one/", "{}/", "a/b{}/c/d/e/f/"])
async def test_many_at_once_are_all_stored(
    store: DiskStore, tmp_path: Path, folders: str, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one folder or each in its own; also where each fsync gets a thread."""
    if slow:
        monkeypatch.setattr("sluiceway.stores.group_commit.SLOW_FSYNC", -1.0)
    keys = [f"{folders.format(number)}{number}" for number in range(MANY)]
    assert MANY > MOST_FOLDERS  # one group after the other closes its folders
    open_before = open_below(tmp_path)
    found = await publish_all(store, keys)

    assert [entry.key if isinstance(entry, Entry) else entry for entry in found] == keys
    for number, key in enumerate(keys):
        assert (tmp_path / key).read_bytes() == pattern(SMALL, number)
    assert os.listdir(tmp_path / ".sluiceway/drafts") == []
    assert open_below(tmp_path) == open_before


async def test_those_that_fail_fail_alone(store: DiskStore, tmp_path: Path) -> None:
    """Taken keys, names that no disk has and folders that are files stand between good ones."""
    (tmp_path / "taken").write_bytes(b"kept")
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    bad = {"taken": Exists, "file/below": Exists, "folder": Exists, "n" * 300: BadName}
    keys = [f"new/{number}" for number in range(MANY)]
    for at, key in enumerate(bad):
        keys.insert(at * 11, key)
    found = await publish_all(store, keys)

    for number, (key, got) in enumerate(zip(keys, found, strict=True)):
        if key in bad:
            assert type(got) is bad[key], key
        else:
            assert isinstance(got, Entry), got
            assert (tmp_path / key).read_bytes() == pattern(SMALL, number)
    assert (tmp_path / "taken").read_bytes() == (tmp_path / "file").read_bytes() == b"kept"
    assert os.listdir(tmp_path / ".sluiceway/drafts") == []


async def test_of_one_key_in_a_group_the_conditions_hold(store: DiskStore) -> None:
    """Creators, replacers and replacers of a version compete: each answer is true."""
    created = await publish_all(store, ["key"] * MANY)
    assert sorted(type(each).__name__ for each in created) == ["Entry"] + ["Exists"] * (MANY - 1)
    [won] = [each for each in created if isinstance(each, Entry)]

    by_tag = await publish_all(store, ["key"] * MANY, Replace(allowed=True, etag=won.etag))
    assert sum(isinstance(each, Entry) for each in by_tag) == 1
    assert sum(isinstance(each, PreconditionFailed) for each in by_tag) == MANY - 1

    replaced = await publish_all(store, ["key"] * MANY, Replace(allowed=True))
    assert all(isinstance(each, Entry) for each in replaced)
    assert await store.stat("key") in replaced


async def test_one_that_is_cancelled_is_published_or_gone_and_the_others_are_published(
    store: DiskStore, tmp_path: Path
) -> None:
    """Every third caller is cancelled at another moment."""
    drafts = [await drafted(store, number) for number in range(MANY)]
    tasks = [
        asyncio.create_task(outcome(draft, f"c/{number}")) for number, draft in enumerate(drafts)
    ]
    for number, task in enumerate(tasks[::3]):
        await asyncio.sleep(0.0002 * (number % 4))
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    for draft in drafts:
        await draft.discard()

    for number, got in enumerate(found):
        there = (tmp_path / f"c/{number}").exists()
        assert isinstance(got, Entry) if number % 3 else there == isinstance(got, Entry), got
    assert os.listdir(tmp_path / ".sluiceway/drafts") == []


async def test_a_store_that_closes_finishes_its_group(tmp_path: Path) -> None:
    """What is being published when the store closes is published."""
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    drafts = [await drafted(store, number) for number in range(MANY)]
    tasks = [
        asyncio.create_task(outcome(draft, f"{number}")) for number, draft in enumerate(drafts)
    ]
    await asyncio.sleep(0)
    await store.aclose()
    found = await asyncio.gather(*tasks)

    for number, got in enumerate(found):
        assert isinstance(got, Entry)
        assert (tmp_path / f"{number}").read_bytes() == pattern(SMALL, number)


REMOVE = """
import os, sys
from contextlib import suppress
while True:
    for folder in ("p/q", "p"):
        with suppress(OSError):
            os.rmdir(f"{sys.argv[1]}/{folder}")
"""


async def test_a_folder_that_others_remove_is_made_again(store: DiskStore, tmp_path: Path) -> None:
    """Another program removes empty folders all the time: no upload notices."""
    removing = subprocess.Popen([sys.executable, "-c", REMOVE, tmp_path])
    try:
        for turn in range(10):
            keys = [f"p/q/{turn}-{number}" for number in range(20)]
            found = await publish_all(store, keys)
            assert [entry.key if isinstance(entry, Entry) else entry for entry in found] == keys
            for key in keys:
                await store.delete(key)
        assert removing.poll() is None
    finally:
        removing.kill()
        removing.wait()


async def test_large_and_small_ones_are_published_at_once(store: DiskStore) -> None:
    """Large files go alone, each in a thread of its own."""
    sizes = [SMALL if number % 4 else 3 << 20 for number in range(16)]
    drafts = [await drafted(store, number, size) for number, size in enumerate(sizes)]
    found = await asyncio.gather(
        *(outcome(draft, f"{number}") for number, draft in enumerate(drafts))
    )

    assert all(isinstance(each, Entry) for each in found)
    for number, size in enumerate(sizes):
        assert await read(store, f"{number}") == pattern(size, number)
