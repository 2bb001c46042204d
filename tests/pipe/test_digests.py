"""Digests are right for every cutting, alone or beside others, and release all memory."""

from __future__ import annotations

import asyncio
import hashlib
import sys

import pytest
from awscrt.checksums import crc64nvme
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.errors import BadDigest
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.hashes import CHOICES
from sluiceway.testing.store_suite import pattern

SIZES = st.lists(
    st.sampled_from([1, 7, 1000, 32 << 10, (32 << 10) + 1, 100_000, 512 << 10, 1 << 20]),
    max_size=12,
)


def expected(data: bytes) -> dict[str, bytes]:
    return {
        "sha-256": hashlib.sha256(data).digest(),
        "sha-512": hashlib.sha512(data).digest(),
        "blake3": blake3(data).digest(),
        "crc64nvme": crc64nvme(data).to_bytes(8),
    }


@given(SIZES, st.sampled_from([None, "plenty", "hardly any"]))
@settings(max_examples=60, deadline=None)
def test_digests_are_right_for_any_chunking(sizes: list[int], memory: str | None) -> None:
    """Every algorithm of small and large chunks, with a budget, without, and with a full one."""

    async def run() -> None:
        budget = None if memory is None else Budget(MINIMUM)
        if budget is not None and memory == "hardly any":
            assert budget.acquire(MINIMUM - 5000)
        before = budget.used if budget else 0
        digests, taken = Digests(CHOICES, budget), 0
        for size in sizes:
            await digests.take(pattern(size, taken % 1000))
            taken += size
        found = await digests.finish()
        await digests.aclose()
        at, data = 0, b""
        for size in sizes:
            data += pattern(size, at % 1000)
            at += size

        assert found == expected(data)
        assert budget is None or budget.used == before

    asyncio.run(run())


async def test_finish_may_be_called_midway() -> None:
    """The digest of the bytes so far, then of all."""
    digests = Digests(["sha-256"])
    data = pattern(3 << 20)
    await digests.take(data[: 1 << 20])
    assert await digests.finish() == {"sha-256": hashlib.sha256(data[: 1 << 20]).digest()}
    await digests.take(data[1 << 20 :])

    assert await digests.finish() == {"sha-256": hashlib.sha256(data).digest()}


async def test_many_at_once_do_not_mix() -> None:
    """Twenty streams share the hashing threads; each gets its own digest."""
    budget = Budget(32 << 20)

    async def one(number: int) -> None:
        data = pattern(2_000_000, number * 999)
        digests = Digests(["sha-256"], budget)
        for at in range(0, len(data), 70_001):
            await digests.take(data[at : at + 70_001])
        assert await digests.finish() == {"sha-256": hashlib.sha256(data).digest()}
        await digests.aclose()

    await asyncio.gather(*(one(number) for number in range(20)))

    assert budget.used == 0


@pytest.mark.parametrize("turns", range(8))
async def test_closing_early_releases_everything_once(turns: int) -> None:
    """Closed at any moment, also while a batch is hashed: the budget is as before, never below."""
    budget = Budget(64 << 20)
    for _ in range(30):
        digests = Digests(["sha-256", "sha-512"], budget)
        for at in range(5):
            await digests.take(pattern(600_000, at))
        for _ in range(turns):
            await asyncio.sleep(0)
        await digests.aclose()
        await digests.aclose()
        await asyncio.sleep(0)

        assert budget.used == 0


async def test_closing_and_hashing_at_the_same_moment_release_each_batch_once() -> None:
    """The thread takes a batch while the loop drops the rest; threads switch as often as
    possible."""
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(500):
            budget = Budget(64 << 20)
            digests = Digests(["sha-256"], budget)
            for _ in range(4):
                await digests.take(pattern(520_000))
            await asyncio.sleep(number % 7 * 1e-4)
            await digests.aclose()
            await asyncio.sleep(0)

            assert budget.used == 0
    finally:
        sys.setswitchinterval(often)


async def test_a_sender_cancelled_while_it_waits_for_hashing_holds_no_memory() -> None:
    """The sender leaves while the hash lags behind."""
    budget = Budget(64 << 20)
    for turns in range(12):
        digests = Digests(["sha-512"], budget)

        async def flood(digests: Digests = digests) -> None:
            for at in range(40):
                await digests.take(pattern(700_000, at))

        task = asyncio.create_task(flood())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await digests.aclose()

        assert budget.used == 0


async def test_hashing_that_is_behind_slows_the_sender() -> None:
    """The waiting data is bounded in bytes, not in chunks."""
    budget = Budget(64 << 20)
    digests = Digests(["sha-512"], budget)
    most = 0
    for at in range(40):
        await digests.take(pattern(1 << 20, at))
        most = max(most, budget.used)
    await digests.finish()

    assert most <= 4 << 20


async def test_a_hash_that_fails_raises_and_nobody_waits_for_it() -> None:
    class Failing:
        name = "sha-256"

        def update(self, data: object) -> None:
            raise MemoryError

        def digest(self) -> bytes:
            return b""

    budget = Budget(64 << 20)
    digests = Digests(["sha-256"], budget)
    digests._hashes = (("sha-256", Failing()),)
    await digests.take(pattern(520_000))
    with pytest.raises(MemoryError):
        await digests.finish()
    await digests.aclose()
    assert budget.used == 0


async def test_without_algorithms_nothing_is_hashed() -> None:
    """--digest none: nothing is kept, and no digest is returned."""
    budget = Budget(MINIMUM)
    digests = Digests([], budget)
    await digests.take(pattern(3 << 20))

    assert budget.used == 0
    assert await digests.finish() == {}


def test_an_unknown_algorithm_is_refused_by_name() -> None:
    """The text names the known ones."""
    with pytest.raises(BadDigest, match=r"crc64.*sha-256"):
        Digests(["crc64"])
