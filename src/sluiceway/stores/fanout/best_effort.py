"""One best-effort destination of one upload: it takes the bytes as fast as it can, or is given up.

No other destination waits for it while bytes come. Its own task begins, writes, and publishes or
discards; its failure becomes a note and never an error. The budget counts what it has not yet
written.
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

__all__ = ["DISCARD_TIMEOUT", "MOST_BEHIND", "BestEffortTarget"]

log: logging.Logger = logging.getLogger("sluiceway")

# Bytes it may be behind: a hiccup of half a second at 16 MB/s. More would only hide that it is too
# slow.
MOST_BEHIND = 8 << 20
DISCARD_TIMEOUT = 5.0  # seconds
# Bytes a waiting chunk costs besides its own: a sender of single bytes must not hide its memory.
CHUNK_OVERHEAD = 256


@dataclass(frozen=True, slots=True)
class _Truncate:
    offset: int


@dataclass(frozen=True, slots=True)
class _Pause:
    pass


@dataclass(frozen=True, slots=True)
class _Publish:
    key: str
    metadata: Metadata
    replace: Replace


_Step = Buffer | _Truncate | _Pause | _Publish  # what the task does next; a buffer is written


class BestEffortTarget:
    """A draft at one best-effort destination. `begin` makes the draft and may take its time."""

    def __init__(
        self,
        display_name: str,
        budget: Budget,
        begin: Callable[[], Coroutine[Any, Any, Draft]],
        public_name: str = "",
    ) -> None:
        self.display_name = display_name
        self.public_name: str = public_name or display_name
        self.entry: Entry | None = None  # set when it is published
        self.note: str | None = None  # why it was given up
        self._budget = budget
        self._steps: deque[_Step] = deque()
        self._step_added = asyncio.Event()
        self._held = 0  # bytes of chunks that are not yet written
        self._counted = 0  # bytes of them that the budget counts
        self._stopping = False
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(self._run(begin))
        self.task.add_done_callback(self._release)

    def write(self, data: Buffer) -> None:
        if not self.task.done() and not self._stopping:
            self._held += len(data) + CHUNK_OVERHEAD
            self._add(data)

    def truncate(self, offset: int) -> None:
        self._add(_Truncate(offset))

    def pause(self) -> None:
        """The file is complete and waits for others; see `Pausable`."""
        self._add(_Pause())

    def publish(self, key: str, metadata: Metadata, replace: Replace) -> None:
        """The required destinations have the object: write the rest, then publish."""
        self._add(_Publish(key, metadata, replace))

    def check_backlog(self) -> None:
        """Call it when the required destinations have written what this one was given.

        The budget counts from now on what this destination still holds; it is given up when that
        is too much.
        """
        more = self._held - self._counted
        if more > 0 and not self._stopping:
            if self._held > MOST_BEHIND or not self._budget.acquire(more):
                self.give_up("it fell behind")
            else:
                self._counted += more

    def give_up(self, reason: str, private: str = "") -> None:
        """`reason` reaches clients; `private` is the operator's, where it says more."""
        if self.entry is None and self.note is None:
            self.note = f"best-effort destination {self.public_name} was given up: {reason}"
            log.warning(
                "best-effort destination %s was given up: %s", self.display_name, private or reason
            )
        self.stop()

    def stop(self) -> None:
        """End its task, which discards the draft."""
        if not self._stopping:  # a second cancellation would interrupt the clean-up
            self._stopping = True
            self.task.cancel()

    def _add(self, step: _Step) -> None:
        if not self.task.done() and not self._stopping:
            self._steps.append(step)
            self._step_added.set()

    async def _run(self, begin: Callable[[], Coroutine[Any, Any, Draft]]) -> None:
        draft: Draft | None = None
        try:
            draft = await begin()
            while self.entry is None:
                while not self._steps:
                    self._step_added.clear()
                    await self._step_added.wait()
                await self._do(draft, self._steps.popleft())
        except (SluiceError, OSError) as error:
            public = error.public if isinstance(error, SluiceError) else "it failed"
            if isinstance(error, Refused):
                public = None  # the reason is its status and text, without the address
            self.give_up(public or _reason(error), _reason(error))
        except Exception:  # the upload goes on without this destination, whatever failed
            log.exception("best-effort destination %s", self.display_name)
            self.give_up("it failed")
        finally:
            self._stopping = True
            self._steps.clear()
            if draft is not None:
                await _discard(draft)

    async def _do(self, draft: Draft, step: _Step) -> None:
        match step:
            case _Pause():
                if isinstance(draft, Pausable):
                    await draft.pause()
            case _Truncate(offset):
                await draft.truncate(offset)
            case _Publish(key, metadata, replace):
                self.entry = await draft.publish(key, metadata, replace)
            case data:
                await draft.write(data)
                self._held -= len(data) + CHUNK_OVERHEAD
                if self._counted > self._held:
                    self._budget.release(self._counted - self._held)
                    self._counted = self._held

    def _release(self, _: object) -> None:
        """Also for a task that was cancelled before its first step: none of its own code ran."""
        self._steps.clear()
        self._budget.release(self._counted)
        self._held = self._counted = 0


async def _discard(draft: Draft) -> None:
    try:
        async with asyncio.timeout(DISCARD_TIMEOUT):
            await draft.discard()
    except (SluiceError, OSError, TimeoutError):
        pass  # it was given up already, or is published and nothing is left to discard


def _reason(error: SluiceError | OSError) -> str:
    if isinstance(error, Refused):
        # the address stands in front of it, and the note names the destination already
        _, _, answer = error.detail.partition(" answered ")
        return f"it answered {answer or error.status}"
    return error.detail if isinstance(error, SluiceError) else str(error)
