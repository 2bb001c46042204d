"""A zip that is made while it is read. Members are stored uncompressed, so its length is known
first.

Memory holds only what the directory at the end needs: name, size, time and checksum of at most
MOST_MEMBERS members. A member that fails, or whose length is not the announced one, ends the stream
with an error: a wrong zip never looks whole. The zip's comment, at its very end, counts and names
the members that had to be left out. Knows nothing of stores, copies or servers.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluiceway.errors import SluiceError, SourceFailed, TooLarge
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source, SourceSpent
from sluiceway.wire.names import leads_out, readable_name

if TYPE_CHECKING:
    from zipstream import ZipStream

__all__ = ["MEMBER_COST", "MOST_MEMBERS", "OpenMember", "ZipContents", "ZipMember", "ZipSource"]

# The directory stands at a zip's end and is held until then: 100 MB at this number.
MOST_MEMBERS = 100_000
# Bytes of memory a member takes; 0.9 KiB measured, with keys of 70 characters.
MEMBER_COST = 1 << 10
MOST_NAME = (1 << 16) - 1  # bytes; a zip has two bytes for the length of a name
MOST_NAMED = 40  # lines of the comment, which may have 64 KiB
MOST_LINE = 400  # characters of one line, of four bytes at most
# Bytes of one checksum on the event loop (0.1 ms), and of small pieces gathered into one.
CHECKSUM_STEP = 256 << 10
# Bytes; smaller pieces are gathered: heads of 100 bytes would be packets of their own.
SMALL_PIECE = 32 << 10

_CENTRAL = b"PK\x01\x02"
# zipstream 1.9.3 writes the large end record at this number of members, but counts its bytes only
# from the next number on.
_UNCOUNTED_MEMBERS = 65_535
_LARGE_END = 76  # bytes of that record and its locator
_LARGE = 1 << 31  # bytes before the directory from which on that record is counted in any case
_ENTRY, _END = 46, 22  # bytes of a directory's entry without its name, and of the last record


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file of a zip, before its bytes."""

    name: str
    size: int | None  # bytes; None while unknown
    modified: float | None = None  # seconds since the epoch
    version: str = ""  # handed back when the member is opened; the zip does not contain it


OpenMember = Callable[[ZipMember], AbstractAsyncContextManager[Source]]


class ZipContents:
    """What goes into a zip, and what is left out."""

    def __init__(self, most: int = MOST_MEMBERS) -> None:
        self._most = most
        self._members: list[ZipMember] = []
        self._omitted, self._lines = 0, list[str]()

    def add(self, member: ZipMember) -> str | None:
        """Takes the member; or returns why no member can have this name. Raises TooLarge."""
        if (reason := _unfit(member.name)) is not None:
            return reason
        if len(self._members) >= self._most:
            raise TooLarge(
                f"More than {self._most} files are meant, and a zip's directory is held in memory; "
                "name fewer"
            )
        self._members.append(member)
        return None

    def leave_out(self, name: str, reason: str) -> None:
        """The zip's comment counts this file, and names it while it is one of the first."""
        self._omitted += 1
        if len(self._lines) < MOST_NAMED:
            self._lines.append(f"{readable_name(name)}: {reason}"[:MOST_LINE])

    async def source(self, open: OpenMember, reopenable: bool = True) -> ZipSource:
        """The zip. `reopenable`: each member can be opened again, and then gives the same bytes."""
        comment = self._comment()
        # In a thread: a third of a second for the largest number of members.
        length = await asyncio.to_thread(_length, self._members, comment)
        return ZipSource(open, self._members, length, comment, reopenable)

    def _comment(self) -> bytes:
        if not self._omitted:
            return b""
        hidden = self._omitted - MOST_NAMED
        more = [f"and {hidden} more"] if hidden > 0 else []
        first = f"Not in this archive, although meant: {self._omitted}"
        return "\n".join([first, *self._lines, *more]).encode("utf-8", "replace")


def _unfit(name: str) -> str | None:
    """Why no member can have this name."""
    if (reason := leads_out(name)) is None and len(name.encode()) > MOST_NAME:
        return "a name longer than a zip can hold"
    return reason


