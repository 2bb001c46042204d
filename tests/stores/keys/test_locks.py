"""One lock per key: tasks with one key follow each other, and no key is remembered for longer."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.stores.keys.locks import KeyLocks


async def test_one_key_is_held_by_one_task_at_a_time_in_order() -> None:
    locks, order = KeyLocks(), list[str]()

    async def work(name: str) -> None:
        async with locks.acquire("k"):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(*(work(name) for name in "abc"))

    assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_two_keys_do_not_wait_for_each_other() -> None:
    locks = KeyLocks()

    async with locks.acquire("a"), asyncio.timeout(5), locks.acquire("b"):
        assert locks.count == 2


async def test_keys_are_forgotten_after_success_failure_and_cancellation() -> None:
    """A key that stayed would be memory that grows with the number of objects."""
    locks = KeyLocks()

    async with locks.acquire("held"):

        async def wait() -> None:
            async with locks.acquire("held"):
                pass

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert locks.count == 1
    with pytest.raises(KeyError):
        async with locks.acquire("failed"):
            raise KeyError

    assert locks.count == 0
