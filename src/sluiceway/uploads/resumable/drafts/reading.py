"""The kept bytes of a draft, read back: to hash them, or to append them to another draft.

Knows no request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sluiceway.errors import StoreFailed
from sluiceway.pipe.source import Buffer
from sluiceway.stores.unpublished import ReadableDraft

__all__ = ["read_draft"]

READ_BLOCK = 1 << 20  # bytes read at once


async def read_draft(draft: ReadableDraft, start: int, stop: int) -> AsyncIterator[Buffer]:
    """Yield the bytes from `start` to `stop`. Raises StoreFailed where they are not there."""
    while start < stop:
        data = await draft.read(start, min(READ_BLOCK, stop - start))
        if not data:
            raise StoreFailed("The kept bytes of an upload are shorter than they were")
        yield data
        start += len(data)
