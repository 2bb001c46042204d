"""A speed limit that several share."""

from __future__ import annotations

import asyncio
import time

import pytest

from sluiceway.errors import BadRequest
from sluiceway.pipe.source import BytesSource
from sluiceway.pipe.throttle import Throttle, ThrottledSource


async def drained(source: ThrottledSource) -> list[bytes]:
    return [bytes(piece) async for piece in source.open()]


async def test_all_together_are_no_faster_than_the_rate() -> None:
    """Three sources of 0.2 s each take their sum, not their maximum."""
    throttle = Throttle(1_000_000)
    began = time.monotonic()
    sources = [ThrottledSource(BytesSource(bytes(200_000)), throttle) for _ in range(3)]
    found = await asyncio.gather(*(drained(source) for source in sources))

    assert time.monotonic() - began >= 0.6 - 0.2  # less what may go at once
    assert [sum(map(len, pieces)) for pieces in found] == [200_000] * 3


async def test_large_pieces_become_small_ones_and_no_byte_is_lost() -> None:
    data = bytes(range(256)) * 4096
    throttle = Throttle(10 << 20)
    pieces = await drained(ThrottledSource(BytesSource(data), throttle))

    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= throttle.piece
    assert [bytes(p) async for p in ThrottledSource(BytesSource(data), throttle).open(10, 13)] == [
        data[10:13]
    ]


async def test_a_pause_gives_no_more_than_a_short_burst() -> None:
    """What was not used is gone: after a second of rest, not a second's worth at once."""
    throttle = Throttle(100_000)
    await throttle.take(1)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await throttle.take(50_000)

    assert time.monotonic() - began >= 0.3


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(BadRequest):
        Throttle(0)
