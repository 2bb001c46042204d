"""A tar as an origin: its members come out while it still arrives, each once and in its order. Nothing is extracted to disk.

A name that leads out, a size that cannot be, more than the limits allow: the archive is refused there, and what came before it
is whole. Links and devices are left out and named.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from sluiceway.archives.decompress import unsqueezed
from sluiceway.archives.tar_reader import TarHead, TarReader
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.errors import BadName, BadOrder, TooLarge
from sluiceway.pipe.source import PassingSource, Source
from sluiceway.stores.contract import Metadata, Omitted
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.names import clean_name, leads_out

__all__ = ["TarLimits", "TarSource"]


@dataclass(frozen=True, slots=True)
class TarLimits:
    """What an archive may claim. Sizes cost nothing here: the limits are for the destination's sake."""

    member: int = 5 << 40  # bytes of one file: S3's largest object
    total: int = 64 << 40  # bytes of all files
    members: int = 10_000_000
    ratio: int = (
        200  # how far it may swell; text packs to a fiftieth, zeros to a thousandth and less
    )
    free: int = 1 << 30  # bytes until nobody asks how far


class TarSource:
    """`source` is a tar, plain or packed with gzip, bzip2 or xz. Closing it does not close the source's owner."""

    rereadable = False
    display_name: str

    def __init__(
        self,
        source: Source,
        display_name: str,
        limits: TarLimits = TarLimits(),
        meant: Callable[[str], bool] = lambda key: True,
    ) -> None:
        """`meant` says of a key whether it is chosen at all: names of members that are not are not judged."""
        self.display_name = display_name
        self._meant = meant
        self._source, self._limits = source, limits
        self._reader: TarReader | None = None
        self._open_now: CopyItem | None = None
        self._count = self._bytes = 0

    async def items(self) -> AsyncIterator[CopyItem]:
        """Raises BadName, TooLarge, BadRequest, Unsupported, SourceFailed: the archive can be read no further then."""
        limits = self._limits
        async with aclosing(
            unsqueezed(self._source.open(), self.display_name, limits.ratio, limits.free)
        ) as chunks:
            self._reader = TarReader(chunks, self.display_name)
            while (head := await self._reader.next()) is not None:
                self._count += 1
                self._bytes += head.size
                self._check(head)
                if head.kind in ("folder", "label"):
                    continue
                version = f"{self._count}-{head.size}-{head.modified}"  # its place too: a name may come twice
                key = _key(head.name)
                omitted = None if head.omitted is None else Omitted(key, *head.omitted)
                self._open_now = CopyItem(
                    key, head.size, version, head.modified, omitted, mode=head.mode
                )
                yield self._open_now
                self._open_now = None

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        if item is not self._open_now or self._reader is None:
            raise BadOrder(
                f"{item.key!r} has flowed past; a tar's members are read one by one, in their order"
            )
        name = item.key.rpartition("/")[2]
        self._open_now = None  # once
        yield Reading(
            item,
            PassingSource(self._reader.data(), item.size),
            Metadata(clean_name(name), guess_type(name)),
        )

    async def aclose(self) -> None:
        """What is read belongs to whoever iterates; see `items`."""

    def _check(self, head: TarHead) -> None:
        limits = self._limits
        if head.kind == "label" or (head.kind == "folder" and _key(head.name) in ("", ".")):
            return
        if self._meant(_key(head.name)) and (why := _leads_out(_key(head.name))) is not None:
            raise BadName(
                f"{self.display_name} has a member {head.name[:200]!r}: {why}. Nothing from there on was copied"
            )
        if self._count > limits.members:
            raise TooLarge(
                f"{self.display_name} has more than {limits.members} members", limit=limits.members
            )
        if head.size > limits.member:
            raise TooLarge(
                f"{self.display_name} says that {head.name!r} has {head.size} bytes; {limits.member} are the most"
            )
        if self._bytes > limits.total:
            raise TooLarge(
                f"{self.display_name} holds more than {limits.total} bytes", limit=limits.total
            )


def _leads_out(key: str) -> str | None:
    """Why no file may get this name. A backslash is a character like others, where it does not stand between folders."""
    return leads_out(key if os.name == "nt" else key.replace("\\", "_"))


def _key(name: str) -> str:
    """The name without the `./` that `tar c .` puts before each."""
    while name.startswith("./"):
        name = name[2:]
    return name
