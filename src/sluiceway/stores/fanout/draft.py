"""One upload to several destinations in one pass: every required one gets it, or none keeps it.

Best-effort destinations are never waited for while bytes come. Knows nothing of kinds of stores.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace as changed
from typing import Any, TypeVar

from sluiceway.errors import PeerFailed, Refused, SluiceError, StoreFailed
from sluiceway.pipe.cancellation import finish_all
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import (
    DestinationResult,
    Draft,
    Entry,
    Metadata,
    Pausable,
    Replace,
)
from sluiceway.stores.fanout.best_effort import DISCARD_TIMEOUT, BestEffortTarget
from sluiceway.stores.fanout.required import RequiredTarget, naming, run_all
from sluiceway.stores.keys.locks import KeyLocks

__all__ = ["CATCH_UP_TIMEOUT", "FanoutDraft"]

# Seconds for best-effort destinations once all required ones have the file: the client waits for
# them.
CATCH_UP_TIMEOUT = 5.0

T = TypeVar("T")

log: logging.Logger = logging.getLogger("sluiceway")


class FanoutDraft:
    """A draft at several destinations. `front` is the required one whose objects readers see.

    `locks` are the store's: uploads and deletions of one key follow each other.
    """

    def __init__(
        self,
        required: Sequence[RequiredTarget],
        best_effort: Sequence[BestEffortTarget],
        front: RequiredTarget,
        locks: KeyLocks,
    ) -> None:
        self._required, self._best_effort = required, best_effort
        self._front, self._locks = front, locks
        self._over = ""  # why nothing more can be done with it
        self._published = False
        self.key: str = ""  # once it is published
        self.keeps_replaced: bool = False  # what `publish` replaces, until `settle`
        self.written: int = 0

    @property
    def kept(self) -> int:
        """Bytes that every required destination keeps."""
        return min(target.draft.kept for target in self._required)

    @property
    def failure(self) -> SluiceError | None:
        """Why a required destination failed while the sender paused."""
        failures = (target.failure for target in self._required)
        return next((error for error in failures if error is not None), None)

    async def write(self, data: Buffer) -> None:
        self._check()
        for target in self._best_effort:
            target.write(data)
        await self._at_all(lambda draft: draft.write(data))
        for target in self._best_effort:
            target.check_backlog()
        self.written += len(data)

    async def sync(self) -> int:
        self._check()
        return min(await self._at_all(lambda draft: draft.sync()))

    async def truncate(self, offset: int) -> None:
        self._check()
        for target in self._best_effort:
            target.truncate(offset)
        await self._at_all(lambda draft: draft.truncate(offset))
        self.written = offset

    async def pause(self) -> None:
        self._check()
        for target in self._best_effort:
            target.pause()
        await self._at_all(_pause)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """Publish where it can be undone first, then one by one where it cannot.

        A refusal undoes the earlier ones.
        """
        self._check()
        self._over = "This draft was published, or failed at it"
        try:
            # whatever can still fail must fail before anything is visible
            await self._at_all(lambda draft: draft.sync())
            async with self._alone(key):
                await self._publish_all(key, metadata, replace)
        finally:
            if not self.keeps_replaced:
                await self.settle()
        self._published, self.key = True, key
        await self._catch_up(key, metadata, Replace(allowed=replace.allowed))
        return self._entry()

    async def take_back(self) -> bool:
        """Undo the publish everywhere, or leave it everywhere. Returns False where it stays."""
        if not self._published:
            return True  # a publish that fails undoes itself
        async with self._alone(self.key):
            return not await self._undo(self.key, together=True)

    async def settle(self) -> None:
        """The publish stands: what it replaced goes."""
        for target in self._required:
            await target.settle()

    async def discard(self) -> None:
        if self._published:
            return
        self._over = self._over or "This draft was discarded"
        for target in self._best_effort:
            target.stop()
        discarding = [asyncio.ensure_future(target.draft.discard()) for target in self._required]
        try:
            await finish_all(discarding)
        finally:
            failed = [error for task in discarding if (error := task.exception()) is not None]
        if running := self._running():
            await asyncio.wait(running, timeout=DISCARD_TIMEOUT)
        if failed:
            raise failed[0]

    # Inside

    def _running(self) -> list[asyncio.Task[None]]:
        return [target.task for target in self._best_effort if not target.task.done()]

    async def _at_all(self, act: Callable[[Draft], Coroutine[Any, Any, T]]) -> list[T]:
        """Do the same at every required destination, at once.

        After an error the draft can only be discarded.
        """
        try:
            if len(self._required) == 1:  # a task for each chunk would only cost time
                return [await self._at(self._required[0], act)]
            return await run_all(self._at(target, act) for target in self._required)
        except BaseException:
            self._over = "One of the destinations failed; send the file again"
            raise

    @staticmethod
    async def _at(target: RequiredTarget, act: Callable[[Draft], Coroutine[Any, Any, T]]) -> T:
        with naming(target.display_name):
            return await act(target.draft)

    def _alone(self, key: str) -> AbstractAsyncContextManager[None]:
        """No other upload changes the key in this block, which ends with the undo of a refusal.

        Else a second upload replaced this one in between, and its undo put this one back.
        """
        if len(self._required) == 1 and not self._front.undoable:
            return nullcontext()  # there is nothing to undo, and no other copy
        return self._locks.acquire(key)

    async def _publish_all(self, key: str, metadata: Metadata, replace: Replace) -> None:
        try:
            await self._publish(True, key, metadata, replace)
            await self._publish(False, key, metadata, replace)
        except BaseException as error:
            undoing = asyncio.ensure_future(self._undo(key))
            await finish_all([undoing])
            if isinstance(error, SluiceError) and undoing.result():
                raise _with_copies(error, undoing.result()) from error
            raise

    async def _publish(
        self, undoable: bool, key: str, metadata: Metadata, replace: Replace
    ) -> None:
        """One after the other, the front first: its refusal leaves the others untouched."""
        for target in sorted(self._required, key=lambda target: target is not self._front):
            if target.undoable is undoable:
                # A tag belongs to one destination. And in a task: a store may hide a cancellation.
                terms = replace if target is self._front else Replace(allowed=replace.allowed)
                await run_all([target.publish(key, metadata, terms)])

    async def _undo(self, key: str, *, together: bool = False) -> list[str]:
        """Undo what was published, last first; returns the destinations where a copy remains.

        Under the lock of the key.

        `together`: where the first copy cannot be undone, the others stay as well.
        """
        remaining: list[str] = []
        undoable = [target for target in reversed(self._required) if target.undoable]
        for target in sorted(undoable, key=lambda target: target.undoes_surely):
            if not (together and remaining) and not await target.undo_publish():
                remaining.append(target.display_name)
        elsewhere = [target for target in reversed(self._required) if not target.undoable]
        remaining += [each.display_name for each in elsewhere if not await each.undo_publish()]
        if remaining:
            log.warning("%s remains at %s: undo failed", key, " and ".join(remaining))
        return remaining

    async def _catch_up(self, key: str, metadata: Metadata, replace: Replace) -> None:
        for target in self._best_effort:
            target.publish(key, metadata, replace)
        if running := self._running():
            try:
                await asyncio.wait(running, timeout=CATCH_UP_TIMEOUT)
            except asyncio.CancelledError:
                pass  # too late: the required destinations have the object, so this is a success
        for target in self._best_effort:
            if not target.task.done():
                target.give_up(f"it was not done {CATCH_UP_TIMEOUT:.0f} s after the others")

    def _entry(self) -> Entry:
        entry = self._front.entry
        if entry is None:
            raise StoreFailed("A destination published without an entry")
        entries = [target.entry for target in self._required if target.entry is not None]
        notes = [note for each in entries for note in each.notes]
        notes += [target.note for target in self._best_effort if target.note is not None]
        results = [_result(each.public_name, True, each.entry, None) for each in self._required]
        results += [
            _result(each.public_name, False, each.entry, each.note) for each in self._best_effort
        ]
        # with several destinations no one's response is the response
        reply = entry.reply if len(results) == 1 else None
        return changed(entry, reply=reply, notes=tuple(notes), copies=tuple(results))

    def _check(self) -> None:
        if self._over:
            raise StoreFailed(self._over)


async def _pause(draft: Draft) -> None:
    if isinstance(draft, Pausable):
        await draft.pause()


def _result(
    public_name: str, required: bool, entry: Entry | None, note: str | None
) -> DestinationResult:
    if entry is None or (reply := entry.reply) is None:
        return DestinationResult(public_name, required, note=note)
    location = reply.headers.get("location")
    return DestinationResult(public_name, required, reply.status, location, note, reply.location)


def _with_copies(error: SluiceError, remaining: list[str]) -> SluiceError:
    """The error, saying that copies remain. Clients do not learn where; the operator does.

    A refusal would be passed on as it came and could not say it, so it becomes a PeerFailed.
    """
    if isinstance(error, Refused):
        error = _as_peer_failed(error)
    public = error.detail if error.public is None else error.public
    what, where = "it could not be taken back", " and ".join(remaining)
    error.public = f"{public.rstrip('.')}. A copy remains: {what}"
    error.detail = f"{error.detail.rstrip('.')}. A copy remains at {where}: {what}"
    error.private["copies"] = remaining
    return error


def _as_peer_failed(error: Refused) -> PeerFailed:
    failed = PeerFailed(error.detail, **error.members).for_operator(
        f"A destination answered {error.status}"
    )
    failed.private = error.private
    return failed
