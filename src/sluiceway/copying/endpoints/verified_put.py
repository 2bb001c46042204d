"""What every target does with the bytes of an object: counts their digest, compares it, publishes.

The same pump, digests and endings as an upload: an object is visible only when it is whole. Knows
no kind of target.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sluiceway.copying.contract import Reading
from sluiceway.errors import DigestMismatch
from sluiceway.pipe.digests import Digests, Tap
from sluiceway.pipe.pump import close_stream, pump
from sluiceway.pipe.receipt import Progress, Receipt, Stage
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import DESTINATION
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource

if TYPE_CHECKING:
    from sluiceway.client.local.download_target import Sink

__all__ = ["ProgressTap", "differs", "put_into_file", "receipt_for", "sha256_of"]

PROGRESS_EVERY = 0.1  # seconds between two reports


class ProgressTap:
    """A tap that reports how far a copy is. `stage`: what goes on while bytes move."""

    def __init__(self, reading: Reading, stage: Stage, name: str = "") -> None:
        """`name`: for people; "" is the label of the reading."""
        self._name, self._stage = name or reading.label, stage
        self._total, self._on_progress = reading.source.length, reading.on_progress
        self._done, self._reported_at = 0, 0.0

    def beside(self, digests: Digests) -> tuple[Tap, ...]:
        """The taps of a pump; without this one where nothing is reported."""
        return (digests,) if self._on_progress is None else (digests, self)

    async def take(self, data: Buffer) -> None:
        self._done += len(data)
        if time.monotonic() - self._reported_at >= PROGRESS_EVERY:
            self._reported_at = time.monotonic()
            self.report(self._stage)

    def report(self, stage: Stage, receipt: Receipt | None = None) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._name, stage, self._done, self._total, "", receipt))


async def put_into_file(
    sink: Sink,
    reading: Reading,
    replace: bool,
    progress: ProgressTap,
    set_attributes: Callable[[], object] | None = None,
) -> Receipt:
    """All bytes into a fresh file, which is then checked and published. The caller closes `sink`.

    `set_attributes` is blocking and runs right before the file is published. Raises Exists,
    DigestMismatch, what the source raises, and what the file does.
    """
    digests, stages = Digests(("sha-256",)), reading.stages
    try:
        await in_thread(lambda: sink.restart(None))
        source = TimedSource(reading.source, stages)
        size = await pump(source, sink, taps=progress.beside(digests), stages=stages)
        progress.report("checking")
        found = await digests.finish()
        if differs(found, reading):
            await in_thread(sink.discard)
            raise DigestMismatch(
                f"The bytes of {reading.label} do not have the announced sha-256; nothing was kept"
            )
        stages.enter(DESTINATION)
        await sink.finish_sync()
        if set_attributes is not None:
            await in_thread(set_attributes)
        await in_thread(lambda: sink.publish(replace))
    finally:
        await digests.aclose()
        await sink.finish_sync()
    receipt = receipt_for(reading, size, found["sha-256"].hex(), sink.target)
    progress.report("done", receipt)
    return receipt


def receipt_for(reading: Reading, size: int, sha256: str | None, location: str) -> Receipt:
    """The receipt of a finished object."""
    spent = reading.stages.spent()
    seconds = sum(spent.values())
    return Receipt(size, sha256, location, source=reading.label, seconds=seconds, stages=spent)


def differs(found: Mapping[str, bytes], reading: Reading) -> bool:
    """Whether a counted digest contradicts an announced one."""
    return any(
        one.algorithm in found and found[one.algorithm] != one.value for one in reading.announced
    )


async def sha256_of(source: Source) -> str:
    """The sha-256 of all its bytes, in hexadecimal. Raises what the source raises."""
    digests, chunks = Digests(("sha-256",)), source.open()
    try:
        async for chunk in chunks:
            await digests.take(chunk)
        return (await digests.finish())["sha-256"].hex()
    finally:
        await close_stream(chunks)
        await digests.aclose()
