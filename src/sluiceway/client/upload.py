"""Sending one file: the request, the server's answer, whether it keeps what was sent, and whether to try again.

No loops over bytes here; what may be repeated is decided in `plan`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.pulled_body import Body
from sluiceway.client.http.redirects import (
    SEE_OTHER,
    RedirectChain,
    follow_redirects,
    without_body_headers,
)
from sluiceway.client.http.request_shape import Shape
from sluiceway.client.http.transport import EXPECT_FROM, OpenResponse, Transport
from sluiceway.client.retry import (
    ANSWERED,
    BUSY,
    DEFAULT_POLICY,
    RetryPolicy,
    may_ask_again,
    may_repeat,
)
from sluiceway.errors import BadRequest, DigestMismatch, PeerFailed, SluiceError
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.source import Source
from sluiceway.pipe.stages import ANSWER, DESTINATION, Stages
from sluiceway.wire.headers.digests import Promise
from sluiceway.wire.urls import joined, located, redact_url

__all__ = ["Upload", "upload"]

EXPECTATION_FAILED = (
    417  # a server that knows no Expect: the same request without it (RFC 9110 10.1.1)
)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to send: `source` in the request `shape`, under the people's word `name`."""

    source: Source
    shape: Shape
    name: str
    headers: Mapping[str, str]
    promises: Sequence[Promise] = ()  # digests the source was told to have
    retry_policy: RetryPolicy = DEFAULT_POLICY


async def upload(
    transport: Transport,
    job: Upload,
    on_progress: OnProgress | None = None,
    stages: Stages | None = None,
) -> Receipt:
    """Send it and wait until the server says it is kept. `stages` goes on from where the caller's own time went.

    Raises the server's refusal (see `refusals`), PeerFailed, SourceFailed, DigestMismatch when the source has other bytes
    than it promised or the server keeps something else.
    """
    return await _Sending(transport, job, on_progress, stages or Stages()).run()


