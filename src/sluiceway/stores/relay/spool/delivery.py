"""Gives one spooled file to its destination: once, however often it is tried.

What may have been taken is not sent again, unless that does no harm: before the last byte of a file
leaves whose upload outlives this process, a durable note says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace as changed

from sluiceway.errors import AwaitsBackend, SluiceError, Undelivered
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.relay.draft import RelayDraft
from sluiceway.stores.relay.spool.notes import DeliveryNote
from sluiceway.stores.relay.spool.rules import is_passing, wait_before
from sluiceway.stores.relay.spool.space import SpoolSpace
from sluiceway.stores.unpublished import ReadableDraft

__all__ = ["SpoolDelivery"]

log: logging.Logger = logging.getLogger("sluiceway")

PIECE = 256 << 10  # bytes
WAITS = "The file has arrived and waits here for the backend, which does not answer now"
NOT_TAKEN = "The backend did not take the file for too long"
UNKNOWN = (
    "The connection to the backend was lost behind the last byte, so it may have the file; "
    "look whether it is there before you send it again"
)


class SpoolDelivery:
    """The tries of one file. `lasts`: its upload outlives this process, and so do its notes."""

    def __init__(
        self,
        space: SpoolSpace,
        upload: str,
        request: UploadRequest,
        file: Draft,
        lasts: bool,
        on_waiting: Callable[[bool], None],
    ) -> None:
        self._space, self._upload, self._request = space, upload, request
        self._file, self._lasts, self._on_waiting = file, lasts, on_waiting
        self._note = DeliveryNote(upload, upload, time.time())
        self.is_done: bool = False

    async def run(
        self,
        live: RelayDraft | None,
        fault: SluiceError | None,
        key: str,
        metadata: Metadata,
        replace: Replace,
    ) -> Entry:
        """Try until the destination has decided, or the time is over for which its client waits.

        `live` is the request that has got all bytes; `fault` is why there is none. Raises the
        destination's refusal, AwaitsBackend, and Undelivered for a file that is given up.
        """
        until = time.monotonic() + self._space.rules.wait
        attended = self._upload not in self._space.unattended
        await self._read_note(metadata)
        if live is None and fault is None:  # another request, or process, tried before
            await self._until_due(until, attended)
        elif live is None and fault is not None:
            await self._pause(fault, until, attended, metadata)
        while True:
            error = await self._try(live, key, metadata, replace)
            if isinstance(error, Entry):
                return error
            live = None
            self._on_waiting(True)
            await self._pause(error, until, attended, metadata)

    async def _try(
        self, live: RelayDraft | None, key: str, metadata: Metadata, replace: Replace
    ) -> Entry | SluiceError:
        """The success, or the failure that may pass. Raises any other one."""
        is_sent = False
        try:
            if live is None:
                live = await self._send()
            if self._lasts:
                live.before_end = self._mark
            entry = await live.publish(key, metadata, replace)
        except SluiceError as error:
            is_sent = live is not None and live.is_sent
            if self._space.bridges(error, is_sent, self._request):
                return error
            if not is_passing(error) or not self._lasts:
                raise
            raise await self._give_up(UNKNOWN, error, metadata) from error
        finally:
            if live is not None:
                await live.discard()
        self.is_done = True
        if self._lasts:
            await self._space.note_success(self._note, entry)
        self._on_waiting(False)
        return entry

    async def _send(self) -> RelayDraft:
        """A request with all bytes but the withheld end."""
        if not isinstance(self._file, ReadableDraft):
            raise TypeError("The spool's drafts must be readable")
        size = self._file.written
        live = await self._space.request(self._note.name, size, self._request)
        try:
            while (at := live.written) < size:
                await live.write(await self._file.read(at, PIECE))
        except BaseException:
            await live.discard()
            raise
        return live

    async def _read_note(self, metadata: Metadata) -> None:
        if not self._lasts:
            return
        found = await self._space.note_of(self._upload)
        if found is None:
            return
        self._note = found
        if found.is_sent and not self._space.is_repeatable(self._request):
            raise await self._give_up(UNKNOWN, None, metadata)

    async def _mark(self) -> None:
        await self._space.note_sent(self._note)

    async def _until_due(self, until: float, attended: bool) -> None:
        if not self._lasts or not attended:
            return
        wait = await self._space.seconds_to_next(self._upload)
        if wait:
            self._on_waiting(True)
            if time.monotonic() + wait > until:
                raise AwaitsBackend(WAITS)
            await asyncio.sleep(wait)

    async def _pause(
        self, error: SluiceError, until: float, attended: bool, metadata: Metadata
    ) -> None:
        """Wait for the next try. Raises AwaitsBackend where it is not this request's."""
        wait = wait_before(self._note.tries + 1, error)
        lasts_until = self._note.since + self._space.rules.lasts
        if time.time() + wait > lasts_until and self._lasts:
            raise await self._give_up(NOT_TAKEN, error, metadata)
        if self._lasts:
            self._note = await self._space.note_failure(self._note, wait)
        else:
            self._note = changed(self._note, tries=self._note.tries + 1)
        log.info("Upload %s is tried again in %.1f s: %s", self._upload, wait, error.for_log)
        if not attended or time.monotonic() + wait > until:
            raise AwaitsBackend(WAITS) from error
        await asyncio.sleep(wait)

    async def _give_up(
        self, why: str, error: SluiceError | None, metadata: Metadata
    ) -> Undelivered:
        """The file is the operator's then, in the spool's folder under its name."""
        # A number and not the id of the upload: that is a secret of its client.
        folder = f"undelivered-{time.time_ns()}"
        key = f"{folder}/{metadata.filename or 'unnamed'}"
        reason = "" if error is None else f": {error.for_log}"
        try:
            await self._file.publish(key, metadata, Replace(allowed=True))
            log.error("Upload %s was given up%s; its file is %s", self._upload, reason, key)
        except SluiceError as failed:
            text = "Upload %s was given up%s; its file is lost: %s"
            log.error(text, self._upload, reason, failed.for_log)
        await self._space.release(self._upload)
        await self._space.forget(self._upload)
        return Undelivered(why)
