"""Claims: holders that need all or nothing get it, however many there are."""

from __future__ import annotations

import asyncio
import random

import pytest

from sluiceway.errors import Unavailable
from sluiceway.pipe import budget as module
from sluiceway.pipe.budget import BLOCK, Budget, Claim

MIB = 1 << 20
STEP = 64 << 10


async def gather(budget: Budget, chance: random.Random, whole: int, parts: int) -> None:
    """An upload: each part grows in steps, is submitted, and completes a little later."""
    claim, completing = Claim(budget, whole), []
    for _ in range(parts):
        while claim.need:
            await claim.grow(min(claim.need, max(STEP, claim.held)))
            assert budget.used <= budget.limit
            await asyncio.sleep(chance.random() * 0.002)
        submitted = claim.submit(whole)
        completing.append(
            asyncio.get_running_loop().call_later(chance.random() * 0.01, claim.complete, submitted)
        )
    claim.release()
    await asyncio.sleep(
        max(timer.when() for timer in completing) - asyncio.get_running_loop().time() + 0.01
    )


async def hold(budget: Budget, chance: random.Random, ended: asyncio.Event) -> None:
    """Another holder: keeps what it gets while the uploads run."""
    held = 0
    while not ended.is_set():
        held += STEP // 2 if budget.acquire(STEP // 2) else 0
        block = budget.acquire_block()
        await asyncio.sleep(chance.random() * 0.01)
        if block is not None:
            budget.release_block(block)
    budget.release(held)


@pytest.mark.parametrize("seed", range(5))
async def test_any_number_of_uploads_gets_its_parts(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Forty uploads with different parts, memory for three of them, and other holders."""
    chance, budget, ended = random.Random(seed), Budget(16 * MIB), asyncio.Event()
    monkeypatch.setattr(module, "RETRY_EVERY", 0.001)
    others = [asyncio.create_task(hold(budget, chance, ended)) for _ in range(3)]
    uploads = [
        gather(
            budget,
            chance,
            chance.choice([5 * MIB, 5 * MIB, 6 * MIB, 300_000]),
            chance.randint(1, 3),
        )
        for _ in range(40)
    ]
    await asyncio.wait_for(asyncio.gather(*uploads), module.MEMORY_TIMEOUT * 2)
    ended.set()
    await asyncio.gather(*others)

    assert budget.used == budget._returning == 0
    assert not budget._claims


def test_no_other_holder_gets_what_a_claim_still_needs() -> None:
    """With a claim for half of the memory, others get the other half and no byte more."""
    budget = Budget(6 * BLOCK)
    claim = Claim(budget, 3 * BLOCK)
    blocks = [budget.acquire_block() for _ in range(4)]
    assert [block is not None for block in blocks] == [True, True, True, False]
    assert not budget.acquire(1)

    claim.release()
    assert budget.acquire(1)


async def test_a_claim_that_others_leave_no_room_for_is_refused_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is a 503 that says what to do, and the memory that the claim held is free again."""
    monkeypatch.setattr(module, "MEMORY_TIMEOUT", 0.1)
    budget = Budget(16 * MIB)
    assert budget.acquire(12 * MIB)
    claim = Claim(budget, 5 * MIB)
    await claim.grow(STEP)
    with pytest.raises(Unavailable, match="--memory-budget"):
        await claim.grow(5 * MIB - STEP)
    claim.release()
    claim.release()

    assert budget.used == 12 * MIB


async def test_a_claim_that_cannot_be_met_does_not_block_smaller_ones() -> None:
    """Others hold so much that a large claim cannot be met now; a small one goes on."""
    budget = Budget(32 * MIB)
    assert budget.acquire(20 * MIB)
    large, small = Claim(budget, 16 * MIB), Claim(budget, 5 * MIB)
    await asyncio.wait_for(small.grow(5 * MIB), 5)

    for claim in (large, small):
        claim.release()
    assert budget.used == 20 * MIB
