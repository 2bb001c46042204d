"""Several destinations behind one store pass the store suite and release every byte of the
budget.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from pathlib import Path

import pytest

from killed_writer import keeper
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores.contract import Store, Traits
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import StoreSuite


class TestMemoryAndDisk(StoreSuite):
    """Both are required; memory is read."""

    variant, many = True, 120
    limit = 64 << 20
    budget: Budget
    flat: int | None = None  # one of them is memory

    async def make_store(self, tmp_path: Path) -> Store:
        self.budget = Budget(self.limit)
        self.destinations = self.make_destinations(tmp_path)
        return FanoutStore(self.destinations, self.budget)

    def make_destinations(self, tmp_path: Path) -> list[Destination]:
        return [Destination(MemoryStore(), True, "memory:"), self.disk(tmp_path / "disk")]

    def disk(self, folder: Path, required: bool = True) -> Destination:
        return Destination(DiskStore(str(folder), self.budget), required, str(folder))

    def leftovers(self, store: Store) -> Collection[str]:
        found: list[str] = []
        for destination in self.destinations:
            if isinstance(destination.store, DiskStore):
                found += os.listdir(os.path.join(destination.store.root, ".sluiceway", "drafts"))
            if isinstance(destination.store, MemoryStore):
                found += destination.store.drafts
        return found

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0, "bytes of the budget were not released"
        assert self.budget.share == min(4, self.limit // (2 << 20)), (
            "a draft is still counted as direct"
        )


class TestTwoDisksAndABestEffortOne(TestMemoryAndDisk):
    """Two durable copies and a best-effort one."""

    flat = 16 << 20
    large = 128 << 20  # three times

    def make_destinations(self, tmp_path: Path) -> list[Destination]:
        return [
            self.disk(tmp_path / "a"),
            self.disk(tmp_path / "b"),
            self.disk(tmp_path / "c", required=False),
        ]

    def keeper(self, tmp_path: Path, upload: str) -> list[str]:
        return keeper("fanout", f"{tmp_path / 'a'}|{tmp_path / 'b'}", upload)


class TestWithHardlyAnyMemory(TestTwoDisksAndABestEffortOne):
    """The smallest budget: the best-effort copy is given up now and then, and nothing else
    changes.
    """

    limit = MINIMUM
    large = 128 << 20  # the class above writes all of it


WEAKER: dict[str, object] = {
    "durable": False,
    "atomic_publish": False,
    "create_only": False,
    "resumable": False,
    "max_key_bytes": 100,
    "undoable": False,
    "remote": True,
    "keeps": "parts",
    "compare_and_swap": False,
    "renames": False,
}
FROM_THE_FRONT: dict[str, object] = {
    "readable": True,
    "stable_reads": False,
    "lists_metadata": False,
}

NEVER = ("readable_drafts", "key_first", "tells_replaced", "compares_owner")


@pytest.mark.parametrize("front", [True, False])
@pytest.mark.parametrize("trait", [one.name for one in dataclasses.fields(Traits)])
def test_a_fan_out_promises_no_more_than_its_weakest_destination(trait: str, front: bool) -> None:
    """Every trait, later ones included: one destination promises less, and so does the fan-out."""
    if trait == "name":
        return
    if trait in NEVER:
        alone = FanoutStore([Destination(MemoryStore(), True, "memory:")], Budget(MINIMUM))
        assert getattr(alone.traits, trait) is False
        return
    weak, strong = MemoryStore(), MemoryStore()
    if trait == "counts":  # what any of them wants is counted
        weak.traits = dataclasses.replace(weak.traits, counts=("sha-512",))
        strong.traits = dataclasses.replace(strong.traits, counts=("crc64nvme",))
        pair = [Destination(weak, True, "weak:"), Destination(strong, True, "strong:")]
        together = FanoutStore(pair if front else pair[::-1], Budget(MINIMUM)).traits
        assert set(together.counts) == {"sha-512", "crc64nvme"}
        return
    value = {**WEAKER, **FROM_THE_FRONT}[trait]
    weak.traits = dataclasses.replace(weak.traits, **{trait: value})  # type: ignore[arg-type]  # a store of that kind
    destinations = [Destination(weak, True, "weak:"), Destination(strong, True, "strong:")]
    together = FanoutStore(destinations if front else destinations[::-1], Budget(MINIMUM)).traits

    assert getattr(together, trait) == (
        value if front or trait in WEAKER else getattr(strong.traits, trait)
    )
