"""One object into a store's draft that outlives the process: a later run sends only the rest.

A bookmark in the user's state folder names the draft and says what the store keeps. Only that
counts; the digests are of all bytes of the source. Knows no kind of store.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sluiceway.client.local.bookmarks import (
    Bookmark,
    BookmarkNotes,
    BookmarkStep,
    SourceIdentity,
    take_bookmark,
)
from sluiceway.client.resumable.piece import PieceOfSource
from sluiceway.client.resumable.unsent_bytes import go_on
from sluiceway.client.retry import ATTEMPTS, RetryPolicy, is_transient
from sluiceway.client.upload_receipt import GOES_ON, because
from sluiceway.copying.contract import Reading
from sluiceway.copying.endpoints.verified_put import ProgressTap, check_announced
from sluiceway.errors import (
    BadName,
    BodyCut,
    DigestMismatch,
    Exists,
    NotFound,
    PreconditionFailed,
    SluiceError,
    SourceChanged,
    TooLarge,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.digests import RunningDigests
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.lending import Borrower, LentConnection, Update
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import ANSWER, SOURCE
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.stores.contract import Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.unpublished import (
    COPY_DRAFT,
    ResumableDraft,
    ResumableStore,
    SavedDraft,
)
from sluiceway.uploads.keys import new_id

__all__ = ["LASTING_FROM", "LastingJob", "LastingPut", "take_for"]

LASTING_FROM = 8 << 20  # bytes of an object; a smaller one is sent again sooner than looked for
PROTOCOL = "draft"  # of the bookmark
# A kill costs at most this share of an object, or what a store has in flight, if that is more.
KEPT_PARTS = 64
LEAST_KEPT = 1 << 20  # bytes
# What is kept is of no use after these, or the destination will not have it.
ENDINGS = (BadName, BodyCut, DigestMismatch, Exists, PreconditionFailed, SourceChanged, TooLarge)


async def take_for(
    store: ResumableStore, reading: Reading, destination: str, request: UploadRequest
) -> Bookmark | None:
    """The bookmark of this copy; None where it cannot go on in another process.

    The store keeps nothing, or the source cannot be read from its middle or is not known again.
    """
    source, identity = reading.source, reading.identity
    large = source.length is not None and source.length >= LASTING_FROM
    if identity is None or not large or not source.reopenable:
        return None
    if not store.traits.resumable:
        return None
    names = (PROTOCOL, destination, request.key, request.filename, request.type)
    return await in_thread(partial(take_bookmark, identity.place, *names))


@dataclass(frozen=True, slots=True)
class LastingJob:
    """What is put where. `identity` is the source's; `size` its bytes."""

    store: ResumableStore
    reading: Reading
    identity: SourceIdentity
    size: int
    request: UploadRequest
    replace: bool


