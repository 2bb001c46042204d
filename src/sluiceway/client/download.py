"""Downloading one file: ask, write, ask for the rest after a break, check, publish.

This is the order of events. What to do with a response is decided in `download_plan`, how bytes
rest in `local`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sluiceway.client.download_job import DownloadJob
from sluiceway.client.download_plan import (
    Known,
    Step,
    length_of,
    next_step,
    range_headers,
    validator_of,
)
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.client.local.download_target import (
    Sink,
    open_in_folder,
    open_target,
    served_name,
)
from sluiceway.client.local.files import LocalFile
from sluiceway.client.local.output_stream import OutputStream
from sluiceway.client.local.part_file import PartialFile
from sluiceway.client.local.part_notes import Notes
from sluiceway.client.retry import (
    MOST_ATTEMPTS,
    may_ask_again,
    reached,
)
from sluiceway.errors import BodyCut, DigestMismatch, PeerFailed, SluiceError, StoreFailed, TooLarge
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.lending import LentConnection
from sluiceway.pipe.pump import Unkept, pump
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.source import Buffer, PassingSource
from sluiceway.pipe.stages import DESTINATION, QUEUE, SOURCE, Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource, throttled
from sluiceway.wire.headers.digests import Promise
from sluiceway.wire.headers.object_digests import (
    announced_digests,
    digests_from_text,
    digests_to_text,
)
from sluiceway.wire.urls import redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = ["download"]

REPORT_EVERY = 0.1  # seconds between two reports of progress


async def download(
    transport: Transport, job: DownloadJob, on_progress: OnProgress | None = None
) -> Receipt:
    """Download it. The target appears whole and checked, or not at all.

    On standard output nothing can be taken back: only the error shows that it is incomplete. Raises
    the server's refusal (see `error_responses`), PeerFailed, DigestMismatch, Exists, StoreFailed,
    NoSpace.
    """
    running = _DownloadRun(transport, job, on_progress)
    try:
        return await running.run()
    finally:
        await running.close()


class _DownloadRun:
    def __init__(
        self, transport: Transport, job: DownloadJob, on_progress: OnProgress | None
    ) -> None:
        self._transport, self._job, self._on_progress = transport, job, on_progress
        self._sink: Sink | None = None
        self._digests = Digests(job.digests.to_count())
        self._hashed = 0  # bytes the digests have seen
        self._announced: tuple[Promise, ...] = ()  # the digests that the server named last
        self._total: int | None = None
        self._status = 0
        self._stages = Stages()

    async def close(self) -> None:
        await self._digests.aclose()
        sink = self._sink
        if sink is not None:
            try:
                await sink.finish_sync()
            finally:
                await in_thread(sink.close)

    async def run(self) -> Receipt:
        self._report("connecting")
        job = self._job
        self._use(await in_thread(lambda: open_target(job.target, job.name, job.force, job.url)))
        if job.parallel > 1 and await self._fetch_in_parallel():
            return await self._finish()
        attempt, furthest = 0, self._have
        while True:
            attempt += 1
            trouble = None
            try:
                if await self._attempt():
                    return await self._finish()
            except SluiceError as error:
                if not may_ask_again(error) or not (self._status or reached(error)):
                    raise
                trouble = error
            if self._have > furthest:
                # Progress: a bad connection gets as many attempts as it needs.
                attempt, furthest = 1, self._have
            if trouble is not None:
                await self._pause(trouble, attempt)
            elif attempt >= MOST_ATTEMPTS:
                raise PeerFailed(
                    f"{redact_url(job.url)} answers ranges that do not fit what it sent before"
                )

    async def _fetch_in_parallel(self) -> bool:
        """Fetch the file in ranges at once. False: it comes in order, or the rest of it does."""
        job = self._job
        # Late: few downloads need it.
        from sluiceway.client.parallel_download import ParallelDownload

        if isinstance(self._sink, OutputStream):
            self._report("resuming", f"it comes in one piece: {job.target} takes bytes in order")
            return False
        running = ParallelDownload(self._transport, job, self._on_progress, self._stages)
        if (head := await running.meet()) is None:
            return False
        if self._sink is None:
            name = served_name(head, job.url)
            self._use(await in_thread(lambda: open_in_folder(job.target, name, job.force, job.url)))
        part = self._sink
        if not isinstance(part, PartialFile) or not await running.run(part, head):
            return False
        self._announced, self._total = announced_digests(head.headers), part.have
        self._status = head.status
        await self._catch_up()
        return True

    async def _pause(self, trouble: SluiceError, attempt: int) -> None:
        wait = self._job.retry_policy.wait(trouble, attempt)
        if wait is None:
            raise trouble
        self._report("retrying", note=f"{trouble.detail}; trying again in {wait:.0f} s")
        self._stages.enter(SOURCE)
        await asyncio.sleep(wait)

    async def _attempt(self) -> bool:
        """Make one request. True when everything is here, False to ask again at once."""
        await self._join()
        known = self._known()
        self._stages.enter(SOURCE)
        async with follow_redirects(
            self._transport, self._job.url, self._job.headers, range_headers(known)
        ) as response:
            return await self._take(known, response)

    async def _take(self, known: Known, response: OpenResponse) -> bool:
        job, head = self._job, response.head
        step = next_step(known, head)
        self._status = head.status
        self._stages.enter(QUEUE)
        if step in (Step.REFUSED, Step.WAIT):
            raise refusal(head, await response.text())
        if self._sink is None:
            name = served_name(head, job.url)
            self._use(await in_thread(lambda: open_in_folder(job.target, name, job.force, job.url)))
            await self._join()
            if self._have and self._known().validator == validator_of(head):
                return False  # an earlier run left the beginning: ask for the rest instead
        if step is Step.AGAIN:
            await self._restart(None)
            return False
        if step is Step.FRESH:
            await self._restart(_notes(job.url, head), announced_digests(head.headers))
        else:
            await self._catch_up()
        self._announced = announced_digests(head.headers) or self._announced
        if step is Step.COMPLETE:
            self._total = known.have
            return True
        total = length_of(head)
        if step is not Step.APPEND or total:
            self._total = total
        await self._write(response)
        return True

    async def _write(self, response: OpenResponse) -> None:
        sink, url = self._open_sink, redact_url(self._job.url)
        left = None if self._total is None else self._total - sink.have
        body = _LendingResponse(response, left)
        source = TimedSource(throttled(body, self._job.rate), self._stages)
        progress = _Reports(lambda: self._report("receiving"))
        try:
            await pump(
                source,
                sink,
                taps=(self._digests, self),
                meter=progress,
                limit=left,
                stages=self._stages,
                sender=SOURCE,
            )
        except BodyCut as error:
            raise PeerFailed(f"{url} ended after {sink.have} of {self._total} bytes") from error
        except TooLarge as error:
            await in_thread(sink.discard)
            raise DigestMismatch(
                f"{url} sent more than the {self._total} bytes it named"
            ) from error

    # The pump's tap behind the digests: it counts what they saw.

    async def take(self, data: Buffer) -> None:
        self._hashed += len(data)

    async def settle(self) -> None:
        """Nothing waits here."""

    def update(self, data: Buffer) -> None:
        self._hashed += len(data)

    async def _finish(self) -> Receipt:
        sink = self._open_sink
        self._report("checking")
        self._stages.enter(QUEUE)
        found = await self._digests.finish()
        await sink.finish_sync()
        if self._total is not None and sink.have != self._total:
            await in_thread(sink.discard)
            raise DigestMismatch(
                f"{sink.have} bytes are here, but the server named {self._total}; "
                "nothing was kept, try again"
            )
        for promise in self._announced:
            if promise.algorithm in found and found[promise.algorithm] != promise.value:
                await in_thread(sink.discard)
                raise DigestMismatch(
                    f"The {promise.algorithm} of the bytes from {redact_url(self._job.url)} "
                    "is not the one it named; nothing was kept, try again"
                )
        self._stages.enter(DESTINATION)
        await in_thread(lambda: sink.publish(self._job.force))
        spent = self._stages.spent()
        receipt = Receipt(
            size=sink.have,
            digests=digest_pairs(found),
            location=sink.target,
            source=redact_url(self._job.url),
            status=self._status,
            seconds=sum(spent.values()),
            stages=spent,
        )
        self._report("done", receipt=receipt)
        return receipt

    async def _join(self) -> None:
        """Of what an earlier run fetched in ranges, the beginning counts."""
        sink = self._sink
        if isinstance(sink, PartialFile) and sink.notes is not None and sink.notes.pieces:
            await in_thread(lambda: sink.joined(sink.have))

    def _use(self, sink: Sink | None) -> None:
        self._sink = sink
        if sink is not None and sink.notes is not None:
            self._announced = digests_from_text(sink.notes.digest)
            self._total = sink.notes.total

    @property
    def _open_sink(self) -> Sink:
        if self._sink is None:
            raise StoreFailed("The target is not open yet")
        return self._sink

    @property
    def _have(self) -> int:
        return 0 if self._sink is None else self._sink.have

    def _known(self) -> Known:
        notes = None if self._sink is None else self._sink.notes
        if notes is None:
            return Known(have=self._have)
        return Known(have=self._have, validator=notes.validator, total=notes.total)

    async def _restart(self, notes: Notes | None, announced: tuple[Promise, ...] = ()) -> None:
        sink = self._open_sink
        await sink.finish_sync()
        await in_thread(lambda: sink.restart(notes))
        self._announced, self._total = announced, None
        await self._new_digests()

    async def _catch_up(self) -> None:
        """Hash the bytes of an earlier run; within one run the digests have seen them already."""
        sink = self._open_sink
        if self._hashed == sink.have or not isinstance(sink, PartialFile):
            return
        self._report("checking")
        await self._new_digests()
        await pump(LocalFile(sink.path), Unkept(), taps=(self._digests,))
        self._hashed = sink.have

    async def _new_digests(self) -> None:
        await self._digests.aclose()
        promised = [promise.algorithm for promise in self._announced]
        self._digests = Digests(self._job.digests.to_count(promised))
        self._hashed = 0

    def _report(self, stage: Stage, note: str = "", receipt: Receipt | None = None) -> None:
        if self._on_progress is not None:
            name = self._sink.target if self._sink is not None else self._job.target
            self._on_progress(Progress(name, stage, self._have, self._total, note, receipt))


class _LendingResponse(PassingSource):
    """The body of a response, whose connection it may lend."""

    def __init__(self, response: OpenResponse, length: int | None) -> None:
        super().__init__(response.chunks(), length)
        self._response = response

    def lend(self) -> LentConnection | None:
        return self._response.lend() if self.length is not None else None


class _Reports:
    """A pump's counters, which only report that bytes were written, about ten times a second."""

    received = kept = 0
    watched = False

    def __init__(self, report: Callable[[], None]) -> None:
        self._report, self._reported, self._forwarded = report, time.monotonic(), 0

    @property
    def forwarded(self) -> int:
        return self._forwarded

    @forwarded.setter
    def forwarded(self, size: int) -> None:
        self._forwarded = size
        if time.monotonic() - self._reported >= REPORT_EVERY:
            self._reported = time.monotonic()
            self._report()


def _notes(url: str, head: Head) -> Notes | None:
    validator = validator_of(head)
    if validator is None:
        return None
    digests = digests_to_text(announced_digests(head.headers))
    return Notes.of(url, validator, length_of(head), digests)
