"""A file that is sent resumably: after a cut it goes on at the offset that the server keeps.

Each step is taken again as long as that helps; a new byte starts the count again. An upload that
the server has lost begins anew, in words. A bookmark lets a later run go on. Knows no dialect.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Protocol

from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Response
from sluiceway.client.http.transport import Transport
from sluiceway.client.local.bookmarks import BookmarkNotes, take_bookmark
from sluiceway.client.resumable.dialects import DIALECTS, Dialect
from sluiceway.client.resumable.offers import Offer
from sluiceway.client.resumable.outcome import Next, after_error
from sluiceway.client.resumable.piece import PieceOfSource
from sluiceway.client.resumable.steps import UploadSteps
from sluiceway.client.resumable.unsent_bytes import go_on
from sluiceway.client.retry import ANSWERED, ATTEMPTS, IDEMPOTENT, UNREADABLE
from sluiceway.client.source_body import SourceBody
from sluiceway.client.upload_job import Resuming, UploadJob
from sluiceway.client.upload_receipt import GOES_ON, because, upload_receipt
from sluiceway.errors import DigestMismatch, PeerFailed, SluiceError, SourceChanged
from sluiceway.pipe.digests import RunningDigests
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.stages import ANSWER, DESTINATION, SOURCE, Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.wire.urls import redact_url

__all__ = ["BookmarkLike", "ResumableUpload"]

SMALLEST_PIECE = 512 << 10  # bytes; below this a proxy's limit is no limit on pieces
# Of a creation: the server offers resumable uploads, but not here. The file goes in one request.
NOT_HERE = frozenset({404, 405, 501})


class BookmarkLike(Protocol):
    """What an upload needs of a bookmark. All calls block, for a moment."""

    notes: BookmarkNotes | None

    def write(self, notes: BookmarkNotes) -> bool: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class ResumableUpload:
    """One upload of a source of known length that can be read again. Use it once."""

    def __init__(
        self,
        transport: Transport,
        job: UploadJob,
        resuming: Resuming,
        offer: Offer,
        on_progress: OnProgress | None,
        stages: Stages,
        dialect: Dialect | None = None,
        bookmark: BookmarkLike | None = None,
    ) -> None:
        """`dialect` is that of the offer. `bookmark`: another one than the user's of this copy."""
        self._job, self._resuming, self._stages = job, resuming, stages
        self._size = job.source.length or 0
        self._dialect = DIALECTS[offer.protocol] if dialect is None else dialect
        self._steps = UploadSteps(transport, self._dialect, resuming, job.headers, self._on_sent)
        self._digests = RunningDigests(job.counted)
        self._policy = replace(resuming.retry_policy, jitter=1.0)
        self._on_progress = on_progress
        self._bookmark: BookmarkLike | None = bookmark
        self._version = "" if resuming.identity is None else resuming.identity.version
        self._most_piece = offer.max_append or self._size
        self._offset = 0  # bytes that the server keeps
        self._attempts = 0  # since the last new byte
        self._asks = False  # the offset has to be asked for
        self._offered_all = False  # the last byte was let go once
        self._body: SourceBody | None = None  # of the piece under way

    async def run(self) -> Receipt | None:
        """Send the file and wait until the server confirms that it is kept.

        None: the server takes no such upload here, and nothing was sent. Raises as `upload` does.
        """
        identity, request = self._resuming.identity, self._resuming.request
        if identity is not None:
            conditions = sorted(
                f"{name}: {value}"
                for name, value in self._job.headers.items()
                if name.startswith("if-")
            )
            names = (request.method, request.url, request.type, self._resuming.filename)
            self._bookmark = await in_thread(
                partial(take_bookmark, identity.place, *names, *conditions)
            )
        try:
            await self._open_bookmark()
            return await self._run()
        except (SourceChanged, DigestMismatch):
            if self._steps.url:  # what the server keeps is of no use any more
                await self._steps.cancel()
            self._forget()
            raise
        finally:
            await self._digests.aclose()
            if self._bookmark is not None:
                await in_thread(self._bookmark.close)

    async def _open_bookmark(self) -> None:
        """Go on with the upload that an earlier run left, if it is of the same bytes."""
        bookmark = self._bookmark
        if bookmark is None or (notes := bookmark.notes) is None:
            return
        if notes.protocol != self._dialect.name:
            return
        self._steps.url, self._asks = notes.url, True
        if (notes.version, notes.size) != (self._version, self._size):
            self._note("the file changed since its upload broke off; it is sent from its beginning")
            await self._steps.cancel()
            self._asks = False

    async def _run(self) -> Receipt | None:
        while True:
            self._attempts += 1
            try:
                if not self._steps.url and not await self._begin():
                    return None
                receipt = await self._ask() if self._asks else None
                receipt = receipt or await self._append()
            except SluiceError as error:
                await self._recover(error)
            else:
                if receipt is not None:
                    return receipt
                self._attempts = 0

    async def _begin(self) -> bool:
        """Create the upload. False: not here."""
        self._stages.enter(DESTINATION)
        self._report("connecting", 0)
        try:
            await self._steps.create(self._size)
        except SluiceError as error:
            if error.members.get(ANSWERED) in NOT_HERE:
                return False
            raise
        self._offset = 0
        if self._bookmark is not None:
            notes = BookmarkNotes(self._steps.url, self._dialect.name, self._version, self._size)
            await in_thread(partial(self._bookmark.write, notes))
        return True

    async def _ask(self) -> Receipt | None:
        """Learn the offset. A receipt where the upload turns out to be complete."""
        self._stages.enter(DESTINATION)
        head = await self._steps.offset()
        offset = self._dialect.offset(head)
        if offset is None or offset > self._size:
            raise PeerFailed(
                f"{redact_url(head.url)} does not say how far the upload is",
                **{UNREADABLE: True},
            )
        if offset > self._offset:
            self._attempts = 1
        self._offset, self._asks = offset, False
        if offset:
            self._note(f"goes on at {offset} of {self._size} bytes")
        if not self._dialect.ended(head, self._size):
            return None
        return await self._ended(Response(head, b""))

    async def _ended(self, shown: Response) -> Receipt:
        """The server has all of it. The last response got lost: it may come once more."""
        if not self._dialect.repeats_final:
            return await self._receipt(shown)
        response = await self._send(self._size, self._size)
        if self._dialect.is_final(response.head) or 200 <= response.head.status < 300:
            return await self._receipt(response)
        return await self._receipt(shown)  # it does not repeat responses

    async def _append(self) -> Receipt | None:
        """Send the next piece. A receipt after the last one."""
        stop = min(self._size, self._offset + self._most_piece)
        response = await self._send(self._offset, stop)
        head, body = response.head, self._body
        self._stages.enter(ANSWER)
        if self._dialect.is_final(head):
            return await self._receipt(response)
        if not 200 <= head.status < 300:
            raise refusal(head, response.text)
        offset = self._dialect.offset(head)
        whole = body is not None and body.written and offset in (None, stop)
        if whole and stop == self._size and not self._dialect.goes_on(head):
            return await self._receipt(response)
        if not whole:
            raise PeerFailed(
                f"{redact_url(head.url)} answered {head.status} before it had everything; "
                "nothing is certain",
                **{ANSWERED: head.status},
            )
        self._offset = stop
        return None

    async def _send(self, start: int, stop: int) -> Response:
        job, last = self._job, stop == self._size
        if self._digests.algorithms and self._digests.position < start:
            self._stages.enter(SOURCE)
            self._report("checking", start)
        await go_on(self._digests, job.source, start)
        self._body = body = SourceBody(
            PieceOfSource(job.source, start, stop),
            promises=job.promises,
            algorithms=job.algorithms,
            stages=self._stages,
            running=self._digests,
            last=last,
        )
        self._stages.enter(DESTINATION)
        try:
            return await self._steps.append(body, start, last)
        finally:
            self._offered_all = self._offered_all or (last and body.complete)

    async def _receipt(self, response: Response) -> Receipt:
        """Raises the refusal of the file, and whatever speaks against success."""
        head, job, location = response.head, self._job, self._location
        self._forget()
        if not 200 <= head.status < 300:
            raise refusal(head, response.text)
        await go_on(self._digests, job.source, self._size)
        found = await self._digests.finish()
        job.check_promises(found)
        receipt = upload_receipt(response, job.name, self._size, found, self._stages, location)
        self._offset = self._size
        self._report("done", self._size, receipt=receipt)
        return receipt

    @property
    def _location(self) -> str:
        """Where the object is, when no response names it."""
        request = self._resuming.request
        keeps = request.method == "PUT" and self._dialect.keeps_url
        return request.url if keeps else self._steps.url

    async def _recover(self, error: SluiceError) -> None:
        """Wait until the next step makes sense. Raises `error` when none ever will."""
        if self._attempts > 1:
            error.members[ATTEMPTS] = self._attempts
        step = after_error(error, created=bool(self._steps.url))
        if step is Next.SMALLER and self._most_piece > SMALLEST_PIECE:
            piece = min(self._most_piece, self._size - self._offset)
            self._most_piece = max(SMALLEST_PIECE, piece // 2)
            self._asks = True
            return
        if step is Next.ANEW and self._may_begin_anew():
            self._note("the server has lost the upload; the file is sent from its beginning")
            self._forget()
        elif step is not Next.AGAIN:
            if step is Next.NEVER:
                self._forget()
            raise error
        wait = self._policy.wait(error, self._attempts)
        if wait is None:
            raise self._given_up(error)
        self._asks = bool(self._steps.url)
        self._stages.enter(DESTINATION)
        self._report("retrying", self._offset, note=f"{error.detail}; trying again in {wait:.0f} s")
        await asyncio.sleep(wait)

    def _may_begin_anew(self) -> bool:
        """A server that has got all of it may have stored it, and forgotten the upload."""
        return not self._offered_all or self._resuming.request.method in IDEMPOTENT

    def _given_up(self, error: SluiceError) -> SluiceError:
        if self._attempts > 1:
            because(error, f"tried {self._attempts} times")
        if self._steps.url and self._bookmark is not None:
            because(error, GOES_ON)
        return error

    def _forget(self) -> None:
        self._steps.url, self._asks = "", False
        if self._bookmark is not None:
            self._bookmark.clear()

    def _on_sent(self, acknowledged: int) -> None:
        body, request = self._body, self._steps.request
        if body is None:
            return
        done = self._offset + min(acknowledged, body.sent)
        if body.written and request is not None and acknowledged >= request.handed:
            self._stages.enter(ANSWER)
            self._report("waiting", done)
        else:
            self._report("sending" if body.started else "connecting", done)

    def _note(self, text: str) -> None:
        self._report("resuming", self._offset, note=text)
        if self._resuming.on_note is not None:
            self._resuming.on_note(text)

    def _report(
        self, stage: Stage, done: int, note: str = "", receipt: Receipt | None = None
    ) -> None:
        if self._on_progress is not None:
            self._on_progress(
                Progress(self._job.name, stage, done, self._size, note, receipt, kept=self._offset)
            )
