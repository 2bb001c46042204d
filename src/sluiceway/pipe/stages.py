"""Where the time of a transfer went: a stopwatch that is always on exactly one stage.

So the stages sum up to the whole. Code that waits calls `enter`, and later `enter` again with the
stage that the first call returned. Knows nothing of what the stages do.
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

CLIENT = "wait-for-client"  # the client sent no byte
SOURCE = "wait-for-source"  # as above, where this side reads: a file, a pipe, a server
DECODE = "decode"  # a form was decoded
QUEUE = "queue"  # our own work: checks, hashing, waiting for memory
DESTINATION = "destination"  # connecting to it, and sending it bytes
ANSWER = "wait-for-answer"  # it had all bytes and had not answered yet
_OURS = (DECODE, QUEUE)  # all stages but these and the first two are the destination's


class Stages:
    """Seconds by stage. Used by one task at a time."""

    __slots__ = ("_now", "_since", "_spent")

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._now, self._since = QUEUE, time.perf_counter()

    def enter(self, stage: str) -> str:
        """Count the time from now on for `stage`. Returns the stage before it."""
        before = self._now
        if stage != before:  # as `_count`, which takes twice as long for being called
            now, spent = time.perf_counter(), self._spent
            spent[before] = now - self._since + spent.get(before, 0.0)
            self._now, self._since = stage, now
        return before

    @property
    def now(self) -> str:
        """The stage that the time counts for."""
        return self._now

    def _count(self) -> None:
        now = time.perf_counter()
        self._spent[self._now] = self._spent.get(self._now, 0.0) + now - self._since
        self._since = now

    def move(self, stage: str, to: str, seconds: float) -> None:
        """Count `seconds` of what `stage` has for `to`: a thread knows only later why it waited."""
        self._count()
        seconds = min(seconds, self._spent.get(stage, 0.0))
        if seconds > 0:
            self._spent[stage] -= seconds
            self._spent[to] = self._spent.get(to, 0.0) + seconds

    def spent(self) -> dict[str, float]:
        """Return the seconds by stage so far."""
        self._count()
        return dict(self._spent)


def server_timing(spent: Mapping[str, float]) -> str:
    """Return a Server-Timing header: milliseconds by stage, the total last (W3C Server Timing)."""
    text, total = "", 0.0
    for name, seconds in spent.items():
        text += f"{name};dur={1000 * seconds:.3f}, "
        total += seconds
    return f"{text}total;dur={1000 * total:.3f}"


def verdict(spent: Mapping[str, float], destination: str) -> str:
    """Return the side that took most of the time: "91 % backend".

    `destination` is the word for that side in the text.
    """
    client = source = ours = theirs = 0.0
    for stage, seconds in spent.items():
        if stage == CLIENT:
            client = seconds
        elif stage == SOURCE:
            source = seconds
        elif stage in _OURS:
            ours += seconds
        else:
            theirs += seconds
    most, who = client, "client"
    for seconds, side in ((source, "source"), (ours, "sluiceway"), (theirs, destination)):
        if seconds > most:
            most, who = seconds, side
    whole = client + source + ours + theirs
    return f"{round(100 * most / whole) if whole else 100} % {who}"
