"""A tar as a source: its members are copied while it arrives, each once and in order.

Nothing is extracted to disk. A name that leads out, an impossible size, more than the limits allow:
the archive is refused there, and the members before are complete. Links and devices are left out
and named.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from sluiceway.archives.decompress import decompress
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
    """What an archive may claim. Sizes cost nothing here: the limits protect the destination."""

    member: int = 5 << 40  # bytes of one file: S3's largest object
    total: int = 64 << 40  # bytes of all files
    members: int = 10_000_000
    # How far it may expand: text packs to a fiftieth, zeros to a thousandth and less.
    ratio: int = 200
    free: int = 1 << 30  # bytes until the ratio counts


class TarSource:
    """A tar, plain or packed with gzip, bzip2 or xz. Its own source is closed by the owner."""

    rereadable = False
    display_name: str

    def __init__(
        self,
        source: Source,
        display_name: str,
        limits: TarLimits = TarLimits(),
        selects: Callable[[str], bool] = lambda key: True,
    ) -> None:
        """`selects`: whether a key is to be copied; the names of other members are not checked."""
        self.display_name = display_name
        self._selects = selects
        self._source, self._limits = source, limits
        self._reader: TarReader | None = None
        self._open_now: CopyItem | None = None
        self._count = self._bytes = 0

    async def items(self) -> AsyncIterator[CopyItem]:
        """Raises BadName, TooLarge, BadRequest, Unsupported, SourceFailed.

        The rest of the archive cannot be read then.
        """
        limits = self._limits
        async with aclosing(
            decompress(self._source.open(), self.display_name, limits.ratio, limits.free)
        ) as chunks:
            self._reader = TarReader(chunks, self.display_name)
            while (head := await self._reader.next()) is not None:
                self._count += 1
                self._bytes += head.size
                self._check(head)
                if head.kind in ("folder", "label"):
                    continue
                # With its place in the archive: a name may come twice.
                version = f"{self._count}-{head.size}-{head.modified}"
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
                f"{item.key!r} has been passed; a tar's members are read one by one, in order"
            )
        name = item.key.rpartition("/")[2]
        self._open_now = None  # once
        source = PassingSource(self._reader.data(), item.size)
        yield Reading(item, source, Metadata(clean_name(name), guess_type(name)))

    async def aclose(self) -> None:
        """The stream belongs to the caller of `items`."""

    def _check(self, head: TarHead) -> None:
        limits, key, shown = self._limits, _key(head.name), self.display_name
        if head.kind == "label" or (head.kind == "folder" and key in ("", ".")):
            return
        if self._selects(key) and (reason := _leads_out(key)) is not None:
            raise BadName(
                f"{shown} has a member {head.name[:200]!r}: {reason}. "
                "Nothing from there on was copied"
            )
        if self._count > limits.members:
            raise TooLarge(f"{shown} has more than {limits.members} members", limit=limits.members)
        if head.size > limits.member:
            raise TooLarge(
                f"{shown} says that {head.name!r} has {head.size} bytes; "
                f"at most {limits.member} are taken"
            )
        if self._bytes > limits.total:
            raise TooLarge(f"{shown} holds more than {limits.total} bytes", limit=limits.total)


def _leads_out(key: str) -> str | None:
    """Why no file may have this name. Off Windows a backslash is a character like any other."""
    return leads_out(key if os.name == "nt" else key.replace("\\", "_"))


def _key(name: str) -> str:
    """The name without the `./` that `tar c .` puts before each."""
    while name.startswith("./"):
        name = name[2:]
    return name
