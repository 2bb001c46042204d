"""Claims: whoever must have all or nothing gets it, however many there are and whatever others hold beside them."""

from __future__ import annotations

import asyncio
import random

import pytest

from sluiceway.errors import Unavailable
from sluiceway.pipe import claims
from sluiceway.pipe.budget import BLOCK, Budget
from sluiceway.pipe.claims import Claim

MIB = 1 << 20
STEP = 64 << 10


async def gather(budget: Budget, chance: random.Random, whole: int, parts: int) -> None:
    """An upload of so many parts: each grows in steps, is shipped, and lands a little later."""
    claim, landing = Claim(budget, whole), []
    for _ in range(parts):
        while claim.need:
            await claim.grow(min(claim.need, max(STEP, claim.held)))
            assert budget.used <= budget.limit
            await asyncio.sleep(chance.random() * 0.002)
        shipped = claim.submit(whole)
        landing.append(
            asyncio.get_running_loop().call_later(chance.random() * 0.01, claim.complete, shipped)
        )
    claim.settle()
    await asyncio.sleep(
        max(timer.when() for timer in landing) - asyncio.get_running_loop().time() + 0.01
    )


async def hold(budget: Budget, chance: random.Random, ended: asyncio.Event) -> None:
    """Somebody else: takes what it gets, sits on it for as long as the uploads run, and does without where it gets nothing."""
    lent = 0
    while not ended.is_set():
        lent += STEP // 2 if budget.lend(STEP // 2) else 0
        block = budget.lend_block()
        await asyncio.sleep(chance.random() * 0.01)
        if block is not None:
            budget.settle_block(block)
    budget.settle(lent)


@pytest.mark.parametrize("seed", range(5))
async def test_any_number_of_uploads_gets_its_parts(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Forty at once of different parts, memory for three of them, and others that hold what they can: nobody waits for ever."""
    chance, budget, ended = random.Random(seed), Budget(16 * MIB), asyncio.Event()
    monkeypatch.setattr(claims, "LOOK_EVERY", 0.001)
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
    await asyncio.wait_for(asyncio.gather(*uploads), claims.PATIENCE * 2)
    ended.set()
    await asyncio.gather(*others)

    assert budget.used == budget.coming == 0
    assert not budget.claims


def test_nobody_is_lent_what_a_claim_still_needs() -> None:
    """A claim for half of the memory: others get the other half, in blocks or not, and no byte of what it has not taken yet."""
    budget = Budget(6 * BLOCK)
    claim = Claim(budget, 3 * BLOCK)
    blocks = [budget.lend_block() for _ in range(4)]
    assert [block is not None for block in blocks] == [True, True, True, False]
    assert not budget.lend(1)

    claim.settle()
    assert budget.lend(1)


async def test_a_claim_that_others_leave_no_room_for_is_refused_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 with what to do, and what it held is free again."""
    monkeypatch.setattr(claims, "PATIENCE", 0.1)
    budget = Budget(16 * MIB)
    assert budget.lend(12 * MIB)
    claim = Claim(budget, 5 * MIB)
    await claim.grow(STEP)
    with pytest.raises(Unavailable, match="--memory-budget"):
        await claim.grow(5 * MIB - STEP)
    claim.settle()
    claim.settle()

    assert budget.used == 12 * MIB


async def test_one_that_cannot_be_met_does_not_hold_up_those_that_can() -> None:
    """Others hold so much that a large claim cannot be met at present: a small one goes on."""
    budget = Budget(32 * MIB)
    assert budget.lend(20 * MIB)
    large, small = Claim(budget, 16 * MIB), Claim(budget, 5 * MIB)
    await asyncio.wait_for(small.grow(5 * MIB), 5)

    for claim in (large, small):
        claim.settle()
    assert budget.used == 20 * MIB
