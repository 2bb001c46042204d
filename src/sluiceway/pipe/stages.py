"""Where the time of a transfer went: a stopwatch that is always on exactly one stage, so the parts sum up to the whole.

Knows nothing of what the stages do; whoever waits says so with `enter`, and goes back with what `enter` returned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

__all__ = [
    "ANSWER",
    "CLIENT",
    "DECODE",
    "DESTINATION",
    "QUEUE",
    "SOURCE",
    "Stages",
    "server_timing",
    "verdict",
]

CLIENT = "wait-for-client"  # no byte was there to be taken
SOURCE = "wait-for-source"  # the same, where this side reads: a file, a pipe, another server
DECODE = "decode"  # a form was taken apart
QUEUE = "queue"  # our own work: checks, hashing, waiting for memory
DESTINATION = "destination"  # it was reached, and took bytes
ANSWER = "wait-for-answer"  # it had all of them and had not said so yet


class Stages:
    """Seconds by stage. Used by one task at a time."""

    __slots__ = ("_now", "_since", "_spent")

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._now, self._since = QUEUE, time.perf_counter()

    def enter(self, stage: str) -> str:
        """From now on time counts for `stage`; the stage before it."""
        now, before = time.perf_counter(), self._now
        self._spent[before] = self._spent.get(before, 0.0) + now - self._since
        self._now, self._since = stage, now
        return before

    def spent(self) -> dict[str, float]:
        """Seconds by stage so far."""
        self.enter(self._now)
        return dict(self._spent)


def server_timing(spent: Mapping[str, float]) -> str:
    """As the Server-Timing header tells it, in milliseconds, the total last (W3C Server Timing)."""
    return ", ".join(
        f"{name};dur={1000 * seconds:.3f}"
        for name, seconds in [*spent.items(), ("total", sum(spent.values()))]
    )


def verdict(spent: Mapping[str, float], destination: str) -> str:
    """Who took the most time, in words: "91 % backend". `destination` is what people call it."""
    shares = {
        "client": spent.get(CLIENT, 0.0),
        "source": spent.get(SOURCE, 0.0),
        "sluiceway": spent.get(DECODE, 0.0) + spent.get(QUEUE, 0.0),
        destination: spent.get(DESTINATION, 0.0) + spent.get(ANSWER, 0.0),
    }
    who = max(shares, key=lambda name: shares[name])
    whole = sum(shares.values())
    return f"{round(100 * shares[who] / whole) if whole else 100} % {who}"
