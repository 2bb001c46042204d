"""The one copy loop: every byte that goes from a source to a place where it rests passes through `pump`.

It checks the length, counts, shows the bytes to the taps and lets a slow destination slow the source. It knows nothing of
HTTP, forms or disks; whoever calls it decides whether what was pumped is published or discarded.
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

LOOK_EVERY = 0.05  # seconds between looks whether anybody watches
SYNC_EVERY = (
    0.25  # seconds between syncs while somebody watches: a bar that moves, at 1 % of the speed
)


class Sink(Protocol):
    """Where a pump writes: the part of a draft it needs."""

    @property
    def kept(self) -> int: ...

    async def write(self, data: Buffer) -> None: ...

    async def sync(self) -> int: ...


class Meter(Protocol):
    """Three counters in bytes and whether anybody looks at them; the progress board keeps them."""

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
    """Copy the whole source into the sink; the number of bytes copied.

    `limit` is the most bytes taken (the one that goes over it raises TooLarge). `counts_received` is False where the
    request's own bytes are counted before they are decoded, as in a form. `stages` is told when the sink has the word; a
    source tells it itself. `budget` counts the piece in hand, of which a stalled destination may leave hundreds.
    Raises BodyCut when the source ends before its known length, and whatever source and sink raise.
    """
    loop = asyncio.get_running_loop()
    stages = stages or Stages()
    length = source.length
    copied, next_look = 0, 0.0
    received, forwarded, kept = (
        (meter.received, meter.forwarded, meter.kept) if meter else (0, 0, 0)
    )  # by earlier files
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
            lent = size if budget is not None and budget.acquire(size) else 0
            try:
                for tap in taps:
                    await tap.take(chunk)
                stages.enter(DESTINATION)
                await sink.write(chunk)
            finally:
                if budget is not None:
                    budget.release(lent)
            if meter:
                meter.forwarded = forwarded + copied
                # Not at the last byte: publishing syncs anyway, and a bar at 100 % would speak before the destination did.
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
    """End a stream early: an async generator's clean-up runs now, not whenever it is collected."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
