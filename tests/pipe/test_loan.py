"""sluiceway.pipe.loan: what must be held is counted by the budget; where there is none, its holder waits, but not for ever."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.errors import Unavailable
from sluiceway.pipe import loan as module
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.loan import LARGEST, Loan


async def test_a_loan_counts_what_it_holds_beyond_what_is_free() -> None:
    """It grows with what came, and is given back once."""
    budget = Budget(MINIMUM)
    loan = Loan(budget, free=100)

    await loan.grow_to(100)
    assert budget.used == 0
    await loan.grow_to(150)
    await loan.grow_to(120)
    assert budget.used == 50
    loan.settle()
    loan.settle()
    assert budget.used == 0


async def test_one_loan_never_needs_more_than_its_part_of_a_small_budget() -> None:
    """Else nobody could ever be served."""
    budget = Budget(MINIMUM)
    loan = Loan(budget)
    await loan.grow_to(10 * MINIMUM)
    assert budget.used == MINIMUM // LARGEST
    loan.settle()


async def test_a_loan_waits_for_what_others_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is refused, readably and without the name of an option, where they do not."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.001)
    budget = Budget(MINIMUM)
    assert budget.lend(MINIMUM)
    loan = Loan(budget)
    waiting = asyncio.create_task(loan.grow_to(10))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    budget.settle(MINIMUM)
    await waiting
    assert budget.used == 10

    assert budget.lend(MINIMUM - 10)
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    with pytest.raises(Unavailable) as refused:
        await loan.grow_to(20)
    assert refused.value.public is not None
    assert "--" not in refused.value.public
    assert budget.used == MINIMUM


async def test_without_a_budget_nothing_is_counted() -> None:
    """A framework's form has none."""
    loan = Loan(None)
    await loan.grow_to(1 << 40)
    loan.settle()
