"""Sending one file: the request, the server's answer, and whether it keeps what was sent. No loops over bytes here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.client.address import joined, shown
from sluiceway.client.body import Body
from sluiceway.client.plan import Head, headers_across, redirected
from sluiceway.client.refusals import refusal
from sluiceway.client.shape import Shape
from sluiceway.client.transport import EXPECT_FROM, Answer, Transport
from sluiceway.errors import BadRequest, DigestMismatch, PeerFailed
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.source import Source

__all__ = ["Upload", "upload"]

EXPECTATION_FAILED = 417  # a server that knows no Expect: the same request without it (RFC 9110 10.1.1)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to send: `source` in the request `shape`, under the people's word `name`."""

    source: Source
    shape: Shape
    name: str
    headers: Mapping[str, str]


async def upload(transport: Transport, job: Upload, on_progress: OnProgress | None = None) -> Receipt:
    """Send it and wait until the server says it is kept.

    Raises the server's refusal (see `refusals`), PeerFailed, SourceFailed, DigestMismatch when the server keeps something else.
    """
    return await _Sending(transport, job, on_progress).run()


class _Sending:
    def __init__(self, transport: Transport, job: Upload, on_progress: OnProgress | None) -> None:
        self._transport = transport
        self._job = job
        self._body = Body(job.source, job.shape.head, job.shape.tail)
        self._on_progress = on_progress
        self._began = time.monotonic()

    async def run(self) -> Receipt:
        shape = self._job.shape
        url, headers = shape.url, {**self._job.headers, "Content-Type": shape.type}
        expect = self._body.length is None or self._body.length >= EXPECT_FROM
        hops = 0
        self._tell("connecting", 0)
        while True:
            async with self._transport.ask(
                shape.method, url, headers, self._body, expect=expect, on_sent=self._on_sent
            ) as answer:
                head = answer.head
                if head.status == EXPECTATION_FAILED and expect and self._body.again:
                    expect = False
                    continue
                target = redirected(head, hops, sends=True, again=self._body.again)
                if target is None:
                    return await self._finish(answer)
                url, headers, hops = target, headers_across(headers, url, target), hops + 1

    async def _finish(self, answer: Answer) -> Receipt:
        ended = time.monotonic()
        text = await answer.text()
        head, body = answer.head, self._body
        if not 200 <= head.status < 300:
            raise refusal(head, text)
        if not body.complete:
            raise PeerFailed(f"{shown(head.url)} answered {head.status} before it had everything; nothing is certain")
        told = _json(head, text)
        entry = _entry(told)
        self._check(head, entry)
        sent_at = body.ended or ended
        receipt = Receipt(
            size=body.sent,
            sha256=body.sha256,
            location=_location(head, entry),
            source=self._job.name,
            status=head.status,
            answer=told,
            seconds=ended - self._began,
            stages={"send": sent_at - self._began, "wait": ended - sent_at},
        )
        self._tell("done", body.sent, receipt)
        return receipt

    def _check(self, head: Head, entry: Mapping[str, object]) -> None:
        """The destination's word against ours, where it gave one."""
        size, digest = entry.get("size"), entry.get("sha-256")
        if isinstance(size, int) and size != self._body.sent:
            raise DigestMismatch(f"{shown(head.url)} keeps {size} bytes of {self._body.sent}; send it again")
        if isinstance(digest, str) and digest.lower() != self._body.sha256:
            raise DigestMismatch(f"{shown(head.url)} keeps other bytes than were sent (sha-256 differs); send it again")

    def _on_sent(self, taken: int) -> None:
        """`taken` bytes of the body are in the socket: show those of the file."""
        body = self._body
        length = body.source.length
        of_file = max(0, taken - len(body.head))
        of_file = min(of_file, body.sent if length is None else length)
        if body.complete and taken >= body.handed:
            self._tell("waiting", of_file)
        else:
            self._tell("sending" if body.started else "connecting", of_file)

    def _tell(self, stage: Stage, done: int, receipt: Receipt | None = None) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._job.name, stage, done, self._job.source.length, receipt=receipt))


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
    for reference in (head.headers.get("location"), entry.get("url")):
        if isinstance(reference, str) and reference:
            try:
                return joined(head.url, reference)
            except BadRequest:
                continue
    return shown(head.url)
