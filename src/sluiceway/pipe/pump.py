"""The only copy loop: every byte on its way from a source to a destination passes through `pump`.

It checks the length, counts, shows the bytes to the taps, and lets a slow destination slow the
source. Its caller decides whether the result is published or discarded. Knows nothing of HTTP,
forms or disks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from sluiceway.errors import BodyCut, TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Tap
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import DESTINATION, QUEUE, Stages

__all__ = ["Meter", "Sink", "close_stream", "pump"]

LOOK_EVERY = 0.05  # seconds between looks whether the counters are watched
# Seconds between syncs while the counters are watched: a bar that moves, for 1 % of the speed.
SYNC_EVERY = 0.25


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
) -> int:
    """Copy the whole source into the sink. Returns the number of bytes copied.

    `limit` is the most bytes that are taken; one more raises TooLarge. `counts_received` is False
    where the request's own bytes are counted before they are decoded, as in a form. `stages` counts
    the time of the sink; a source counts its own. `budget` counts the chunk in hand, of which a
    stalled destination may leave hundreds. Raises BodyCut when the source ends before its known
    length, and whatever source and sink raise.
    """
    loop = asyncio.get_running_loop()
    stages = stages or Stages()
    length = source.length
    copied, next_look = 0, 0.0
    # The counters of earlier files of the same upload.
    received, forwarded, kept = (
        (meter.received, meter.forwarded, meter.kept) if meter else (0, 0, 0)
    )
    chunks = source.open()
    try:
        async for chunk in chunks:
            size = len(chunk)
            copied += size
            if meter and counts_received:
                meter.received = received + copied
            if limit is not None and copied > limit:
                raise TooLarge(
                    f"More than {limit} bytes arrived; the server takes at most that", limit=limit
                )
            held = size if budget is not None and budget.acquire(size) else 0
            try:
                for tap in taps:
                    await tap.take(chunk)
                stages.enter(DESTINATION)
                await sink.write(chunk)
            finally:
                if budget is not None:
                    budget.release(held)
            if meter:
                meter.forwarded = forwarded + copied
                # Not at the last byte: publishing syncs anyway, and the bar would show 100 % before
                # the destination confirmed it.
                if loop.time() >= next_look and copied != length:
                    next_look = loop.time() + LOOK_EVERY
                    if meter.watched:
                        meter.kept = max(meter.kept, kept + await sink.sync())
                        next_look = loop.time() + SYNC_EVERY
            stages.enter(QUEUE)
            del chunk  # before the source makes the next one
    finally:
        await close_stream(chunks)
    if length is not None and copied != length:
        raise BodyCut(f"{copied} of {length} bytes arrived; nothing was stored. Send it again")
    return copied


async def close_stream(chunks: AsyncIterator[object]) -> None:
    """End a stream early: its clean-up runs now, not when the generator is collected."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
