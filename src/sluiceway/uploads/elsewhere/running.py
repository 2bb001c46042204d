"""What runs at all servers: each says its own uploads when an operator looks at the list.

A look waits for the servers that it knows, and for a moment for those it does not know yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sluiceway.uploads.elsewhere.channel import Word
from sluiceway.uploads.progress import ProgressTable, add_shown

__all__ = ["RunningElsewhere"]

FIRST_ANSWERS = 0.4  # seconds that a look waits
COUNTS_FOR = 4.0  # seconds for which a server's list counts
MOST_SAID = 500  # uploads that one process says of
MOST_SERVERS = 64  # processes whose lists are remembered
SHOWN = ("state", "received", "kept", "length", "key", "name", "stage", "seconds")


@dataclass(slots=True)
class _Running:
    """The list of one process, as it said it last, and the one that it is saying."""

    heard_at: float = 0.0
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    coming: dict[str, dict[str, Any]] = field(default_factory=dict)

    def is_fresh(self, now: float) -> bool:
        return now - self.heard_at < COUNTS_FOR


class RunningElsewhere:
    """One for each process. `name` is its own, `say` tells all others."""

    def __init__(
        self, name: str, table: ProgressTable, say: Callable[[Iterable[Word]], Awaitable[None]]
    ) -> None:
        self._name, self._table, self._say = name, table, say
        self._lists: dict[str, _Running] = {}
        self._heard = asyncio.Event()

    async def look(self, most: int) -> dict[str, dict[str, object]]:
        """At most so many uploads under way, of any process. Raises Unavailable, StoreFailed."""
        asked = time.monotonic()
        self._lists = {name: one for name, one in self._lists.items() if one.is_fresh(asked)}
        known = [*self._lists.values()]
        await self._say([{"from": self._name, "list": min(most, MOST_SAID)}])
        try:
            async with asyncio.timeout(FIRST_ANSWERS):
                while not known or any(each.heard_at < asked for each in known):
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            pass
        found = self._table.shown_running(most)
        for running in self._lists.values():
            for upload, shown in running.uploads.items():
                here = self._table.find(shown["id"])  # of a process that shares the table
                if len(found) < most and (here is None or not here.under_way):
                    add_shown(found, upload, dict(shown))
        return found

    def answer(self, most: int) -> list[Word]:
        """What this process says of its own uploads."""
        self._table.count_running()
        own = self._table.shown_running(min(most, MOST_SAID), own=True)
        words: list[Word] = [
            {"from": self._name, "runs": upload, "shown": shown} for upload, shown in own.items()
        ]
        return [*words, {"from": self._name, "listed": len(words)}]

    def hear(self, server: str, word: Word) -> None:
        """A word of another process about its list; one that makes no sense is dropped."""
        if server not in self._lists and len(self._lists) >= MOST_SERVERS:
            return
        running = self._lists.setdefault(server, _Running())
        match word:
            case {"runs": str(upload), "shown": {"id": str(), "bytes_per_second": int()} as shown}:
                if len(running.coming) < MOST_SAID and shown.keys() >= {*SHOWN}:
                    running.coming[upload] = shown
            case {"listed": int()}:
                running.uploads, running.coming = running.coming, {}
                running.heard_at = time.monotonic()
                self._heard.set()
