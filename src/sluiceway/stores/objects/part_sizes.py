"""How an object is cut into parts: large enough for its length, small enough for the memory.

Never more parts than S3 takes. A known length gives equal parts, which some stores want; an unknown
one begins with small parts that double. Numbers only.
"""

from __future__ import annotations

from sluiceway.errors import TooLarge

__all__ = ["FULL_PART", "MOST_PARTS", "SMALLEST_PART", "default_part_size", "part_size"]

SMALLEST_PART = 5 << 20  # bytes of every part except the last, S3's own limit
# Bytes of a part where memory is plentiful: 1.1 times the speed of 8 MiB over loopback. Larger
# parts gained nothing.
FULL_PART = 16 << 20
PARTS_HELD = 4  # that an upload may hold: two in flight, one that gathers, and one to spare
MOST_PARTS = 10_000  # S3's own limit
ROUNDING = 1 << 20  # bytes; parts of a known length are a multiple of it
# Parts of one size of an unknown length: 5 GB of 5 MiB parts, 4.9 TiB with all parts.
DOUBLES_AFTER = 1_000


def default_part_size(limit: int, live: int) -> int:
    """Bytes of a part, as far as `limit` bytes of memory allow for each of `live` uploads."""
    share = limit // (PARTS_HELD * live) // ROUNDING * ROUNDING
    return max(SMALLEST_PART, min(FULL_PART, share))


def part_size(
    number: int, length: int | None, default: int, most: int, start: int | None = None
) -> int:
    """Bytes of part `number` (from 1 on), which begins at byte `start` of an object of `length`.

    Where numbers were left out, fewer parts hold the rest. `default` is for objects whose length
    does not need more. `most` bytes of memory may be held for one part. Raises TooLarge where that
    is too little, with the memory that would do.
    """
    if length is None:
        size = default << (number - 1) // DOUBLES_AFTER
    else:
        needed = -(-length // MOST_PARTS)
        if start is not None:
            needed = max(needed, -(-(length - start) // max(1, MOST_PARTS - number + 1)))
        size = max(default, -(-needed // ROUNDING) * ROUNDING)
    if number > MOST_PARTS:
        raise TooLarge(
            f"S3 takes {MOST_PARTS} parts, and this upload has more; "
            "tell its length before it begins"
        )
    if size > max(default, most):
        raise TooLarge(
            f"An upload this large needs parts of {size >> 20} MiB; "
            "give --memory-budget at least twice that"
        ).for_operator(
            "The server has too little memory for an upload this large; send less at once"
        )
    return size
