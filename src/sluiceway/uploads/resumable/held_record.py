"""The record of a held upload, and its row in the ledger: what is written down, and when.

An offset is durable before a client learns it; to let go of an upload need not be. Knows no store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.unpublished import ResumableDraft, SavedDraft
from sluiceway.uploads.ledger.contract import Ledger, OutboxEvent
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import UploadRecord, begun_anew, changed_record
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.quota.uploading import UploadQuota

__all__ = ["HeldRecord"]


class HeldRecord:
    """The record of an upload that this process holds."""

    __slots__ = ("_expiry", "_ledger", "_quota", "is_unwritten", "record")

    def __init__(
        self, record: UploadRecord, ledger: Ledger, quota: UploadQuota, expiry: Expiry
    ) -> None:
        self.record: UploadRecord = record
        self.is_unwritten: bool = False  # the offset is kept, and the ledger does not have it yet
        self._ledger, self._quota, self._expiry = ledger, quota, expiry

    async def save(
        self,
        event: str = "",
        parts: Sequence[str] = (),
        events: Sequence[OutboxEvent] = (),
        **changes: object,
    ) -> None:
        """Write the changed record down. Raises Superseded when another request has the upload."""
        changed = changed_record(self.record, event, self._expiry, self._ledger.now(), changes)
        await self._ledger.save(changed, parts, events)
        self.record = changed
        self.is_unwritten = False
        if event and changed.state in (LedgerState.DONE, LedgerState.GONE):
            await self._quota.release([changed.id])

    async def keep_at(self, draft: ResumableDraft, offset: int, is_last: bool) -> bool:
        """The draft keeps its bytes up to `offset`. Returns whether the row says so.

        `is_last`: the step that follows writes it down.
        """
        saved, moved = draft.save(), offset != self.record.offset
        if saved.parts or saved.state != self.record.draft or not is_last:
            if moved or self.is_unwritten or saved.parts or saved.state != self.record.draft:
                await self.save(parts=saved.parts, offset=offset, draft=saved.state)
                draft.saved()
            return True
        if moved:
            now, changes = self._ledger.now(), {"offset": offset}
            self.record = changed_record(self.record, "", self._expiry, now, changes)
            self.is_unwritten = True
        return False

    async def let_go(self, state: str) -> None:
        """Hold it no more; its draft stands so at rest. Only what has changed is made durable."""
        if state != self.record.draft or self.is_unwritten:
            await self.save(holder="", draft=state)
        elif self.record.holder:
            await self._ledger.release(self.record.id, self.record.epoch)
            self.record = dataclasses.replace(self.record, holder="")

    async def saved_draft(self) -> SavedDraft:
        """What its store needs to find what became of the draft."""
        return SavedDraft(self.record.draft, tuple(await self._ledger.parts(self.record.id)))

    async def restart(
        self, request: UploadRequest, length: int | None, details: Mapping[str, str]
    ) -> None:
        """Begin anew under the same id, with no bytes."""
        await self._ledger.drop_parts(self.record, 0)
        anew = begun_anew(request, length, details, self._expiry, self._ledger.now())
        await self.save("restart", **anew)
