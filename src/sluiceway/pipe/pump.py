"""The only copy loop: every byte on its way from a source to a destination passes through `pump`.

It checks the length, counts, shows the bytes to the taps, and lets a slow destination slow the
source. Its caller decides whether the result is published or discarded. Knows nothing of HTTP,
forms or disks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from sluiceway.errors import BodyCut, TooLarge
from sluiceway.pipe import lending
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_all, finish_then_cancel
from sluiceway.pipe.digests import Digests, Tap, ThreadTap
from sluiceway.pipe.lending import Borrower, Lender, LentConnection, unseen
from sluiceway.pipe.source import Buffer, Source, all_at_hand
from sluiceway.pipe.stages import CLIENT, DESTINATION, QUEUE, Stages

__all__ = ["Meter", "Sink", "Unkept", "close_stream", "pump"]

LOOK_EVERY = 0.05  # seconds between looks whether the counters are watched
# Seconds between syncs while the counters are watched: a bar that moves, for 1 % of the speed.
SYNC_EVERY = 0.25
# Seconds between syncs of an upload that may be resumed: what a crash may cost, for 1 % of the
# speed.
KEEP_EVERY = 1.0
KEEP_SILENT = 2.0  # seconds after that in which a silent sender's last bytes are kept as well
# A sync that takes longer comes less often: a bucket is synchronised for a twentieth of the time.
SYNC_SHARE = 20
KEEP_SHARE = 2  # where a kill must cost few bytes: at most a third of the time

OnKept = Callable[[int], Awaitable[None]]


class Sink(Protocol):
    """Where a pump writes: the part of a draft it needs."""

    @property
    def kept(self) -> int: ...

    async def write(self, data: Buffer) -> None: ...

    async def sync(self) -> int: ...


class Meter(Protocol):
    """Three counters in bytes, and whether they are watched: a progress record."""

    received: int  # from the client
    forwarded: int  # handed to the destination
    kept: int  # acknowledged by the destination

    @property
    def watched(self) -> bool: ...


async def pump(
    source: Source,
    sink: Sink,
    *,
    taps: Sequence[Tap] = (),
    meter: Meter | None = None,
    limit: int | None = None,
    counts_received: bool = True,
    stages: Stages | None = None,
    budget: Budget | None = None,
    sender: str = CLIENT,
    on_kept: OnKept | None = None,
    keep_after: int | None = None,
) -> int:
    """Copy the whole source into the sink. Returns the number of bytes copied.

    `limit` is the most bytes that are taken; one more raises TooLarge. `counts_received` is False
    where the request's own bytes are counted before they are decoded, as in a form. `stages` counts
    the time of the sink; a source counts its own. `budget` counts the chunk in hand, of which a
    stalled destination may leave hundreds. Raises BodyCut when the source ends before its known
    length, and whatever source and sink raise.

    A source that has all its bytes `at_hand` gives them as one chunk.

    Where the source lends its connection and the sink draws from it, threads move the bytes between
    two chunks. `sender` is the stage of their waits for the source. With `on_kept` the sink is
    synchronised every second, and `on_kept` gets what it keeps, in bytes; also after `keep_after`
    bytes, however fast they came, and once when the source falls silent.
    """
    stages = stages or Stages()
    length = source.length
    counted = _Counters(meter, counts_received, length, limit, sink.kept, on_kept, keep_after)
    if (data := all_at_hand(source)) is not None:
        if data:
            await _pass_on(data, sink, taps, counted, stages, budget)
    else:
        borrowing = _Borrowing.between(source, sink, taps, counted, stages, sender)
        chunks = source.open()
        try:
            async for chunk in chunks:
                await counted.go_on()
                await _pass_on(chunk, sink, taps, counted, stages, budget)
                size = len(chunk)
                del chunk  # before the source makes the next one
                if borrowing is not None:
                    await borrowing.after_chunk(size)
                counted.pause(sink)
        finally:
            await close_stream(chunks)
            await counted.end()
    if length is not None and counted.copied != length:
        raise BodyCut(
            f"{counted.copied} of {length} bytes arrived; nothing was stored. Send it again"
        )
    return counted.copied


async def _pass_on(
    chunk: Buffer,
    sink: Sink,
    taps: Sequence[Tap],
    counted: _Counters,
    stages: Stages,
    budget: Budget | None,
) -> None:
    size = len(chunk)
    counted.receive(size)
    held = size if budget is not None and budget.acquire(size) else 0
    try:
        for tap in taps:
            await tap.take(chunk)
        stages.enter(DESTINATION)
        await sink.write(chunk)
    finally:
        if budget is not None:
            budget.release(held)
    await counted.forward(sink)
    stages.enter(QUEUE)


class _Counters:
    """What was copied, within its limit, and the record that shows it."""

    def __init__(
        self,
        meter: Meter | None,
        counts_received: bool,
        length: int | None,
        limit: int | None,
        kept: int,
        on_kept: OnKept | None,
        keep_after: int | None,
    ) -> None:
        """`kept` is what the sink has of an earlier time, and the meter with it."""
        self._meter, self._counts_received = meter, counts_received
        self._length, self._limit = length, limit
        # The counters of earlier files of the same upload.
        self._before = (meter.received, meter.forwarded, meter.kept - kept) if meter else (0, 0, 0)
        self._loop = asyncio.get_running_loop()
        self._next_look = 0.0
        self._on_kept, self._next_keep = on_kept, self._loop.time() + KEEP_EVERY
        self._next_sync, self._kept = 0.0, kept
        self._keep_after, self._keep_at = keep_after, keep_after  # bytes
        self._asked = 0  # bytes copied when the sink was synchronised last
        self._is_pausing = False  # nobody uses the sink: the source is asked for more
        self._timer: asyncio.TimerHandle | None = None
        self._keeping: asyncio.Task[None] | None = None  # for a silent source
        self.copied: int = 0

    @property
    def room(self) -> int | None:
        """Bytes up to the limit."""
        return None if self._limit is None else self._limit - self.copied

    def receive(self, size: int) -> None:
        """Raises TooLarge."""
        self.note(size)
        if self._limit is not None and self.copied > self._limit:
            raise TooLarge(
                f"More than {self._limit} bytes arrived; the server takes at most that",
                limit=self._limit,
            )

    def note(self, size: int) -> None:
        """So many bytes came, whatever becomes of them."""
        self.copied += size
        if self._meter and self._counts_received:
            self._meter.received = self._before[0] + self.copied

    async def forward(self, sink: Sink) -> None:
        """The sink has all that was copied. While the counters are watched, have it kept, too."""
        if self._meter is not None:
            self._meter.forwarded = self._before[1] + self.copied
        # Not at the last byte: publishing syncs anyway, and the bar would show 100 % before the
        # destination confirmed it.
        if self.copied == self._length or (now := self._loop.time()) < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        if now >= self._next_sync:
            if self._on_kept is not None and self._is_due(now):
                await self._keep(sink)
                self._next_keep = now + KEEP_EVERY
                self._keep_at = self.copied + (self._keep_after or 0)
            elif self._meter is not None and self._meter.watched:
                await self._keep(sink)
                self._next_look = self._loop.time() + SYNC_EVERY
        await self._note_kept(sink)  # some sinks keep parts by themselves

    # What a silent source brought

    def pause(self, sink: Sink) -> None:
        """The source is asked for more. The sink is not used until `go_on`."""
        self._is_pausing = True
        if self._timer is None and self._on_kept is not None and self.copied > self._asked:
            due = max(self._next_keep, self._next_sync) + KEEP_SILENT
            self._timer = self._loop.call_at(due, self._look_for_silence, sink)

    async def go_on(self) -> None:
        """The source has a chunk. Raises what keeping the earlier ones raised."""
        self._is_pausing = False
        if self._keeping is not None:
            await finish_then_cancel(self._keeping)
            self._keeping = None

    async def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if (keeping := self._keeping) is not None:
            await finish_all([keeping])
            if not keeping.cancelled():
                keeping.exception()  # retrieved: the pump has its own outcome

    def _look_for_silence(self, sink: Sink) -> None:
        self._timer = None
        if not self._is_pausing or self.copied == self._asked:
            return
        if self._loop.time() < self._next_keep:  # it was kept meanwhile, and then more came
            self.pause(sink)
        else:
            self._keeping = self._loop.create_task(self._keep_and_note(sink))

    async def _keep_and_note(self, sink: Sink) -> None:
        await self._keep(sink)
        self._next_keep = self._loop.time() + KEEP_EVERY
        await self._note_kept(sink)

    async def _note_kept(self, sink: Sink) -> None:
        if self._on_kept is not None and sink.kept > self._kept:
            self._kept = sink.kept
            await self._on_kept(self._kept)

    def _is_due(self, now: float) -> bool:
        many = self._keep_after is not None and self.copied >= (self._keep_at or 0)
        return now >= self._next_keep or many

    async def _keep(self, sink: Sink) -> None:
        began, self._asked = self._loop.time(), self.copied
        kept = await sink.sync()
        now = self._loop.time()
        # Over a slow line a sync is mostly the way of the last bytes, which costs nothing.
        share = SYNC_SHARE if self._keep_after is None else KEEP_SHARE
        self._next_sync = now + (now - began) * share
        # With `on_kept` an offset counts only when it is written down.
        if self._meter is not None and self._on_kept is None:
            self._meter.kept = max(self._meter.kept, self._before[2] + kept)


class _Borrowing:
    """The middle of a large body: the sink draws it from the source's connection."""

    def __init__(
        self,
        lender: Lender,
        sink: Sink,
        borrower: Borrower,
        taps: Sequence[ThreadTap],
        counted: _Counters,
        stages: Stages,
        sender: str,
    ) -> None:
        self._lender, self._sink, self._borrower, self._taps = lender, sink, borrower, taps
        self._counted, self._stages, self._sender = counted, stages, sender
        self._next = 0  # bytes copied before which the connection is not lent again

    @classmethod
    def between(
        cls,
        source: Source,
        sink: Sink,
        taps: Sequence[Tap],
        counted: _Counters,
        stages: Stages,
        sender: str,
    ) -> _Borrowing | None:
        """None where the source does not lend or has one chunk only, or sink or taps work on the
        event loop only."""
        length = source.length
        if not hasattr(source, "lend") or (length is not None and length <= lending.FAST_CHUNK):
            return None  # the checks below take a tenth of a small body's time
        # Without algorithms it sees nothing: a relay need not have another thread beside its own.
        taps = [tap for tap in taps if not isinstance(tap, Digests) or tap.counts]
        thread_taps = [tap for tap in taps if isinstance(tap, ThreadTap)]
        if (
            isinstance(source, Lender)
            and isinstance(sink, Borrower)
            and len(thread_taps) == len(taps)
        ):
            return cls(source, sink, sink, thread_taps, counted, stages, sender)
        return None

    async def after_chunk(self, size: int) -> None:
        """A chunk was written. If its sender is fast, go on with the connection itself."""
        if size < lending.FAST_CHUNK or self._counted.copied < self._next:
            return
        if (lent := self._lender.lend()) is None:
            return
        try:
            for tap in self._taps:
                await tap.settle()
            await self._draw_from(lent)
        finally:
            lent.hand_back()
        self._next = self._counted.copied + lending.APART

    async def _draw_from(self, lent: LentConnection) -> None:
        while True:
            if (room := self._counted.room) is not None:
                lent.limit(room)
            if lent.ended:
                return
            before = lent.taken
            try:
                drawn = await self._borrower.draw(lent, self._update if self._taps else unseen)
            except BaseException:  # a cancelled caller waits for the burst: its bytes came
                self._count_waits(lent)
                self._counted.note(lent.taken - before)
                raise
            if not drawn:
                return
            self._count_waits(lent)
            self._counted.receive(lent.taken - before)
            self._stages.enter(DESTINATION)
            await self._counted.forward(self._sink)
            self._stages.enter(QUEUE)

    def _count_waits(self, lent: LentConnection) -> None:
        """Of the last burst."""
        self._stages.move(QUEUE, self._sender, lent.sender_wait)
        self._stages.move(QUEUE, DESTINATION, lent.destination_wait)

    def _update(self, view: memoryview) -> None:
        for tap in self._taps:
            tap.update(view)


class Unkept:
    """A sink that keeps nothing, for a pump whose taps alone need the bytes."""

    kept = 0

    async def write(self, data: Buffer) -> None:
        return

    async def sync(self) -> int:
        return 0


async def close_stream(chunks: AsyncIterator[object]) -> None:
    """End a stream early: its clean-up runs now, not when the generator is collected."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