class ZipSource:
    """A Source; see `ZipContents.source`. Reopened, it gives the same bytes again."""

    def __init__(
        self,
        open: OpenMember,
        members: Sequence[ZipMember],
        length: int | None,
        comment: bytes,
        reopenable: bool,
    ) -> None:
        self._open, self._members, self._comment = open, members, comment
        self._opened = False
        self.reopenable = reopenable
        self.length: int | None = length

    @property
    def members(self) -> int:
        """The number of files in it."""
        return len(self._members)

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        """Made from the beginning also for a later `start`: the directory has all checksums.

        Raises SourceFailed, SourceSpent.
        """
        if self._opened and not self.reopenable:
            raise SourceSpent("This zip is made of a stream that can be read only once")
        self._opened = True
        at = 0
        async with aclosing(_gathered(self._pieces())) as pieces:
            async for piece in pieces:
                end = None if stop is None else max(0, stop - at)
                wanted = memoryview(piece)[max(0, start - at) : end]
                at += len(piece)
                if len(wanted):
                    yield wanted
                if stop is not None and at >= stop:
                    return
        if self.length is not None and at != self.length:
            raise SourceFailed(
                f"The zip became {at} bytes long instead of {self.length}; do not use it"
            )

    async def _pieces(self) -> AsyncGenerator[Buffer, None]:
        archive = _new_archive(sized=False)
        archive.comment = self._comment
        for member in self._members:
            async with aclosing(self._member(archive, member)) as pieces:
                async for piece in pieces:
                    yield piece
        entries = iter(self._members)
        for piece in archive.footer():
            yield _dated(piece, 12, next(entries)) if piece[:4] == _CENTRAL else piece

    async def _member(self, archive: ZipStream, member: ZipMember) -> AsyncGenerator[Buffer, None]:
        handover = _Handover()
        archive.add(handover, member.name, size=member.size)
        # Gives the head, then one piece for each that was handed over, then sizes and checksum.
        made = archive.file()
        count = 0
        try:
            async with self._open(member) as source:
                yield _dated(next(made), 10, member)
                chunks = source.open()
                try:
                    async for chunk in chunks:
                        count += len(chunk)
                        if member.size is not None and count > member.size:
                            break
                        for begin in range(0, len(chunk), CHECKSUM_STEP):
                            handover.piece = memoryview(chunk)[begin : begin + CHECKSUM_STEP]
                            yield next(made)
                        del chunk  # before the next one is made
                finally:
                    await close_stream(chunks)
        except SluiceError as error:
            raise SourceFailed(
                f"{member.name!r} could not be put into the zip: {error.detail}"
            ) from error
        if member.size is not None and count != member.size:
            gave = "more" if count > member.size else f"only {count}"
            raise SourceFailed(
                f"{member.name!r} had {member.size} bytes and gave {gave}; the zip was broken off"
            )
        for piece in made:
            yield piece


class _Handover:
    """The data of a member as zipstream takes them: the piece handed over last, until none was."""

    piece: Buffer | None = None

    def __iter__(self) -> Iterator[Buffer]:
        while self.piece is not None:
            piece, self.piece = self.piece, None
            yield piece


async def _gathered(pieces: AsyncGenerator[Buffer, None]) -> AsyncGenerator[Buffer, None]:
    """The pieces; small ones are joined."""
    joined = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            if joined and (len(piece) > SMALL_PIECE or len(joined) + len(piece) > CHECKSUM_STEP):
                yield joined
                joined = bytearray()
            if len(piece) > SMALL_PIECE:
                yield piece
            else:
                joined += piece
    if joined:
        yield joined


def _new_archive(sized: bool) -> ZipStream:
    from zipstream import ZipStream  # late: loaded only where a zip is made

    return ZipStream(sized=sized)


def _length(members: Sequence[ZipMember], comment: bytes) -> int | None:
    """Bytes of the whole zip; None where the size of a member is unknown."""
    counting = _new_archive(sized=True)
    counting.comment = comment
    for member in members:
        if member.size is None:
            return None
        counting.add(_Handover(), member.name, size=member.size)
    size = len(counting)
    if len(members) == _UNCOUNTED_MEMBERS:
        directory = sum(_ENTRY + len(member.name.encode()) for member in members)
        if size - _END - len(comment) - directory < _LARGE:
            size += _LARGE_END
    return size


def _dated(head: Buffer, at: int, member: ZipMember) -> bytearray:
    """The head with the member's own time; zipstream writes the present time for such a member."""
    when = time.localtime(time.time() if member.modified is None else member.modified)
    year, month, day, hour, minute, second = when[:6]
    if year < 1980:  # the first year that two bytes can hold
        year, month, day, hour, minute, second = 1980, 1, 1, 0, 0, 0
    elif year > 2107:
        year, month, day, hour, minute, second = 2107, 12, 31, 23, 59, 58
    clock = hour << 11 | minute << 5 | second // 2
    date = (year - 1980) << 9 | month << 5 | day
    dated = bytearray(head)
    struct.pack_into("<HH", dated, at, clock, date)
    return dated
