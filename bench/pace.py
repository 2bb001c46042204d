"""Limits the rate of a sender or a reader in user space. It knows no socket."""

from __future__ import annotations

import time

__all__ = ["SLICE", "Pace"]

SLICE = 1 << 17  # most bytes of one paced call: at 50 MB/s one every 2.6 ms
# seconds of delay that are caught up: a sleep ends 0.1 ms late; a longer stall of the peer is lost
LATE = 0.01


class Pace:
    """Sleeps so that at most `rate` bytes a second pass.

    As on a network, unused capacity is lost.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._due = rate, time.perf_counter()

    def wait(self, count: int) -> None:
        """Returns when the time that `count` bytes take is over."""
        now = time.perf_counter()
        self._due = max(self._due, now - LATE) + count / self._rate
        if self._due > now:
            time.sleep(self._due - now)
