"""Reads a tar from its front, member by member, while it arrives. A pure stream: one head is held
at a time.

The standard library parses a head's 512 bytes; its claims are checked before they are used. An
archive that two programs could read differently is refused: one that passes here is the same
everywhere. Knows nothing of what names mean.
"""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from sluiceway.errors import BadRequest, SluiceError, SourceFailed, TooLarge, Unsupported
from sluiceway.pipe.source import Buffer
from sluiceway.wire.numbers import MOST_INTEGER, clipped_uint

__all__ = ["TarHead", "TarReader"]

BLOCK = 512
# Bytes of all long names and extended attributes of one member; a head can claim gigabytes.
MOST_HEAD = 1 << 20
# Zero bytes behind the end: tar fills up its last record, usually of 10 KiB.
MOST_TAIL = 16 << 20
TAIL_READ = 1 << 16  # bytes of one read behind the end
_ZEROS = bytes(BLOCK)
_SIZE = slice(124, 136)  # the size in a head
_OCTAL = frozenset(b"01234567")
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_OMITTED = {
    tarfile.LNKTYPE: ("unsupported", "a hard link to another member"),
    tarfile.SYMTYPE: ("link", "a symbolic link"),
    tarfile.CHRTYPE: ("special-file", "a device"),
    tarfile.BLKTYPE: ("special-file", "a device"),
    tarfile.FIFOTYPE: ("special-file", "a pipe"),
}
_LABEL = b"V"
_PER_MEMBER = ("path", "size")  # a global header must not set these for all members


@dataclass(frozen=True, slots=True)
class TarHead:
    """A member before its bytes."""

    name: str  # as written, without the slash behind a folder's name
    size: int
    modified: float | None
    kind: Literal["file", "folder", "label", "other"]
    # The code and the reason why there is nothing to copy.
    omitted: tuple[str, str] | None = None
    mode: int = 0o644


