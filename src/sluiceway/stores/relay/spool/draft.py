"""A file on its way to the next server, and to disk beside it: its request may die, the file not.

`tee`: each byte goes to the spool's file and to the request. When the destination fails in a way
that may pass, the request is dropped, the rest goes to the file alone, and `delivery` sends it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sluiceway.errors import NoSpace, SluiceError, StoreFailed
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.lent_block import LentBlock
from sluiceway.stores.relay.draft import LARGE, RelayDraft
from sluiceway.stores.relay.held import HeldRelayDraft
from sluiceway.stores.relay.spool.delivery import SpoolDelivery
from sluiceway.stores.relay.spool.space import SpoolSpace
from sluiceway.stores.unpublished import ReadableDraft, ResumableDraft, SavedDraft

__all__ = ["SpooledDraft"]

log: logging.Logger = logging.getLogger("sluiceway")


class SpooledDraft:
    """One file. `name` is that of its claim, and of its requests unless a note says another one.

    `file` is its draft in the spool, None where there is no room; `live` its request under way,
    None where `fault` says why there is none, or where a later one brings all bytes.
    """

    def __init__(
        self,
        space: SpoolSpace,
        name: str,
        request: UploadRequest,
        file: Draft | None,
        live: RelayDraft | HeldRelayDraft | None,
        fault: SluiceError | None = None,
        *,
        lasts: bool,
    ) -> None:
        self.name: str = name
        self.request: UploadRequest = request
        self.file: Draft | None = file
        self._space, self._live, self._fault, self._lasts = space, live, fault, lasts
        self._drawn = None if space.budget is None else LentBlock(space.budget)
        self.written: int = 0 if file is None else file.written
        self._passed_on = 0  # bytes that the destination's kernel had when its request was lost
        self._delivery: SpoolDelivery | None = None
        self._on_waiting: Callable[[bool], None] = lambda _: None

    def watch(self, on_waiting: Callable[[bool], None]) -> None:
        """`on_waiting` learns when the draft begins to wait for the destination, and ceases to."""
        self._on_waiting = on_waiting
        if self._fault is not None:
            on_waiting(True)

    @property
    def kept(self) -> int:
        """A draft that lasts: bytes in the spool. Else what the destination's kernel has."""
        if self._lasts and self.file is not None:
            return self.file.kept
        return self._passed_on if self._live is None else self._live.kept

    @property
    def failure(self) -> SluiceError | None:
        """What ends the upload while its sender pauses: not what the spool bridges."""
        failure = None if self._live is None else self._live.failure
        if failure is None or self.file is None or not self._is_bridged(failure):
            return failure
        if self._fault is None:  # the next call drops the request
            self._fault = failure
            self._on_waiting(True)
        return None

    async def write(self, data: Buffer) -> None:
        if self.file is not None:
            await self._spool(data)
        self.written += len(data)
        if self._live is not None:
            try:
                await self._live.write(data)
            except SluiceError as error:
                await self._lose(error)
        if self.file is None and self._fault is not None:
            raise self._fault

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, into a block from which both get it."""
        drawn, live = self._drawn, self._live
        if self.file is None or drawn is None or (live is not None and not live.is_open):
            return False
        if not drawn.begin():
            return False
        try:
            await drawn.draw(lent, update)
            began = time.monotonic()
            await self._write_drawn(drawn)
            lent.destination_wait += time.monotonic() - began
        except asyncio.CancelledError:
            if self._lasts and drawn.filled:  # what arrived counts; a later request brings it
                await self._drop_live()
                await self._write_drawn(drawn)
            raise
        finally:
            drawn.release()
        return True

    async def sync(self) -> int:
        if self.file is None:
            return self.kept
        return await self.file.sync() if self._lasts else self.kept

    async def read(self, start: int, size: int) -> bytes:
        """For the digest of what an earlier process took."""
        if not isinstance(self.file, ReadableDraft):
            raise StoreFailed("This draft has ended already")
        return await self.file.read(start, size)

    async def truncate(self, offset: int) -> None:
        """The request that runs cannot go back: a later one brings what is in the spool."""
        if self.file is None or not self._lasts:
            raise StoreFailed("What was passed on cannot be taken back; send the file again")
        if offset != self.written:
            await self._drop_live()
        await self.file.truncate(offset)
        self.written = offset

    async def pause(self) -> None:
        """Of the other files of a form no byte comes here."""

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """Returns the destination's success. Raises its refusal, AwaitsBackend, Undelivered."""
        live, self._live = self._live, None
        if isinstance(live, HeldRelayDraft):
            live = None if live.is_lost else live.release()
        if self.file is None:
            return await self._without_spool(live, key, metadata, replace)
        delivery = self._delivery = SpoolDelivery(
            self._space, self.name, self.request, self.file, self._lasts, self._on_waiting
        )
        entry = await delivery.run(live, self._fault, key, metadata, replace)
        await self._end()
        return entry

    async def discard(self) -> None:
        await self._drop_live()
        await self._end()
        if self._lasts:
            await self._space.forget(self.name)

    # What may outlive the process

    async def last(self, upload: str) -> None:
        """Be the draft of this upload from now on. Raises NoSpace, StoreFailed."""
        await self._drop_live()
        if self.file is None:
            raise NoSpace("The spool has no room for the file").for_everyone()
        await self._space.release(self.name)
        await self._space.claim(upload, self.file.written, lasts=True, exact=True)
        self.file = await self._space.files.adopt(self.file, upload)
        self.name, self._lasts = upload, True

    def save(self) -> SavedDraft:
        return self._resumable.save()

    def saved(self) -> None:
        self._resumable.saved()

    async def suspend(self) -> None:
        if isinstance(self._live, HeldRelayDraft):
            await self._live.suspend()
            self._live = None
        await self._drop_live()
        if self.file is not None:
            await self._resumable.suspend()
        if self._delivery is not None and self._delivery.is_done:
            await self._space.forget(self.name)

    # Inside

    @property
    def _resumable(self) -> ResumableDraft:
        if not isinstance(self.file, ResumableDraft):
            raise StoreFailed("This draft does not outlive its process")
        return self.file

    async def _write_drawn(self, drawn: LentBlock) -> None:
        if drawn.filled:
            block, data = drawn.take()
            try:
                # Both hold small pieces for a while, and the block is filled again.
                await self.write(data if len(data) > LARGE else bytes(data))
            finally:
                drawn.back(block)

    async def _spool(self, data: Buffer) -> None:
        """Raises NoSpace, StoreFailed where the file has to have it; else it is given up."""
        if self.file is None:
            return
        try:
            await self._space.claim(self.name, self.written + len(data), lasts=self._lasts)
            await self.file.write(data)
        except StoreFailed as error:
            if self._lasts:
                raise
            log.warning("Upload %s goes on without the spool: %s", self.name, error.for_log)
            await self._end()

    async def _lose(self, error: SluiceError) -> None:
        """The request is lost. Raises what the spool does not bridge."""
        live = self._live
        if self.file is None or not self._is_bridged(error):
            raise error
        self._passed_on = 0 if live is None else live.kept
        self._fault = error
        log.warning("Upload %s waits in the spool: %s", self.name, error.for_log)
        await self._drop_live()
        self._on_waiting(True)

    def _is_bridged(self, error: SluiceError) -> bool:
        return self._space.bridges(error, False, self.request)

    async def _drop_live(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            await live.discard()

    async def _end(self) -> None:
        """Nothing of the file remains here."""
        file, self.file = self.file, None
        if file is not None:
            await file.discard()
            await self._space.release(self.name)

    async def _without_spool(
        self, live: RelayDraft | None, key: str, metadata: Metadata, replace: Replace
    ) -> Entry:
        if live is None:
            raise self._fault or StoreFailed("This draft has ended already")
        try:
            return await live.publish(key, metadata, replace)
        finally:
            await live.discard()
