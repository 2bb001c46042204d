"""Several stores behind one: a file goes to all of them in one pass. (Being written.)"""

from __future__ import annotations

from dataclasses import dataclass

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store

__all__ = ["FanoutStore", "Leg"]


@dataclass(frozen=True, slots=True)
class Leg:
    """One destination. A best-effort one may fail or fall behind without the upload failing."""

    store: Store
    required: bool
    called: str  # for people: without secrets


def FanoutStore(legs: list[Leg], budget: Budget) -> Store:
    raise StoreFailed("Being written")
