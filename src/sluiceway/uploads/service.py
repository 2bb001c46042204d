"""Takes uploads for one store, and ends them: at a cancel, when the server stops, when a client
left.

One request brings one upload, of one or several files; `session` is what happens to it. Knows
stores and the progress table, never HTTP or forms.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from functools import partial
from typing import Self, cast

from sluiceway.errors import BodyCut, Cancelled, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import run_each
from sluiceway.pipe.hashes import DEFAULT_CHOICE, DigestChoice
from sluiceway.stores.contract import Store
from sluiceway.stores.delivered_later import DeliversLater
from sluiceway.stores.keys.locks import LOCK_TIMEOUT, KeyLocks
from sluiceway.stores.monitored import Clocked
from sluiceway.stores.unpublished import HoldsDrafts, offers
from sluiceway.uploads.access.grant import FULL, Grant, Right, narrowed
from sluiceway.uploads.access.granted_store import granted_store
from sluiceway.uploads.access.link_uses import LinkUses
from sluiceway.uploads.elsewhere.channel import Channel
from sluiceway.uploads.elsewhere.exchange import ProgressExchange
from sluiceway.uploads.hooks.asking import ServiceHooks
from sluiceway.uploads.keys import KeyTemplate, new_id
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.lifetime.download_counts import DownloadCounts
from sluiceway.uploads.lifetime.file_sweep import FileSweep
from sluiceway.uploads.lifetime.lifetimes import Lifetimes
from sluiceway.uploads.outbox.deliverer import Deliverer
from sluiceway.uploads.outbox.outbox import Outbox
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.quota.quotas import Quotas
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import UploadRules
from sluiceway.uploads.session import STOPPED, UploadSession
from sluiceway.uploads.spooled.deliverer import RespondLater, SpoolDeliverer
from sluiceway.uploads.spooled.hand_over import hand_over
from sluiceway.uploads.states import State

__all__ = ["UploadService"]

# Seconds that cut uploads may take to discard their drafts when the server stops.
STOP_TIMEOUT = 10.0
# Seconds that events which wait may take to be sent then; the rest stays written down.
SEND_AT_END = 5.0
# Seconds between looks: at what another machine acknowledged, and for a cancel of another process.
LOOK_EVERY = 0.1
# Uploads examined in one look at a local store. A look finds only rare failures, and cancels by
# other processes; to look at all of 10,000 uploads takes a tenth of a processor.
LOOKED_AT = 100
MOST_VIEWS = 256  # names and links whose view of the service is kept; some KiB each


class UploadService:
    """Takes uploads for one store."""

    store: Store
    budget: Budget
    progress_table: ProgressTable
    max_size: int | None  # bytes of one request's files together
    rules: UploadRules
    resumable: ResumableUploads | None  # uploads that may outlive a request, where a ledger is
    grant: Grant = FULL  # whom this view of the service is for
    counts: DownloadCounts | None  # of files that are for a few downloads
    elsewhere: ProgressExchange | None  # uploads of equal servers
    _deliverer: Deliverer | None

    def __init__(
        self,
        store: Store,
        budget: Budget,
        progress_table: ProgressTable,
        *,
        template: KeyTemplate | None = None,
        digests: DigestChoice = DEFAULT_CHOICE,
        max_size: int | None = None,
        flatten: bool = False,
        ledger: Ledger | None = None,
        expiry: Expiry = Expiry(),
        hooks: ServiceHooks = ServiceHooks(),
        respond_later: RespondLater | None = None,
        link_uses: LinkUses | None = None,
        quotas: Quotas | None = None,
        lifetimes: Lifetimes | None = None,
        counts: DownloadCounts | None = None,
        channel: Channel | None = None,
        undo_locks: KeyLocks | None = None,
    ) -> None:
        """`expiry` is for the uploads in the ledger; `respond_later` is for files that wait for
        their destination; `channel` leads to equal servers; `undo_locks` hold between processes."""
        self.store, self.budget, self.progress_table = store, budget, progress_table
        self.max_size = max_size
        self._ledger, self._deliverer, outbox = ledger, None, None
        if ledger is not None and hooks.finish is not None:
            outbox = Outbox(ledger.events, store, hooks.events)
            self._deliverer = Deliverer(
                ledger.events, hooks.finish, self._recover, progress_table.totals, hooks.timeout
            )
            outbox.on_event = self._deliverer.wake
        self.rules = UploadRules(
            store,
            budget,
            template or KeyTemplate(),
            digests,
            max_size,
            flatten,
            outbox,
            link_uses=link_uses,
            quotas=quotas,
            lifetimes=lifetimes,
            asker=hooks.asker,
            undo_locks=undo_locks or KeyLocks(LOCK_TIMEOUT),
        )
        self._file_sweep: FileSweep | None = None
        self.counts = counts
        if lifetimes is not None and (lifetimes.may_expire or counts is not None):
            self._file_sweep = FileSweep(self.rules.accounted_store, lifetimes.expire, counts)
        self.resumable = None
        if ledger is not None and store.traits.resumable:
            self.resumable = ResumableUploads(ledger, self.rules, budget, progress_table, expiry)
        self._spool: SpoolDeliverer | None = None
        if self.resumable is not None and isinstance(store, DeliversLater) and respond_later:
            self._spool = SpoolDeliverer(self.resumable, store, respond_later)
            self.rules = dataclasses.replace(
                self.rules, hand_over=partial(hand_over, self.resumable)
            )
        self.elsewhere = None
        if channel is not None:
            self.elsewhere = ProgressExchange(channel, new_id(), progress_table, self.cancel)
        self._live: dict[str, UploadSession] = {}
        self._looking: asyncio.Task[None] | None = None
        self._whole: UploadService = self
        self._views: dict[Grant, UploadService] = {}

    def granted(self, grant: Grant) -> Self:
        """The same service as a name may use it: handlers get no other one.

        Its store has only what the name may know, its uploads are the name's own.
        """
        has_dates = self.rules.lifetimes is not None
        if grant is FULL and self.rules.quotas is None and not has_dates:
            return self
        if (known := self._views.get(grant)) is not None:
            return cast("Self", known)  # to make one takes a tenth as long as a small upload
        view = copy.copy(self)
        view.grant, view._views = grant, {}
        view.store = granted_store(
            self.store, grant, self.rules.quota, has_dates=has_dates, counts=self.counts
        )
        view.max_size = narrowed(grant, self.max_size)
        view.rules = dataclasses.replace(self.rules, grant=grant, max_size=view.max_size)
        if self.resumable is not None:
            view.resumable = self.resumable.granted(view.rules)
        if len(self._views) >= MOST_VIEWS:
            self._views.clear()
        self._views[grant] = view
        return view

    async def resumable_now(self) -> ResumableUploads | None:
        """As `resumable`, for a new upload: None where another server, asked, keeps no pieces.

        Raises Unavailable where it cannot be asked.
        """
        uploads = self.resumable
        if uploads is not None and offers(uploads.store, HoldsDrafts):
            return uploads if await uploads.store.takes_pieces() else None
        return uploads

    async def check_ledger(self) -> None:
        """Raises StoreFailed or Unavailable where uploads could not be written down now."""
        if self._ledger is not None:
            await self._ledger.check()

    async def ledger_skew(self) -> float | None:
        """Seconds by which the ledger's clock is ahead, by the last check; None on this machine."""
        return await self._ledger.clock_skew() if isinstance(self._ledger, Clocked) else None

    def start_sweeping(self) -> None:
        """Remove expired uploads of the ledger now and then, where there is one, and expired files.

        Does nothing when it has begun.
        """
        if self.resumable is not None:
            self.resumable.start_sweeping()
        if self._file_sweep is not None:
            self._file_sweep.start()

    def start_sending(self) -> None:
        """Send the events that wait, and the files, and hear equal servers. Does nothing when it
        has begun."""
        if self._deliverer is not None:
            self._deliverer.start()
        if self._spool is not None:
            self._spool.start()
        if self.elsewhere is not None:
            self.elsewhere.start()

    def receive(self, upload: str | None = None, length: int | None = None) -> UploadSession:
        """Begin an upload: `async with upload_service.receive(id, length) as session`.

        `length` is the request's, in bytes. Raises Exists when the chosen id is taken, Forbidden.
        """
        self.grant.require(Right.UPLOAD)
        record = self.progress_table.begin(upload or new_id(), length)
        record.owner = self.grant.mark
        # Until the destination itself confirms that it has everything.
        record.by_kernel = self.store.traits.remote
        session = UploadSession(self.rules, record, self._end)
        self._live[record.id] = session
        if (looking := self._whole._looking) is None or looking.done():
            self._whole._looking = asyncio.get_running_loop().create_task(self._whole._look())
        return session

    def cancel(self, upload: str) -> bool:
        """Ask for the end of an upload of any process of this server.

        Returns False when there is none, or it is too late: an upload that is being published is
        not stopped, because what its store made visible may have been seen.
        """
        record = self.progress_table.find(upload)
        if record is None or record.state is not State.RECEIVING:
            return False
        if not self.grant.owns_mark(record.owner):
            return False
        record.cancel_asked = True
        if upload in self._live:
            self._live[upload].stop(_cancelled())
        return True

    async def aclose(self, send_timeout: float = SEND_AT_END) -> None:
        """End the uploads under way and wait for their drafts; then close the store.

        Events that wait are sent for at most `send_timeout` seconds.
        """
        current = asyncio.current_task()
        live = [session for session in self._live.values() if session.task is not current]
        for session in live:
            session.stop(Unavailable(STOPPED))
        tasks = [session.task for session in live if session.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
        parts = (self._file_sweep, self._spool, self.resumable)
        deliverer = self._deliverer
        sending = [] if deliverer is None else [lambda: deliverer.aclose(send_timeout)]
        then = (self.rules.quotas, self.elsewhere, self._ledger, self.store)
        await run_each(
            *(part.aclose for part in parts if part is not None),
            *sending,
            *(part.aclose for part in then if part is not None),
        )

    async def _recover(self) -> None:
        """Events of what processes published that ended meanwhile."""
        if self.rules.outbox is not None:
            await self.rules.outbox.settle_abandoned()
        if self.resumable is not None:
            await self.resumable.recover_abandoned()

    def _end(self, session: UploadSession) -> None:
        del self._live[session.id]
        if session.is_handed_over:  # its upload of the ledger has a record when it goes on
            self.progress_table.rest(session.record)
        else:
            self.progress_table.end(session.record)

    async def _look(self) -> None:
        at, remote = 0, self.store.traits.remote
        while self._live:
            await asyncio.sleep(LOOK_EVERY)
            looked_at = list(self._live.values())
            if not remote:  # else all: what is acknowledged moves all the time
                at = at if at < len(looked_at) else 0
                looked_at = looked_at[at : at + LOOKED_AT]
                at += LOOKED_AT
            for session in looked_at:
                if remote:
                    session.count_kept()
                    if session.client_left():
                        session.stop(
                            BodyCut(
                                "The client left while the destination took nothing;"
                                " nothing was stored"
                            )
                        )
                if (failure := session.failure()) is not None:
                    session.stop(failure)
                if session.record.cancel_asked and session.record.state is State.RECEIVING:
                    session.stop(_cancelled())


def _cancelled() -> Cancelled:
    return Cancelled("The upload was cancelled; nothing was stored")
