"""All ways to cut bytes: a decoder must return the same for each of them. Knows no format."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MOST_TWO_WAY", "Cutting", "cut_at_random", "cut_in_two", "cuttings"]

MOST_TWO_WAY = 2048  # bytes; above it, not every split in two is tried: n splits of n bytes cost n²


@dataclass(frozen=True, slots=True)
class Cutting:
    """`pieces` joined are the bytes that were cut; some may be empty. `name` is for failures."""

    name: str
    pieces: tuple[bytes, ...]


def cuttings(data: bytes, seeds: int = 5) -> Iterator[Cutting]:
    """Yield ways to cut bytes: whole, between empty pieces, byte by byte, in two, at random.

    Args:
        data: The bytes to cut.
        seeds: How many random ways.

    Example:
        >>> for cutting in cuttings(body):
        ...     assert decode(cutting.pieces) == expected, cutting.name
    """
    yield Cutting("whole", (data,))
    yield Cutting("whole between empty pieces", (b"", data, b""))
    yield Cutting("byte by byte", tuple(data[at : at + 1] for at in range(len(data))))
    if len(data) <= MOST_TWO_WAY:
        yield from cut_in_two(data)
    for seed in range(seeds):
        yield cut_at_random(data, seed)


def cut_in_two(data: bytes) -> Iterator[Cutting]:
    """Yield every split into two pieces that are not empty."""
    for at in range(1, len(data)):
        yield Cutting(f"in two at {at}", (data[:at], data[at:]))


def cut_at_random(data: bytes, seed: int) -> Cutting:
    """Return pieces of 0 to 20 bytes and a few long ones; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311  # repeatable on purpose; nothing here is a secret
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = rng.choice((0, 1, 2, 3, 5, 8, 13, 20, rng.randrange(1, len(data) + 1)))
        pieces.append(data[at : at + size])
        at += size
    return Cutting(f"at random, seed {seed}", tuple(pieces))
