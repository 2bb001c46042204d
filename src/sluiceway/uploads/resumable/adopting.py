"""What a plain PUT leaves when it is cut: an upload by the key of its file, written down only then.

The request that began last on a key has it. What an older PUT brought is not kept over anything
that a younger one began, in whichever process; where nobody knows who is younger, nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from math import inf
from typing import Self

from sluiceway.errors import Exists, NotFound, SluiceError, Superseded
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source, all_at_hand
from sluiceway.pipe.wrapped import WrappedSource
from sluiceway.stores.contract import Draft, UploadRequest
from sluiceway.stores.unpublished import AdoptingStore
from sluiceway.uploads.ledger.record import ADOPTED, BASE, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.by_key import (
    BY_KEY,
    LIVING,
    REPLACED,
    base_of,
    forget_earlier,
    forget_gone,
    upload_of,
)
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.plain_puts import PlainPut, SeenKey
from sluiceway.uploads.resumable.service import ResumableUploads

__all__ = ["LEAST_ADOPTED", "SmallPut", "adopt", "begin_other", "begin_plain", "forget_older"]

LEAST_ADOPTED = 64 << 10  # bytes; to send fewer again costs less than to write down where they are
SAME_MOMENT = 0.1  # seconds between two that began in different processes: nobody knows the younger
ADOPT_TRIES, TRY_AGAIN = 50, 0.02  # while another request has the upload; seconds
HOLDER_TRIES = 3  # the same, before it is interrupted
SOON = 0.03  # seconds; a question waits for longer (`partial_put.GRACE`)

log: logging.Logger = logging.getLogger("sluiceway")


async def begin_plain(
    uploads: ResumableUploads, key: str, put: PlainPut, base: str | None = None
) -> None:
    """Before the first byte: what older requests left at the key is not part of this PUT, and what
    they still bring is not kept. `base`: of the object, where the caller has looked.

    Raises StoreFailed, Unavailable.
    """
    upload, created = upload_of(key, uploads.grant.owner), None
    if base is None:
        base = await base_of(uploads, key)
    if await uploads.plain_puts.overtake(upload, put):
        try:
            earlier = await forget_earlier(uploads, upload)
        except Superseded:
            put.is_overtaken = True
            return
        created = None if earlier is None else earlier.created
    put.seen = SeenKey(created, base)


async def begin_other(uploads: ResumableUploads, key: str) -> None:
    """A PUT begins whose bytes nobody finds by its key: a form, or an upload with an id of its own.
    What an older request left at the key is not part of it, nor is its response. Raises nothing."""
    upload = upload_of(key, uploads.grant.owner)
    try:
        if await uploads.plain_puts.overtake(upload):
            await forget_earlier(uploads, upload)
    except Superseded:
        return  # a newer request has it
    except SluiceError as error:  # it needs no ledger for that
        log.warning("What an older PUT left may answer for a newer one: %s", error.for_log)


class SmallPut:
    """`with` around a PUT so small that it is not kept when it is cut. But nobody may take what an
    older one left for its bytes.

    Most are whole at once, and a look into the ledger would take as long as the PUT. One that comes
    in parts looks with the first: it may be cut, and its process killed. Any other one that still
    runs after `SOON` looks then.
    """

    __slots__ = ("_key", "_timer", "_uploads", "began")

    def __init__(self, uploads: ResumableUploads, key: str) -> None:
        self._uploads, self._key = uploads, key
        self.began: float = uploads.ledger.now()

    def __enter__(self) -> Self:
        self._uploads.plain_puts.small += 1
        self._timer = asyncio.get_running_loop().call_later(SOON, self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.plain_puts.small -= 1
        self._timer.cancel()

    def watched(self, body: Source) -> Source:
        return _InParts(body, self._comes_in_parts)

    async def forget_older(self) -> None:
        """It was cut. Raises StoreFailed, Unavailable."""
        await forget_older(self._uploads, self._key, self.began)

    def _comes_in_parts(self) -> None:
        self._timer.cancel()
        self._begin()

    def _begin(self) -> None:
        self._uploads.plain_puts.start(self._end_older())

    async def _end_older(self) -> None:
        try:
            await forget_older(self._uploads, self._key, self.began, interrupts=True)
        except SluiceError as error:
            log.debug("An older upload could not be ended: %s", error.for_log)


class _InParts(WrappedSource):
    """Says so when its first chunk is not the whole."""

    def __init__(self, source: Source, on_part: Callable[[], None]) -> None:
        super().__init__(source)
        self._on_part = on_part

    def at_hand(self) -> Buffer | None:
        return all_at_hand(self._source)

    async def _pass_on(self, chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        is_first = True
        try:
            async for chunk in chunks:
                if is_first and len(chunk) != self.length:
                    self._on_part()
                is_first = False
                yield chunk
                del chunk  # before the source makes the next one
        finally:
            await close_stream(chunks)


async def adopt(
    uploads: ResumableUploads,
    draft: Draft,
    request: UploadRequest,
    length: int | None,
    put: PlainPut,
    reserved: str = "",
) -> int:
    """Keep what a cut PUT brought. Returns the offset that is kept; 0 where nothing is, and nothing
    of an older request either. `reserved` names the room that the quotas reserved for it.

    Raises StoreFailed, NoSpace.
    """
    adoption = _Adoption(uploads, draft, request, length, put, reserved)
    try:
        await adoption.run(put)
    finally:
        if not adoption.kept:
            await draft.discard()
    return adoption.kept


async def forget_older(
    uploads: ResumableUploads, key: str, began: float, *, interrupts: bool = False
) -> None:
    """A small PUT began then, by the ledger's clock: nobody may take what an older one left for its
    bytes. What came since is younger. So is who has the upload now; with `interrupts`, only one
    that begins it anew, which shows in a moment.

    Raises StoreFailed, Unavailable, Locked, Superseded.
    """
    upload = upload_of(key, uploads.grant.owner)
    for attempt in range(1 + HOLDER_TRIES * interrupts):
        record = await uploads.look_up(upload)
        if record is None or not _is_older(uploads, record, began):
            return
        is_last = interrupts and attempt == HOLDER_TRIES
        with suppress(NotFound):  # it has just gone
            async with uploads.hold(upload) if is_last else uploads.hold_free(upload) as held:
                if held is not None:
                    if _is_older(uploads, held.record, began):
                        await held.cancel(REPLACED)
                    return
        await asyncio.sleep(TRY_AGAIN * interrupts)


def _is_older(uploads: ResumableUploads, record: UploadRecord, began: float) -> bool:
    ended = record.state is LedgerState.DONE
    moved = uploads.expiry.last_moved(record.created, record.expires, ended=ended)
    return record.state in LIVING and moved < began


class _Adoption:
    """What becomes of one cut PUT, and of the upload that is at its key then."""

    def __init__(
        self,
        uploads: ResumableUploads,
        draft: Draft,
        request: UploadRequest,
        length: int | None,
        put: PlainPut,
        reserved: str,
    ) -> None:
        self.upload, self.kept = upload_of(request.key, uploads.grant.owner), 0
        self._uploads, self._draft, self._request = uploads, draft, request
        self._length, self._seen = length, put.seen
        self._reserved, self._began = reserved, put.began
        # When the upload was created that this PUT may begin anew.
        self._created = None if self._seen is None else self._seen.created
        can = isinstance(uploads.store, AdoptingStore) and draft.written >= LEAST_ADOPTED
        self._is_worth_it = can and self._seen is not None

    async def run(self, put: PlainPut) -> None:
        """Nobody who has the upload is interrupted: that may be a younger request."""
        for _ in range(ADOPT_TRIES):
            if put.is_overtaken or not await self._is_there():
                return
            async with self._uploads.hold_free(self.upload) as held:
                if held is not None:
                    if await self._uploads.plain_puts.is_youngest(put):
                        await self._decide(held)
                    return
            await asyncio.sleep(TRY_AGAIN)

    async def _is_there(self) -> bool:
        """Whether the key has an upload; one is created where this PUT may have it."""
        record = await self._uploads.look_up(self.upload)
        is_older = record is None or record.created == self._created
        if record is not None and (record.state is not LedgerState.GONE or not is_older):
            return True
        if not self._is_worth_it:
            return False
        if record is not None:
            await forget_gone(self._uploads, record)
        with suppress(Exists):  # another request was faster
            request = await self._uploads.rules.admit(self._request)
            own = await self._uploads.create(
                BY_KEY, request, self._length, {ADOPTED: repr(self._began)}, self.upload
            )
            self._created = own.created
        return True

    async def _decide(self, held: HeldUpload) -> None:
        if held.record.state is LedgerState.GONE:
            return
        ahead = self._ahead_of(held.record)
        if ahead < -SAME_MOMENT:
            return
        base = "" if self._seen is None else self._seen.base
        is_same = await base_of(self._uploads, self._request.key) == base
        if ahead > SAME_MOMENT and is_same and self._is_worth_it:
            await shield_until_done(self._move(held, base))
        else:
            await held.cancel(REPLACED)

    def _ahead_of(self, record: UploadRecord) -> float:
        """Seconds by which this PUT is younger than what began the upload; 0 where nobody knows."""
        if record.created == self._created:
            return inf
        if (began := record.details.get(ADOPTED)) is not None:  # by a PUT that was cut
            return self._began - float(began)
        return 0.0 if self._seen is None else -inf

    async def _move(self, held: HeldUpload, base: str) -> None:
        # Not given back before: somebody else could take the room.
        await self._uploads.rules.quota.move(self._reserved, self.upload)
        await held.restart(self._request, self._length, {BASE: base, ADOPTED: repr(self._began)})
        await held.adopt(self._draft)
        self.kept = held.record.offset
