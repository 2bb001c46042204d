"""The read-ahead: the same bytes for every reader, large blocks for fast ones, no memory kept."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.readahead import FIRST_BLOCK, LARGEST_BLOCK, SLOW_READER, Read, read_ahead
from sluiceway.testing.store_suite import pattern

SIZE = 5 * LARGEST_BLOCK + 7


class Blocks:
    """Reads `data`, and remembers which blocks were asked for."""

    def __init__(self, data: bytes = pattern(SIZE)) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    async def read(self, at: int, size: int) -> bytes:
        self.asked.append((at, size))
        await asyncio.sleep(0)
        return self.data[at : at + size]


async def _all(read: Read, start: int, stop: int | None, budget: Budget | None = None) -> bytes:
    return b"".join([block async for block in read_ahead(read, start, stop, budget)])


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("stop", [None, SIZE, SIZE - 1, 3])
@pytest.mark.parametrize("start", [0, 1, FIRST_BLOCK, SIZE - 2, SIZE, SIZE + 3])
async def test_any_range_has_the_source_s_own_bytes(
    start: int, stop: int | None, counted: bool
) -> None:
    budget = Budget(MINIMUM)
    blocks = Blocks()

    assert (
        await _all(blocks.read, start, stop, budget if counted else None)
        == (blocks.data[start:stop])
    )
    assert budget.used == 0


async def test_blocks_grow_for_a_reader_that_keeps_up() -> None:
    budget, blocks = Budget(16 * MINIMUM), Blocks()

    assert await _all(blocks.read, 0, SIZE, budget) == blocks.data

    sizes = [size for _, size in blocks.asked]
    assert sizes[0] == FIRST_BLOCK
    assert max(sizes) == LARGEST_BLOCK
    assert [at for at, _ in blocks.asked] == [sum(sizes[:n]) for n in range(len(sizes))]


async def test_a_slow_reader_holds_one_small_block() -> None:
    budget, blocks = Budget(MINIMUM), Blocks()
    chunks = read_ahead(blocks.read, 0, SIZE, budget)
    for _ in range(3):
        assert len(await anext(chunks)) == FIRST_BLOCK
        assert budget.used == FIRST_BLOCK
        await asyncio.sleep(2 * SLOW_READER)
    await close_stream(chunks)

    assert len(blocks.asked) == 3, "a block was read ahead"
    assert budget.used == 0


async def test_one_block_is_read_while_the_reader_has_the_last_one() -> None:
    budget, blocks = Budget(16 * MINIMUM), Blocks()
    chunks = read_ahead(blocks.read, 0, SIZE, budget)
    for _ in range(4):
        block = await anext(chunks)
    await asyncio.sleep(0)

    assert len(blocks.asked) == 5
    assert budget.used == len(block) + blocks.asked[-1][1]
    await close_stream(chunks)
    assert budget.used == 0


async def test_without_memory_to_spare_blocks_stay_small_and_none_is_ahead() -> None:
    budget, blocks = Budget(MINIMUM), Blocks()
    assert budget.acquire(MINIMUM)

    assert await _all(blocks.read, 0, SIZE, budget) == blocks.data
    assert {size for _, size in blocks.asked[:-1]} == {FIRST_BLOCK}
    assert budget.used == MINIMUM


async def test_readers_leave_half_of_the_budget_to_uploads() -> None:
    budget = Budget(MINIMUM)
    readers = [read_ahead(Blocks().read, 0, SIZE, budget) for _ in range(40)]
    for _ in range(5):
        for reader in readers:
            await anext(reader)
            assert budget.used <= MINIMUM // 2
    for reader in readers:
        await close_stream(reader)
    assert budget.used == 0


async def test_equal_sizes_are_kept_and_always_read_ahead() -> None:
    blocks = Blocks()
    chunks = read_ahead(blocks.read, 0, SIZE, first=1000, most=1000)
    for count in range(1, 4):
        assert len(await anext(chunks)) == 1000
        await asyncio.sleep(0)
        assert len(blocks.asked) == count + 1
    await close_stream(chunks)


async def test_a_source_that_is_shorter_ends_the_stream() -> None:
    """A source that knows its length raises the error in `read`."""
    blocks = Blocks(pattern(10))

    assert await _all(blocks.read, 0, SIZE) == blocks.data


async def test_an_error_of_the_read_ahead_is_raised_when_its_block_is_due() -> None:
    budget = Budget(16 * MINIMUM)

    async def read(at: int, size: int) -> bytes:
        await asyncio.sleep(0)
        if at >= 3 * FIRST_BLOCK:
            raise OSError("a bad sector")
        return bytes(size)

    chunks = read_ahead(read, 0, SIZE, budget)
    assert [len(await anext(chunks)) for _ in range(2)] == [FIRST_BLOCK, 2 * FIRST_BLOCK]
    with pytest.raises(OSError, match="a bad sector"):
        await anext(chunks)
    assert budget.used == 0


@pytest.mark.parametrize("leave", ["close", "cancel"])
async def test_a_reader_that_leaves_waits_for_the_block_that_is_read(leave: str) -> None:
    """And its memory is counted until then, for a thread still writes into it."""
    budget, reading, go_on = Budget(16 * MINIMUM), asyncio.Event(), asyncio.Event()
    ends: list[str] = []

    async def read(at: int, size: int) -> bytes:
        async def block() -> bytes:
            if at >= 3 * FIRST_BLOCK:
                reading.set()
                await go_on.wait()
                ends.append("read")
            return bytes(size)

        return await finish_then_cancel(block())

    async def consume() -> None:
        chunks = read_ahead(read, 0, SIZE, budget)
        try:
            for _ in range(2):
                await anext(chunks)
            await reading.wait()
            if leave == "cancel":
                await anext(chunks)
        finally:
            await close_stream(chunks)
            ends.append("left")

    consumer = asyncio.ensure_future(consume())
    await reading.wait()
    await asyncio.sleep(0)
    if leave == "cancel":
        consumer.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert budget.used >= 2 * FIRST_BLOCK
    go_on.set()
    await asyncio.wait([consumer])

    assert ends == ["read", "left"]
    assert consumer.cancelled() is (leave == "cancel")
    assert budget.used == 0
