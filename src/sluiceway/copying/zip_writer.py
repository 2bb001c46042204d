"""Many objects as one zip that is made while it flows: stored uncompressed, so its length is known before its first byte.

Only what the directory at its end needs is held: name, size, time and checksum of each member, at most MOST_MEMBERS of them. A
member that fails, or is not as long as it was said to be, ends the stream with an error: no wrong zip looks whole. What could
not be a member is counted and named in the zip's comment, at its very end.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Protocol

from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.errors import SluiceError, SourceFailed, TooLarge
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, SourceSpent
from sluiceway.stores.contract import MARKER, Omitted
from sluiceway.wire.names import leads_out, readable_name

if TYPE_CHECKING:
    from zipstream import ZipStream

__all__ = ["MEMBER_COST", "MOST_MEMBERS", "Members", "ZipSource", "zipped"]

MOST_MEMBERS = (
    100_000  # the directory stands at a zip's end and is held until then: 100 MB at this number
)
MEMBER_COST = (
    1 << 10
)  # bytes a member takes in memory; 0.9 KiB measured, with keys of 70 characters
MOST_NAME = (1 << 16) - 1  # bytes; a zip has two bytes for a name's length
MOST_NAMED = 40  # lines of the comment, which may have 64 KiB
MOST_LINE = 400  # characters of one, of four bytes at most
PIECE = (
    256 << 10
)  # bytes of one checksum on the event loop: 0.1 ms; and of small pieces gathered to one
SMALL = (
    32 << 10
)  # bytes; smaller pieces are gathered: heads of 100 bytes would be packets of their own

_CENTRAL = b"PK\x01\x02"
_EXACTLY = 65_535  # members: zipstream 1.9.3 writes the large end record at this number and counts it from the next one on
_LARGE_END = 76  # bytes of that record and its locator
_LARGE = 1 << 31  # bytes before the directory from which on that record is counted anyway
_ENTRY, _END = 46, 22  # bytes of a directory's entry without its name, and of the last record


class Members(Protocol):
    """The part of an Origin that is needed here."""

    @property
    def rereadable(self) -> bool: ...

    def items(self) -> AsyncIterator[CopyItem]: ...

    def open(self, item: CopyItem) -> AbstractAsyncContextManager[Reading]: ...


async def zipped(
    origin: Members, leave: Callable[[Omitted], object], most: int = MOST_MEMBERS
) -> ZipSource:
    """A zip of an origin's items; `leave` hears of what cannot be in it, and why. Raises TooLarge, and what listing raises."""
    missing = _Missing()

    def leave_out(omitted: Omitted) -> None:
        missing.add(omitted)
        leave(omitted)

    items = await _listed(origin, leave_out, most)
    length = await asyncio.to_thread(
        _length, items, missing.comment
    )  # a third of a second for the most there may be
    return ZipSource(origin, items, length, missing.comment)


class _Missing:
    """What is left out, in the words of a zip's comment: how many, and the first of them by name."""

    def __init__(self) -> None:
        self._count, self._lines = 0, list[str]()

    def add(self, omitted: Omitted) -> None:
        if omitted.code == MARKER:
            return  # it holds nothing
        self._count += 1
        if len(self._lines) < MOST_NAMED:
            self._lines.append(f"{readable_name(omitted.name)}: {omitted.detail}"[:MOST_LINE])

    @property
    def comment(self) -> bytes:
        if not self._count:
            return b""
        more = [f"and {self._count - MOST_NAMED} more"] if self._count > MOST_NAMED else []
        words = f"Not in this archive, although meant: {self._count}"
        return "\n".join([words, *self._lines, *more]).encode("utf-8", "replace")


async def _listed(origin: Members, leave: Callable[[Omitted], object], most: int) -> list[CopyItem]:
    found: list[CopyItem] = []
    items = origin.items()
    try:
        async for item in items:
            if (omitted := item.omitted or _unfit(item.key)) is not None:
                leave(omitted)
                continue
            found.append(item)
            if len(found) > most:
                raise TooLarge(
                    f"More than {most} files are meant, and a zip's directory is held in memory; name fewer"
                )
    finally:
        if (close := getattr(items, "aclose", None)) is not None:
            await close()  # an open page, or a query, now and not whenever it is collected
    return found


def _unfit(key: str) -> Omitted | None:
    """Why no member can have this name."""
    if (why := leads_out(key)) is None and len(key.encode()) > MOST_NAME:
        why = "a name longer than a zip can hold"
    return None if why is None else Omitted(key, "bad-name", why)


