"""Several destinations behind one store: the suite holds for them together, and the budget is settled to the byte."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from pathlib import Path

import pytest

from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores.contract import Store, Traits
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import StoreSuite


class TestMemoryAndDisk(StoreSuite):
    """Both required, read from memory."""

    limit = 64 << 20
    budget: Budget
    flat: int | None = None  # one of them is memory

    async def make_store(self, tmp_path: Path) -> Store:
        self.budget = Budget(self.limit)
        self.legs = self.make_legs(tmp_path)
        return FanoutStore(self.legs, self.budget)

    def make_legs(self, tmp_path: Path) -> list[Destination]:
        return [Destination(MemoryStore(), True, "memory:"), self.disk(tmp_path / "disk")]

    def disk(self, folder: Path, required: bool = True) -> Destination:
        return Destination(DiskStore(str(folder), self.budget), required, str(folder))

    def leftovers(self, store: Store) -> Collection[str]:
        found: list[str] = []
        for leg in self.legs:
            if isinstance(leg.store, DiskStore):
                found += os.listdir(os.path.join(leg.store.root, ".sluiceway", "drafts"))
            if isinstance(leg.store, MemoryStore):
                found += leg.store.drafts
        return found

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0, "lent bytes were not settled"
        assert self.budget.share == min(4, self.limit // (2 << 20)), (
            "somebody is still counted as pouring"
        )


class TestTwoDisksAndABestEffortOne(TestMemoryAndDisk):
    """Durable, and a third copy that follows."""

    flat = 16 << 20
    large = 128 << 20  # three times

    def make_legs(self, tmp_path: Path) -> list[Destination]:
        return [
            self.disk(tmp_path / "a"),
            self.disk(tmp_path / "b"),
            self.disk(tmp_path / "c", required=False),
        ]


class TestWithHardlyAnyMemory(TestTwoDisksAndABestEffortOne):
    """The smallest budget there is: the best-effort copy is given up now and then, and nothing else changes."""

    limit = MINIMUM
    large = 128 << 20  # the other one writes all of it


WEAKER: dict[str, object] = {
    "durable": False,
    "atomic_publish": False,
    "create_only": False,
    "max_key_bytes": 100,
    "undoable": False,
    "remote": True,
    "keeps": "parts",
    "compare_and_swap": False,
}
OF_THE_FRONT: dict[str, object] = {"readable": True, "stable_reads": False, "lists_metadata": False}


@pytest.mark.parametrize("front", [True, False])
@pytest.mark.parametrize("trait", [one.name for one in dataclasses.fields(Traits)])
def test_together_they_promise_what_the_weakest_of_them_keeps(trait: str, front: bool) -> None:
    """Each trait there is, and any that is added: one leg says less of it, and so do all together."""
    if trait in ("name", "resumable"):
        assert (
            FanoutStore(
                [Destination(MemoryStore(), True, "memory:")], Budget(MINIMUM)
            ).traits.resumable
            is False
        )
        return
    weak, strong = MemoryStore(), MemoryStore()
    value = {**WEAKER, **OF_THE_FRONT}[trait]
    weak.traits = dataclasses.replace(weak.traits, **{trait: value})  # type: ignore[arg-type]  # a store of that kind
    legs = [Destination(weak, True, "weak:"), Destination(strong, True, "strong:")]
    together = FanoutStore(legs if front else legs[::-1], Budget(MINIMUM)).traits

    told = getattr(together, trait)
    assert told == (value if front or trait in WEAKER else getattr(strong.traits, trait))
