"""The copy loop: every byte once and in order, counted, bounded, slowed by its destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from sluiceway.errors import BodyCut, StoreFailed, TooLarge
from sluiceway.pipe import pump as pump_module
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Buffer, BytesSource, PassingSource
from sluiceway.testing.store_suite import pattern


@dataclass
class Pieces:
    """A source that remembers how far it was read, and whether it was closed."""

    pieces: Sequence[Buffer]
    length: int | None = None
    fails: BaseException | None = None
    reopenable: bool = False
    yielded: int = 0
    closed: bool = False

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        try:
            for piece in self.pieces:
                self.yielded += 1
                yield piece
            if self.fails is not None:
                raise self.fails
        finally:
            self.closed = True


@dataclass
class Sink:
    """A destination in memory: `gate` makes it slow, `full` makes it fail at so many bytes."""

    data: bytearray = field(default_factory=bytearray)
    kept: int = 0
    syncs: int = 0
    gate: asyncio.Semaphore | None = None
    full: int | None = None

    async def write(self, data: Buffer) -> None:
        if self.gate is not None:
            await self.gate.acquire()
        self.data += data
        if self.full is not None and len(self.data) > self.full:
            raise StoreFailed("full")

    async def sync(self) -> int:
        self.syncs += 1
        self.kept = len(self.data)
        return self.kept


@dataclass
class Meter:
    received: int = 0
    forwarded: int = 0
    kept: int = 0
    watched: bool = False


@dataclass
class FingerprintSet:
    data: bytearray = field(default_factory=bytearray)

    async def take(self, data: Buffer) -> None:
        self.data += data


async def test_every_byte_goes_through_once_and_every_tap_sees_it() -> None:
    """Sink and taps get the source's bytes in order, and the counters are right."""
    sink, meter, taps = Sink(), Meter(), [FingerprintSet(), FingerprintSet()]
    copied = await pump(BytesSource(pattern(3_000_001)), sink, taps=taps, meter=meter)

    assert copied == 3_000_001
    assert sink.data == taps[0].data == taps[1].data == pattern(3_000_001)
    assert (meter.received, meter.forwarded) == (copied, copied)


@pytest.mark.parametrize(("announced", "came"), [(10, 9), (10, 0), (10, 11), (0, 1)])
async def test_a_body_of_another_length_than_announced_is_refused(
    announced: int, came: int
) -> None:
    """Shorter or longer than announced: BodyCut, which names both."""
    with pytest.raises(BodyCut, match=f"{came} of {announced}"):
        await pump(Pieces([b"x" * came] if came else [], length=announced), Sink())


@pytest.mark.parametrize("size", [0, 1, 99, 100])
async def test_up_to_the_limit_passes(size: int) -> None:
    """Exactly at the limit is allowed."""
    assert await pump(Pieces([pattern(size)], length=None), Sink(), limit=100) == size


async def test_the_byte_over_the_limit_is_never_written() -> None:
    """The chunk that goes over raises TooLarge before it is written, and reading ends there."""
    source, sink = Pieces([b"x" * 60, b"y" * 40, b"z", b"never"]), Sink()
    with pytest.raises(TooLarge) as refused:
        await pump(source, sink, limit=100)

    assert refused.value.members == {"limit": 100}
    assert sink.data == b"x" * 60 + b"y" * 40
    assert source.yielded == 3
    assert source.closed


async def test_a_slow_destination_slows_the_source() -> None:
    """No chunk is read before the last one was written."""
    source, sink = Pieces([b"x"] * 100), Sink(gate=asyncio.Semaphore(0))
    pumping = asyncio.create_task(pump(source, sink))
    for step in range(5):
        await asyncio.sleep(0.01)
        assert source.yielded == step + 1
        assert sink.gate is not None
        sink.gate.release()
    pumping.cancel()
    await asyncio.wait([pumping])

    assert source.closed


