"""All ways to cut bytes: whoever decodes a stream must get the same out of every one. Knows no format."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MOST_TWO_WAY", "Cutting", "cut_at_random", "cut_in_two", "cuttings"]

MOST_TWO_WAY = 2048  # bytes up to which every two-way split is tried: n splits of n bytes cost n²


@dataclass(frozen=True, slots=True)
class Cutting:
    """`pieces` joined are the bytes that were cut; some may be empty. `name` tells it apart in a failure."""

    name: str
    pieces: tuple[bytes, ...]


def cuttings(data: bytes, seeds: int = 5) -> Iterator[Cutting]:
    """Whole, between empty pieces, byte by byte, in every two-way split, and at random for `seeds` seeds."""
    yield Cutting("whole", (data,))
    yield Cutting("whole between empty pieces", (b"", data, b""))
    yield Cutting("byte by byte", tuple(data[at : at + 1] for at in range(len(data))))
    if len(data) <= MOST_TWO_WAY:
        yield from cut_in_two(data)
    for seed in range(seeds):
        yield cut_at_random(data, seed)


def cut_in_two(data: bytes) -> Iterator[Cutting]:
    """Every split into two pieces, neither of them empty."""
    for at in range(1, len(data)):
        yield Cutting(f"in two at {at}", (data[:at], data[at:]))


def cut_at_random(data: bytes, seed: int) -> Cutting:
    """Pieces of 0 to 20 bytes, and now and then a long one; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311  # repeatable on purpose; nothing here is a secret
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = rng.choice((0, 1, 2, 3, 5, 8, 13, 20, rng.randrange(1, len(data) + 1)))
        pieces.append(data[at : at + size])
        at += size
    return Cutting(f"at random, seed {seed}", tuple(pieces))
