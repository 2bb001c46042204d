"""Sources around a source: timed, counted, throttled. Same bytes, same length, same clean-up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from sluiceway.errors import BadRequest
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import BytesSource, PassingSource, Source, SourceSpent
from sluiceway.pipe.stages import CLIENT, QUEUE, SOURCE, Stages
from sluiceway.pipe.wrapped import (
    CountedSource,
    Throttle,
    ThrottledSource,
    TimedSource,
    WrappedSource,
    throttled,
)

Wrap = Callable[[Source], WrappedSource]
EACH = pytest.mark.parametrize(
    "wrap",
    [
        lambda source: TimedSource(source, Stages()),
        lambda source: CountedSource(source, lambda _: None),
        lambda source: ThrottledSource(source, Throttle(1 << 30)),
    ],
    ids=["timed", "counted", "throttled"],
)


async def _pieces(source: Source, start: int = 0, stop: int | None = None) -> list[bytes]:
    return [bytes(piece) async for piece in source.open(start, stop)]


@EACH
async def test_a_wrapped_source_is_read_as_its_source(wrap: Wrap) -> None:
    """Its length, a second opening, an offset."""
    wrapped = wrap(BytesSource(b"abcdef"))

    assert (wrapped.length, wrapped.reopenable) == (6, True)
    for _ in range(2):
        assert await _pieces(wrapped, 2, 4) == [b"cd"]


@EACH
async def test_a_reader_that_leaves_early_ends_the_source(wrap: Wrap) -> None:
    """The source's clean-up runs when the reader closes, and the source stays spent."""
    ended = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            while True:
                yield b"x"
        finally:
            ended = True

    passing = PassingSource(chunks())
    stream = wrap(passing).open()
    await anext(stream)
    await close_stream(stream)

    assert ended
    with pytest.raises(SourceSpent):
        await anext(wrap(passing).open())


async def test_waits_for_the_source_are_timed_and_the_reader_s_work_is_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.1)
            yield b"x"

    stages = Stages()
    async for _ in TimedSource(PassingSource(chunks()), stages).open():
        await asyncio.sleep(0.05)
    spent = stages.spent()

    assert spent[SOURCE] > 0.25
    assert spent[QUEUE] > 0.12


async def test_another_stage_can_be_timed_and_the_stopwatch_returns_to_where_it_was() -> None:
    stages = Stages()
    stream = TimedSource(BytesSource(b"abc"), stages, CLIENT).open()
    await anext(stream)
    await close_stream(stream)

    assert CLIENT in stages.spent()
    assert stages.enter(QUEUE) == QUEUE


async def test_a_reading_that_begins_anew_takes_back_what_was_counted() -> None:
    moves: list[int] = []
    counted = CountedSource(BytesSource(b"abc"), moves.append)
    assert await _pieces(counted) == [b"abc"]
    assert sum(moves) == 3
    assert await _pieces(counted) == [b"abc"]
    assert sum(moves) == 3

    counted.take_back()
    counted.take_back()
    assert sum(moves) == 0


async def test_sources_with_one_throttle_are_together_no_faster_than_its_rate() -> None:
    """Three sources of 0.2 s each take their sum, not their maximum."""
    throttle = Throttle(1_000_000)
    began = time.monotonic()
    sources = [ThrottledSource(BytesSource(bytes(200_000)), throttle) for _ in range(3)]
    found = await asyncio.gather(*(_pieces(source) for source in sources))

    assert time.monotonic() - began >= 0.6 - 0.2  # less what may go at once
    assert [sum(map(len, pieces)) for pieces in found] == [200_000] * 3


async def test_a_throttle_cuts_large_chunks_into_pieces_and_loses_no_byte() -> None:
    data = bytes(range(256)) * 4096
    throttle = Throttle(10 << 20)
    pieces = await _pieces(ThrottledSource(BytesSource(data), throttle))

    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= throttle.piece
    assert await _pieces(ThrottledSource(BytesSource(data), throttle), 10, 13) == [data[10:13]]


async def test_a_pause_gives_no_more_than_a_short_burst() -> None:
    """Unused time is lost: after a second of rest, no second's worth of bytes goes at once."""
    throttle = Throttle(100_000)
    await throttle.take(1)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await throttle.take(50_000)

    assert time.monotonic() - began >= 0.3


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(BadRequest):
        Throttle(0)


def test_without_a_rate_a_source_stays_as_it_is() -> None:
    source = BytesSource(b"abc")

    assert throttled(source, None) is source
    assert isinstance(throttled(source, 1), ThrottledSource)
