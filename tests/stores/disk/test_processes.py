"""Several processes share a root: folders are made and removed, drafts swept, keys replaced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluiceway.errors import Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.file_lock import HAS_LOCKS, lock_file
from sluiceway.stores.contract import Replace
from sluiceway.stores.disk import exclusive
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import read, store_bytes

PREAMBLE = """# in a fork
import asyncio, sys
from sluiceway.errors import Exists, NotFound, PreconditionFailed
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import read, store_bytes
root, number = sys.argv[1], int(sys.argv[2])
store = DiskStore(root, Budget(64 << 20))
"""


def run_processes(root: Path, work: str, processes: int = 3) -> None:
    """Run `async def work()` in several processes at once; all must succeed."""
    code = PREAMBLE + work + "\nasyncio.run(work())\n"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(root), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * processes, "".join(
        err for _, err in outputs
    )


def test_processes_that_create_and_delete_in_one_folder_never_fail(tmp_path: Path) -> None:
    """One process removes the empty folder while another creates a file in it."""
    run_processes(
        tmp_path,
        """
async def work():
    for turn in range(200):
        key = f"p/q/r/{number}-{turn % 2}"
        await store_bytes(store, key, b"x")
        await store.delete(key)
    await store.aclose()
""",
    )

    assert os.listdir(tmp_path) == [".sluiceway"]


def test_a_sweep_removes_no_live_draft(tmp_path: Path) -> None:
    """Servers start repeatedly while others receive uploads."""
    run_processes(
        tmp_path,
        """
async def work():
    for turn in range(150):
        if number == 0:
            DiskStore(root, Budget(64 << 20))
        else:
            size = 10 if turn % 2 else 100_000
            entry = await store_bytes(store, f"{number}/{turn}", b"x" * size)
            assert entry.size == size
    await store.aclose()
""",
    )

    assert (
        sum(len(files) for folder, _, files in os.walk(tmp_path) if ".sluiceway" not in folder)
        == 300
    )
    assert os.listdir(tmp_path / ".sluiceway" / "drafts") == []


def test_an_update_by_tag_is_never_lost_between_processes(tmp_path: Path) -> None:
    """Each process increments a counter by read, If-Match and retry: the sum is right."""
    run_processes(
        tmp_path,
        """
async def work():
    for _ in range(40):
        while True:
            try:
                entry = await store.stat("counter")
                value = int(await read(store, "counter"))
                if (await store.stat("counter")).etag != entry.etag:
                    continue
                new = b"%d" % (value + 1)
                mine = Replace(allowed=True, etag=entry.etag)
                await store_bytes(store, "counter", new, replace=mine)
            except NotFound:
                try:
                    await store_bytes(store, "counter", b"0")
                except Exists:
                    pass
                continue
            except PreconditionFailed:
                continue
            break
    await store.aclose()
""",
    )

    assert (tmp_path / "counter").read_bytes() == b"120"


@pytest.mark.skipif(not HAS_LOCKS, reason="there are no locks of files")
async def test_who_holds_the_lock_for_ever_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that hangs. The first waits, those behind it have waited too; nothing of
    them is left in the way when it lets go."""
    store, replace = DiskStore(str(tmp_path), Budget(64 << 20)), Replace(allowed=True)
    await store_bytes(store, "a", b"old")
    monkeypatch.setattr(exclusive, "LOCK_TIMEOUT", 0.05)
    other = os.open(tmp_path / ".sluiceway", os.O_RDONLY)
    lock_file(other)
    late = [store_bytes(store, "a", b"late", replace=replace) for _ in range(20)]
    results = await asyncio.gather(*late, store.rename("a", "b"), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    with pytest.raises(Unavailable):
        await store.delete("a")
    await store_bytes(store, "free", b"takes no lock")
    assert await read(store, "a") == b"old"
    monkeypatch.undo()

    os.close(other)
    while True:
        try:
            await store_bytes(store, "a", b"new", replace=replace)
            break
        except Unavailable:  # the thread of the first one has just got it
            await asyncio.sleep(0)
    assert await read(store, "a") == b"new"

    other = os.open(tmp_path / ".sluiceway", os.O_RDONLY)
    lock_file(other)
    asyncio.get_running_loop().call_later(0.02, os.close, other)
    names = [bytes([number]) for number in range(5)]
    await asyncio.gather(*(store_bytes(store, "a", name, replace=replace) for name in names))
    assert await read(store, "a") in names
    await store.aclose()
