"""Sweep a store in the background while it is in use, at most once an hour.

A failed sweep is logged and never reaches an upload. Knows nothing of what a sweep removes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sluiceway.errors import SluiceError

__all__ = ["BackgroundSweep"]

log: logging.Logger = logging.getLogger("sluiceway")

INTERVAL = 3600.0  # seconds between two sweeps


class BackgroundSweep:
    """`sweep` removes what crashed processes left behind."""

    def __init__(self, sweep: Callable[[], Awaitable[object]]) -> None:
        self._sweep = sweep
        self._due = 0.0  # by the monotonic clock
        self._task: asyncio.Task[None] | None = None

    def start_if_due(self) -> None:
        """Start a sweep when the last one began over an hour ago. Does not wait for it."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + INTERVAL
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Wait for the sweep under way, if there is one."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._sweep()
        except SluiceError as error:
            log.warning("What crashed uploads left behind was not removed: %s", error.detail)
