"""Locks of keys between processes: to the kernel, each descriptor of a file is another holder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sluiceway.errors import Unavailable
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.stores.keys.machine_locks import MachineLocks

pytestmark = pytest.mark.skipif(not HAS_LOCKS, reason="this system has no file locks")


async def test_one_process_at_a_time_has_a_key(tmp_path: Path) -> None:
    """Two wait for each other, also with several keys in another order; none is there twice."""
    one, two = (MachineLocks(str(tmp_path / "locks")) for _ in range(2))
    inside: list[str] = []

    async def work(locks: MachineLocks, *keys: str) -> None:
        for _ in range(3):
            async with locks.acquire(*keys):
                assert not set(inside) & set(keys)
                inside.extend(keys)
                await asyncio.sleep(0)
                del inside[-len(keys) :]

    jobs = [work(each, *keys) for each in (one, two) for keys in (("a", "b"), ("b", "a"), ("a",))]
    await asyncio.gather(*jobs)
    assert (one.count, two.count) == (0, 0)
    assert len([*(tmp_path / "locks").iterdir()]) == 2


async def test_who_waits_too_long_is_told_and_holds_nothing(tmp_path: Path) -> None:
    """Also one that waits for a task of its own process: no queue adds its waits up."""
    one, two = (MachineLocks(str(tmp_path), timeout=0.02) for _ in range(2))
    async with one.acquire("a"):
        with pytest.raises(Unavailable):
            async with one.acquire("a"):
                pass
        with pytest.raises(Unavailable):
            async with two.acquire("a", "b"):
                pass
        async with two.acquire("b"):
            pass
        waiting = asyncio.ensure_future(two.acquire("a").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with two.acquire("a"):
        assert two.count == 1
