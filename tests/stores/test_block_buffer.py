"""Blocks of a draft grow for a fast sender, stay small for a slow one, within the memory budget."""

from __future__ import annotations

import pytest

from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores import block_buffer
from sluiceway.stores.block_buffer import SMALLEST_BLOCK, BlockBuffer

MOST = 1 << 20


def fill(buffer: BlockBuffer) -> int:
    """Append bytes until the block is full. Returns its size."""
    while not buffer.is_full:
        buffer.append(bytes(1 << 10))
    return buffer.size


def test_blocks_double_for_a_fast_sender_and_are_counted() -> None:
    """Up to the largest; the budget counts all blocks that are held at once."""
    budget = Budget(64 << 20)
    buffer, sizes = BlockBuffer(budget, MOST, blocks=3), list[int]()
    for _ in range(7):
        sizes.append(fill(buffer))
        assert len(buffer.take()) == sizes[-1]
        assert buffer.size == 0

    assert sizes == [min(MOST, SMALLEST_BLOCK << number) for number in range(7)]
    assert budget.used == 3 * MOST
    buffer.release()
    buffer.release()
    assert budget.used == 0
    assert fill(buffer) == SMALLEST_BLOCK


def test_blocks_shrink_for_a_slow_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a quarter each time, until they cost the budget nothing."""
    budget = Budget(64 << 20)
    buffer = BlockBuffer(budget, MOST, blocks=2)
    for _ in range(6):
        fill(buffer)
        buffer.take()
    monkeypatch.setattr(block_buffer, "FAST_BLOCK", 0.0)
    used = []
    for _ in range(3):
        fill(buffer)
        buffer.take()
        used.append(budget.used)

    assert used == [2 * MOST // 4, 2 * MOST // 16, 0]


def test_blocks_stay_small_without_memory() -> None:
    """Other holders have all of it."""
    budget = Budget(MINIMUM)
    assert budget.acquire(MINIMUM)
    buffer = BlockBuffer(budget, MOST, blocks=2)
    for _ in range(4):
        assert fill(buffer) == SMALLEST_BLOCK
        buffer.take()

    assert budget.used == MINIMUM


def test_the_last_bytes_are_kept_for_the_next_block() -> None:
    """A draft withholds its end."""
    buffer = BlockBuffer(Budget(MINIMUM), MOST, blocks=2)
    buffer.append(b"abc")
    buffer.append(memoryview(b"def"))

    assert bytes(buffer.take(keep=1)) == b"abcde"
    buffer.append(b"g")
    assert (buffer.size, bytes(buffer.take())) == (2, b"fg")
    assert bytes(buffer.take(keep=1)) == b""
    buffer.append(b"h")
    buffer.clear()
    assert (buffer.size, bytes(buffer.take())) == (0, b"")
