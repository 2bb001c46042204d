"""One best-effort destination of one upload: it follows as fast as it can, on bytes lent by the budget, or is given up.

Nobody waits for it while bytes come. Its own task begins, writes, publishes or discards; what is said of it is a note.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from sluiceway.errors import Refused, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Draft, Entry, Metadata, Pausable, Replace

__all__ = ["BEHIND", "LEAVE", "BestEffortTarget"]

log: logging.Logger = logging.getLogger("sluiceway")

BEHIND = (
    8 << 20
)  # bytes it may be behind: half a second of a hiccup at 16 MB/s; more only hides that it is too slow
LEAVE = 5.0  # seconds it may take to put its draft away
CHUNK = 256  # bytes a waiting chunk costs besides its own: a sender of single bytes must not hide its memory


@dataclass(frozen=True, slots=True)
class _Ending:
    key: str
    metadata: Metadata
    replace: Replace


class BestEffortTarget:
    """A draft of one best-effort destination. `begin` makes it; that may take its time."""

    def __init__(
        self, display_name: str, budget: Budget, begin: Callable[[], Coroutine[Any, Any, Draft]]
    ) -> None:
        self.display_name = display_name
        self.entry: Entry | None = None  # once it is published
        self.note: str | None = None  # why it was given up
        self._budget = budget
        self._queue: deque[Buffer | int | _Ending | None] = (
            deque()
        )  # a number is an offset to go back to, None a pause
        self._news = asyncio.Event()
        self._held = 0  # bytes of chunks it has not written yet
        self._lent = 0  # of them, those the budget counts
        self._stopping = False
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(self._follow(begin))
        self.task.add_done_callback(self._settle)

    def offer(self, data: Buffer | int) -> None:
        """Put the next chunk before it; a number takes it back to that offset."""
        if not self.task.done() and not self._stopping:
            self._held += 0 if isinstance(data, int) else len(data) + CHUNK
            self._say(data)

    def keep_up(self) -> None:
        """The others have written what was offered: what it still holds is lent from now on, or it is given up."""
        owed = self._held - self._lent
        if owed > 0 and not self._stopping:
            if self._held > BEHIND or not self._budget.acquire(owed):
                self.give_up("it fell behind")
            else:
                self._lent += owed

    def pause(self) -> None:
        """The file is whole and waits for others; see `Pausable`."""
        self._say(None)

    def finish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        """The upload is whole and the others have it: publish what is written, then end."""
        self._say(_Ending(key, metadata, replace))

    def give_up(self, reason: str) -> None:
        if self.entry is None and self.note is None:
            self.note = f"best-effort destination {self.display_name} was given up: {reason}"
        self.stop()

    def stop(self) -> None:
        """End it: its draft is discarded by its own task."""
        if not self._stopping:  # a second cancel would hit the clean-up
            self._stopping = True
            self.task.cancel()

    def _say(self, what: Buffer | int | _Ending | None) -> None:
        self._queue.append(what)
        self._news.set()

    async def _follow(self, begin: Callable[[], Coroutine[Any, Any, Draft]]) -> None:
        draft: Draft | None = None
        try:
            draft = await begin()
            while self.entry is None:
                while not self._queue:
                    self._news.clear()
                    await self._news.wait()
                await self._step(draft, self._queue.popleft())
        except (SluiceError, OSError) as error:
            self.give_up(_reason(error))
        except Exception:  # whatever it is, the upload goes on without this one
            log.exception("best-effort destination %s", self.display_name)
            self.give_up("it failed")
        finally:
            self._stopping = True
            self._queue.clear()
            if draft is not None:
                await _put_away(draft)

    async def _step(self, draft: Draft, what: Buffer | int | _Ending | None) -> None:
        if what is None:
            if isinstance(draft, Pausable):
                await draft.pause()
        elif isinstance(what, int):
            await draft.truncate(what)
        elif isinstance(what, _Ending):
            self.entry = await draft.publish(what.key, what.metadata, what.replace)
        else:
            await draft.write(what)
            self._held -= len(what) + CHUNK
            if self._lent > self._held:
                self._budget.release(self._lent - self._held)
                self._lent = self._held

    def _settle(self, _: object) -> None:
        """Also of a task that was cancelled before its first step: none of its own code ran."""
        self._queue.clear()
        self._budget.release(self._lent)
        self._held = self._lent = 0


async def _put_away(draft: Draft) -> None:
    try:
        async with asyncio.timeout(LEAVE):
            await draft.discard()
    except (SluiceError, OSError, TimeoutError):
        pass  # it was given up already, or is whole: then discard does nothing


def _reason(error: SluiceError | OSError) -> str:
    if isinstance(error, Refused):
        _, _, words = error.detail.partition(
            " answered "
        )  # in front of it stands the address, which is told already
        return f"it answered {words or error.status}"
    return error.detail if isinstance(error, SluiceError) else str(error)
