"""A request that holds an upload, and how the next one interrupts it.

One that publishes or ends the upload is never interrupted. Knows no ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from sluiceway.pipe.cancellation import cancel_task
from sluiceway.uploads.resumable.held import HeldUpload

__all__ = ["Holding", "Sender"]

# Seconds that a request whose client has left may read on before it is interrupted: what
# a client sent before its line broke is in the kernel, and counts if it is read.
LAST_BYTES = 2.0
# Seconds that one whose bytes still come may read on, to find out whether its client has left: what
# that sent may be on its way, with the end behind it, when the server reads slower than the line.
# Less than 0.25 s, in which whoever takes an upload over is to be answered.
STILL_COMING = 0.15
LOOK_AGAIN = 0.02  # seconds


class Sender(Enum):
    """What is known of the client of a request."""

    LEFT = "left"  # it sends no more: only what the kernel holds still comes
    SENDING = "sending"  # bytes wait to be read
    SILENT = "silent"  # none do, or nobody knows


class Holding:
    """A request that holds an upload, or is about to."""

    __slots__ = (
        "_brief",
        "_sender",
        "_timer",
        "cancels",
        "held",
        "is_cancelled",
        "leaving",
        "released",
        "superseded",
        "task",
    )

    def __init__(
        self,
        brief: bool = False,
        sender: Callable[[], Sender] = lambda: Sender.SILENT,
        cancels: bool = False,
    ) -> None:
        self._brief, self._sender = brief or cancels, sender
        self.cancels: bool = cancels
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[object] | None = asyncio.current_task()
        # No asyncio.Event: it holds a deque of 624 bytes before anybody waits.
        self.released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held: HeldUpload | None = None
        self.superseded: bool = False
        self.is_cancelled: bool = False  # by the newer request
        self.leaving: bool = False

    def interrupt(self, by: Holding | None = None) -> None:
        """End the request, for a newer one where `by` says which. What it took is kept before
        `released`.

        One whose client has left first reads what that sent: a client that asks at once where it
        goes on would send all of it again, and again.
        """
        if by is not None and by.cancels:
            self.is_cancelled = True
        if self._timer is None:
            self._wait_for_end(asyncio.get_running_loop().time() + STILL_COMING)

    def release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.released.set_result(None)

    def _wait_for_end(self, latest: float) -> None:
        loop, sender = asyncio.get_running_loop(), self._sender()
        if sender is Sender.LEFT:
            self._timer = loop.call_later(LAST_BYTES, self._cancel)
        elif sender is Sender.SENDING and loop.time() < latest:
            self._timer = loop.call_later(LOOK_AGAIN, self._wait_for_end, latest)
        else:
            self._cancel()

    def _cancel(self) -> None:
        """One that publishes or ends the upload goes on: asking again must not hinder that."""
        if self._brief or (self.held is not None and self.held.is_ending):
            return
        if not self.superseded and not self.leaving and self.task is not None:
            self.superseded = True
            cancel_task(self.task, self._is_to_end)

    def _is_to_end(self) -> bool:
        return not self.leaving and not (self.held is not None and self.held.is_ending)
