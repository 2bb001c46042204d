"""How an object is cut into parts: large enough for its length, small enough for memory, never more of them than S3 takes.

A known length gives equal parts (some stores want that); an unknown one begins small and doubles. Numbers only.
"""

from __future__ import annotations

from sluiceway.errors import TooLarge

__all__ = ["MOST_PARTS", "PART", "SMALLEST", "part_size", "usual_part"]

SMALLEST = 5 << 20  # bytes of every part but the last, S3's own limit
PART = (
    16 << 20
)  # bytes of an upload that has much memory: 1.1 times the speed of 8 MiB over loopback, larger ones gained nothing
SHARE = 4  # parts of it an upload may hold: two on their way, one that gathers, and air
MOST_PARTS = 10_000  # S3's own limit
STEP = 1 << 20  # a round number of bytes, of which the parts of a known length are a multiple
DOUBLES_AFTER = 1_000  # parts of one size of an unknown length: 5 GB at 5 MiB, 4.9 TiB before the number runs out


def usual_part(limit: int, live: int) -> int:
    """Bytes of a part where the length asks for no more: what `limit` bytes of memory allow each of `live` uploads."""
    return max(SMALLEST, min(PART, limit // (SHARE * live) // STEP * STEP))


def part_size(number: int, length: int | None, usual: int, most: int) -> int:
    """Bytes of part `number` (from 1 on) of an object of `length` bytes; `most` bytes of memory may be held for one.

    Raises TooLarge where memory does not reach, with what would.
    """
    if length is None:
        size = usual << (number - 1) // DOUBLES_AFTER
    else:
        size = max(usual, -(-length // (MOST_PARTS * STEP)) * STEP)
    if number > MOST_PARTS:
        raise TooLarge(
            f"S3 takes {MOST_PARTS} parts, and this upload has more; tell its length before it begins"
        )
    if size > max(usual, most):
        raise TooLarge(
            f"An upload this large needs parts of {size >> 20} MiB; give --memory-budget at least twice that"
        ).for_operator(
            "The server has too little memory for an upload this large; send less at once"
        )
    return size
