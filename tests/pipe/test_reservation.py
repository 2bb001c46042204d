"""Reservations are counted by the budget. A holder waits for memory of others, with a deadline."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.errors import Unavailable
from sluiceway.pipe import budget as module
from sluiceway.pipe.budget import MINIMUM, RESERVABLE_PART, Budget, Reservation


async def test_a_reservation_counts_what_it_holds_beyond_its_free_bytes() -> None:
    """It grows as bytes come, and is released once."""
    budget = Budget(MINIMUM)
    reservation = Reservation(budget, free=100)

    await reservation.grow_to(100)
    assert budget.used == 0
    await reservation.grow_to(150)
    await reservation.grow_to(120)
    assert budget.used == 50
    reservation.release()
    reservation.release()
    assert budget.used == 0


async def test_one_reservation_counts_at_most_its_part_of_a_small_budget() -> None:
    """Otherwise a small budget could serve no request."""
    budget = Budget(MINIMUM)
    reservation = Reservation(budget)
    await reservation.grow_to(10 * MINIMUM)
    assert budget.used == MINIMUM // RESERVABLE_PART
    reservation.release()


async def test_a_reservation_waits_for_memory_that_others_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where they do not, the refusal is readable and names no option of the server."""
    monkeypatch.setattr(module, "RETRY_EVERY", 0.001)
    budget = Budget(MINIMUM)
    assert budget.acquire(MINIMUM)
    reservation = Reservation(budget)
    waiting = asyncio.create_task(reservation.grow_to(10))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    budget.release(MINIMUM)
    await waiting
    assert budget.used == 10

    assert budget.acquire(MINIMUM - 10)
    monkeypatch.setattr(module, "MEMORY_TIMEOUT", 0.01)
    with pytest.raises(Unavailable) as refused:
        await reservation.grow_to(20)
    assert refused.value.public is not None
    assert "--" not in refused.value.public
    assert budget.used == MINIMUM


async def test_without_a_budget_nothing_is_counted() -> None:
    """A framework's form has no budget."""
    reservation = Reservation(None)
    await reservation.grow_to(1 << 40)
    reservation.release()
