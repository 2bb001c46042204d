"""The cost of a listing is bounded: a pass over each folder, few open files. It hides no file."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sluiceway.errors import BadName
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Omitted
from sluiceway.stores.disk.listing import BATCH, MOST_OMITTED, MOST_OPEN, Found, page, walk
from sluiceway.stores.disk.store import LISTERS, READERS, WRITERS, DiskStore
from sluiceway.stores.disk.tree import Tree
from sluiceway.testing.store_suite import store_bytes
from sluiceway.wire.names import MOST_SEGMENTS


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    yield store
    await store.aclose()


def opened_by(work: Callable[[], object]) -> int:
    """Calls of os.open and os.scandir while `work()` runs, by this thread."""
    count = 0

    def seen(_: object, event: str, display_name: object) -> None:
        nonlocal count
        count += event == "c_call" and display_name in (os.open, os.scandir)

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


async def test_a_key_of_too_many_segments_is_refused_at_the_write(
    store: DiskStore, tmp_path: Path
) -> None:
    """The deepest allowed key is listed; a deeper one leaves nothing behind."""
    deepest = "/".join(["d"] * MOST_SEGMENTS)
    await store_bytes(store, deepest, b"1")
    with pytest.raises(BadName):
        await store_bytes(store, f"{deepest}/x", b"2")

    assert [entry.key for entry in (await store.list()).entries] == [deepest]


def test_a_listing_opens_each_folder_once(tmp_path: Path) -> None:
    """40 files at the deepest level: the folders above are opened once, not for each file."""
    folder = tmp_path.joinpath(*["d"] * (MOST_SEGMENTS - 1))
    folder.mkdir(parents=True)
    for number in range(40):
        (folder / f"{number:02}").write_bytes(b"x")
    tree = Tree(str(tmp_path))
    listed = page(tree, "", "", 1000)
    opened = opened_by(lambda: page(tree, "", "", 1000))
    tree.close()

    assert len(listed.entries) == 40
    assert (
        opened <= 2 * MOST_SEGMENTS + 2 * 40 + 10
    )  # each folder opened and read, each file opened and its note looked up


def test_a_deep_walk_holds_few_descriptors(tmp_path: Path) -> None:
    """Folders far deeper than a key of ours are listed, with no more descriptors than ours need."""
    deep = ["d"] * 200
    tmp_path.joinpath(*deep).mkdir(parents=True)
    tmp_path.joinpath(*deep, "file").write_bytes(b"x")
    for depth in (100, 1):
        tmp_path.joinpath(*deep[:depth], "z").write_bytes(b"x")
    tree = Tree(str(tmp_path))
    before = most = len(os.listdir("/proc/self/fd"))
    keys = []
    for one in walk(tree, "", ""):
        assert isinstance(one, Found)
        keys.append(one.key)
        most = max(most, len(os.listdir("/proc/self/fd")))
    left = len(os.listdir("/proc/self/fd"))
    tree.close()

    assert keys == ["/".join([*deep, "file"]), "/".join([*deep[:100], "z"]), "d/z"]
    assert most <= before + MOST_OPEN + 2
    assert left == before


def test_omitted_names_come_with_their_page(tmp_path: Path) -> None:
    """Links, pipes and names that are not UTF-8 are reported once, for every page size."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to("a")
    os.mkfifo(tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "e").write_bytes(b"2")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xe9")).write_bytes(b"3")
    (tmp_path / "g").write_bytes(b"4")
    tree = Tree(str(tmp_path))
    whole = page(tree, "", "", 1000)
    pieces, after, left = [], "", list[Omitted]()
    while True:
        piece = page(tree, "", after, 1)
        pieces += piece.entries
        left += piece.omitted
        if piece.next is None:
            break
        after = piece.next
    tree.close()

    assert (
        [entry.key for entry in whole.entries]
        == ["a", "d/e", "g"]
        == [entry.key for entry in pieces]
    )
    assert [(one.name, one.code) for one in whole.omitted] == [
        ("b", "link"),
        ("c", "special-file"),
        ("f\\udce9", "bad-name"),
    ]
    assert tuple(left) == whole.omitted


def test_a_folder_of_many_names_is_read_in_batches_and_in_order(tmp_path: Path) -> None:
    """More names than a batch, folders among them, sorted as their keys."""
    made = []
    for number in range(2 * BATCH + 5):
        name = f"{number * 7919 % 100003:06}"
        made.append(name if number % 50 else f"{name}/x")
        if number % 50 == 0:
            (tmp_path / name).mkdir()
        (tmp_path / made[-1]).write_bytes(b"")
    tree = Tree(str(tmp_path))
    keys, after = list[str](), ""
    while True:
        piece = page(tree, "", after, 700)
        keys += [entry.key for entry in piece.entries]
        if piece.next is None:
            break
        after = piece.next
    tree.close()

    assert keys == sorted(made)


def test_omitted_names_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    """A folder full of links gives a bounded page that says how many more there are."""
    for number in range(MOST_OMITTED + 250):
        (tmp_path / f"{number:05}").symlink_to("nowhere")
    tree = Tree(str(tmp_path))
    listed = page(tree, "", "", 10)
    tree.close()

    assert len(listed.omitted) == MOST_OMITTED + 1
    assert listed.omitted[-1].detail.startswith("250 more")
    assert listed.complete


async def test_uploads_do_not_wait_for_listings_and_reads(store: DiskStore) -> None:
    """A file is stored while every thread of listings and downloads is busy."""
    gate = threading.Event()
    loop = asyncio.get_running_loop()
    busy = [loop.run_in_executor(store._listers, gate.wait, 30) for _ in range(3 * LISTERS)]
    busy += [loop.run_in_executor(store._readers, gate.wait, 30) for _ in range(3 * READERS)]
    listing = asyncio.ensure_future(store.list())
    began = time.monotonic()
    try:
        await asyncio.wait_for(
            asyncio.gather(*(store_bytes(store, f"k{n}", b"1") for n in range(WRITERS))), 20
        )
        assert time.monotonic() - began < 20
        assert not listing.done()
    finally:
        gate.set()
        await asyncio.gather(*busy, listing)
