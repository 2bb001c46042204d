"""A request that holds an upload, and how the next one interrupts it.

One that publishes or ends the upload is never interrupted. Knows no ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluiceway.pipe.cancellation import cancel_task
from sluiceway.uploads.resumable.held import HeldUpload

__all__ = ["Holding"]

# Seconds that a request whose client has left may read on before it is interrupted: what
# a client sent before its line broke is in the kernel, and counts if it is read.
LAST_BYTES = 2.0


class Holding:
    """A request that holds an upload, or is about to."""

    __slots__ = (
        "_brief",
        "_ends_by_itself",
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
        ends_by_itself: Callable[[], bool] = lambda: False,
        cancels: bool = False,
    ) -> None:
        self._brief, self._ends_by_itself = brief or cancels, ends_by_itself
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
        if self._timer is None and self._ends_by_itself():
            self._timer = asyncio.get_running_loop().call_later(LAST_BYTES, self._cancel)
        elif self._timer is None:
            self._cancel()

    def release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.released.set_result(None)

    def _cancel(self) -> None:
        """One that publishes or ends the upload goes on: asking again must not hinder that."""
        if self._brief or (self.held is not None and self.held.is_ending):
            return
        if not self.superseded and not self.leaving and self.task is not None:
            self.superseded = True
            cancel_task(self.task, self._is_to_end)

    def _is_to_end(self) -> bool:
        return not self.leaving and not (self.held is not None and self.held.is_ending)
