"""One upload on its way to several destinations in one pass: all required ones get it, or none keeps it.

Carriers are the required destinations, followers the best-effort ones. Knows nothing of what kinds of stores they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace as changed
from typing import Any, TypeVar

from sluiceway.errors import PeerFailed, Refused, SluiceError, StoreFailed
from sluiceway.pipe.cancellation import finish_all
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import DestinationResult, Draft, Entry, Metadata, Pausable, Replace
from sluiceway.stores.fanout.best_effort import LEAVE, BestEffortTarget
from sluiceway.stores.fanout.required import RequiredTarget, named, together
from sluiceway.stores.locks import KeyLocks

__all__ = ["CATCH_UP", "FanoutDraft"]

CATCH_UP = 5.0  # seconds best-effort destinations get once all others have the file: the client waits for them

T = TypeVar("T")

log: logging.Logger = logging.getLogger("sluiceway")


class FanoutDraft:
    """A draft of several. `front` is the carrier whose objects are shown; `locks` are the store's."""

    def __init__(
        self,
        carriers: Sequence[RequiredTarget],
        followers: Sequence[BestEffortTarget],
        front: RequiredTarget,
        locks: KeyLocks,
    ) -> None:
        self._carriers, self._followers, self._front, self._locks = (
            carriers,
            followers,
            front,
            locks,
        )
        self._over = ""  # why nothing more can be done with it
        self._published = False
        self.written: int = 0

    @property
    def kept(self) -> int:
        """Bytes that every required destination keeps."""
        return min(carrier.draft.kept for carrier in self._carriers)

    @property
    def failure(self) -> SluiceError | None:
        """What a required destination said while the sender pauses."""
        return next(
            (error for carrier in self._carriers if (error := carrier.failure) is not None), None
        )

    async def write(self, data: Buffer) -> None:
        self._check()
        for follower in self._followers:
            follower.offer(data)
        await self._all(lambda draft: draft.write(data))
        for follower in self._followers:
            follower.keep_up()
        self.written += len(data)

    async def sync(self) -> int:
        self._check()
        return min(await self._all(lambda draft: draft.sync()))

    async def truncate(self, offset: int) -> None:
        self._check()
        for follower in self._followers:
            follower.offer(offset)
        await self._all(lambda draft: draft.truncate(offset))
        self.written = offset

    async def pause(self) -> None:
        self._check()
        for follower in self._followers:
            follower.pause()
        await self._all(_pause)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """Those that can be undone first, then those that cannot, one after the other: a refusal takes the earlier ones back."""
        self._check()
        self._over = "This draft was published, or failed at it"
        try:
            await self._all(
                lambda draft: draft.sync()
            )  # what can still fail shall fail before anything is visible
            async with self._locks.acquire(key):
                await self._publish(True, key, metadata, replace)
            await self._publish(False, key, metadata, replace)
        except BaseException as error:
            taking = asyncio.ensure_future(self._take_back(key))
            await finish_all([taking])
            if isinstance(error, SluiceError) and taking.result():
                raise _with_copies(error, taking.result()) from error
            raise
        finally:
            for carrier in self._carriers:
                await carrier.close()
        self._published = True
        await self._catch_up(key, metadata, Replace(allowed=replace.allowed))
        return self._entry()

    async def discard(self) -> None:
        if self._published:
            return
        self._over = self._over or "This draft was discarded"
        for follower in self._followers:
            follower.stop()
        leaving = [asyncio.ensure_future(carrier.draft.discard()) for carrier in self._carriers]
        try:
            await finish_all(leaving)
        finally:
            failed = [error for task in leaving if (error := task.exception()) is not None]
        if going := [follower.task for follower in self._followers if not follower.task.done()]:
            await asyncio.wait(going, timeout=LEAVE)
        if failed:
            raise failed[0]

    # Inside

    async def _all(self, act: Callable[[Draft], Coroutine[Any, Any, T]]) -> list[T]:
        """The same for every required destination, at once. After an error the draft can only be discarded."""
        try:
            if len(self._carriers) == 1:  # a task for each chunk would only cost
                return [await self._one(self._carriers[0], act)]
            return await together(self._one(carrier, act) for carrier in self._carriers)
        except BaseException:
            self._over = "One of the destinations failed; send the file again"
            raise

    @staticmethod
    async def _one(carrier: RequiredTarget, act: Callable[[Draft], Coroutine[Any, Any, T]]) -> T:
        with named(carrier.display_name):
            return await act(carrier.draft)

    async def _publish(
        self, undoable: bool, key: str, metadata: Metadata, replace: Replace
    ) -> None:
        """One after the other, the one whose objects are shown before all: its no leaves the others untouched."""
        for carrier in sorted(self._carriers, key=lambda carrier: carrier is not self._front):
            if carrier.undoable is undoable:
                # A tag is one destination's own. And in a task: a store may keep a cancellation to itself.
                terms = replace if carrier is self._front else Replace(allowed=replace.allowed)
                await together([carrier.publish(key, metadata, terms)])

    async def _take_back(self, key: str) -> list[str]:
        """Undo what was published, last first; the destinations where a copy remains."""
        published = [carrier for carrier in reversed(self._carriers) if carrier.entry is not None]
        left: list[str] = []
        async with self._locks.acquire(key):
            left += [
                each.display_name
                for each in published
                if each.undoable and not await each.undo_publish()
            ]
        left += [
            each.display_name
            for each in published
            if not each.undoable and not await each.undo_publish()
        ]
        if left:
            log.warning("%s remains at %s: it could not be taken back", key, " and ".join(left))
        return left

    async def _catch_up(self, key: str, metadata: Metadata, replace: Replace) -> None:
        for follower in self._followers:
            follower.finish(key, metadata, replace)
        if going := [follower.task for follower in self._followers if not follower.task.done()]:
            try:
                await asyncio.wait(going, timeout=CATCH_UP)
            except asyncio.CancelledError:
                pass  # too late: the required ones have it, and that is not unsaid
        for follower in self._followers:
            if not follower.task.done():
                follower.give_up(f"it was not done {CATCH_UP:.0f} s after the others")

    def _entry(self) -> Entry:
        entries = [carrier.entry for carrier in self._carriers if carrier.entry is not None]
        if self._front.entry is None:
            raise StoreFailed("A destination published without an entry")
        notes = [note for entry in entries for note in entry.notes]
        notes += [follower.note for follower in self._followers if follower.note is not None]
        copies = [_copy(each.display_name, True, each.entry, None) for each in self._carriers]
        copies += [
            _copy(each.display_name, False, each.entry, each.note) for each in self._followers
        ]
        reply = (
            self._front.entry.reply if len(copies) == 1 else None
        )  # of several answers none is the answer
        return changed(self._front.entry, reply=reply, notes=tuple(notes), copies=tuple(copies))

    def _check(self) -> None:
        if self._over:
            raise StoreFailed(self._over)


async def _pause(draft: Draft) -> None:
    if isinstance(draft, Pausable):
        await draft.pause()


def _copy(
    display_name: str, required: bool, entry: Entry | None, note: str | None
) -> DestinationResult:
    reply = None if entry is None else entry.reply
    if reply is None:
        return DestinationResult(display_name, required, note=note)
    return DestinationResult(
        display_name, required, reply.status, reply.headers.get("location"), note
    )


def _with_copies(error: SluiceError, left: list[str]) -> SluiceError:
    """The error, telling where a copy remains. A refusal's own words could not: they go through as they came.

    The client hears that there is one; where it is, only the operator does.
    """
    if isinstance(error, Refused):
        error = _as_peer_failed(error)
    what = "it could not be taken back"
    error.public = f"{(error.detail if error.public is None else error.public).rstrip('.')}. A copy remains: {what}"
    error.detail = f"{error.detail.rstrip('.')}. A copy remains at {' and '.join(left)}: {what}"
    error.private["copies"] = left
    return error


def _as_peer_failed(error: Refused) -> PeerFailed:
    failed = PeerFailed(error.detail, **error.members).for_operator(
        f"A destination answered {error.status}"
    )
    failed.private = error.private
    return failed
