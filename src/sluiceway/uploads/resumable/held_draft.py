"""The draft of an upload that one request holds, with its record, its digests and its progress.

The draft is opened when it is needed. An offset is written down before a client learns it. Leaving
keeps what arrived. How an upload ends is in `held`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Self, cast

from sluiceway.errors import OffsetMismatch, TooLarge
from sluiceway.pipe.digests import RunningDigests
from sluiceway.pipe.stages import Stages
from sluiceway.stores.contract import Draft
from sluiceway.stores.delivered_later import DeliveredLater
from sluiceway.stores.unpublished import AdoptingStore, ResumableDraft, ResumableStore, offers
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.resumable.drafts.appending import append_draft
from sluiceway.uploads.resumable.drafts.elsewhere import is_first_known
from sluiceway.uploads.resumable.drafts.opening import discard, may_have_draft, open_draft
from sluiceway.uploads.resumable.held_record import HeldRecord
from sluiceway.uploads.resumable.resting import progress_of, shown_kept
from sluiceway.uploads.rules import UploadRules

__all__ = ["HeldDraft"]


class HeldDraft:
    """The bytes of one upload, and what is known of them, until the block of `hold` ends."""

    def __init__(
        self,
        record: UploadRecord,
        ledger: Ledger,
        rules: UploadRules,
        progress_table: ProgressTable,
        digests: RunningDigests,
        expiry: Expiry,
    ) -> None:
        self.digests: RunningDigests = digests
        self.stages: Stages = Stages()
        self._row = HeldRecord(record, ledger, rules.quota, expiry)
        self._save = self._row.save
        self._ledger, self._rules = ledger, rules
        self._progress_table = progress_table
        self._draft: ResumableDraft | None = None

    @property
    def record(self) -> UploadRecord:
        """As it is now, `is_unwritten` or not."""
        return self._row.record

    @property
    def is_unwritten(self) -> bool:
        """Whether bytes are kept of which the ledger does not know yet."""
        return self._row.is_unwritten

    @cached_property
    def progress(self) -> ProgressRecord:
        """Known to watchers from its first use on; a request that only looks shows nothing."""
        return progress_of(self.record, self._progress_table, self._store, self.stages)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are kept; its client may still have to say so."""
        return self.record.offset == self.record.length

    def check_offset(self, offset: int) -> None:
        """Raises OffsetMismatch, with the right one."""
        if offset != self.record.offset:
            raise OffsetMismatch(
                f"The upload goes on at byte {self.record.offset}, not at {offset}",
                offset=self.record.offset,
            )

    async def adopt(self, draft: Draft) -> None:
        """Keep the bytes that a request without a ledger brought. The draft is this one's then."""
        if self.record.length is None:
            await self._rules.quota.hold(self.record.id, self.record.request, draft.written)
        self._draft = await cast("AdoptingStore", self._store).adopt(draft, self.record.id)
        await self.keep()

    async def append_upload(self, part: Self, start: int, count: int) -> None:
        """Add bytes of `part`; a `keep` follows. Raises TooLarge, NoSpace, StoreFailed."""
        most, draft, other = self._rules.max_size, await self._open(), await part._open()
        if most is not None and draft.written + count > most:
            raise TooLarge(f"The parts have more than {most} bytes together", limit=most)
        await append_draft(draft, other, start, count, self._rules.budget)
        self.progress.join(count)

    async def keep(self, is_last: bool = False) -> None:
        """Keep what arrived, and write the offset down. `is_last`: the next step writes it down."""
        if self._draft is not None and self.record.state is LedgerState.OPEN:
            await self._keep_at(await self._draft.sync(), is_last)

    async def leave(self) -> None:
        """Let go of the draft and of the upload. What was kept stays: raises what prevents that."""
        rests = False
        try:
            if self._draft is not None:
                is_kept = self._draft.written == self._draft.kept == self.record.offset
                if not (self.is_unwritten or is_kept):  # a part that is only read waits for no disk
                    await self.keep(is_last=True)
                rests = self.record.state is LedgerState.OPEN
        finally:
            state = self.record.draft
            if self._draft is not None:
                await self._draft.suspend()
                state = self._draft.save().state if rests else state
            await self.digests.settle()
            if self.record.state is LedgerState.OPEN and "progress" in vars(self):
                self._show_kept()  # it is counted; from now on the ledger tells it
                self._progress_table.rest(self.progress)
            await self._row.let_go(state)

    @property
    def _store(self) -> ResumableStore:
        return cast(ResumableStore, self._rules.store)  # its trait says so

    async def _open(self, counts: bool = True) -> ResumableDraft:
        """The draft; `counts`: its digests are asked for."""
        if self._draft is None:
            counted = self.digests.algorithms if counts else frozenset[str]()
            self._draft = draft = await open_draft(self._store, self._ledger, self.record, counted)
            if is_first_known(draft, self.record.offset, self.record.draft):
                await self._keep_at(draft.kept)
                self.progress.by_kernel = False
            if offers(draft, DeliveredLater):
                draft.watch(self.progress.set_waiting)
        return self._draft

    async def _discard_draft(self) -> None:
        is_there = self._draft is not None or may_have_draft(self.record, self._store)
        await discard(self._open(counts=False) if is_there else None, self.record, self._store)
        self._draft = None

    async def _keep_at(self, offset: int, is_last: bool = False) -> None:
        if await self._row.keep_at(cast("ResumableDraft", self._draft), offset, is_last):
            self._show_kept()

    def _show_kept(self) -> None:
        self.progress.kept = max(self.progress.kept, shown_kept(self.record, self._store))