@pytest.mark.parametrize("who", ["source", "sink", "tap", "cancel"])
async def test_the_source_is_closed_after_every_failure(who: str) -> None:
    """An error of source, sink or tap, and a cancel, are raised unchanged, after the clean-up."""

    class Bad:
        async def take(self, data: Buffer) -> None:
            raise StoreFailed("tap")

    source = Pieces([b"x"] * 10, fails=BodyCut("source") if who == "source" else None)
    sink = Sink(
        full=3 if who == "sink" else None, gate=asyncio.Semaphore(0) if who == "cancel" else None
    )
    pumping = asyncio.create_task(pump(source, sink, taps=[Bad()] if who == "tap" else []))
    await asyncio.sleep(0.01)
    if who == "cancel":
        pumping.cancel()
    expected = {
        "source": BodyCut,
        "sink": StoreFailed,
        "tap": StoreFailed,
        "cancel": asyncio.CancelledError,
    }[who]
    with pytest.raises(expected):
        await pumping

    assert source.closed


async def test_kept_moves_only_while_it_is_watched_and_never_shows_all() -> None:
    """Without a watcher there is no sync. With one, kept follows; the last byte waits for the
    end."""
    size = 100
    for watched in (False, True):
        sink, meter = Sink(), Meter(watched=watched)
        seen: list[int] = []

        async def pieces(meter: Meter = meter, seen: list[int] = seen) -> AsyncIterator[bytes]:
            for _ in range(size):
                yield b"x"
                await asyncio.sleep(0.012)
                seen.append(meter.kept)

        await pump(PassingSource(pieces(), size), sink, meter=meter)

        assert (sink.syncs > 0) is watched
        assert seen == sorted(seen)
        assert meter.kept <= meter.forwarded <= meter.received
        assert meter.kept < size


async def test_a_watched_upload_that_is_slow_at_its_end_does_not_claim_everything() -> None:
    """The last chunk comes late: kept stays below the length until the object is published."""
    meter, sink = Meter(watched=True), Sink()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 50
        await asyncio.sleep(0.3)
        yield b"y" * 50

    await pump(PassingSource(pieces(), 100), sink, meter=meter)

    assert meter.kept == 50


async def test_what_a_silent_source_brought_is_kept_once_and_before_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source waits until it hears what is kept; nothing is synchronised for its silence."""
    monkeypatch.setattr(pump_module, "KEEP_EVERY", 0.01)
    monkeypatch.setattr(pump_module, "KEEP_SILENT", 0.01)
    sink, offsets, is_kept = Sink(), list[int](), asyncio.Event()
    syncs = list[int]()

    async def on_kept(offset: int) -> None:
        offsets.append(offset)
        is_kept.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 10
        async with asyncio.timeout(20):
            await is_kept.wait()
        for _ in range(5):  # nothing new comes
            syncs.append(sink.syncs)
            await asyncio.sleep(0.02)
        yield b"y" * 10

    await pump(PassingSource(pieces(), 20), sink, on_kept=on_kept)

    assert offsets[0] == 10
    assert len(set(syncs)) == 1


async def test_a_failure_to_keep_what_a_silent_source_brought_ends_the_pump(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump_module, "KEEP_EVERY", 0.01)
    monkeypatch.setattr(pump_module, "KEEP_SILENT", 0.01)
    has_failed = asyncio.Event()

    async def on_kept(offset: int) -> None:
        has_failed.set()
        raise StoreFailed("not written down")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 10
        async with asyncio.timeout(20):
            await has_failed.wait()
        await asyncio.sleep(0)
        yield b"y" * 5
        yield b"z" * 5

    with pytest.raises(StoreFailed, match="not written down"):
        await pump(PassingSource(pieces(), 20), Sink(), on_kept=on_kept)


async def test_bytes_counted_before_decoding_are_not_counted_again() -> None:
    """In a form the request's bytes are received; the file's are forwarded."""
    meter = Meter(received=500)
    await pump(BytesSource(b"x" * 100), Sink(), meter=meter, counts_received=False)

    assert (meter.received, meter.forwarded) == (500, 100)


async def test_kept_of_several_files_adds_up() -> None:
    """The second file of a form is counted on top of the first one."""
    meter = Meter(watched=True, kept=1000)
    await pump(Pieces([b"x" * 10, b"y" * 10]), Sink(), meter=meter)

    assert 1000 <= meter.kept <= 1020