class _Sending:
    def __init__(
        self, transport: Transport, job: Upload, on_progress: OnProgress | None, stages: Stages
    ) -> None:
        self._transport = transport
        self._job = job
        self._stages = stages
        self._body = Body(
            job.source, job.shape.head, job.shape.tail, promises=job.promises, stages=stages
        )
        self._on_progress = on_progress
        self._met = False  # a connection was made once
        self._answered_elsewhere = False  # a 303 said so: the file is there

    async def run(self) -> Receipt:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt()
            except SluiceError as error:
                line = self._body.line
                self._met = self._met or (line is not None and line.socket is not None)
                if self._answered_elsewhere or not may_ask_again(error, BUSY):
                    raise
                if not self._met:  # never reached: a wrong URL, most likely
                    raise
                await self._recover(error, attempt)

    async def _attempt(self) -> Receipt:
        """Send one request, its redirects included."""
        shape, body = self._job.shape, self._body
        headers = {**self._job.headers, "Content-Type": shape.type}
        chain = RedirectChain(self._transport, shape.url, headers)
        expect = body.length is None or body.length >= EXPECT_FROM
        self._tell("connecting", 0)
        while True:
            body.rewind()
            self._stages.enter(DESTINATION)
            if self._transport.unproven(chain.url) and not body.repeatable:
                await self._log_in(chain)
            async with self._transport.ask(
                shape.method,
                chain.url,
                chain.headers(),
                body,
                expect=expect or self._transport.unproven(chain.url),
                on_sent=self._on_sent,
            ) as answer:
                head, self._met = answer.head, True
                if chain.challenged(head):
                    if not body.again:
                        why = "it asks who we are, and what flows past once has begun to and cannot be sent again"
                        raise _because(refusal(head, await answer.text()), why)
                    continue
                if head.status == EXPECTATION_FAILED and expect and body.again:
                    expect = False
                    continue
                if head.status == SEE_OTHER and body.complete:
                    break
                if not chain.advance(head, sends_body=True, repeatable=body.again):
                    return await self._finish(answer)
        if not chain.advance(head):
            raise refusal(head, "")
        return await self._ask_outcome(chain)

    async def _log_in(self, chain: RedirectChain) -> None:
        """Have the server ask who we are by a request that changes nothing.

        A stream that flows past once can be sent once only, so the challenge has to come before.
        """
        plain = without_body_headers(chain.headers())
        try:
            # To HEAD, some send a body with their 401.
            async with self._transport.ask("GET", chain.url, plain) as answer:
                chain.challenged(answer.head)
        except PeerFailed:
            pass  # the request itself will show it

    async def _ask_outcome(self, chain: RedirectChain) -> Receipt:
        """Ask the place that a 303 names what became of the file (RFC 9110 15.4.4).

        Its status decides. Whatever it says, the file is not sent again: the server has it.
        """
        self._stages.enter(ANSWER)
        self._answered_elsewhere = True
        headers = without_body_headers(chain.own_headers)
        try:
            async with follow_redirects(
                self._transport, chain.url, headers, cookies=chain.cookies
            ) as answer:
                if not 200 <= answer.head.status < 300:
                    raise refusal(answer.head, await answer.text())
                return await self._finish(answer)
        except SluiceError as error:
            error.members.setdefault(ANSWERED, SEE_OTHER)
            raise _because(
                error, "that is where it was to tell what became of the file, which it has got"
            ) from error

    async def _recover(self, trouble: SluiceError, attempt: int) -> None:
        """Wait until it makes sense to send again.

        Raises `trouble`, with the reason where there is one, when it never will.
        """
        body, job = self._body, self._job
        wait = job.retry_policy.wait(trouble, attempt)
        if wait is None:
            raise trouble if attempt == 1 else _because(trouble, f"tried {attempt} times")
        if not body.again:
            who = "standard input" if job.name == "-" else job.name
            raise _because(trouble, f"{who} flows past once, so it was not sent again")
        if not may_repeat(job.shape.method, body.complete):
            raise _because(
                trouble, "it was not sent again, for the server may have stored it already"
            )
        self._stages.enter(DESTINATION)
        self._tell("retrying", 0, note=f"{trouble.detail}; trying again in {wait:.0f} s")
        await asyncio.sleep(wait)

    async def _finish(self, answer: OpenResponse) -> Receipt:
        self._stages.enter(ANSWER)
        text = await answer.text()
        head, body = answer.head, self._body
        if not 200 <= head.status < 300:
            raise refusal(head, text)
        if not body.complete:
            raise PeerFailed(
                f"{redact_url(head.url)} answered {head.status} before it had everything; nothing is certain",
                **{ANSWERED: head.status},
            )
        told = _json(head, text)
        entry = _entry(told)
        self._check(head, entry)
        spent = self._stages.spent()
        receipt = Receipt(
            size=body.sent,
            sha256=body.sha256,
            location=_location(head, entry),
            source=self._job.name,
            status=head.status,
            answer=told,
            seconds=sum(spent.values()),
            stages=spent,
        )
        self._tell("done", body.sent, receipt=receipt)
        return receipt

    def _check(self, head: Head, entry: Mapping[str, object]) -> None:
        """The destination's word against ours, where it gave one."""
        size, digest = entry.get("size"), entry.get("sha-256")
        if isinstance(size, int) and size != self._body.sent:
            raise DigestMismatch(
                f"{redact_url(head.url)} keeps {size} bytes of {self._body.sent}; send it again"
            )
        if isinstance(digest, str) and digest.lower() != self._body.sha256:
            raise DigestMismatch(
                f"{redact_url(head.url)} keeps other bytes than were sent (sha-256 differs); send it again"
            )

    def _on_sent(self, acknowledged: int) -> None:
        """The peer has `acknowledged` bytes of the body: show those of the file."""
        body = self._body
        length = body.source.length
        of_file = max(0, acknowledged - len(body.head))
        of_file = min(of_file, body.sent if length is None else length)
        if body.ended is not None and acknowledged >= body.handed:
            self._stages.enter(ANSWER)
            self._tell("waiting", of_file)
        else:
            self._tell("sending" if body.started else "connecting", of_file)

    def _tell(
        self, stage: Stage, done: int, note: str = "", receipt: Receipt | None = None
    ) -> None:
        if self._on_progress is not None:
            self._on_progress(
                Progress(self._job.name, stage, done, self._job.source.length, note, receipt)
            )


def _because(error: SluiceError, why: str) -> SluiceError:
    """The same error with a reason behind its text."""
    error.detail = f"{error.detail}; {why}"
    error.args = (error.detail,)
    return error


def _json(head: Head, text: str) -> object:
    if "json" not in head.headers.get("content-type", ""):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _entry(told: object) -> Mapping[str, object]:
    """What this project's servers say of the one file sent: {"files": [entry]}; empty when another kind answered."""
    files = told.get("files") if isinstance(told, dict) else None
    one = files[0] if isinstance(files, list) and len(files) == 1 else None
    return one if isinstance(one, dict) else {}


def _location(head: Head, entry: Mapping[str, object]) -> str:
    """Where it is now: the Location header, else the entry's url, else the URL it was sent to; never with secrets."""
    for resolve, reference in ((located, head.headers.get("location")), (joined, entry.get("url"))):
        if isinstance(reference, str) and reference:
            try:
                return resolve(head.url, reference)
            except BadRequest:
                continue
    return redact_url(head.url)
