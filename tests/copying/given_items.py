"""A CopySource for tests: objects from bytes, from a number of zeros, or with an error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.errors import SluiceError
from sluiceway.pipe.source import Buffer, BytesSource, Source
from sluiceway.stores.contract import Metadata

__all__ = ["FailingSource", "GivenItems", "Zeros"]

MIB = 1 << 20


class Zeros:
    """A number of zeros, none of them stored."""

    reopenable = True

    def __init__(self, size: int) -> None:
        self.length: int | None = size

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        block, left = bytes(MIB), (self.length or 0) - start
        while left > 0:
            yield block[:left]
            left -= MIB


class GivenItems:
    """Key -> bytes, number of zeros, or an error that half of the object ends in.

    `sizes`: announced instead of the true ones.
    """

    display_name = "given"
    rereadable = True

    def __init__(
        self,
        given: Mapping[str, bytes | int | SluiceError],
        sizes: Mapping[str, int | None] | None = None,
    ) -> None:
        self._given, self._sizes = given, sizes or {}
        self.open_now = 0  # readings under way

    async def items(self) -> AsyncIterator[CopyItem]:
        for key, what in self._given.items():
            size = len(what) if isinstance(what, bytes) else what if isinstance(what, int) else 1000
            yield CopyItem(key, self._sizes.get(key, size), modified=1_000_000_000.0)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        what = self._given[item.key]
        self.open_now += 1
        try:
            source: Source = (
                BytesSource(what)
                if isinstance(what, bytes)
                else Zeros(what)
                if isinstance(what, int)
                else FailingSource(what)
            )
            yield Reading(item, source, Metadata(item.key.rpartition("/")[2]))
        finally:
            self.open_now -= 1

    async def aclose(self) -> None:
        return


class FailingSource:
    """500 bytes of 1000, then the error."""

    reopenable = True
    length: int | None = 1000

    def __init__(self, error: SluiceError) -> None:
        self._error = error

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        yield bytes(500)
        raise self._error
