"""How an object is cut into parts: large enough for its length, small enough for memory, never more of them than S3 takes.

A known length gives equal parts (some stores want that); an unknown one begins small and doubles. Numbers only.
"""

from __future__ import annotations

from sluiceway.errors import TooLarge

__all__ = ["MOST_PARTS", "PART", "SMALLEST", "part_size"]

SMALLEST = 5 << 20  # bytes of every part but the last, S3's own limit
PART = 8 << 20  # bytes where nothing asks for more: larger ones gained nothing over loopback, smaller ones cost requests
MOST_PARTS = 10_000  # S3's own limit
STEP = 1 << 20  # a round number of bytes, of which the parts of a known length are a multiple
DOUBLES_AFTER = 1_000  # parts of one size of an unknown length: 8 GB at 8 MiB, 40 TiB before the number runs out


def part_size(number: int, length: int | None, most: int) -> int:
    """Bytes of part `number` (from 1 on) of an object of `length` bytes; `most` bytes of memory may be held for one.

    Raises TooLarge where memory does not reach, with what would.
    """
    if length is None:
        size = PART << (number - 1) // DOUBLES_AFTER
    else:
        size = max(PART, -(-length // (MOST_PARTS * STEP)) * STEP)
    if number > MOST_PARTS:
        raise TooLarge(f"S3 takes {MOST_PARTS} parts, and this upload has more; tell its length before it begins")
    if size > most:
        if size > PART:
            raise TooLarge(f"An upload this large needs parts of {size >> 20} MiB; give --memory-budget at least twice that")
        return max(SMALLEST, most)
    return size
