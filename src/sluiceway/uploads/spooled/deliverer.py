"""Brings what waits in the spool to its destination, in the background, until that has decided.

Of several processes one has an upload at a time: it holds it in the ledger. What a killed process
left is taken up by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial

from sluiceway.errors import AwaitsBackend, SluiceError
from sluiceway.pipe.cancellation import cancel_task, end_task
from sluiceway.stores.delivered_later import DeliversLater
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.outcome import Respond
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.spooled.hand_over import SPOOLED

__all__ = ["RespondLater", "SpoolDeliverer"]

log: logging.Logger = logging.getLogger("sluiceway")

AT_ONCE = 4  # files that a process delivers at the same time
LOOK_EVERY = 0.5  # seconds between looks for what is due
END_TIMEOUT = 5.0  # seconds that deliveries under way may take when the server stops
TRY_AGAIN = 10.0  # seconds after this server itself failed
RECOVER_EVERY = 10.0  # seconds between looks for what dead processes left
# Seconds after which the note of an upload that no ledger knows is forgotten
UNKNOWN_AFTER = 60.0

# What the client of an upload gets that asks later, in the words of its protocol.
RespondLater = Callable[[UploadRecord], Respond]


class SpoolDeliverer:
    """The task that delivers, for one event loop."""

    def __init__(
        self, uploads: ResumableUploads, store: DeliversLater, respond: RespondLater
    ) -> None:
        self._uploads, self._store, self._respond = uploads, store, respond
        self._task: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_back = False  # the destination has just answered: the others need not wait longer
        self._unknown: dict[str, float] = {}  # since when, by the monotonic clock

    def start(self) -> None:
        """Deliver from now on until the end. Does nothing when it has begun."""
        if self._task is None:
            # Not in the context of the request that came first, whose ids would go to the backend.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def aclose(self) -> None:
        """Let what is on its way end, for a moment; then the next process delivers it.

        A POST that is broken off behind its last byte would be given up.
        """
        if self._task is None:
            return
        await end_task(self._task)
        self._task = None
        if running := list(self._running.values()):
            _, late = await asyncio.wait(running, timeout=END_TIMEOUT)
            for task in late:
                cancel_task(task)
            if late:
                await asyncio.wait(late)

    async def _run(self) -> None:
        recovered = -RECOVER_EVERY
        while True:
            try:
                if time.monotonic() - recovered >= RECOVER_EVERY:
                    first, recovered = recovered < 0, time.monotonic()
                    await self._uploads.recover_abandoned()
                    await self._begin_due(all_of_them=first)
                is_back, self._is_back = self._is_back, False
                await self._begin_due(all_of_them=is_back)
            except SluiceError as error:
                log.warning("The spool cannot be read now: %s", error.for_log)
            # Jitter: the processes of a server start together.
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.8, 1.2))  # noqa: S311  # no secret

    async def _begin_due(self, *, all_of_them: bool = False) -> None:
        free = AT_ONCE - len(self._running)
        if free <= 0:
            return
        for upload in await self._store.due(AT_ONCE + free, all_of_them=all_of_them):
            if upload not in self._running and len(self._running) < AT_ONCE:
                task = asyncio.get_running_loop().create_task(self._deliver(upload))
                self._running[upload] = task
                task.add_done_callback(partial(self._ended, upload))

    def _ended(self, upload: str, task: asyncio.Task[None]) -> None:
        del self._running[upload]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Upload %s was not delivered: %s", upload, error, exc_info=error)

    async def _deliver(self, upload: str) -> None:
        """One try. Its outcome is in the ledger, and the next try in the upload's note."""
        try:
            record = await self._uploads.ledger.find(upload)
            if record is None:
                await self._forget_unknown(upload)
                return
            async with self._uploads.hold_free(upload) as held:
                if held is None:
                    return  # a request has it, and tries itself
                if held.record.state is not LedgerState.OPEN:
                    await self._store.forget(upload)
                elif held.is_whole:
                    with self._store.unattended(upload):
                        await held.finish(self._respond(held.record))
                    self._is_back = True
                elif held.record.dialect == SPOOLED:  # its process died before it had the bytes
                    await held.cancel("lost")
        except AwaitsBackend:
            pass
        except SluiceError as error:
            log.warning("Upload %s was not delivered: %s", upload, error.for_log)
            with suppress(SluiceError):
                await self._store.postpone(upload, TRY_AGAIN)

    async def _forget_unknown(self, upload: str) -> None:
        """It ended, or a process died before it wrote the upload down; no client knows of it."""
        since = self._unknown.setdefault(upload, time.monotonic())
        if time.monotonic() - since > UNKNOWN_AFTER:
            self._unknown.pop(upload)
            with suppress(SluiceError):
                await self._store.forget(upload)
