"""Quotas: bytes are reserved before they come, and counted with the file when it is published.

Exact to the byte for all processes that share the account: what is stored, and what living uploads
have reserved. What a killed process held is found out by looking at the file and at the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from sluiceway.errors import NoSpace, NotFound, OverQuota, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done
from sluiceway.stores.contract import Entry, Store
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.quota.book import Amount, Limits, QuotaBook, QuotaRefusal

__all__ = ["JOINED", "KeyChange", "Quotas"]

log: logging.Logger = logging.getLogger("sluiceway")

T = TypeVar("T")

LOOK_EVERY = 0.01  # seconds between looks whether another upload has done with a key
KEY_TIMEOUT = 60.0  # seconds for that
COUNT_LOOK = 0.05  # seconds between looks whether another process has counted all files
JOINED = "joined"  # in the details of an upload whose bytes are those of another one now
OPEN = (LedgerState.OPEN, LedgerState.FINISHING)
NOTHING = Amount("", 0)


class KeyChange:
    """Keys of which one upload, deletion or rename decides what they have."""

    def __init__(self) -> None:
        self.before: dict[str, Entry | None] = {}
        self.after: dict[str, Entry | None] = {}
        self.reservation: str = ""  # which becomes the file

    def has(self, key: str, entry: Entry | None) -> None:
        """Say what the key has now; of one that is not named, the store is asked."""
        self.after[key] = entry


class Quotas:
    """The quotas of one store. `total` is for all names together, None for no limit."""

    def __init__(
        self, folder: str, store: Store, ledger: Ledger | None, total: int | None, floor: int = 0
    ) -> None:
        """`floor`: bytes of the disk with `folder` that stay free."""
        self._folder, self._store, self._ledger = folder, store, ledger
        self._total, self._floor = total, floor
        self._book: QuotaBook | None = None
        self._opening = asyncio.Lock()
        self._is_counted = False

    @property
    def has_floor(self) -> bool:
        return self._floor > 0

    # Reservations

    async def hold(
        self, id: str, name: str, size: int, of_name: int | None, replaced: Entry | None = None
    ) -> None:
        """Reserve `size` bytes in all for a file of this name, less those that it replaces.

        Raises OverQuota for the name's own quota, NoSpace for that of all, with what is left.
        """
        book = await self._counted()
        wanted, limits = Amount(name, size), Limits(self._total, of_name)
        await self.check_floor(size)
        for attempt in range(2):
            try:
                await self._run(
                    book.hold, id, wanted, limits, None if replaced is None else _amount(replaced)
                )
                return
            except QuotaRefusal as refusal:
                if not attempt and await self._settle(book):
                    continue
                raise _refused(refusal, limits) from None

    async def replaced(self, key: str) -> Entry | None:
        """What a file with this key would replace; None for nothing."""
        try:
            return await self._store.stat(key)
        except NotFound:
            return None

    async def keep(self, id: str) -> None:
        """The reservation is that of an upload in the ledger from now on."""
        await self._run((await self._counted()).keep, id)

    async def join(self, parts: Sequence[str], upload: str) -> None:
        """The reservations of the parts become that of the upload that has their bytes."""
        await self._run((await self._counted()).join, parts, upload)

    async def release(self, *ids: str) -> None:
        """Give reservations back; also to a caller that is cancelled."""
        if ids and self._book is not None:
            await shield_until_done(self._run(self._book.release, ids))

    async def used(self) -> Mapping[str, int]:
        """Stored bytes of each name."""
        return await self._run((await self._counted()).usage)

    # Changes

    @asynccontextmanager
    async def changing(self, keys: Iterable[str]) -> AsyncIterator[KeyChange]:
        """Only this block changes these keys, of all uploads and deletions; then they are counted.

        Raises Unavailable where another one does not end.
        """
        book = await self._counted()
        taken: list[str] = []
        change = KeyChange()
        try:
            for key in sorted(set(keys)):
                await self._claim(book, key, taken)
                change.before[key] = before = await self.replaced(key)
                await self._run(book.begin, key, _amount(before))
            yield change
        finally:
            await shield_until_done(self._end(book, taken, change))

    @asynccontextmanager
    async def publishing(
        self, id: str, key: str, name: str, size: int, of_name: int | None, replaces: bool
    ) -> AsyncIterator[KeyChange]:
        """As `changing`, for a file that has this reservation. Raises as `hold`, too."""
        async with self.changing([key]) as change:
            await self.hold(id, name, size, of_name, change.before[key] if replaces else None)
            yield change
            change.reservation = id

    async def aclose(self) -> None:
        if self._book is not None:
            await asyncio.to_thread(self._book.close)
            self._book = None

    # The rest

    async def _counted(self) -> QuotaBook:
        """The account, once everything that is stored is counted."""
        if self._book is not None and self._is_counted:
            return self._book
        async with self._opening:
            if self._book is None:
                self._book = await asyncio.to_thread(QuotaBook, self._folder)
            while not self._is_counted:
                mine = await self._run(self._book.counts)
                if mine:
                    await self._count(self._book)
                elif mine is not None:
                    await asyncio.sleep(COUNT_LOOK)
                self._is_counted = mine is not False
        return self._book

    async def _count(self, book: QuotaBook) -> None:
        """What is stored, and what uploads may still bring that outlive a request."""
        stored: dict[str, int] = {}
        after = ""
        while True:
            page = await self._store.list("", after)
            for entry in page.entries:
                if not self._store.traits.lists_metadata:
                    entry = await self.replaced(entry.key) or entry
                owner = entry.metadata.owner
                stored[owner] = stored.get(owner, 0) + entry.size
            if page.next is None:
                break
            after = page.next
        lasting = [
            (record.id, Amount(record.request.owner, _needs(record)))
            async for record in self._records()
            if record.state in OPEN and JOINED not in record.details
        ]
        amounts = [Amount(name, size) for name, size in stored.items()]
        await self._run(book.counted, amounts, lasting)
        log.info(
            "Quotas: %d bytes are stored, and %d reserved",
            sum(stored.values()),
            sum(amount.bytes for _, amount in lasting),
        )

    async def _records(self) -> AsyncIterator[UploadRecord]:
        after = ""
        while self._ledger is not None and (ids := await self._ledger.ids(after, 1000)):
            after = ids[-1]
            for upload in ids:
                if (record := await self._ledger.find(upload)) is not None:
                    yield record

    async def _settle(self, book: QuotaBook) -> bool:
        """Before a refusal: give back what nobody needs any more. Whether anything changed."""
        changed = False
        for upload in await self._run(book.unsure):
            record = None if self._ledger is None else await self._ledger.find(upload)
            if record is not None and record.state in OPEN:
                await self._run(book.keep, upload)
            else:
                await self._run(book.release, [upload])
                changed = True
        for key in await self._run(book.abandoned):
            changed = True
            async with self.changing([key]):
                pass
        return changed

    async def _claim(self, book: QuotaBook, key: str, taken: list[str]) -> None:
        """`taken` has the key in the moment in which it is claimed, whatever is cancelled."""

        def claim() -> Amount | bool:
            if (found := book.claim(key)) is not False:
                taken.append(key)
            return found

        until = asyncio.get_running_loop().time() + KEY_TIMEOUT
        while (found := await self._run(claim)) is False:
            if asyncio.get_running_loop().time() > until:
                raise Unavailable("Another upload is changing this file; try again later")
            await asyncio.sleep(LOOK_EVERY)
        if isinstance(found, Amount):  # after a process that died in its change
            await self._run(book.end, key, _amount(await self.replaced(key)))
            taken.remove(key)
            await self._claim(book, key, taken)

    async def _end(self, book: QuotaBook, keys: Sequence[str], change: KeyChange) -> None:
        for key in keys:
            try:
                known = key in change.after
                after = change.after[key] if known else await self.replaced(key)
            except SluiceError as error:
                log.warning("A quota is counted later: %s", error.for_log)
                await self._run(book.leave, key)
            else:
                await self._run(book.end, key, _amount(after), change.reservation)

    async def check_floor(self, size: int) -> None:
        """Raises NoSpace where so many bytes would leave the disk less than its floor."""
        if not self._floor:
            return
        status = await asyncio.to_thread(os.statvfs, self._folder)
        free = max(0, status.f_bavail * status.f_frsize - self._floor)
        if size > free:
            raise _no_room(free)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """In a thread. What was begun is done when a cancelled caller goes on."""
        try:
            return await finish_then_cancel(asyncio.to_thread(work, *arguments))
        except OSError as error:
            raise StoreFailed(f"The account of quotas failed: {error}").for_operator() from None


def _needs(record: UploadRecord) -> int:
    if "parts" in record.details and record.offset != record.length:
        return 0  # its parts have the bytes
    return record.offset if record.length is None else max(record.length, record.offset)


def _amount(entry: Entry | None) -> Amount:
    return NOTHING if entry is None else Amount(entry.metadata.owner, entry.size)


def _refused(refusal: QuotaRefusal, limits: Limits) -> SluiceError:
    if refusal.is_total:
        return _no_room(refusal.left)
    return OverQuota(
        f"Your quota of {limits.of_name} bytes has {refusal.left} left, and this file needs more; "
        "delete files, or send a smaller one",
        left=refusal.left,
        quota=limits.of_name,
    )


def _no_room(left: int) -> NoSpace:
    return NoSpace(f"This server has room for {left} bytes, and the file needs more", left=left)
