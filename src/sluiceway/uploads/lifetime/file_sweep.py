"""Deletes the files whose time is over, exactly by what stands beside each.

A file that was replaced meanwhile stays: the version that was looked at is deleted, or none.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from sluiceway.errors import NotFound, SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.stores.contract import Entry, Store
from sluiceway.uploads.lifetime.download_counts import DownloadCounts
from sluiceway.uploads.lifetime.lifetimes import remove, remove_if_over

__all__ = ["FileSweep", "sweep_files"]

log: logging.Logger = logging.getLogger("sluiceway")

PAGE = 1000  # entries that are looked at together
INTERVAL = 600.0  # seconds between two sweeps; the downloads of a file end at its own second
# Where each object must be asked for its metadata; a request costs money there.
COSTLY_INTERVAL = 6 * 3600.0
SHORTEST = 1.0


async def sweep_files(
    store: Store, now: float | None = None, counts: DownloadCounts | None = None
) -> int:
    """Delete every file of a store whose time is over.

    Args:
        store: One that is readable.
        now: Seconds since the epoch; None: now.
        counts: Of downloads: a file that had all of its own is deleted, an hour after the last.

    Returns:
        How many files were deleted.

    Raises:
        StoreFailed: The listing broke off.
    """
    moment, count, after = time.time() if now is None else now, 0, ""
    while True:
        page = await store.list("", after, PAGE)
        for entry in page.entries:
            count += await _sweep_one(store, entry, moment, counts)
        if page.next is None:
            return count
        after = page.next


async def _sweep_one(store: Store, entry: Entry, now: float, counts: DownloadCounts | None) -> bool:
    """A file that cannot be deleted is logged, and the others are deleted all the same."""
    try:
        known = entry if store.traits.lists_metadata else await store.stat(entry.key)
        limit = known.metadata.downloads
        if counts is None or limit is None:
            return await remove_if_over(store, known, now)
        is_used_up = await counts.is_used_up(limit[1], limit[0], for_good=True)
        if not await (
            remove(store, known, now) if is_used_up else remove_if_over(store, known, now)
        ):
            return False
        await counts.forget(limit[1])
        return True
    except NotFound:
        return False
    except SluiceError as error:
        log.warning("%s has expired, and cannot be deleted: %s", entry.key, error.for_log)
        return False


class FileSweep:
    """The sweeps of one store in the background."""

    def __init__(
        self, store: Store, expire: float | None, counts: DownloadCounts | None = None
    ) -> None:
        """`expire`: seconds after which most files expire."""
        self._store, self._counts = store, counts
        longest = INTERVAL if store.traits.lists_metadata else COSTLY_INTERVAL
        self._interval = max(SHORTEST, min(longest, (expire or 4 * longest) / 4))
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Does nothing when it has begun."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        if self._task is not None:
            await end_task(self._task)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                if count := await sweep_files(self._store, counts=self._counts):
                    log.info("Swept: %d files deleted whose time was over", count)
            except SluiceError as error:
                log.warning("Expired files were not deleted: %s", error.for_log)
            # Jitter: the processes of a server start together.
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))  # noqa: S311  # no secret
