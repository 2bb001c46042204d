"""A part of a draft as a source: what an upload kept goes into another one.

Knows no ledger and no request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sluiceway.errors import StoreFailed
from sluiceway.pipe.source import Buffer
from sluiceway.stores.unpublished import ReadableDraft

__all__ = ["DraftSource"]

READ_BLOCK = 1 << 20  # bytes read at once


class DraftSource:
    """`count` bytes of a draft from `start` on."""

    reopenable = True

    def __init__(self, draft: ReadableDraft, start: int, count: int) -> None:
        self._draft, self._start = draft, start
        self.length: int | None = count

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        at = self._start + start
        end = self._start + ((self.length or 0) if stop is None else stop)
        while at < end:
            data = await self._draft.read(at, min(READ_BLOCK, end - at))
            if not data:
                raise StoreFailed("The kept bytes of an upload are shorter than they were")
            yield data
            at += len(data)