class LastingPut:
    """One put. Use it once. `bookmark` is closed at its end."""

    def __init__(
        self,
        job: LastingJob,
        bookmark: Bookmark,
        digests: tuple[str, ...],
        budget: Budget,
        retry_policy: RetryPolicy,
    ) -> None:
        self._job, self._bookmark, self._policy = job, bookmark, retry_policy
        self._digests = RunningDigests(digests, budget)
        self._found: dict[str, bytes] | None = None
        self._progress = ProgressTap(job.reading, "sending")
        self._draft: ResumableDraft | None = None
        self._upload, self._epoch = "", 0
        self._furthest, self._attempts = 0, 0

    async def run(self) -> tuple[Entry, dict[str, bytes]]:
        """The object and its digests. Raises what source and store raise, and DigestMismatch."""
        try:
            while True:
                self._attempts += 1
                try:
                    return await self._attempt()
                except SluiceError as error:
                    wait = self._wait_after(error)
                await asyncio.sleep(wait)
        finally:
            await self._digests.aclose()
            await in_thread(self._bookmark.close)

    async def _attempt(self) -> tuple[Entry, dict[str, bytes]]:
        job, reading = self._job, self._job.reading
        self._progress.report("connecting")
        if (entry := await self._open()) is not None:
            return entry, await self._digest()
        try:
            draft = self._open_draft
            await self._send(draft)
            found = await self._digest()
            check_announced(found, reading)
            self._progress.report("waiting")
            reading.stages.enter(ANSWER)
            request, counted = job.request, digest_pairs(found)
            kept = Metadata(request.filename, request.type, counted, request.headers, request.user)
            entry = await draft.publish(request.key, kept, Replace(allowed=job.replace))
        except ENDINGS:
            await self._end()
            raise
        except BaseException:
            await finish_then_cancel(self._rest())
            raise
        self._bookmark.clear()
        return entry, found

    async def _send(self, draft: ResumableDraft) -> None:
        job, start = self._job, draft.written
        stages = job.reading.stages
        if self._digests.algorithms and self._digests.position < start:
            stages.enter(SOURCE)
            self._progress.report("checking")
        await go_on(self._digests, job.reading.source, start)
        self._progress.go_on(start)
        if start == job.size:
            return
        await pump(
            TimedSource(PieceOfSource(job.reading.source, start, job.size), stages),
            _WholeParts(draft) if job.store.traits.keeps == "parts" else draft,
            taps=self._progress.beside(self._digests),
            stages=stages,
            sender=SOURCE,
            on_kept=self._note_kept,
            keep_after=max(LEAST_KEPT, job.size // KEPT_PARTS),
        )

    async def _digest(self) -> dict[str, bytes]:
        """Of all bytes; those that were not sent now are read."""
        if self._found is None:
            await go_on(self._digests, self._job.reading.source, self._job.size)
            self._found = await self._digests.finish()
        return self._found

    # The draft

    @property
    def _open_draft(self) -> ResumableDraft:
        if self._draft is None:
            raise NotFound("The upload has ended")
        return self._draft

    async def _open(self) -> Entry | None:
        """Take the draft up, or begin one. The object where an earlier run published it."""
        job, notes, step = self._job, self._bookmark.notes, self._bookmark.step
        if notes is not None and notes.protocol == PROTOCOL and step is not None:
            self._upload, self._epoch = notes.url, step.epoch + 1
            same = (notes.version, notes.size) == (job.identity.version, job.size)
            saved = SavedDraft(step.state, step.parts)
            try:
                await self._save(BookmarkStep(step.offset, self._epoch, step.state))
                self._draft = await job.store.resume(
                    notes.url, saved, step.offset, job.size, job.request, self._epoch
                )
            except NotFound:
                entry = await job.store.find_published(notes.url, saved, job.request.key)
                if same and entry is not None and entry.size == job.size:
                    self._bookmark.clear()
                    return entry
                self._say("the destination has lost the upload; the file is sent from the start")
            except SluiceError as error:
                if is_transient(error):
                    raise
                self._say(f"the upload cannot go on ({error.detail}); it begins anew")
            else:
                if same:
                    if step.offset:
                        self._say(f"goes on at {step.offset} of {job.size} bytes", step.offset)
                    return None
                self._say("the file changed since its upload broke off; it is sent from the start")
                await self._end()
        await self._begin()
        return None

    async def _begin(self) -> None:
        job = self._job
        self._upload, self._epoch = f"{COPY_DRAFT}{new_id()}", 0
        draft = self._draft = await job.store.begin(self._upload, job.size, job.request)
        notes = BookmarkNotes(self._upload, PROTOCOL, job.identity.version, job.size)
        if await in_thread(partial(self._bookmark.write, notes)):
            await self._save(BookmarkStep(0, 0, draft.save().state))
            draft.saved()

    async def _note_kept(self, _: int) -> None:
        """Write down what the store keeps: from now on it is not sent again."""
        draft = self._open_draft
        kept, saved = draft.kept, draft.save()
        if await self._save(BookmarkStep(kept, self._epoch, saved.state, saved.parts)):
            draft.saved()
            self._progress.kept = kept
        if kept > self._furthest:
            self._furthest, self._attempts = kept, 1

    async def _save(self, step: BookmarkStep) -> bool:
        return await finish_then_cancel(in_thread(partial(self._bookmark.add, step)))

    async def _rest(self) -> None:
        """Let go of the draft, with all that its store keeps: a later run goes on."""
        draft, self._draft = self._draft, None
        if draft is not None:
            with suppress(SluiceError):
                await draft.suspend()
                kept, saved = draft.kept, draft.save()
                await self._save(BookmarkStep(kept, self._epoch, saved.state, saved.parts))

    async def _end(self) -> None:
        """Nothing of it is of use."""
        draft, self._draft = self._draft, None
        self._bookmark.clear()
        if draft is not None:
            await draft.discard()

    # Failures

    def _wait_after(self, error: SluiceError) -> float:
        """Seconds before the next attempt. Raises `error` when there is none."""
        if self._attempts > 1:
            error.members[ATTEMPTS] = self._attempts
        again = is_transient(error) and not isinstance(error, ENDINGS)
        wait = self._policy.wait(error, self._attempts) if again else None
        if wait is None:
            if self._bookmark.step is not None and self._bookmark.step.offset:
                because(error, GOES_ON)
            raise error
        self._progress.report("retrying", note=f"{error.detail}; trying again in {wait:.0f} s")
        return wait

    def _say(self, text: str, offset: int = 0) -> None:
        self._progress.go_on(offset)
        self._progress.report("resuming", note=text)
        if self._job.reading.on_note is not None:
            self._job.reading.on_note(text)


class _WholeParts:
    """A draft that keeps whole parts by itself: to have the rest kept would send it twice."""

    def __init__(self, draft: ResumableDraft) -> None:
        self._draft = draft

    @property
    def kept(self) -> int:
        return self._draft.kept

    async def write(self, data: Buffer) -> None:
        await self._draft.write(data)

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        return isinstance(self._draft, Borrower) and await self._draft.draw(lent, update)

    async def sync(self) -> int:
        return self._draft.kept