class ZipSource:
    """A Source; see `zipped`. Where the items' origin can be read again, so can it, byte for byte the same."""

    def __init__(
        self, origin: Members, items: Sequence[CopyItem], length: int | None, comment: bytes = b""
    ) -> None:
        self._origin, self._items, self._comment = origin, items, comment
        self._opened = False
        self.reopenable: bool = origin.rereadable
        self.length: int | None = length

    @property
    def members(self) -> int:
        """How many files are in it."""
        return len(self._items)

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        """From the middle it is made from the beginning: its directory has the checksums of all. Raises SourceFailed."""
        if self._opened and not self.reopenable:
            raise SourceSpent("This zip is made of what flows past once; it cannot be read again")
        self._opened = True
        at = 0
        async with aclosing(_gathered(self._pieces())) as pieces:
            async for piece in pieces:
                asked = memoryview(piece)[
                    max(0, start - at) : None if stop is None else max(0, stop - at)
                ]
                at += len(piece)
                if len(asked):
                    yield asked
                if stop is not None and at >= stop:
                    return
        if self.length is not None and at != self.length:
            raise SourceFailed(
                f"The zip became {at} bytes long instead of {self.length}; it is not to be used"
            )

    async def _pieces(self) -> AsyncGenerator[Buffer, None]:
        archive = _new(sized=False)
        archive.comment = self._comment
        for item in self._items:
            async with aclosing(self._member(archive, item)) as pieces:
                async for piece in pieces:
                    yield piece
        ends = iter(self._items)
        for piece in archive.footer():
            yield _dated(piece, 12, next(ends)) if piece[:4] == _CENTRAL else piece

    async def _member(self, archive: ZipStream, item: CopyItem) -> AsyncGenerator[Buffer, None]:
        handed = _Handed()
        archive.add(handed, item.key, size=item.size)
        made = (
            archive.file()
        )  # gives the head, then one piece for each that was handed over, then sizes and checksum
        count = 0
        try:
            async with self._origin.open(item) as reading:
                yield _dated(next(made), 10, item)
                chunks = reading.source.open()
                try:
                    async for chunk in chunks:
                        count += len(chunk)
                        if item.size is not None and count > item.size:
                            break
                        for begin in range(0, len(chunk), PIECE):
                            handed.piece = memoryview(chunk)[begin : begin + PIECE]
                            yield next(made)
                        del chunk  # before the next one is made
                finally:
                    await close_stream(chunks)
        except SluiceError as error:
            raise SourceFailed(
                f"{item.key!r} could not be put into the zip: {error.detail}"
            ) from error
        if item.size is not None and count != item.size:
            told = "more" if count > item.size else f"only {count}"
            raise SourceFailed(
                f"{item.key!r} had {item.size} bytes and gave {told}; the zip was broken off"
            )
        for piece in made:
            yield piece


class _Handed:
    """The data of a member as the library takes them: whatever was handed over last, until nothing was."""

    piece: Buffer | None = None

    def __iter__(self) -> Iterator[Buffer]:
        while self.piece is not None:
            piece, self.piece = self.piece, None
            yield piece


async def _gathered(pieces: AsyncGenerator[Buffer, None]) -> AsyncGenerator[Buffer, None]:
    """The pieces, small ones joined."""
    joined = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            if joined and (len(piece) > SMALL or len(joined) + len(piece) > PIECE):
                yield joined
                joined = bytearray()
            if len(piece) > SMALL:
                yield piece
            else:
                joined += piece
    if joined:
        yield joined


def _new(sized: bool) -> ZipStream:
    from zipstream import ZipStream  # late: who makes no zip does not load it

    return ZipStream(sized=sized)


def _length(items: Sequence[CopyItem], comment: bytes) -> int | None:
    """Bytes of the whole zip, None where a size is not known."""
    counting = _new(sized=True)
    counting.comment = comment
    for item in items:
        if item.size is None:
            return None
        counting.add(_Handed(), item.key, size=item.size)
    size = len(counting)
    if (
        len(items) == _EXACTLY
        and size - _END - len(comment) - sum(_ENTRY + len(item.key.encode()) for item in items)
        < _LARGE
    ):
        size += _LARGE_END
    return size


def _dated(head: Buffer, at: int, item: CopyItem) -> bytearray:
    """The head with the member's own time; the library knows times of files on disk only, and puts the present one there."""
    when = time.localtime(time.time() if item.modified is None else item.modified)
    year, month, day, hour, minute, second = when[:6]
    if year < 1980:  # what two bytes can say
        year, month, day, hour, minute, second = 1980, 1, 1, 0, 0, 0
    elif year > 2107:
        year, month, day, hour, minute, second = 2107, 12, 31, 23, 59, 58
    dated = bytearray(head)
    struct.pack_into(
        "<HH",
        dated,
        at,
        hour << 11 | minute << 5 | second // 2,
        (year - 1980) << 9 | month << 5 | day,
    )
    return dated
