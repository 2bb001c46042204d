"""What every target does with the bytes of an object: counts their digest, compares it, publishes.

The same pump, digests and endings as an upload: an object is visible only when it is whole. Knows
no kind of target.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from sluiceway.client.local.download_target import Sink
from sluiceway.client.local.files import LocalFile
from sluiceway.client.local.part_file import PartialFile
from sluiceway.client.local.part_notes import Notes
from sluiceway.client.resumable.piece import PieceOfSource
from sluiceway.client.upload_job import RESUMABLE_FROM
from sluiceway.copying.contract import SMALL, Reading
from sluiceway.errors import DigestMismatch, Exists, SourceChanged, SourceFailed
from sluiceway.pipe.digests import Digests, Tap
from sluiceway.pipe.hashes import digest_of, digest_pairs
from sluiceway.pipe.pump import Unkept, close_stream, pump
from sluiceway.pipe.receipt import Progress, Receipt, Stage
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import DESTINATION, SOURCE
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.stores.contract import Pairs

__all__ = [
    "ProgressTap",
    "check_announced",
    "digest_of_source",
    "is_small",
    "notes_place",
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
        self.kept: int | None = None  # bytes that the target has said it keeps, where it does

    def beside(self, digests: Tap) -> tuple[Tap, ...]:
        """The taps of a pump; without this one where nothing is reported."""
        return (digests,) if self._on_progress is None else (digests, self)

    async def take(self, data: Buffer) -> None:
        self._done += len(data)
        if time.monotonic() - self._reported_at >= PROGRESS_EVERY:
            self._reported_at = time.monotonic()
            self.report(self._stage)

    def go_on(self, done: int) -> None:
        """The next bytes are those from `done` on: the target has the ones before."""
        self._done = done

    def report(self, stage: Stage, receipt: Receipt | None = None, note: str = "") -> None:
        if self._on_progress is not None:
            self._on_progress(
                Progress(self._name, stage, self._done, self._total, note, receipt, kept=self.kept)
            )


async def put_into_file(
    sink: Sink,
    reading: Reading,
    replace: bool,
    progress: ProgressTap,
    set_attributes: Callable[[], object] | None = None,
) -> Receipt:
    """All bytes into a file, which is then checked and published. The caller closes `sink`.

    A large object goes on where an earlier run was cut. `set_attributes` is blocking and runs right
    before the file is published. Raises Exists, DigestMismatch, what the source raises, and what
    the file does.
    """
    digests, stages = Digests(reading.to_count()), reading.stages
    try:
        start = await in_thread(lambda: _begin(sink, reading))
        source: Source = reading.source
        if start:
            await _go_on(sink, reading, start, digests, progress)
            source = PieceOfSource(source, start, source.length or start)
        source = TimedSource(source, stages)
        size = start + await pump(
            source, sink, taps=progress.beside(digests), stages=stages, sender=SOURCE
        )
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
    except (SourceChanged, Exists):
        await in_thread(sink.discard)
        raise
    finally:
        await digests.aclose()
        await sink.finish_sync()
    receipt = receipt_for(reading, size, digest_pairs(found), sink.target)
    progress.report("done", receipt)
    return receipt


def notes_place(reading: Reading, resume: bool = True) -> str:
    """What names the source in the notes of a part; "" where no later run goes on with it."""
    source, identity = reading.source, reading.identity
    large = source.length is not None and source.length >= RESUMABLE_FROM
    lasts = resume and identity is not None and large and source.reopenable
    return identity.place if lasts and identity is not None else ""


def _begin(sink: Sink, reading: Reading) -> int:
    """Blocking. Bytes that an earlier run left of this version of the source; else it is empty."""
    identity, size = reading.identity, reading.source.length
    if identity is None or not isinstance(sink, PartialFile) or not sink.continues(identity.place):
        sink.restart(None)
        return 0
    notes = Notes.of(identity.place, identity.version, size, "")
    before = sink.notes
    same = before is not None and (before.validator, before.total) == (notes.validator, size)
    if same and sink.have <= (size or 0):
        return sink.have
    sink.restart(notes)
    return 0


async def _go_on(
    sink: Sink, reading: Reading, start: int, digests: Digests, progress: ProgressTap
) -> None:
    """Count the bytes that are here already: they are read from the file, not sent again."""
    note = f"goes on at {start} of {reading.source.length} bytes"
    progress.go_on(start)
    progress.report("resuming", note=note)
    if reading.on_note is not None:
        reading.on_note(note)
    if isinstance(sink, PartialFile):
        progress.report("checking")
        await pump(LocalFile(sink.path, opener=sink.again), Unkept(), taps=(digests,))


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
