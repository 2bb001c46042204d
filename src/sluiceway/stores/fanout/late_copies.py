"""Copies for best-effort destinations of a file that came in pieces: read from the front.

While the pieces came they got nothing: one that falls behind could not be taken up again. The
upload waits for the copies a moment; slower ones go on, and a failure is logged.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace as changed

from sluiceway.errors import NotFound, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import cancel_task
from sluiceway.pipe.pump import pump
from sluiceway.stores.contract import DestinationResult, Entry, Replace, Store, UploadRequest
from sluiceway.stores.fanout.draft import CATCH_UP_TIMEOUT

__all__ = ["LateCopies"]

log: logging.Logger = logging.getLogger("sluiceway")

COPIES_AT_ONCE = 4  # of all uploads; more would only make each of them slower


class LateCopies:
    """`to` are the best-effort stores, by the names for operators and for clients."""

    def __init__(self, front: Store, to: Mapping[tuple[str, str], Store], budget: Budget) -> None:
        self._front, self._to, self._budget = front, to, budget
        self._running: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(COPIES_AT_ONCE)

    async def add_to(self, entry: Entry, replace: Replace) -> Entry:
        """Copy the object, and say in the entry what came of it so far."""
        copying = {names: self._start(names, entry, replace) for names in self._to}
        if not copying:
            return entry
        try:
            await asyncio.wait(copying.values(), timeout=CATCH_UP_TIMEOUT)
        except asyncio.CancelledError:
            pass  # too late: the required destinations have the object, so this is a success
        results = [_result(name, task) for (_, name), task in copying.items()]
        notes = [result.note for result in results if result.note is not None]
        return changed(
            entry, notes=(*entry.notes, *notes), copies=(*entry.copies, *results), reply=None
        )

    async def follow(self, key: str) -> None:
        """The object at the front went, or came back, when its publish was undone."""
        try:
            await self.add_to(await self._front.stat(key), Replace(allowed=True))
        except NotFound:
            for (name, _), store in self._to.items():
                try:
                    await store.delete(key)
                except NotFound:
                    continue
                except SluiceError as error:
                    log.warning("%s remains at %s: %s", key, name, error.detail)

    async def aclose(self) -> None:
        """End the copies under way; their drafts are discarded."""
        for task in self._running:
            cancel_task(task)
        if self._running:
            await asyncio.wait(self._running)

    def _start(self, names: tuple[str, str], entry: Entry, replace: Replace) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._copy(names, entry, replace))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: it is logged

    async def _copy(self, names: tuple[str, str], entry: Entry, replace: Replace) -> None:
        try:
            async with self._turns:
                await self._copy_now(self._to[names], entry, replace)
        except (SluiceError, OSError) as error:
            why = error.detail if isinstance(error, SluiceError) else str(error)
            log.warning("best-effort destination %s got no copy: %s", names[0], why)
            raise
        except asyncio.CancelledError:
            log.warning("best-effort destination %s got no copy: the server stopped", names[0])
            raise

    async def _copy_now(self, store: Store, entry: Entry, replace: Replace) -> None:
        known = entry.metadata
        request = UploadRequest(
            key=entry.key,
            filename=known.filename,
            type=known.type,
            headers=known.headers,
            user=known.user,
            method="PUT",
            replace=replace,
        )
        reader = await self._front.open(entry.key)
        try:
            draft = await store.draft(uuid.uuid4().hex, reader.length, request)
            try:
                await pump(reader, draft, budget=self._budget)
                await draft.publish(entry.key, reader.entry.metadata, replace)
            finally:
                await draft.discard()
        finally:
            await reader.aclose()


def _result(name: str, task: asyncio.Task[None]) -> DestinationResult:
    note = None
    if not task.done():
        note = f"best-effort destination {name} gets its copy later"
    elif task.cancelled() or task.exception() is not None:
        error = None if task.cancelled() else task.exception()
        public = error.public if isinstance(error, SluiceError) else None
        note = f"best-effort destination {name} got no copy: {public or 'it failed'}"
    return DestinationResult(name, False, note=note)
