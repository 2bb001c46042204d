"""A source's waits, counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sluiceway.pipe.source import BytesSource, PassingSource, SourceSpent
from sluiceway.pipe.stages import CLIENT, QUEUE, SOURCE, Stages
from sluiceway.pipe.timed import TimedSource


async def test_waits_go_to_the_source_and_work_does_not() -> None:
    """Whoever reads works between the pieces: that time is not the source's."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.1)
            yield b"x"

    stages = Stages()
    async for _ in TimedSource(PassingSource(chunks()), stages).open():
        await asyncio.sleep(0.05)
    spent = stages.spent()

    assert spent[SOURCE] > 0.25
    assert 0.12 < spent[QUEUE] < spent[SOURCE]


async def test_it_is_its_source() -> None:
    """Length, another opening, an offset, and the stage somebody else may want."""
    stages = Stages()
    timed = TimedSource(BytesSource(b"abcdef"), stages, CLIENT)

    assert (timed.length, timed.reopenable) == (6, True)
    for _ in range(2):
        assert b"".join([bytes(chunk) async for chunk in timed.open(2, 4)]) == b"cd"
    assert CLIENT in stages.spent()


async def test_leaving_early_ends_the_source() -> None:
    """Its clean-up runs when the reader closes, and the stopwatch is back where it was."""
    ended = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            while True:
                yield b"x"
        finally:
            ended = True

    stages = Stages()
    passing = PassingSource(chunks())
    stream = TimedSource(passing, stages).open()
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]

    assert ended
    assert stages.enter(QUEUE) == QUEUE
    with pytest.raises(SourceSpent):
        await anext(TimedSource(passing, stages).open())
