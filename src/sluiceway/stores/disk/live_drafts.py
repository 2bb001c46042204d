"""The drafts of a store that are under way: what they hold while their sender is slow, and while they wait for others.

A draft that gets little hands its memory and its reserve of the disk back. A draft that came whole and waits for the rest of
its form is not looked at again; beyond a few of them, the oldest is written out and its file closed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sluiceway.errors import SluiceError
from sluiceway.stores.disk.draft import DiskDraft

__all__ = ["LiveDrafts"]

REST_EVERY = 0.5  # seconds between looks for drafts that hold memory and get little
SLOW = 64 << 10  # bytes in that time; at 128 KiB/s a block would take 16 seconds to fill
MOST_WAITING_OPEN = 64  # files of a store that came whole, wait for the rest of their forms and are open; a sync more beyond


class LiveDrafts:
    """Used from one event loop only."""

    def __init__(self) -> None:
        self._all: set[DiskDraft] = set()
        self._receiving: set[DiskDraft] = set()
        self._waiting: dict[DiskDraft, None] = {}  # whole and still open, the oldest first
        self._round: asyncio.Task[None] | None = None

    def receiving(self, draft: DiskDraft) -> None:
        """Bytes come, for the first time or again."""
        self._all.add(draft)
        self._receiving.add(draft)
        self._waiting.pop(draft, None)
        if self._round is None or self._round.done():
            self._round = asyncio.get_running_loop().create_task(self._rest_the_slow())

    async def paused(self, draft: DiskDraft) -> None:
        """No more bytes come for now. Raises StoreFailed, NoSpace where a file cannot be written out."""
        self._receiving.discard(draft)
        self._waiting[draft] = None
        while len(self._waiting) > MOST_WAITING_OPEN:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            if oldest is draft:
                await oldest.close_file()
            else:
                with suppress(SluiceError):  # of another upload, which hears of it when it goes on
                    await oldest.close_file()

    def ended(self, draft: DiskDraft) -> None:
        self._all.discard(draft)
        self._receiving.discard(draft)
        self._waiting.pop(draft, None)

    async def aclose(self) -> None:
        """Discard all."""
        if self._round is not None:
            self._round.cancel()
            with suppress(asyncio.CancelledError):
                await self._round
        for draft in list(self._all):
            await draft.discard()

    async def _rest_the_slow(self) -> None:
        while self._receiving:
            await asyncio.sleep(REST_EVERY)
            for draft in list(self._receiving):
                slow, draft.recent = draft.recent < SLOW, 0
                if slow:
                    await draft.rest()
