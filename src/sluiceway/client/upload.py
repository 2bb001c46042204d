"""Sending one file: the request, the response, whether the server keeps what was sent, retries.

No loops over bytes here. The redirects are in `redirects`, the waits in `retry`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from sluiceway.client.http.aiohttp_request import WholeBody
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Response
from sluiceway.client.http.redirects import (
    SEE_OTHER,
    RedirectChain,
    follow_redirects,
    without_body_headers,
)
from sluiceway.client.http.request import EXPECT_WAIT, MOST_RESPONSE, StreamingRequest
from sluiceway.client.http.transport import Transport
from sluiceway.client.local.files import LocalFile
from sluiceway.client.resumable.offers import Offer
from sluiceway.client.retry import (
    ANSWERED,
    ATTEMPTS,
    BUSY,
    IDEMPOTENT,
    connection_broke,
    may_ask_again,
    may_repeat,
)
from sluiceway.client.source_body import SourceBody
from sluiceway.client.upload_job import (
    EXPECT_FROM,
    LEAST_RESUMED,
    RESUMABLE_FROM,
    Resuming,
    UploadJob,
)
from sluiceway.client.upload_receipt import because, upload_receipt
from sluiceway.errors import PeerFailed, SluiceError
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.stages import ANSWER, DESTINATION, Stages
from sluiceway.pipe.wrapped import unthrottled
from sluiceway.wire.urls import redact_url

__all__ = ["UploadJob", "upload"]

# A server that knows no Expect gets the same request without it (RFC 9110 10.1.1).
EXPECTATION_FAILED = 417


async def upload(
    transport: Transport,
    job: UploadJob,
    on_progress: OnProgress | None = None,
    stages: Stages | None = None,
) -> Receipt:
    """Send it and wait until the server confirms that it is kept.

    `stages` goes on from where the caller's own time went. Raises the server's refusal (see
    `error_responses`), PeerFailed, SourceFailed, DigestMismatch when the source breaks a promise or
    the server keeps other bytes than were sent.
    """
    stages = stages or Stages()
    broke = job.resuming is not None and job.resuming.broke
    if (job.source.length or 0) >= (LEAST_RESUMED if broke else RESUMABLE_FROM):
        if on_progress is not None and job.resuming is not None:
            on_progress(Progress(job.name, "connecting", 0, job.source.length))
        resumed = await _resumed(transport, job, on_progress, stages, broke)
        if resumed is not None:
            return resumed
    elif job.source.length is None:
        _say_one_piece(job, on_progress, "its length is not known")
    return await _UploadRun(transport, job, on_progress, stages).run()


async def _resumed(
    transport: Transport,
    job: UploadJob,
    on_progress: OnProgress | None,
    stages: Stages,
    broke: bool = False,
) -> Receipt | None:
    """The receipt of a resumable upload; None where the upload has to be one request.

    `broke`: one request was tried, and broke off.
    """
    resuming, source = job.resuming, job.source
    if resuming is None or source.length is None:
        return None
    if not source.reopenable:
        _say_one_piece(job, on_progress, "its source can be read only once")
        return None
    stages.enter(DESTINATION)
    offer = await resuming.offers.ask(resuming.request.url, resuming.place, job.headers, broke)
    if offer is None or not offer.takes(source.length):
        reason = "the server offers no resumable uploads" + (" of this size" if offer else "")
        _say_one_piece(job, on_progress, reason)
        return None
    if resuming.parallel > 1:
        reason = _one_piece(job, resuming, offer)
        if not reason:
            from sluiceway.client.resumable.parallel_upload import ParallelUpload

            return await ParallelUpload(transport, job, resuming, offer, on_progress, stages).run()
        _say_one_piece(job, on_progress, reason)
    # Late: small uploads need nothing of it.
    from sluiceway.client.resumable.resumable_upload import ResumableUpload

    return await ResumableUpload(transport, job, resuming, offer, on_progress, stages).run()


def _one_piece(job: UploadJob, resuming: Resuming, offer: Offer) -> str:
    """Why a file is sent in one piece although parts were asked for; "" for no reason."""
    if not offer.joins:
        return "the server joins no parts"
    named = resuming.request.method == "PUT"
    if named and offer.protocol != "tus" and not offer.joins_named:
        return "the server takes parts only where it picks the name"
    if job.counted and not isinstance(unthrottled(job.source), LocalFile):
        return "its digest is counted while it comes (or use --digest none)"
    return ""


def _say_one_piece(job: UploadJob, on_progress: OnProgress | None, reason: str) -> None:
    """Say it once a copy, of its first large file."""
    resuming, length = job.resuming, job.source.length
    if resuming is None or resuming.parallel == 1 or reason in resuming.reasons:
        return
    if length is not None and length < RESUMABLE_FROM:
        return
    resuming.reasons.add(reason)
    note = f"it goes in one piece: {reason}"
    if on_progress is not None:
        on_progress(Progress(job.name, "resuming", 0, length, note))
    if resuming.on_note is not None:
        resuming.on_note(note)


class _UploadRun:
    def __init__(
        self, transport: Transport, job: UploadJob, on_progress: OnProgress | None, stages: Stages
    ) -> None:
        self._transport = transport
        self._job = job
        self._stages = stages
        self._body = SourceBody(
            job.source,
            job.file_request.head,
            job.file_request.tail,
            promises=job.promises,
            algorithms=job.algorithms,
            stages=stages,
        )
        self._request: StreamingRequest | None = None  # the last one
        self._on_progress = on_progress
        self._connected = False  # a connection was made once
        self._answered_elsewhere = False  # a 303 said that the server has the file

    async def run(self) -> Receipt:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt()
            except SluiceError as error:
                if attempt > 1:
                    error.members[ATTEMPTS] = attempt
                if self._answered_elsewhere or not may_ask_again(error, BUSY):
                    raise
                if not self._connected:  # never reached: probably a wrong URL
                    raise
                await self._recover(error, attempt)
                if connection_broke(error) and (resumed := await self._resumed()) is not None:
                    return resumed

    async def _resumed(self) -> Receipt | None:
        """The same file once more, now so that the next cut costs less. None: as before."""
        if (self._job.source.length or 0) < LEAST_RESUMED:
            return None
        return await _resumed(
            self._transport, self._job, self._on_progress, self._stages, broke=True
        )

    async def _attempt(self) -> Receipt:
        """Send one request, its redirects included."""
        file_request, body = self._job.file_request, self._body
        headers = {**self._job.headers, "Content-Type": file_request.type}
        chain = RedirectChain(self._transport, file_request.url, headers)
        large, may_expect = body.length is None or body.length >= EXPECT_FROM, True
        self._report("connecting", 0)
        while True:
            self._stages.enter(DESTINATION)
            if self._transport.will_ask_for_login(chain.url) and not body.source.reopenable:
                await self._log_in(chain)
            asks = large or self._transport.will_ask_for_login(chain.url)
            expect = asks and may_expect
            response = await self._send(chain, expect)
            head = response.head
            if chain.challenged(head):
                if not body.may_send:
                    raise because(
                        refusal(head, response.text),
                        "it asks who we are, and a stream that has begun cannot be sent again",
                    )
            elif head.status == EXPECTATION_FAILED and expect and body.may_send:
                may_expect = False
            elif head.status == SEE_OTHER and body.written:
                if not chain.advance(head):
                    raise refusal(head, "")
                return await self._ask_outcome(chain)
            elif not chain.advance(head, sends_body=True, repeatable=body.may_send):
                return self._receipt(response)

    async def _send(self, chain: RedirectChain, expect: bool) -> Response:
        method = self._job.file_request.method
        repeatable = self._body.source.reopenable and method in IDEMPOTENT
        if (data := self._body.whole()) is not None:
            return await self._send_whole(data, chain, expect, repeatable)
        self._request = StreamingRequest(
            self._transport,
            method,
            chain.url,
            chain.headers(),
            self._body.length,
            expect=expect,
            expect_timeout=EXPECT_WAIT,
            repeatable=repeatable,
            on_sent=self._on_sent,
        )
        try:
            return await self._body.send(self._request)
        finally:
            self._connected = self._connected or self._request.connected

    async def _send_whole(
        self, data: bytes, chain: RedirectChain, expect: bool, repeatable: bool
    ) -> Response:
        """A small file: no task of its own reads or writes it."""
        method = self._job.file_request.method
        whole = WholeBody(
            data,
            repeatable=repeatable,
            expect=expect,
            expect_timeout=EXPECT_WAIT,
            on_sent=None if self._on_progress is None else self._on_whole_sent,
            on_written=partial(self._stages.enter, ANSWER),
        )
        try:
            async with self._transport.ask(method, chain.url, chain.headers(), whole) as response:
                return await response.read(MOST_RESPONSE)
        finally:
            self._connected = self._connected or whole.is_connected
            if whole.begun:
                self._body.whole_sent(whole.finished)

    async def _log_in(self, chain: RedirectChain) -> None:
        """Let the server ask who we are by a request that changes nothing.

        A stream can be sent once only, so the challenge has to come before.
        """
        headers = without_body_headers(chain.headers())
        try:
            # Not HEAD: some servers send a body with their 401 to it.
            async with self._transport.ask("GET", chain.url, headers) as response:
                chain.challenged(response.head)
        except PeerFailed:
            pass  # the request itself will show it

    async def _ask_outcome(self, chain: RedirectChain) -> Receipt:
        """Ask the place that a 303 names what became of the file (RFC 9110 15.4.4).

        Its status decides. Whatever it is, the file is not sent again: the server has it.
        """
        self._stages.enter(ANSWER)
        self._answered_elsewhere = True
        headers = without_body_headers(chain.own_headers)
        try:
            async with follow_redirects(
                self._transport, chain.url, headers, cookies=chain.cookies
            ) as response:
                return self._receipt(await response.read(MOST_RESPONSE))
        except SluiceError as error:
            error.members.setdefault(ANSWERED, SEE_OTHER)
            raise because(
                error, "the server has the file, and this place was to tell what became of it"
            ) from error

    async def _recover(self, trouble: SluiceError, attempt: int) -> None:
        """Wait until it makes sense to send again.

        Raises `trouble`, with the reason where there is one, when it never will.
        """
        body, job = self._body, self._job
        wait = job.retry_policy.wait(trouble, attempt)
        if wait is None:
            raise trouble if attempt == 1 else because(trouble, f"tried {attempt} times")
        if not body.may_send:
            name = "standard input" if job.name == "-" else job.name
            raise because(trouble, f"{name} can be read only once, so it was not sent again")
        if not may_repeat(job.file_request.method, body.complete):
            raise because(
                trouble, "it was not sent again, because the server may have stored it already"
            )
        self._stages.enter(DESTINATION)
        self._report("retrying", 0, note=f"{trouble.detail}; trying again in {wait:.0f} s")
        await asyncio.sleep(wait)

    def _receipt(self, response: Response) -> Receipt:
        """Raises the server's refusal, and whatever speaks against success."""
        self._stages.enter(ANSWER)
        head, body = response.head, self._body
        if not 200 <= head.status < 300:
            raise refusal(head, response.text)
        if not body.written:
            raise PeerFailed(
                f"{redact_url(head.url)} answered {head.status} before it had everything; "
                "nothing is certain",
                **{ANSWERED: head.status},
            )
        receipt = upload_receipt(
            response, self._job.name, body.sent, body.digests or {}, self._stages
        )
        self._report("done", body.sent, receipt=receipt)
        return receipt

    def _on_sent(self, acknowledged: int) -> None:
        """The peer has `acknowledged` bytes of the body: report those of the file."""
        body, request = self._body, self._request
        length = body.source.length
        of_file = max(0, acknowledged - len(body.head))
        of_file = min(of_file, body.sent if length is None else length)
        if body.written and request is not None and acknowledged >= request.handed:
            self._stages.enter(ANSWER)
            self._report("waiting", of_file)
        else:
            self._report("sending" if body.started else "connecting", of_file)

    def _on_whole_sent(self, acknowledged: int) -> None:
        """As `_on_sent`, of a body in memory."""
        body = self._body
        of_file = min(max(0, acknowledged - len(body.head)), body.source.length or 0)
        stage: Stage = "waiting" if acknowledged >= (body.length or 0) else "sending"
        self._report(stage, of_file)

    def _report(
        self, stage: Stage, done: int, note: str = "", receipt: Receipt | None = None
    ) -> None:
        if self._on_progress is not None:
            self._on_progress(
                Progress(self._job.name, stage, done, self._job.source.length, note, receipt)
            )
