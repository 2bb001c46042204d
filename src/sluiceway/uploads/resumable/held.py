"""An upload that one request holds: bytes are appended, the whole is published, or it ends without.

The only code that moves an upload through the ledger's states. What a request leaves, another one
goes on with. Knows no dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import cast

from sluiceway.errors import BadDigest, Cancelled, Gone, SluiceError, TooLarge
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.source import Source
from sluiceway.stores.contract import Entry, UploadRequest
from sluiceway.stores.delivered_later import DeliveredLater
from sluiceway.stores.keys.revocable import RevocablePublish
from sluiceway.stores.unpublished import ResumableDraft, TellsReplaced, offers
from sluiceway.uploads.hooks.around import AppAround
from sluiceway.uploads.ledger.record import ADOPTED, LAST, FinalResponse
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.publishing.refusable import (
    refusable_publish,
    replacing_details,
    take_back,
)
from sluiceway.uploads.quota.quotas import JOINED
from sluiceway.uploads.resumable.asked import asked_details
from sluiceway.uploads.resumable.drafts.appending import LateDigests, append_content
from sluiceway.uploads.resumable.drafts.whole_digests import digests_of
from sluiceway.uploads.resumable.drafts.wishes import counted_digests, heed_expected, heed_wish
from sluiceway.uploads.resumable.held_draft import HeldDraft
from sluiceway.uploads.resumable.outcome import PASSING_ERRORS, Respond, replied
from sluiceway.uploads.resumable.resting import ended_state, is_elsewhere, progress_of
from sluiceway.uploads.rules import check_digests
from sluiceway.uploads.states import State

__all__ = ["HeldUpload"]


class HeldUpload(HeldDraft):
    """One upload, held by this request of this process until the block of `hold` ends."""

    is_ending: bool = False  # it is being published or cancelled
    replaced: bool = False  # whether publishing replaced an object, where the store tells
    app: AppAround | None = None  # that of the request which holds it
    has_ended: bool = False  # while it was held here
    entry: Entry | None = None  # what it became
    error: SluiceError | None = None  # why it became nothing
    _began: int | None = None  # the offset of its first byte here; None for none
    _last: Mapping[str, str] = {}  # of the request that ends it, for its details
    _refusable: RevocablePublish | None = None  # its publish, until the app has agreed
    _alone: AsyncExitStack  # holds the lock of the key meanwhile

    async def set_length(self, length: int | None) -> None:
        """Write the length down that the client knows only now, or None again. Raises TooLarge."""
        await self._rules.check_fits(length, size := self.record.offset)
        await self._rules.quota.hold(self.record.id, self.record.request, length or size)
        await self._save(length=length)
        self.progress.length = length

    async def want(self, algorithm: str) -> None:
        """A request asks for this digest of the whole. No byte is there, or all are."""
        if request := await heed_wish(self.digests, self.record, self._rules, algorithm):
            await self._save(request=request)

    async def expect(self, digests: Mapping[str, bytes], *, later: bool = False) -> None:
        """The whole must have these; `later`: if they can be checked. As `heed_expected` raises."""
        request = await heed_expected(self.digests, self.record, self._rules, digests)
        if request is not None and not later:
            await self._save(request=request)

    async def append(
        self,
        source: Source,
        expected: Mapping[str, bytes] | LateDigests | None = None,
        on_offset: Callable[[int], None] | None = None,
    ) -> int:
        """Add the bytes of a request. Returns the new offset, which is kept.

        With `expected`, digests of this request's bytes, all of them count or none: on a mismatch,
        or when the request is cut, they are forgotten. Meanwhile `on_offset` gets what is kept.
        Raises DigestMismatch, BadDigest, BodyCut, TooLarge, NoSpace; Gone where the bytes that are
        to be forgotten were passed on, which ends the upload.
        """
        start = self.record.offset
        self._began = start if self._began is None else self._began
        draft, known = await self._open(), self.record.length
        most = self._rules.max_size if known is None else known
        self.check_offset(start)
        quota, request = self._rules.quota, self.record.request
        source = quota.metered(self.record.id, request, source, known, start)
        try:
            await append_content(
                source,
                draft,
                expected,
                taps=[self.digests] if self.digests.goes_on(start) else [],
                meter=self.progress,
                limit=None if most is None else most - start,
                stages=self.stages,
                budget=self._rules.budget,
                on_kept=self._keep_at,
                on_offset=on_offset,
            )
        except Gone as error:
            await self.cancel("lost", error)
            raise
        except BaseException as error:
            # BadDigest: behind the bytes stood a digest that nobody had announced, or checked.
            if expected or isinstance(error, BadDigest):
                await finish_then_cancel(self._forget(start))
            if most is not None and known is None and isinstance(error, TooLarge):
                text = f"More than {most} bytes arrived"
                raise self._rules.in_full(error, most - start, text) from None
            raise
        await self.keep(is_last=True)
        return self.record.offset

    async def live_until(self, time: float) -> None:
        """Let the upload expire then, unless it expires sooner."""
        if self.record.state is LedgerState.OPEN:
            until, joined = min(self.record.expires or time, time), {JOINED: "1"}
            await self._save(expires=until, details={**self.record.details, **joined})

    async def finish(self, respond: Respond) -> FinalResponse:
        """Publish the upload. Its event and its response, for a repeated request, are written down.

        Raises an error after which the same request may be repeated: the upload stays open. Raises
        what the app does of a published file, which is final.
        """
        self.is_ending = True
        self._last = {LAST: str(self.record.offset if self._began is None else self._began)}
        async with AsyncExitStack() as self._alone:
            try:
                return await self._finish(respond)
            finally:
                if self._refusable is not None:
                    await self._refusable.settle()

    async def _finish(self, respond: Respond) -> FinalResponse:
        if (there := await self._published_before()) is not None:
            return await self._done(there, respond)
        draft = await self._open()
        try:
            found = await digests_of(self.digests, draft, self.record.request.expected)
            check_digests(found, self.record.request.expected, "Begin a new upload")
            entry = await self._publish(draft, digest_pairs(found))
        except (Gone, *PASSING_ERRORS) as error:
            if self.record.state is LedgerState.FINISHING:
                await self._save("retry")
            if isinstance(error, Gone):
                await self.cancel("lost", error)
            raise
        except SluiceError as error:
            response = respond(error)
            await self._refuse(error, response)
            await draft.discard()
            return response
        return await self._done(entry, respond)

    async def cancel(self, code: str, error: SluiceError | None = None) -> None:
        """End the upload: its bytes are removed, and its id is remembered for a while."""
        if self.record.state is LedgerState.GONE:
            return
        self.is_ending = True
        is_open = self.record.state is not LedgerState.DONE
        await self._save("end", code=code)
        if is_open:
            await self._discard_draft()
            self._end(code, error or Cancelled("The upload was cancelled"))

    async def restart(
        self, request: UploadRequest, length: int | None, details: Mapping[str, str]
    ) -> None:
        """Begin anew under the same id. Raises TooLarge, Forbidden, Exists, NoSpace."""
        self._rules.check_size(length)
        request = await self._rules.admit(request)
        if length is not None or ADOPTED not in details:  # what is adopted has its bytes' room
            await self._rules.quota.restarted(self.record.id, request, length)
        if self.record.state is LedgerState.OPEN:
            await self._discard_draft()
        await self.digests.begin(counted_digests(self._rules, request))
        await self._row.restart(request, length, details)
        self.progress = progress_of(self.record, self._progress_table, self._store, self.stages)

    async def recover(self, follow: bool = True) -> None:
        """Find out how far it is after an earlier process, or at another server if `follow`."""
        if is_elsewhere(record := self.record, self._store) and follow:
            try:
                await self._open()
            except Gone as error:
                await self.cancel("lost", error)
        elif record.state is LedgerState.FINISHING:
            if (found := await self._find_published()) is None:
                await self._save("retry")
                return
            try:
                await self._tell(found)
            except SluiceError as error:
                await self._refuse(error, None)
            else:
                await self._save_published(found, replied(found))

    async def _published_before(self) -> Entry | None:
        """The object of an earlier attempt, which succeeded although it seemed to fail."""
        if (found := await self._find_published() if self.record.key else None) is not None:
            await self._save("whole")
        return found

    async def _find_published(self) -> Entry | None:
        saved = await self._row.saved_draft()
        found = await self._store.find_published(self.record.id, saved, self.record.key)
        if found is not None:  # a killed process may not have counted it; its room is given back
            async with self._rules.quota.changing(self.record.key):
                pass
        return found

    async def _publish(self, draft: ResumableDraft, digests: tuple[tuple[str, str], ...]) -> Entry:
        request = self.record.request
        key = self.record.key or request.key or await self._rules.free_key(request)
        self.progress.state = State.CHECKING
        asked = await asked_details(self._rules, self.app, self.record, key, digests, draft)
        refusable = refusable_publish(self.app, self._rules, draft, self.record.id)
        if refusable is not None:
            await self._alone.enter_async_context(self._rules.undo_locks.acquire(key))
            asked = await replacing_details(self._rules, key, request, asked)
        self._refusable, publish = refusable, refusable.run if refusable else draft.publish
        await self._save("whole", key=key, details={**asked, **self._last})
        self._show_kept()
        share = self._rules.quota.publishing(self.record.id, key, request, draft.written)
        async with self._rules.counted(1), share as change:
            entry = await publish(key, request.metadata(digests), request.replace)
            change.has(key, entry)
        self.replaced = self._store.traits.tells_replaced and cast("TellsReplaced", draft).replaced
        return entry

    async def _tell(self, entry: Entry) -> None:
        """The app may still refuse what is published: then it is taken back, where it can be."""
        try:
            if self.app is not None:
                await self.app.published(entry)
        except SluiceError as error:
            raise await take_back(
                self._rules, self._refusable, entry, self.record, error
            ) from error

    async def _done(self, entry: Entry, respond: Respond) -> FinalResponse:
        try:
            await self._tell(entry)
        except SluiceError as error:
            await self._refuse(error, respond(error))
            raise
        response = respond(entry)
        await self._save_published(entry, response)
        return response

    async def _save_published(self, entry: Entry, response: FinalResponse | None) -> None:
        outbox, record = self._rules.outbox, self.record
        events = [] if outbox is None else [outbox.of(record.id, record.created, entry)]
        # A spool forgets its note afterwards: until then nobody may begin under the same id anew.
        holder = record.holder if offers(self._draft, DeliveredLater) else ""
        await self._save("publish", (), events, offset=entry.size, response=response, holder=holder)
        self.entry = entry
        self._end("")
        if outbox is not None:
            outbox.on_event()

    async def _refuse(self, error: SluiceError, response: FinalResponse | None) -> None:
        details = {**self.record.details, **self._last}
        await self._save("refuse", response=response, code=error.code, details=details)
        self._end(error.code, error)

    async def _forget(self, offset: int) -> None:
        """What came behind `offset` does not count."""
        if (draft := self._draft) is None:
            return
        await self.digests.forget(offset)
        self.progress.received = self.progress.forwarded = offset
        try:
            await draft.truncate(offset)
        except Gone as error:
            await self.cancel("lost", error)
            raise
        except SluiceError:  # the next request takes up what was written down
            self._draft = None
            await draft.suspend()
            raise
        await self.keep()

    def _end(self, code: str, error: SluiceError | None = None) -> None:
        self.has_ended, self.error = True, error
        self.progress.by_kernel = self.progress.by_kernel and bool(code)
        if code:
            self.progress.code = code
        else:
            self.progress.kept = self.record.offset
        self.progress.state = ended_state(code)
        self._progress_table.end(self.progress)
