"""A request to the next server that stays open while a resumable upload waits for its client.

What was sent on can neither be read nor taken back, and ends with this process. So a draft goes on
where it is or not at all: one that was lost is never begun again behind its first byte.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from sluiceway.errors import Gone, NotFound, PeerFailed, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.relay.draft import RelayDraft
from sluiceway.stores.unpublished import SavedDraft

__all__ = ["MOST_WAITING", "HeldRelayDraft", "HeldRequests"]

T = TypeVar("T")
log: logging.Logger = logging.getLogger("sluiceway")

# Requests that wait for their clients at once. Each costs a connection here and at the destination,
# and at most 64 KiB.
MOST_WAITING = 1000


class HeldRequests:
    """The requests of one store that stay open. `pause`: seconds that one waits for its client."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._drafts: dict[str, HeldRelayDraft] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}  # the one that waits longest is first
        self._ending: set[asyncio.Task[None]] = set()

    def holds(self, upload: str) -> bool:
        """Whether the upload's request is open, and its server has not answered yet."""
        draft = self._drafts.get(upload)
        return draft is not None and not draft.is_lost

    async def begin(self, upload: str, draft: RelayDraft) -> HeldRelayDraft:
        """Hold a new request. An earlier one of this upload ends."""
        if (before := self._drafts.get(upload)) is not None:
            await before.discard()
        held = self._drafts[upload] = HeldRelayDraft(self, upload, draft)
        return held

    async def take_up(self, upload: str, offset: int) -> HeldRelayDraft:
        """The draft that waits, which has `offset` bytes. Raises NotFound."""
        draft = self._drafts.get(upload)
        if draft is None or draft.is_lost or draft.written != offset:
            if draft is not None:
                await draft.discard()
            raise NotFound("The connection to the destination was lost; send the file again")
        self._stop_waiting(upload)
        return draft

    def wait(self, draft: HeldRelayDraft) -> None:
        """Nobody writes to the draft now. Too long a pause ends its request."""
        self._stop_waiting(draft.upload)
        loop = asyncio.get_running_loop()
        text = f"its client paused for {self._pause:g} seconds"
        self._waiting[draft.upload] = loop.call_later(self._pause, self._give_up, draft, text)
        if len(self._waiting) > MOST_WAITING:
            longest = self._drafts[next(iter(self._waiting))]
            self._give_up(longest, f"{MOST_WAITING} others wait for their clients")

    def forget(self, draft: HeldRelayDraft) -> None:
        if self._drafts.get(draft.upload) is draft:
            self._stop_waiting(draft.upload)
            del self._drafts[draft.upload]

    async def aclose(self) -> None:
        for draft in list(self._drafts.values()):
            await draft.discard()
        if self._ending:
            await asyncio.wait(self._ending)

    def _stop_waiting(self, upload: str) -> None:
        if (timer := self._waiting.pop(upload, None)) is not None:
            timer.cancel()

    def _give_up(self, draft: HeldRelayDraft, reason: str) -> None:
        log.warning(
            "Upload %s: the request to the destination was given up: %s", draft.upload, reason
        )
        self.forget(draft)
        task = asyncio.get_running_loop().create_task(draft.discard())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class HeldRelayDraft:
    """One request, to which several requests of a client bring the bytes.

    `kept` counts what the destination's kernel has acknowledged, and the few bytes that are
    withheld here until the file is whole: as long as the request is open, its client need not send
    them again.
    """

    def __init__(self, held: HeldRequests, upload: str, draft: RelayDraft) -> None:
        self._held, self._draft = held, draft
        self.upload = upload
        self.kept: int = 0
        self._lost = self._ended = self._emptied = False

    @property
    def written(self) -> int:
        return 0 if self._emptied else self._draft.written

    @property
    def is_lost(self) -> bool:
        return self._lost or self._ended or self.failure is not None

    @property
    def is_open(self) -> bool:
        return self._draft.is_open

    @property
    def failure(self) -> SluiceError | None:
        return self._draft.failure

    async def write(self, data: Buffer) -> None:
        """A client that leaves, or is interrupted, does not interrupt the bytes in hand: half of
        them sent would be an offset that nobody knows."""
        self._check()
        await finish_then_cancel(self._send(self._draft.write(data)))

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, to its end as `write`."""
        self._check()
        return await finish_then_cancel(self._send(self._draft.draw(lent, update)))

    async def sync(self) -> int:
        """Wait until the destination's kernel has what was sent."""
        if self._emptied:
            return 0
        self._check()
        await finish_then_cancel(self._send(self._draft.flush()))
        await self._draft.settle()
        if (failure := self.failure) is not None:
            self._lost = True
            raise failure
        self.kept = self.written
        return self.kept

    async def truncate(self, offset: int) -> None:
        """Raises Gone where some bytes are to stay: what was sent on cannot be taken back. Of an
        upload that is to be empty, the next draft is another request."""
        if offset == self.written:
            return
        await self.discard()
        if offset == 0:
            self.kept, self._emptied = 0, True
            return
        raise Gone("What was sent on cannot be taken back; send the file again")

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """Raises Gone where nobody knows whether the destination has the file."""
        self._check()
        self._lost = True  # whatever happens now, nothing can be added
        try:
            entry = await self._draft.publish(key, metadata, replace)
        except (PeerFailed, StoreFailed, Unavailable) as error:
            log.warning("Upload %s: %s", self.upload, error.for_log)
            raise Gone(
                "The destination did not confirm the file before the connection to it was lost; "
                "look whether it is there, or send it again"
            ) from error
        self._ended = True
        self._held.forget(self)
        return entry

    def release(self) -> RelayDraft:
        """The request itself. It is its caller's to end."""
        self._ended = True
        self._held.forget(self)
        return self._draft

    async def discard(self) -> None:
        self._ended = True
        self._held.forget(self)
        await self._draft.discard()

    def save(self) -> SavedDraft:
        return SavedDraft("open" if self.written else "")

    def saved(self) -> None: ...

    async def suspend(self) -> None:
        if self._ended:
            return
        if self.is_lost:
            await self.discard()
        else:
            self._held.wait(self)

    async def _send(self, sending: Coroutine[Any, Any, T]) -> T:
        try:
            return await sending
        except BaseException:
            self._lost = True
            raise

    def _check(self) -> None:
        if self._lost or self._ended:
            raise Gone("The connection to the destination was lost; send the file again")
