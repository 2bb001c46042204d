"""A tar read from its front, member by member, while it arrives. Nothing is held but one head and the piece in hand.

The standard library reads a head's 512 bytes; what they claim is checked before anything is asked for. What two programs could
understand in two ways is refused: an archive that passes here is the same one everywhere. Knows no names' meaning.
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
MOST_HEAD = (
    1 << 20
)  # bytes of all long names and extended attributes of one member; a head can claim gigabytes
MOST_TAIL = (
    16 << 20
)  # zero bytes behind the end: tapes are filled up to their record, 10 KiB as a rule
_ZEROS = bytes(BLOCK)
_SIZE = slice(124, 136)  # where a head has it
_OCTAL = frozenset(b"01234567")
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_MORE = (
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LEFT = {
    tarfile.LNKTYPE: ("unsupported", "a hard link to another member"),
    tarfile.SYMTYPE: ("link", "a symbolic link"),
    tarfile.CHRTYPE: ("special-file", "a device"),
    tarfile.BLKTYPE: ("special-file", "a device"),
    tarfile.FIFOTYPE: ("special-file", "a pipe"),
}
_LABEL = b"V"
_DECIDING = ("path", "size")  # a global header may not say these of all members at once


@dataclass(frozen=True, slots=True)
class TarHead:
    """What is told of a member before its bytes."""

    name: str  # as it stands there, without the slash behind a folder's name
    size: int
    modified: float | None
    kind: Literal["file", "folder", "label", "other"]
    omitted: tuple[str, str] | None = (
        None  # the code and the reason why its bytes, if it has any, are nothing to copy
    )
    mode: int = 0o644


class TarReader:
    """One archive. `next` skips what was not read of the last member. After an error every call raises it again."""

    def __init__(self, chunks: AsyncIterator[Buffer], display_name: str) -> None:
        self._chunks, self._display_name = chunks, display_name
        self._held = memoryview(b"")
        self._left = 0  # bytes of this member that were not read yet
        self._padding = 0
        self._begun = False
        self._error: SluiceError | None = None

    async def next(self) -> TarHead | None:
        """The next member, None at the archive's end. Raises SourceFailed, TooLarge, BadRequest, Unsupported."""
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
        """What is left of this member's bytes. Raises SourceFailed when the archive ends before."""
        while self._left:
            try:
                piece = await self._some(self._left)
            except SluiceError as error:
                self._error = error
                raise
            if not len(piece):
                self._error = SourceFailed(
                    f"{self._display_name} ends in the middle of a file, {self._left} bytes too early"
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
                    f"{self._display_name} has no end mark: it was cut behind a file. What came before is whole"
                )
            if block == _ZEROS:
                await self._end()
                return None
            info = self._parsed(block)
            self._begun = True
            if info.type not in _MORE:
                return self._member(info, more)
            room -= BLOCK + info.size + -info.size % BLOCK
            if room < 0:
                raise TooLarge(
                    f"{self._display_name} has a member whose name and attributes take more than {MOST_HEAD} bytes"
                )
            more |= self._told(info.type, await self._small(info.size))

    def _parsed(self, block: bytes) -> tarfile.TarInfo:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            what = "is damaged: a member's head" if self._begun else "is no tar: its head"
            raise SourceFailed(f"{self._display_name} {what} cannot be read ({error})") from error
        told = block[_SIZE]
        if told[0] < 0x80 and not _OCTAL.issuperset(
            told.split(b"\0", 1)[0].strip()
        ):  # int() takes 1_0 and -1 as well
            raise BadRequest(
                f"{self._display_name} has a member of {told!r} bytes, which is no number"
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

    def _told(self, kind: bytes, data: bytes) -> dict[str, str]:
        """What an extended head says of the next member."""
        if kind == tarfile.GNUTYPE_LONGNAME:
            return {"long": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
        if kind == tarfile.GNUTYPE_LONGLINK:
            return {}
        said = self._records(data)
        if kind != tarfile.XGLTYPE:
            return said
        if wrong := [key for key in said if key in _DECIDING or key.startswith("GNU.sparse.")]:
            raise BadRequest(
                f"{self._display_name} says one {wrong[0]} of all its members at once, which programs read differently"
            )
        return {}

    def _records(self, data: bytes) -> dict[str, str]:
        """A pax head: "LENGTH KEY=VALUE\\n", one behind the other (POSIX, pax, 'Extended Header')."""
        said: dict[str, str] = {}
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
            said[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
            at += length
        return said

    def _member(self, info: tarfile.TarInfo, more: dict[str, str]) -> TarHead:
        name = more.get("path") or more.get("long") or info.name
        size = info.size
        if "size" in more:
            said = clipped_uint(more["size"])
            if said is None or said > MOST_INTEGER:
                raise BadRequest(
                    f"{self._display_name} says that {name!r} has {more['size'][:30]!r} bytes, which is no number"
                )
            size = said
        if info.type == tarfile.GNUTYPE_SPARSE or any(
            key.startswith("GNU.sparse.") for key in more
        ):
            raise Unsupported(
                f"{name!r} in {self._display_name} is packed as a sparse file; pack it without tar's --sparse"
            )
        kind = _kind(info.type, name)
        if size and (kind == "folder" or info.type in _LEFT):
            # Some programs skip so many bytes, others none: what follows would be read as two different archives.
            raise BadRequest(
                f"{self._display_name} says that {name!r}, which is no file, has {size} bytes"
            )
        self._left, self._padding = size, -size % BLOCK
        omitted = (
            _LEFT.get(info.type, ("unsupported", "neither a file nor a folder"))
            if kind == "other"
            else None
        )
        shown = name.rstrip("/") if kind == "folder" else name
        return TarHead(shown, size, _modified(info, more), kind, omitted, info.mode & 0o777)

    async def _end(self) -> None:
        """One block of zeros is the end, and two are usual. What follows must be zeros: another archive would be lost."""
        room = MOST_TAIL
        while len(piece := await self._some(1 << 16)):
            room -= len(piece)
            if bytes(piece).strip(b"\0"):
                raise SourceFailed(
                    f"{self._display_name} goes on behind its end mark; what follows was not copied"
                )
            if room < 0:
                raise SourceFailed(
                    f"{self._display_name} does not end: more than {MOST_TAIL} zeros follow its end mark"
                )

    async def _skip_padding(self) -> None:
        padding, self._padding = self._padding, 0
        if len(await self._exactly(padding)) < padding:
            raise SourceFailed(f"{self._display_name} ends in the middle of a file's last block")

    async def _exactly(self, size: int) -> bytes:
        """So many bytes, at most MOST_HEAD; fewer and more than none are an archive that was cut."""
        got = bytearray()
        while len(got) < size and len(piece := await self._some(size - len(got))):
            got += piece
        if got and len(got) < size:
            raise SourceFailed(f"{self._display_name} ends in the middle of a head")
        return bytes(got)

    async def _some(self, most: int) -> memoryview:
        """At most so many bytes, none at the end only."""
        while not self._held:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return memoryview(b"")
            self._held = memoryview(chunk)
        piece, self._held = self._held[:most], self._held[most:]
        return piece


def _kind(said: bytes, name: str) -> Literal["file", "folder", "label", "other"]:
    if said == tarfile.DIRTYPE or (
        said in _FILES and name.endswith("/")
    ):  # before 1988 the slash was the only sign
        return "folder"
    return "file" if said in _FILES else "label" if said == _LABEL else "other"


def _modified(info: tarfile.TarInfo, more: dict[str, str]) -> float | None:
    said = clipped_uint(more.get("mtime", "").partition(".")[0])
    when = said if said is not None else info.mtime
    return float(when) if 0 <= when < 1 << 40 else None
