"""What happened since the server began, and how it is now: numbers in shared memory.

Each process has a part of its own and writes nowhere else, so no lock is needed; all are read for
one answer. A process that takes over the part of a dead one goes on counting there.
"""

from __future__ import annotations

import ctypes
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import product

from sluiceway.errors import SluiceError
from sluiceway.pipe.stages import ANSWER, CLIENT, DECODE, DESTINATION, QUEUE, SOURCE
from sluiceway.uploads.states import State

__all__ = [
    "ASKED_HOOKS",
    "BUCKETS",
    "CODES",
    "COUNTED_STAGES",
    "HOOK_OUTCOMES",
    "STATES",
    "Totals",
]

STATES = (State.COMPLETE, State.FAILED, State.CANCELLED)
COUNTED_STAGES = (CLIENT, SOURCE, DECODE, QUEUE, DESTINATION, ANSWER)
# Upper bounds of durations in seconds: from a small file to one that takes all night.
BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
# Seconds after which the gauges of a process that writes none any more are not counted.
GAUGES_VALID = 5.0
OTHER = "other"
ASKED_HOOKS = ("on-start", "on-kept")
HOOK_OUTCOMES = ("accepted", "refused", "failed")


def _codes(kind: type[SluiceError]) -> Iterator[str]:
    for one in kind.__subclasses__():
        # Those of errors.py alone: all processes must have the same ones at the same places.
        if one.__module__ == SluiceError.__module__:
            yield one.code
            yield from _codes(one)


CODES = (*sorted({SluiceError.code, *_codes(SluiceError)}), OTHER)
_CODE_AT: Mapping[str, int] = {code: at for at, code in enumerate(CODES)}
_STATE_AT: Mapping[State, int] = {state: at for at, state in enumerate(STATES)}
_STAGE_AT: Mapping[str, int] = {stage: at for at, stage in enumerate(COUNTED_STAGES)}
_QUEUE_AT = _STAGE_AT[QUEUE]
_HOOK_AT: Mapping[tuple[str, str], int] = {
    pair: at for at, pair in enumerate(product(ASKED_HOOKS, HOOK_OUTCOMES))
}


class Totals(ctypes.Structure):
    """The numbers of one process. Counts only grow; gauges say how it is now."""

    received: int  # bytes from clients
    forwarded: int  # bytes handed to the destination
    kept: int  # bytes acknowledged by it, also of uploads that failed later
    published: int  # bytes of uploads that are complete
    ended: ctypes.Array[ctypes.c_int64]  # uploads by `STATES`
    requests: int
    refused: ctypes.Array[ctypes.c_int64]  # responses by `CODES`
    stages: ctypes.Array[ctypes.c_double]  # seconds by `COUNTED_STAGES`
    durations: ctypes.Array[ctypes.c_int64]  # uploads by `BUCKETS`; the last are longer ones
    seconds: float  # of these uploads together
    sweeps: int
    swept: int  # uploads that sweeps ended or forgot
    swept_at: float  # seconds since the epoch, 0 for never
    events_sent: int
    events_failed: int  # tries in vain
    events_given_up: int
    hooks: ctypes.Array[ctypes.c_int64]  # calls by hook and outcome
    alive_at: float  # by the monotonic clock: the gauges are of then
    running: int  # uploads under way
    connections: int
    descriptors: int
    most_descriptors: int
    budget: int  # bytes of memory for transfers
    budget_used: int
    pool: int  # bytes of the budget's blocks that lie ready

    _fields_ = (
        ("received", ctypes.c_int64),
        ("forwarded", ctypes.c_int64),
        ("kept", ctypes.c_int64),
        ("published", ctypes.c_int64),
        ("ended", ctypes.c_int64 * len(STATES)),
        ("requests", ctypes.c_int64),
        ("refused", ctypes.c_int64 * len(CODES)),
        ("stages", ctypes.c_double * len(COUNTED_STAGES)),
        ("durations", ctypes.c_int64 * (len(BUCKETS) + 1)),
        ("seconds", ctypes.c_double),
        ("sweeps", ctypes.c_int64),
        ("swept", ctypes.c_int64),
        ("swept_at", ctypes.c_double),
        ("events_sent", ctypes.c_int64),
        ("events_failed", ctypes.c_int64),
        ("events_given_up", ctypes.c_int64),
        ("hooks", ctypes.c_int64 * (len(ASKED_HOOKS) * len(HOOK_OUTCOMES))),
        ("alive_at", ctypes.c_double),
        ("running", ctypes.c_int64),
        ("connections", ctypes.c_int64),
        ("descriptors", ctypes.c_int64),
        ("most_descriptors", ctypes.c_int64),
        ("budget", ctypes.c_int64),
        ("budget_used", ctypes.c_int64),
        ("pool", ctypes.c_int64),
    )

    def count_bytes(self, received: int, forwarded: int, kept: int) -> None:
        """Add bytes. Those that are forgotten again, after a wrong digest, were moved all the
        same: a count never goes back."""
        if received > 0:
            self.received += received
        if forwarded > 0:
            self.forwarded += forwarded
        if kept > 0:
            self.kept += kept

    def count_end(self, state: State, size: int) -> None:
        """An upload has ended; `size` are its bytes, which count if it is complete."""
        self.ended[_STATE_AT[state]] += 1
        if state is State.COMPLETE:
            self.published += size

    def count_request(self, code: str) -> None:
        """A request has ended, with this error code, "" for none."""
        self.requests += 1
        if code:
            self.refused[_CODE_AT.get(code, len(CODES) - 1)] += 1

    def count_stages(self, spent: Mapping[str, float]) -> None:
        """Add the seconds by stage that one request spent on an upload."""
        whole, stages = 0.0, self.stages  # each look at a field makes a new object
        for stage, seconds in spent.items():
            stages[_STAGE_AT.get(stage, _QUEUE_AT)] += seconds
            whole += seconds
        self.durations[bisect_left(BUCKETS, whole)] += 1
        self.seconds += whole

    def count_sweep(self, count: int) -> None:
        """A sweep ended or forgot so many uploads."""
        self.sweeps += 1
        self.swept += count
        self.swept_at = time.time()

    def count_hook(self, hook: str, outcome: str) -> None:
        """A hook was asked, with this outcome."""
        self.hooks[_HOOK_AT[hook, outcome]] += 1

    def hook_calls(self, hook: str, outcome: str) -> int:
        """How often a hook was asked with this outcome."""
        return int(self.hooks[_HOOK_AT[hook, outcome]])

    @property
    def is_alive(self) -> bool:
        """Whether the gauges are those of a process that runs."""
        return bool(self.alive_at) and time.monotonic() - self.alive_at < GAUGES_VALID
