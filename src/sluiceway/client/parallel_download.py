"""A file from a server in several ranges at once, each written at its place in the part file.

Each range is asked for again alone when it breaks. What is done of each is noted, so that the next
run asks for the rest of each. Where the server has no ranges, nothing was done: the file comes in
order. Counts no digests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sluiceway.client.download_job import DownloadJob
from sluiceway.client.download_plan import length_of, validator_of
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.client.local.part_file import PartialFile
from sluiceway.client.local.part_notes import Notes
from sluiceway.client.retry import may_ask_again
from sluiceway.errors import PeerFailed, SluiceError, SourceChanged
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.receipt import OnProgress, Progress, Stage
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import SOURCE, Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import Throttle, ThrottledSource
from sluiceway.wire.headers.object_digests import announced_digests, digests_to_text
from sluiceway.wire.headers.ranges import parse_content_range
from sluiceway.wire.urls import redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = ["PARALLEL_FROM", "ParallelDownload"]

PARALLEL_FROM = 4 << 20  # bytes of a file; the ranges of a smaller one cost more than they save
WRITE_SIZE = 1 << 20  # bytes that gather before a thread writes them
NOTE_EVERY = 1.0  # seconds between two notes of what is done
REPORT_EVERY = 0.1  # seconds between two reports of progress


class _Range:
    """The bytes from `start` to `stop`, of which the first `done` are written."""

    def __init__(self, start: int, stop: int, done: int = 0) -> None:
        self.start, self.stop, self.done = start, stop, done

    @property
    def at(self) -> int:
        return self.start + self.done


class ParallelDownload:
    """One download into an open part. Use it once."""

    def __init__(
        self,
        transport: Transport,
        job: DownloadJob,
        on_progress: OnProgress | None,
        stages: Stages,
    ) -> None:
        self._transport, self._job = transport, job
        self._on_progress, self._stages = on_progress, stages
        self._throttle = None if job.rate is None else Throttle(job.rate)
        self._ranges: list[_Range] = []
        self._validator, self._total = "", 0
        self._reported = 0.0

    async def run(self, part: PartialFile, head: Head) -> bool:
        """Fetch it, after `meet`. False where it changed meanwhile and has to come in order.

        Raises the server's refusal, PeerFailed, NoSpace, StoreFailed.
        """
        self._part = part
        await self._divide(head)
        noting = asyncio.create_task(self._note_now_and_then())
        try:
            async with asyncio.TaskGroup() as group:
                for one in self._ranges:
                    group.create_task(self._fetch(one))
        except BaseExceptionGroup as errors:
            error = _first(errors)
            if not isinstance(error, SourceChanged):
                raise error from None
            self._say("the file changed while it was fetched; it comes in order, from its start")
            return False
        finally:
            await self._stop_noting(noting)
        await in_thread(lambda: part.joined(self._total))
        return True

    async def meet(self) -> Head | None:
        """The head of a response to a range of one byte; None where the file comes in order."""
        self._stages.enter(SOURCE)
        headers, attempt = {"range": "bytes=0-0"}, 0
        while True:
            attempt += 1
            try:
                async with follow_redirects(
                    self._transport, self._job.url, self._job.headers, headers
                ) as response:
                    head = response.head
            except SluiceError as error:
                # A failure here is met again, in order, with the words that belong to it.
                wait = self._job.retry_policy.wait(error, attempt) if may_ask_again(error) else None
                if wait is None:
                    return None
                await asyncio.sleep(wait)
                continue
            break
        if head.status != 206 or validator_of(head) is None:
            if head.status < 400:
                self._say("the server offers no ranges; the file comes in one piece")
            return None
        total = length_of(head)
        if total is None:
            self._say("the server does not say how long the file is; it comes in one piece")
        return None if total is None or total < PARALLEL_FROM else head

    async def _divide(self, head: Head) -> None:
        """Go on with the ranges of an earlier run, or cut the file anew."""
        self._validator, self._total = validator_of(head) or "", length_of(head) or 0
        notes, part, total = self._part.notes, self._part, self._total
        known = notes is not None and (notes.validator, notes.total) == (self._validator, total)
        if notes is not None and known and (notes.pieces or part.have):
            pieces = notes.pieces or ((0, part.have),)
            self._ranges = [*_ranges(pieces, total)]
            if len(self._ranges) < self._job.parallel:
                self._ranges = [*self._split(self._ranges)]
            self._say(f"goes on at {self._done} of {total} bytes")
        else:
            notes = Notes.of(
                self._job.url,
                self._validator,
                total,
                digests_to_text(announced_digests(head.headers)),
            )
            await in_thread(lambda: part.restart(notes))
            self._ranges = [*self._split([_Range(0, total)])]
        await self._note()

    def _split(self, ranges: list[_Range]) -> Iterator[_Range]:
        """Cut what is missing of each range, so that there is work for all."""
        share = max(1, -(-self._job.parallel // len(ranges)))
        for one in ranges:
            step = max(1 << 20, -(-(one.stop - one.at) // share))
            end = min(one.stop, one.at + step)
            yield _Range(one.start, end, one.done)
            for at in range(end, one.stop, step):
                yield _Range(at, min(at + step, one.stop))

    @property
    def _done(self) -> int:
        return sum(one.done for one in self._ranges)

    async def _fetch(self, one: _Range) -> None:
        attempt = 0
        while one.at < one.stop:
            attempt, before = attempt + 1, one.done
            try:
                await self._ask(one)
            except SluiceError as error:
                attempt = 1 if one.done > before else attempt
                policy = self._job.retry_policy
                wait = policy.wait(error, attempt) if may_ask_again(error) else None
                if wait is None:
                    raise
                self._report("retrying", f"{error.detail}; trying again in {wait:.0f} s")
                await asyncio.sleep(wait)

    async def _ask(self, one: _Range) -> None:
        """One request for what is missing of a range."""
        headers = {"range": f"bytes={one.at}-{one.stop - 1}", "if-range": self._validator}
        async with follow_redirects(
            self._transport, self._job.url, self._job.headers, headers
        ) as response:
            head = response.head
            if head.status == 206 and self._is_ours(head, one):
                await self._write(one, response)
            elif head.status in (200, 206, 412, 416):
                raise SourceChanged(f"{redact_url(self._job.url)} changed while it was fetched")
            else:
                raise refusal(head, await response.text())

    def _is_ours(self, head: Head, one: _Range) -> bool:
        """Whether a 206 is this range of this version."""
        try:
            found = parse_content_range(head.headers.get("content-range", ""))
        except SluiceError:
            return False
        named = "etag" if self._validator.startswith('"') else "last-modified"
        same = head.headers.get(named) == self._validator
        return same and found == (one.at, one.stop, self._total)

    async def _write(self, one: _Range, response: OpenResponse) -> None:
        source: PassingSource | ThrottledSource = PassingSource(response.chunks())
        if self._throttle is not None:
            source = ThrottledSource(source, self._throttle)
        gathered, chunks = bytearray(), source.open()
        try:
            async for chunk in chunks:
                gathered += chunk
                if len(gathered) > one.stop - one.at:
                    raise SourceChanged(f"{redact_url(self._job.url)} sent more than was asked for")
                if len(gathered) >= WRITE_SIZE:
                    await self._flush(one, gathered)
        finally:
            await close_stream(chunks)
            await finish_then_cancel(self._flush(one, gathered))
        if one.at < one.stop:
            raise PeerFailed(f"{redact_url(self._job.url)} ended at {one.at} of {one.stop} bytes")

    async def _flush(self, one: _Range, gathered: bytearray) -> None:
        if not gathered:
            return
        data = bytes(gathered)
        gathered.clear()
        await in_thread(lambda: self._part.write_at(data, one.at))
        one.done += len(data)
        if time.monotonic() - self._reported >= REPORT_EVERY:
            self._reported = time.monotonic()
            self._report("receiving")

    # What is done, for the next run and for people

    async def _note_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(NOTE_EVERY)
            await self._note()

    async def _stop_noting(self, noting: asyncio.Task[None]) -> None:
        noting.cancel()
        await asyncio.wait([noting])
        await self._note()

    async def _note(self) -> None:
        pieces = [(one.start, one.done) for one in self._ranges]
        await in_thread(lambda: self._part.in_pieces(pieces))

    def _say(self, text: str) -> None:
        self._report("resuming", text)

    def _report(self, stage: Stage, note: str = "") -> None:
        if self._on_progress is not None:
            total, name = self._total or None, redact_url(self._job.url)
            self._on_progress(Progress(name, stage, self._done, total, note))


def _ranges(pieces: tuple[tuple[int, int], ...], total: int) -> Iterator[_Range]:
    """Where pieces begin, others end."""
    starts = [*sorted(start for start, _ in pieces), total]
    for (start, done), stop in zip(sorted(pieces), starts[1:], strict=True):
        yield _Range(start, stop, min(done, stop - start))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of one range: the others were ended for it."""
    return next((one for one in errors.exceptions if isinstance(one, SluiceError)), errors)
