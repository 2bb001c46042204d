"""Uploads that may outlive a request: held by one request at a time, ended, forgotten.

A new request for an upload interrupts the one that still runs, in whichever process, waits until it
has kept what it took, and goes on from there. Knows no dialect and no HTTP.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

from sluiceway.errors import Gone, Locked, SluiceError, Superseded
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_then_cancel, run_each
from sluiceway.pipe.digests import RunningDigests
from sluiceway.stores.unpublished import AdoptingStore
from sluiceway.uploads.access.grant import FULL
from sluiceway.uploads.hooks.around import AppAround
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.resumable.claiming import claim
from sluiceway.uploads.resumable.drafts.opening import lease_drafts
from sluiceway.uploads.resumable.drafts.wishes import counted_digests
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.holding import Holding, Sender
from sluiceway.uploads.resumable.plain_puts import PlainPuts
from sluiceway.uploads.resumable.records import UploadRecords
from sluiceway.uploads.resumable.resting import is_elsewhere, is_lost
from sluiceway.uploads.resumable.sweeps import Sweeps
from sluiceway.uploads.rules import UploadRules
from sluiceway.uploads.summary import ended_event

__all__ = ["ResumableUploads"]

log: logging.Logger = logging.getLogger("sluiceway")

# Seconds that a request waits for the one before it. A holder keeps what it took in milliseconds,
# unless its destination hangs.
TAKE_OVER = 5.0
STOP_TIMEOUT = 10.0  # seconds that what is being published may take when the server stops
READ_TOGETHER = 1000  # ids of uploads of dead processes
LEFT = "the server stops. It can be resumed at the next server, which finds out what is stored"
CANCELLED = "Another request has cancelled this upload"
MOST_DIGESTS = 10_000  # uploads whose running hashes are remembered; a few hundred bytes each


class ResumableUploads(UploadRecords):
    """The uploads of one service that a ledger knows; requests hold them, one after the other."""

    def __init__(
        self,
        ledger: Ledger,
        rules: UploadRules,
        budget: Budget,
        progress_table: ProgressTable,
        expiry: Expiry = Expiry(),
    ) -> None:
        super().__init__(ledger, rules, expiry)
        self._budget, self._progress_table = budget, progress_table
        self._holdings: dict[str, Holding] = {}
        self._releasing: dict[str, asyncio.Task[None]] = {}
        # By id and time: another process may have begun the upload anew meanwhile.
        self._digests: OrderedDict[tuple[str, float], RunningDigests] = OrderedDict()
        keeps_cut = isinstance(rules.store, AdoptingStore)
        self.plain_puts: PlainPuts = PlainPuts(ledger, TAKE_OVER, keeps=keeps_cut)
        totals = progress_table.totals
        self.sweeps: Sweeps = Sweeps(ledger, rules.store, expiry, self.hold_free, totals)
        lease_drafts(rules.store, expiry.after)
        ledger.on_asked(self._interrupt)

    def granted(self, rules: UploadRules) -> Self:
        """The same uploads as the name of `rules` may use them: those of others do not exist."""
        view = copy.copy(self)
        view.rules = rules
        return view

    @asynccontextmanager
    async def look(
        self,
        upload: str,
        app: AppAround | None = None,
        *,
        is_logged: bool = False,
    ) -> AsyncIterator[HeldUpload]:
        """As `at_rest`; an upload that has all its bytes, or the parts of others, is held.

        It must be published before its end is said.
        """
        record = await self.at_rest(upload)
        is_whole = record.offset == record.length or "parts" in record.details
        if record.state is LedgerState.OPEN and is_whole:
            async with self.hold(upload, app, is_logged=is_logged) as held:
                yield held
            return
        yield self._unhashed(record)

    async def at_rest(self, upload: str) -> UploadRecord:
        """The record once nobody holds the upload: one that still sends is interrupted. Requests
        that ask do not interrupt each other. Raises NotFound and Locked."""
        record = await self.find(upload)
        if record.state in (LedgerState.DONE, LedgerState.GONE):
            return record
        rests = record.state is LedgerState.OPEN and not record.holder
        moves = is_lost(record, self.store) or is_elsewhere(record, self.store)
        if rests and upload not in self._holdings and not moves:
            return record
        async with self.hold(upload, brief=True) as held:
            return held.record  # the one before has let go, or a dead one was recovered

    @asynccontextmanager
    async def hold(
        self,
        upload: str,
        app: AppAround | None = None,
        brief: bool = False,
        sender: Callable[[], Sender] = lambda: Sender.SILENT,
        *,
        cancels: bool = False,
        is_logged: bool = False,
    ) -> AsyncIterator[HeldUpload]:
        """Take an upload up. A request that still runs for it is interrupted first.

        `app` decides before it is published, and before it is done. A `brief` request, which only
        looks, and one that `cancels` the upload are not interrupted themselves; one whose `sender`
        has left, or may have, has a moment to read what that sent. `is_logged`: the caller logs the
        upload's end.

        Raises NotFound, Locked when the other request does not let go, and, inside the block,
        Superseded when a newer request takes the upload up.
        """
        if self.grant is not FULL:
            await self.find(upload)  # before the request of another name is interrupted
        holding = await self._wait_for(upload, Holding(brief, sender, cancels))
        try:
            held = holding.held = self._held(await claim(self.ledger, upload, TAKE_OVER))
            held.app, unkept = app, None
            try:
                await self._recover(held)
                yield held
            finally:
                holding.leaving = True
                unkept = await finish_then_cancel(self._leave(held, is_logged))
            if unkept is not None:
                raise unkept  # else its client would take the offset for kept
        except asyncio.CancelledError:
            if not holding.superseded:
                raise
            if holding.task is not None:
                holding.task.uncancel()
            raise await self._superseded(upload, holding) from None
        finally:
            del self._holdings[upload]
            holding.release()

    async def sweep(self, now: float | None = None) -> int:
        """End the uploads whose time is over, and forget those that ended long ago. Returns their
        number. An upload that a request holds is left alone."""
        return await self.sweeps.expire(self.ledger.now() if now is None else now)

    async def recover_abandoned(self) -> None:
        """Find out how far processes came that ended while they published. Raises StoreFailed."""
        after = ""
        while some := await self.ledger.finishing(after, READ_TOGETHER):
            for upload in some:
                try:
                    async with self.hold_free(upload):
                        pass
                except SluiceError as error:
                    log.warning("An upload cannot be recovered now: %s", error.for_log)
            after = some[-1]

    def start_sweeping(self) -> None:
        """Sweep now and then until the end, unless another process of these uploads does."""
        self.sweeps.start()

    @asynccontextmanager
    async def hold_free(self, upload: str) -> AsyncIterator[HeldUpload | None]:
        """Take an upload up for a sweep; None when a request has it. Nobody is interrupted."""
        if upload in self._holdings:
            yield None
            return
        holding = self._holdings[upload] = Holding()
        holding.task = None  # a request that comes now waits until it is released
        try:
            claimed = await self.ledger.claim(upload)
            if claimed is None or claimed.holder != self.ledger.process:
                yield None
                return
            held = self._held(claimed)
            try:
                await self._recover(held, follow=False)  # it may have to end without that server
                yield held
            finally:
                await finish_then_cancel(self._leave(held))
        finally:
            del self._holdings[upload]
            holding.release()

    async def aclose(self) -> None:
        """Interrupt the requests that still run, and wait until they kept what they took. One that
        publishes to a place that hangs is left as a kill leaves it.

        The ledger is its owner's to close.
        """
        await run_each(self.sweeps.aclose, self._end_holdings, self.plain_puts.aclose)
        await run_each(*(digests.aclose for digests in self._digests.values()))

    async def _end_holdings(self) -> None:
        running = dict(self._holdings)
        for holding in running.values():
            holding.interrupt()
        if ends := [*(each.released for each in running.values()), *self._releasing.values()]:
            await asyncio.wait(ends, timeout=STOP_TIMEOUT)
        for upload, holding in running.items():
            if not holding.released.done():
                log.warning("Upload %s: its place has not answered, and %s", upload, LEFT)

    async def _superseded(self, upload: str, holding: Holding) -> Superseded:
        """With what was kept of the upload, which may go on meanwhile; also for a request that was
        to wait, and never had it."""
        if holding.is_cancelled:
            return Superseded(CANCELLED)
        record = None if holding.held is None else holding.held.record
        if record is None:
            with suppress(SluiceError):
                record = await self.look_up(upload)
        if record is None or record.state is not LedgerState.OPEN:
            return Superseded("")
        return Superseded("", offset=record.offset)

    def _interrupt(self, upload: str, epoch: int) -> None:
        """Another process asks for an upload. What is held since is not what it asked for."""
        if self.plain_puts.interrupt(upload):
            return
        if (holding := self._holdings.get(upload)) is not None:
            if holding.held is not None and holding.held.record.epoch == epoch:
                holding.interrupt()
        elif upload not in self._releasing:  # letting go of it failed before
            self._releasing[upload] = asyncio.create_task(self._release(upload, epoch))

    async def _release(self, upload: str, epoch: int) -> None:
        try:
            await self.ledger.release(upload, epoch)
        except SluiceError as error:
            log.warning("An upload could not be handed over: %s", error.for_log)
        finally:
            del self._releasing[upload]

    async def _wait_for(self, upload: str, holding: Holding) -> Holding:
        """The requests of this process take an upload up one after the other."""
        try:
            async with asyncio.timeout(TAKE_OVER):
                while (before := self._holdings.get(upload)) is not None:
                    before.interrupt(holding)
                    await asyncio.shield(before.released)
        except TimeoutError:
            raise Locked("Another request still holds this upload; try again") from None
        self._holdings[upload] = holding
        return holding

    async def _recover(self, held: HeldUpload, follow: bool = True) -> None:
        """What is left of an earlier process, or of a lost connection to the destination."""
        await held.recover(follow)
        if is_lost(held.record, self.store):
            log.warning("Upload %s: the connection to its destination was lost", held.record.id)
            await held.cancel("lost", Gone("The connection to the destination was lost"))

    def _held(self, record: UploadRecord) -> HeldUpload:
        digests = self._digests.pop((record.id, record.created), None)
        if digests is None:
            counted = () if record.is_part else counted_digests(self.rules, record.request)
            digests = RunningDigests(counted, self._budget)
        return self._with(record, digests)

    def _unhashed(self, record: UploadRecord) -> HeldUpload:  # to be looked at only
        return self._with(record, RunningDigests((), self._budget))

    def _with(self, record: UploadRecord, digests: RunningDigests) -> HeldUpload:
        return HeldUpload(
            record, self.ledger, self.rules, self._progress_table, digests, self.expiry
        )

    async def _leave(self, held: HeldUpload, is_logged: bool = False) -> SluiceError | None:
        """Returns why the last offset is not written down."""
        unkept: SluiceError | None = None
        try:
            await held.leave()
        except Superseded as error:
            unkept = error  # another process took a hung holder for dead; what it says counts
        except SluiceError as error:
            unkept = error
            log.warning("What arrived last of an upload was not kept: %s", error.for_log)
        record, digests = held.record, held.digests
        # What is not written down, another process may get once more, and as other bytes.
        is_sure = not held.is_unwritten and digests.position <= record.offset
        if record.state is LedgerState.OPEN and is_sure:
            self._digests[record.id, record.created] = digests
            while len(self._digests) > MOST_DIGESTS:
                _, oldest = self._digests.popitem(last=False)
                await oldest.aclose()
        else:
            await digests.aclose()
        if held.has_ended and not is_logged and not held.record.is_part:
            log.info(ended_event(held))
        return unkept if held.is_unwritten else None
