"""Quotas: bytes are reserved before they come, and counted with the file when it is published.

Exact to the byte for all processes that share the account: what is stored, and what living uploads
have reserved. What a killed process held is found out by looking at the file and at the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from sluiceway.errors import BadRequest, NoSpace, NotFound, OverQuota, SluiceError, Unavailable
from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done
from sluiceway.stores.contract import Entry, Store
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.quota.account import Account, Amount, Limits, NotCounted, QuotaRefusal

__all__ = ["JOINED", "KeyChange", "Quotas"]

log: logging.Logger = logging.getLogger("sluiceway")

LOOK_EVERY = 0.01  # seconds between looks whether another upload has done with a key
KEY_TIMEOUT = 60.0  # seconds for that
COUNT_LOOK = 0.05  # seconds between looks whether another process has counted all files
TRIES = 8  # to reserve, each after something was given back or may be in a moment
UNCERTAIN_WAIT = 0.2  # seconds between them while it is not known whether a holder lives
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
        self,
        account: Account,
        store: Store,
        ledger: Ledger | None,
        total: int | None,
        floor: tuple[str, int] | None = None,
    ) -> None:
        """`floor`: a folder, and how many bytes of its disk stay free."""
        self._account, self._store, self._ledger = account, store, ledger
        self._total, self._floor = total, floor
        self._counting = asyncio.Lock()
        self._is_counted = self._is_used = False

    @property
    def has_floor(self) -> bool:
        return self._floor is not None

    # Reservations

    async def hold(
        self, id: str, name: str, size: int, of_name: int | None, replaced: Entry | None = None
    ) -> None:
        """Reserve `size` bytes in all for a file of this name, less those that it replaces.

        Raises OverQuota for the name's own quota, NoSpace for that of all, with what is left.
        """
        wanted, limits = Amount(name, size), Limits(self._total, of_name)
        before = None if replaced is None else _amount(replaced)
        await self.check_floor(size)
        refused: SluiceError = Unavailable("The files of this server are being counted; try again")
        for _ in range(TRIES):
            account = await self._counted()
            try:
                return await finish_then_cancel(account.hold(id, wanted, limits, before))
            except NotCounted:
                self._is_counted = False
            except QuotaRefusal as refusal:
                refused = _refused(refusal, limits)
                if await self._settle(account):
                    continue
                if not await account.is_uncertain():
                    break
                await asyncio.sleep(UNCERTAIN_WAIT)
        raise refused

    async def hold_part(self, id: str, name: str, size: int, whole: str) -> None:
        """As `hold`, of bytes that are reserved for the upload `whole` already.

        Raises BadRequest where its parts would have more than it.
        """
        account = await self._counted()
        if not await finish_then_cancel(account.hold_part(id, Amount(name, size), whole)):
            raise BadRequest("The parts of an upload have no more bytes than it")

    async def replaced(self, key: str) -> Entry | None:
        """What a file with this key would replace; None for nothing."""
        try:
            return await self._store.stat(key)
        except NotFound:
            return None

    async def keep(self, id: str) -> None:
        """The reservation is that of an upload in the ledger from now on."""
        await finish_then_cancel((await self._counted()).keep(id))

    async def join(self, parts: Sequence[str], upload: str) -> None:
        """The reservations of the parts become that of the upload that has their bytes."""
        await finish_then_cancel((await self._counted()).join(parts, upload))

    async def release(self, *ids: str) -> None:
        """Give reservations back; also to a caller that is cancelled."""
        if ids and self._is_used:
            await shield_until_done(self._account.release(ids))

    async def used(self) -> Mapping[str, int]:
        """Stored bytes of each name."""
        return await (await self._counted()).usage()

    # Changes

    @asynccontextmanager
    async def changing(self, keys: Iterable[str]) -> AsyncIterator[KeyChange]:
        """Only this block changes these keys, of all uploads and deletions; then they are counted.

        Raises Unavailable where another one does not end.
        """
        account = await self._counted()
        taken: list[str] = []
        change = KeyChange()
        try:
            for key in sorted(set(keys)):
                await self._claim(account, key, taken)
                change.before[key] = before = await self.replaced(key)
                await finish_then_cancel(account.begin(key, _amount(before)))
            yield change
        finally:
            await shield_until_done(self._end(account, taken, change))

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
        if self._is_used:
            await self._account.aclose()

    # The rest

    async def _counted(self) -> Account:
        """The account, once everything that is stored is counted."""
        if self._is_counted:
            return self._account
        async with self._counting:
            self._is_used = True
            while not self._is_counted:
                mine = await finish_then_cancel(self._account.counts())
                if mine:
                    await self._count()
                elif mine is None:
                    self._is_counted = True
                else:
                    await asyncio.sleep(COUNT_LOOK)
        return self._account

    async def _count(self) -> None:
        """What is stored, and what uploads may still bring that outlive a request."""
        stored: dict[str, int] = {}
        after = ""
        while True:
            page = await self._store.list("", after)
            for entry in page.entries:
                if not self._store.traits.lists_metadata:
                    entry = await self.replaced(entry.key) or entry
                amount = _amount(entry)
                stored[amount.name] = stored.get(amount.name, 0) + amount.bytes
            if page.next is None:
                break
            after = page.next
        lasting = [
            (record.id, Amount(record.request.owner, _needs(record)), record.whole)
            async for record in self._records()
            if record.state in OPEN and JOINED not in record.details
        ]
        amounts = [Amount(name, size) for name, size in stored.items()]
        await finish_then_cancel(self._account.counted(amounts, lasting))
        log.info(
            "Quotas: %d bytes are stored, and %d reserved",
            sum(stored.values()),
            sum(amount.bytes for _, amount, whole in lasting if not whole),
        )

    async def _records(self) -> AsyncIterator[UploadRecord]:
        after = ""
        while self._ledger is not None and (ids := await self._ledger.ids(after, 1000)):
            after = ids[-1]
            for upload in ids:
                if (record := await self._ledger.find(upload)) is not None:
                    yield record

    async def _settle(self, account: Account) -> bool:
        """Before a refusal: give back what nobody needs any more. Whether anything changed."""
        changed = False
        for key in await account.abandoned():  # first: its file may still be a reservation
            changed = True
            async with self.changing([key]):
                pass
        for upload in await account.unsure():
            record = None if self._ledger is None else await self._ledger.find(upload)
            if record is not None and record.state in OPEN:
                await account.keep(upload)
            else:
                await account.release([upload])
                changed = True
        return changed

    async def _claim(self, account: Account, key: str, taken: list[str]) -> None:
        """`taken` has the key in the moment in which it is claimed, whatever is cancelled."""

        async def claim() -> Amount | bool:
            if (found := await account.claim(key)) is not False:
                taken.append(key)
            return found

        until = asyncio.get_running_loop().time() + KEY_TIMEOUT
        while (found := await finish_then_cancel(claim())) is False:
            if asyncio.get_running_loop().time() > until:
                raise Unavailable("Another upload is changing this file; try again later")
            await asyncio.sleep(LOOK_EVERY)
        if isinstance(found, Amount):  # after a process that died in its change
            await finish_then_cancel(account.end(key, _amount(await self.replaced(key))))
            taken.remove(key)
            await self._claim(account, key, taken)

    async def _end(self, account: Account, keys: Sequence[str], change: KeyChange) -> None:
        for key in keys:
            try:
                known = key in change.after
                after = change.after[key] if known else await self.replaced(key)
            except SluiceError as error:
                log.warning("A quota is counted later: %s", error.for_log)
                await account.leave(key)
            else:
                await account.end(key, _amount(after), change.reservation)

    async def check_floor(self, size: int) -> None:
        """Raises NoSpace where so many bytes would leave the disk less than its floor."""
        if self._floor is None:
            return
        folder, floor = self._floor
        status = await asyncio.to_thread(os.statvfs, folder)
        free = max(0, status.f_bavail * status.f_frsize - floor)
        if size > free:
            raise _no_room(free)


def _needs(record: UploadRecord) -> int:
    if "parts" in record.details and record.offset != record.length:
        return 0  # its parts have the bytes
    return record.offset if record.length is None else max(record.length, record.offset)


def _amount(entry: Entry | None) -> Amount:
    if entry is None:
        return NOTHING
    # another program may have written half of a character, which no database takes
    return Amount(entry.metadata.owner.encode("utf-8", "replace").decode(), entry.size)


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
    full = NoSpace(f"This server has room for {left} bytes, and the file needs more", left=left)
    return full.for_everyone()
