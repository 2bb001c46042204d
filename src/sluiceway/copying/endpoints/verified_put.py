"""What every target does with the bytes of an object: counts their digest, compares it, publishes.

The same pump, digests and endings as an upload: an object is visible only when it is whole. Knows
no kind of target.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from sluiceway.copying.contract import SMALL, Reading
from sluiceway.errors import DigestMismatch, SourceFailed
from sluiceway.pipe.digests import Digests, Tap
from sluiceway.pipe.hashes import digest_of, digest_pairs
from sluiceway.pipe.pump import close_stream, pump
from sluiceway.pipe.receipt import Progress, Receipt, Stage
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import DESTINATION, SOURCE
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.stores.contract import Pairs

if TYPE_CHECKING:
    from sluiceway.client.local.download_target import Sink

__all__ = [
    "ProgressTap",
    "check_announced",
    "digest_of_source",
    "is_small",
    "put_into_file",
    "put_small",
    "receipt_for",
]

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
    digests, stages = Digests(reading.to_count()), reading.stages
    try:
        await in_thread(lambda: sink.restart(None))
        source = TimedSource(reading.source, stages)
        size = await pump(source, sink, taps=progress.beside(digests), stages=stages, sender=SOURCE)
        progress.report("checking")
        found = await digests.finish()
        try:
            check_announced(found, reading)
        except DigestMismatch:
            await in_thread(sink.discard)
            raise
        stages.enter(DESTINATION)
        await sink.finish_sync()
        if set_attributes is not None:
            await in_thread(set_attributes)
        await in_thread(lambda: sink.publish(replace))
    finally:
        await digests.aclose()
        await sink.finish_sync()
    receipt = receipt_for(reading, size, digest_pairs(found), sink.target)
    progress.report("done", receipt)
    return receipt


def is_small(source: Source) -> bool:
    """Whether an object is known to be small enough for `put_small`."""
    return source.length is not None and source.length <= SMALL


async def put_small(
    reading: Reading,
    publish: Callable[[Buffer], Awaitable[str]],
    progress: ProgressTap,
) -> Receipt:
    """A small object into a file, which is made when its bytes were checked.

    `publish` makes it of all its bytes, durably, and returns its location.
    """
    stages, data = reading.stages, reading.content
    if data is None:
        whole, source = _Gathered(reading.source.length), TimedSource(reading.source, stages)
        await pump(source, whole, stages=stages)
        data = whole.data
    await progress.take(data)
    progress.report("checking")
    found = {name: digest_of(name, data) for name in reading.to_count()}
    check_announced(found, reading)
    stages.enter(DESTINATION)
    location = await publish(data)
    receipt = receipt_for(reading, len(data), digest_pairs(found), location)
    progress.report("done", receipt)
    return receipt


class _Gathered:
    """The end of a pump for a small object: its bytes in memory."""

    kept = 0

    def __init__(self, most: int | None) -> None:
        self.data, self._most = bytearray(), most or 0

    async def write(self, data: Buffer) -> None:
        if len(self.data) + len(data) > self._most:
            raise SourceFailed(
                f"The source goes on after its {self._most} bytes; nothing was stored"
            )
        self.data += data

    async def sync(self) -> int:
        return 0


def receipt_for(reading: Reading, size: int, digests: Pairs, location: str) -> Receipt:
    """The receipt of a finished object."""
    spent = reading.stages.spent()
    seconds = sum(spent.values())
    return Receipt(size, digests, location, source=reading.label, seconds=seconds, stages=spent)


def check_announced(found: Mapping[str, bytes], reading: Reading) -> None:
    """Raises DigestMismatch where a counted digest contradicts an announced one."""
    for one in reading.announced:
        if one.algorithm in found and found[one.algorithm] != one.value:
            raise DigestMismatch(
                f"The bytes of {reading.label} do not have the announced {one.algorithm}; "
                "nothing was kept"
            )


async def digest_of_source(source: Source, algorithm: str) -> str:
    """The digest of all its bytes, in hexadecimal digits. Raises what the source raises."""
    digests, chunks = Digests((algorithm,)), source.open()
    try:
        async for chunk in chunks:
            await digests.take(chunk)
        return (await digests.finish())[algorithm].hex()
    finally:
        await close_stream(chunks)
        await digests.aclose()
