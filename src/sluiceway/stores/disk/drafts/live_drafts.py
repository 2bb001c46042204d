"""The drafts of a store that are under way: what they hold while their sender is slow or pauses.

A draft that gets few bytes gives back its memory and its reserve of the disk. A draft that is
complete and waits for the rest of its form is not looked at again; of too many, the oldest is
closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.stores.group_commit import MOST_TOGETHER, GroupCommit

__all__ = ["LiveDrafts"]

LOOK_EVERY = 0.5  # seconds between two looks for slow senders
# Bytes between two looks; a slower sender becomes idle. At 128 KiB/s a block takes 16 seconds to
# fill.
SLOW_BYTES = 64 << 10
# Complete drafts of a store that wait for the rest of their forms with an open file. Each one
# beyond costs a sync.
MOST_WAITING_OPEN = 64


class LiveDrafts:
    """Used from one event loop only."""

    def __init__(self, threads: Executor) -> None:
        self._writing = GroupCommit[_Work](_do_all, threads)
        self._all: set[DiskDraft] = set()
        self._receiving: set[DiskDraft] = set()
        self._waiting: dict[DiskDraft, None] = {}  # complete and still open, the oldest first
        self._looking: asyncio.Task[None] | None = None

    async def write_together(self, work: Callable[[], None]) -> None:
        """Run blocking work with that of other drafts that become idle: a visit to a thread for
        each of them took half of a slow upload's time. Raises what it raises."""
        each = _Work(work)
        await self._writing.run(each)
        if each.error is not None:
            raise each.error

    def receiving(self, draft: DiskDraft) -> None:
        """Bytes come to the draft, for the first time or again."""
        self._all.add(draft)
        self._receiving.add(draft)
        self._waiting.pop(draft, None)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_for_slow_senders())

    async def paused(self, draft: DiskDraft) -> None:
        """No more bytes come for now.

        Raises StoreFailed or NoSpace when the draft cannot be closed.
        """
        self._receiving.discard(draft)
        self._waiting[draft] = None
        while len(self._waiting) > MOST_WAITING_OPEN:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            if oldest is draft:
                await oldest.close_file()
            else:
                with suppress(SluiceError):  # of another upload, whose next call raises it
                    await oldest.close_file()

    def ended(self, draft: DiskDraft) -> None:
        self._all.discard(draft)
        self._receiving.discard(draft)
        self._waiting.pop(draft, None)

    async def aclose(self) -> None:
        """End every draft."""
        if self._looking is not None:
            await end_task(self._looking)
        for draft in list(self._all):
            await draft.close()

    async def _look_for_slow_senders(self) -> None:
        while self._receiving:
            await asyncio.sleep(LOOK_EVERY)
            holding: list[DiskDraft] = []
            for draft in list(self._receiving):
                slow, draft.recent = draft.recent < SLOW_BYTES, 0
                if slow:
                    self._receiving.discard(draft)  # until its next write
                    if draft.holds_much:
                        holding.append(draft)
                    else:
                        await draft.become_idle()
            for at in range(0, len(holding), MOST_TOGETHER):
                await asyncio.gather(
                    *(draft.become_idle() for draft in holding[at : at + MOST_TOGETHER])
                )


class _Work:
    """Work for a thread; in the end it may have an error."""

    __slots__ = ("do", "error")

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do
        self.error: Exception | None = None


def _do_all(group: Sequence[_Work]) -> None:
    for each in group:
        try:
            each.do()
        except Exception as error:  # of one draft only
            each.error = error
