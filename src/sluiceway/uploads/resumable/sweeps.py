"""Ends uploads whose time is over, forgets those that ended long ago, removes what crashes left.

An upload that a request holds is left alone. Of several processes one sweeps at a time. Knows no
dialect, and not how an upload is held.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context
from dataclasses import dataclass

from sluiceway.errors import SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.stores.contract import Store
from sluiceway.stores.unpublished import ListsDrafts
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.drafts.opening import listing_stores
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.totals import Totals

__all__ = ["Leftovers", "Sweeps"]

log: logging.Logger = logging.getLogger("sluiceway")

AT_ONCE = 100  # uploads; a sweep goes on until none is left
NAMES_AT_ONCE = 1000  # drafts that are compared with the whole ledger
INTERVAL = 600.0  # seconds between two sweeps, where uploads live for longer
SHORTEST = 1.0  # seconds
ENDED = (LedgerState.DONE, LedgerState.GONE)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What crashes left and a sweep removed.

    Args:
        drafts: Bytes that no upload of the ledger has, or one that has ended.
        uploads: Uploads whose bytes are gone.
    """

    drafts: int = 0
    uploads: int = 0


class Sweeps:
    """The sweeps of one service's uploads."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        expiry: Expiry,
        hold_free: Callable[[str], AbstractAsyncContextManager[HeldUpload | None]],
        totals: Totals,
    ) -> None:
        """`hold_free` takes an upload up unless a request has it."""
        self._totals = totals
        self._ledger, self._store, self._expiry = ledger, store, expiry
        self._hold_free = hold_free
        self._task: asyncio.Task[None] | None = None

    async def expire(self, now: float) -> int:
        """Returns how many uploads were ended or forgotten. `now`: seconds since the epoch."""
        count = 0
        while records := await self._ledger.expired(now, AT_ONCE):
            ended = 0
            for record in records:
                with suppress(SluiceError):
                    ended += await self._expire(record, now)
            count += ended
            if not ended:
                break
        return count

    async def remove_leftovers(self, older: float) -> Leftovers:
        """Compare drafts and ledger, both ways.

        An upload to several stores may be published in some of them: its end is left to expiry.
        """
        drafts = await self._remove_unknown(older)
        if not isinstance(self._store, ListsDrafts):
            return Leftovers(drafts)
        return Leftovers(drafts, await self._end_lost(self._store))

    async def _remove_unknown(self, older: float) -> int:
        """A draft that got bytes within `older` seconds is left alone: it may belong to another
        ledger. Returns how many were removed from all stores."""
        listing = listing_stores(self._store)
        return sum([await self._remove_unknown_of(each, older) for each in listing])

    async def _remove_unknown_of(self, store: ListsDrafts, older: float) -> int:
        drafts, after = 0, ""
        while names := await store.draft_names(after, NAMES_AT_ONCE, older):
            after, unknown = names[-1], set(names)
            async for upload in self._ids():
                name = store.draft_name(upload)
                if name in unknown and not await self._is_gone(upload):
                    unknown.discard(name)
            for name in sorted(unknown):
                await store.remove_draft(name)
            drafts += len(unknown)
        return drafts

    async def _is_gone(self, upload: str) -> bool:
        """Whether it ended without a file, and only its end is remembered. A kill may have come
        between that and the removal of its bytes."""
        record = await self._ledger.find(upload)
        return record is None or record.state is LedgerState.GONE

    def start(self) -> None:
        """Sweep now and then in the background, until the end."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def aclose(self) -> None:
        if self._task is not None:
            await end_task(self._task)  # its loop may have ended before, and it with that
            self._task = None

    async def _run(self) -> None:
        lives = min(self._expiry.after or INTERVAL, self._expiry.remembered)
        interval = min(INTERVAL, max(SHORTEST, lives / 4))
        while True:
            try:
                if await self._ledger.begin_sweep(interval * 0.8):
                    await self._sweep()
            except SluiceError as error:
                log.warning("Expired uploads were not removed: %s", error.for_log)
            # Jitter: the processes of a server start together.
            await asyncio.sleep(interval * random.uniform(0.9, 1.1))  # noqa: S311  # no secret

    async def _sweep(self) -> None:
        count = await self.expire(self._ledger.now())
        drafts = 0
        # An upload whose bytes are not there is left to its expiry: the folder may be back later.
        if self._expiry.after is not None:
            drafts = await self._remove_unknown(max(3600.0, self._expiry.after))
        self._totals.count_sweep(count)
        if count or drafts:
            log.info("Swept: %d uploads expired or forgotten, %d drafts left over", count, drafts)

    async def _expire(self, record: UploadRecord, now: float) -> bool:
        """Whether something was done. An upload that moved meanwhile is left alone."""
        if record.state in ENDED:
            await self._ledger.remove(record.id)
            return True
        async with self._hold_free(record.id) as held:
            if held is None or held.record.expires is None or held.record.expires > now:
                return False
            if held.record.state in ENDED:
                return False
            await held.cancel("expired")
            return True

    async def _end_lost(self, store: ListsDrafts) -> int:
        """Uploads of whose bytes some were kept, and none are there."""
        count = 0
        async for upload in self._ids():
            record = await self._ledger.find(upload)
            if record is None or not _should_have_draft(record):
                continue
            if record.holder == "" and not await store.has_draft(upload):
                async with self._hold_free(upload) as held:
                    if held is not None and _should_have_draft(held.record):
                        await held.cancel("lost")
                        count += 1
        return count

    async def _ids(self) -> AsyncIterator[str]:
        after = ""
        while ids := await self._ledger.ids(after, NAMES_AT_ONCE):
            after = ids[-1]
            for upload in ids:
                yield upload


def _should_have_draft(record: UploadRecord) -> bool:
    return record.state is LedgerState.OPEN and record.offset > 0