class TarReader:
    """One archive. `next` skips the unread rest of the last member.

    After an error every call raises it again.
    """

    def __init__(self, chunks: AsyncIterator[Buffer], display_name: str) -> None:
        self._chunks, self._display_name = chunks, display_name
        self._held = memoryview(b"")
        self._left = 0  # unread bytes of this member
        self._padding = 0
        self._begun = False
        self._error: SluiceError | None = None

    async def next(self) -> TarHead | None:
        """Return the next member, None at the archive's end.

        Raises SourceFailed, TooLarge, BadRequest, Unsupported.
        """
        if self._error is not None:
            raise self._error
        try:
            async for _ in self.data():
                pass
            await self._skip_padding()
            return await self._head()
        except SluiceError as error:
            self._error = error
            raise

    async def data(self) -> AsyncIterator[Buffer]:
        """Yield the rest of this member's bytes. Raises SourceFailed for an archive that ends
        before."""
        while self._left:
            try:
                piece = await self._read(self._left)
            except SluiceError as error:
                self._error = error
                raise
            if not len(piece):
                self._error = SourceFailed(
                    f"{self._display_name} ends in the middle of a file, {self._left} bytes too"
                    " early"
                )
                raise self._error
            self._left -= len(piece)
            yield piece

    async def _head(self) -> TarHead | None:
        more: dict[str, str] = {}
        room = MOST_HEAD
        while True:
            block = await self._exactly(BLOCK)
            if not self._begun and not block:
                raise SourceFailed(f"{self._display_name} is empty, and no tar")
            if not block:
                raise SourceFailed(
                    f"{self._display_name} has no end mark: it was cut behind a file."
                    " The files before it are complete"
                )
            if block == _ZEROS:
                await self._end()
                return None
            info = self._parse(block)
            self._begun = True
            if info.type not in _EXTENDED:
                return self._member(info, more)
            room -= BLOCK + info.size + -info.size % BLOCK
            if room < 0:
                raise TooLarge(
                    f"{self._display_name} has a member whose name and attributes"
                    f" take more than {MOST_HEAD} bytes"
                )
            more |= self._extension(info.type, await self._small(info.size))

    def _parse(self, block: bytes) -> tarfile.TarInfo:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            what = "is damaged: a member's head" if self._begun else "is not a tar: its head"
            raise SourceFailed(f"{self._display_name} {what} cannot be read ({error})") from error
        size = block[_SIZE]
        # int() would take 1_0 and -1 as well.
        if size[0] < 0x80 and not _OCTAL.issuperset(size.split(b"\0", 1)[0].strip()):
            raise BadRequest(
                f"{self._display_name} has a member of {size!r} bytes, which is not a number"
            )
        if not 0 <= info.size <= MOST_INTEGER:
            raise BadRequest(
                f"{self._display_name} has a member of {info.size} bytes, which cannot be"
            )
        return info

    async def _small(self, size: int) -> bytes:
        data = await self._exactly(size + -size % BLOCK)
        if len(data) < size:
            raise SourceFailed(f"{self._display_name} ends in the middle of a member's head")
        return data[:size]

    def _extension(self, kind: bytes, data: bytes) -> dict[str, str]:
        """Return what an extended head says about the next member."""
        if kind == tarfile.GNUTYPE_LONGNAME:
            return {"long": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
        if kind == tarfile.GNUTYPE_LONGLINK:
            return {}
        records = self._records(data)
        if kind != tarfile.XGLTYPE:
            return records
        if wrong := [key for key in records if key in _PER_MEMBER or key.startswith("GNU.sparse.")]:
            raise BadRequest(
                f"{self._display_name} sets one {wrong[0]} for all its members,"
                " which programs read differently"
            )
        return {}

    def _records(self, data: bytes) -> dict[str, str]:
        """Read a pax head: "LENGTH KEY=VALUE\\n", repeated (POSIX, pax, 'Extended Header')."""
        records: dict[str, str] = {}
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 20)
            length = None if space < 0 else clipped_uint(data[at:space], len(data))
            if (
                length is None
                or not space - at + 1 < length <= len(data) - at
                or data[at + length - 1] != ord("\n")
            ):
                raise BadRequest(f"{self._display_name} has an extended head that cannot be read")
            key, _, value = data[space + 1 : at + length - 1].partition(b"=")
            records[key.decode("utf-8", "surrogateescape")] = value.decode(
                "utf-8", "surrogateescape"
            )
            at += length
        return records

    def _member(self, info: tarfile.TarInfo, more: dict[str, str]) -> TarHead:
        name = more.get("path") or more.get("long") or info.name
        size = info.size
        if "size" in more:
            extended = clipped_uint(more["size"])
            if extended is None or extended > MOST_INTEGER:
                raise BadRequest(
                    f"{self._display_name} says that {name!r} has {more['size'][:30]!r} bytes,"
                    " which is not a number"
                )
            size = extended
        if info.type == tarfile.GNUTYPE_SPARSE or any(
            key.startswith("GNU.sparse.") for key in more
        ):
            raise Unsupported(
                f"{name!r} in {self._display_name} is packed as a sparse file;"
                " pack it without tar's --sparse"
            )
        kind = _kind(info.type, name)
        if size and (kind == "folder" or info.type in _OMITTED):
            # Some programs skip so many bytes, others none: they would read two different archives.
            raise BadRequest(
                f"{self._display_name} says that {name!r}, which is not a file, has {size} bytes"
            )
        self._left, self._padding = size, -size % BLOCK
        omitted = (
            _OMITTED.get(info.type, ("unsupported", "neither a file nor a folder"))
            if kind == "other"
            else None
        )
        display_name = name.rstrip("/") if kind == "folder" else name
        return TarHead(display_name, size, _modified(info, more), kind, omitted, info.mode & 0o777)

    async def _end(self) -> None:
        """Read the rest: one block of zeros is the end, two are usual.

        Only zeros may follow: another archive behind the end would be lost.
        """
        room = MOST_TAIL
        while len(piece := await self._read(TAIL_READ)):
            room -= len(piece)
            if bytes(piece).strip(b"\0"):
                raise SourceFailed(
                    f"{self._display_name} goes on behind its end mark; the rest was not copied"
                )
            if room < 0:
                raise SourceFailed(
                    f"{self._display_name} does not end:"
                    f" more than {MOST_TAIL} zeros follow its end mark"
                )

    async def _skip_padding(self) -> None:
        padding, self._padding = self._padding, 0
        if len(await self._exactly(padding)) < padding:
            raise SourceFailed(f"{self._display_name} ends in the middle of a file's last block")

    async def _exactly(self, size: int) -> bytes:
        """Return so many bytes, at most MOST_HEAD, or none at the end.

        Raises SourceFailed where the archive ends in between.
        """
        got = bytearray()
        while len(got) < size and len(piece := await self._read(size - len(got))):
            got += piece
        if got and len(got) < size:
            raise SourceFailed(f"{self._display_name} ends in the middle of a head")
        return bytes(got)

    async def _read(self, most: int) -> memoryview:
        """Return at most so many bytes; none only at the end."""
        while not self._held:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return memoryview(b"")
            self._held = memoryview(chunk)
        piece, self._held = self._held[:most], self._held[most:]
        return piece


def _kind(type_flag: bytes, name: str) -> Literal["file", "folder", "label", "other"]:
    # Before 1988 the slash was the only sign of a folder.
    if type_flag == tarfile.DIRTYPE or (type_flag in _FILES and name.endswith("/")):
        return "folder"
    return "file" if type_flag in _FILES else "label" if type_flag == _LABEL else "other"


def _modified(info: tarfile.TarInfo, more: dict[str, str]) -> float | None:
    extended = clipped_uint(more.get("mtime", "").partition(".")[0])
    when = extended if extended is not None else info.mtime
    return float(when) if 0 <= when < 1 << 40 else None
