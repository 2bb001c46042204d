"""The byte budget: never over its limit, in any order; fast transfers share it evenly."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import BLOCK, BLOCK_PAUSE, DEPTH, MINIMUM, Block, Budget


class BudgetMachine(RuleBasedStateMachine):
    """Any order of acquire and release, against a plain sum."""

    blocks: Bundle[Block] = Bundle("blocks")
    sizes: Bundle[int] = Bundle("sizes")

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(5 * BLOCK + 1000)
        self.lent = 0
        self.out: list[Block] = []

    @rule(target=sizes, size=st.integers(0, 6 * BLOCK))
    def lend(self, size: int) -> MultipleResults[int] | int:
        fits = self.lent + size <= self.budget.limit
        assert self.budget.acquire(size) is fits
        if not fits:
            return multiple()
        self.lent += size
        return size

    @rule(size=consumes(sizes))
    def settle(self, size: int) -> None:
        self.budget.release(size)
        self.lent -= size

    @rule(target=blocks)
    def acquire_block(self) -> MultipleResults[Block] | Block:
        fits = self.lent + BLOCK <= self.budget.limit
        block = self.budget.acquire_block()
        assert (block is not None) is fits
        if block is None:
            return multiple()
        assert len(block) == BLOCK
        assert all(block is not other for other in self.out), "one block was lent twice"
        self.out.append(block)
        self.lent += BLOCK
        return block

    @rule(block=consumes(blocks))
    def release_block(self, block: Block) -> None:
        self.out.remove(block)
        self.budget.release_block(block)
        self.lent -= BLOCK

    @invariant()
    def counts_what_is_lent(self) -> None:
        assert self.budget.used == self.lent <= self.budget.limit

    @invariant()
    def warm_blocks_count_too(self) -> None:
        assert self.budget.used + self.budget.warm <= self.budget.limit

    def teardown(self) -> None:
        for block in self.out:
            self.budget.release_block(block)


TestBudget = BudgetMachine.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_block_is_reused_while_there_is_room() -> None:
    """Warm blocks save page faults: a released block is the next one."""
    budget = Budget(4 * BLOCK)
    block = budget.acquire_block()
    assert block is not None
    budget.release_block(block)

    assert budget.acquire_block() is block


def test_a_block_that_a_failed_write_still_views_can_be_released() -> None:
    """A warm block is dropped when others need the memory, although a traceback has a view of
    it."""
    budget = Budget(MINIMUM)
    block = budget.acquire_block()
    assert block is not None
    view = memoryview(block)
    budget.release_block(block)
    assert budget.warm == BLOCK

    assert budget.acquire(MINIMUM)
    assert budget.warm == 0
    view.release()


@pytest.mark.parametrize(
    ("pouring", "share"),
    [(0, 4), (1, 4), (2, 4), (4, 4), (8, 4), (9, 3), (16, 2), (32, 1), (1000, 1)],
)
def test_the_fast_ones_share_evenly_and_each_gets_one(pouring: int, share: int) -> None:
    """Of 32 blocks no transfer gets more than DEPTH, and many share them; each gets one at
    least."""
    budget = Budget(32 * BLOCK)
    for _ in range(pouring):
        budget.start_direct()
    assert budget.share == share
    for _ in range(pouring):
        budget.stop_direct()
    assert budget.share == DEPTH


@pytest.mark.parametrize("limit", [0, 1, MINIMUM - 1])
def test_a_budget_too_small_to_stream_is_refused(limit: int) -> None:
    """Exactly the minimum works; one byte less is refused at once."""
    with pytest.raises(SluiceError, match="MiB"):
        Budget(limit)
    assert Budget(MINIMUM).acquire_block() is not None


def test_blocks_are_given_first_come_first_served() -> None:
    async def wait() -> list[str]:
        budget, order = Budget(MINIMUM), list[str]()
        held = [await budget.wait_for_block(), await budget.wait_for_block()]

        async def one(name: str) -> None:
            block = await budget.wait_for_block()
            order.append(name)
            assert block is not None
            budget.release_block(block)

        tasks = [asyncio.create_task(one(name)) for name in ("first", "gone", "second")]
        await asyncio.sleep(0)
        assert budget.waiting == 3
        tasks[1].cancel()
        await asyncio.sleep(0)
        for block in filter(None, held):
            budget.release_block(block)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (budget.waiting, budget.used) == (0, 0)
        return order

    assert asyncio.run(wait()) == ["first", "second"]


def test_a_block_that_was_given_to_a_cancelled_waiter_comes_back() -> None:
    async def wait() -> int:
        budget = Budget(MINIMUM)
        held = [await budget.wait_for_block(), await budget.wait_for_block()]
        waiter = asyncio.create_task(budget.wait_for_block())
        await asyncio.sleep(0)
        for block in filter(None, held):
            budget.release_block(block)
        waiter.cancel()  # it was granted a block, and has not run since
        await asyncio.gather(waiter, return_exceptions=True)
        return budget.used

    assert asyncio.run(wait()) == 0


def test_nobody_waits_for_blocks_that_do_not_come_back() -> None:
    """A stalled destination holds them all: the ordinary way goes on, soon and then at once."""

    async def wait() -> float:
        budget = Budget(MINIMUM)
        assert None not in [await budget.wait_for_block(), await budget.wait_for_block()]
        assert await budget.wait_for_block() is None
        began = time.monotonic()
        for _ in range(20):
            assert await budget.wait_for_block() is None
        return time.monotonic() - began

    assert asyncio.run(wait()) < 20 * BLOCK_PAUSE / 2


def test_memory_is_plentiful_while_a_block_is_alone_or_others_hold_little() -> None:
    """Up to a quarter of a larger budget."""
    small, large = Budget(MINIMUM), Budget(8 * BLOCK)
    answers = []
    for budget in (small, large):
        blocks = []
        while (block := budget.acquire_block()) is not None:
            blocks.append(block)
            answers.append(budget.plentiful)
    assert answers == [True, False, True, True, *[False] * 6]
