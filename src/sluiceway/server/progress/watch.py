"""What a watcher of one upload gets as an event stream, without I/O: the server's and apps' own.

`look` as often as `look_interval` says; what it returns is sent. Knows records and events, and
neither an event loop nor a framework.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, Self

from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.states import ENDED
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE, format_comment, format_event

__all__ = [
    "EVENT_HEADERS",
    "WAITING",
    "ThreadLimits",
    "UploadWatch",
    "WatchedTable",
    "look_interval",
    "watchers",
]

LOOK_INTERVAL = 0.1  # seconds between looks: ten steps a second are a smooth bar
HEARTBEAT = 15.0  # seconds; proxies cut connections that are silent for 30 to 60
ORPHAN_CHECK = 1.0  # seconds between looks whether the upload's process lives
WAITING = "waiting"  # the state of an upload that no request brings bytes to
ENDED_WORDS = frozenset(state.word for state in ENDED)
BEGIN_TIMEOUT = 60.0  # seconds that a watcher may wait for its upload to begin
# Looks a second for all watchers of a process: 2 to 5 % of a core. With more than 100 watchers each
# one looks less often.
MOST_LOOKS = 1000

EVENT_HEADERS: Final = MappingProxyType(
    {
        "cache-control": "no-store",
        "x-accel-buffering": "no",  # nginx would collect the events
        "content-type": f"{EVENT_STREAM_TYPE}; charset=utf-8",
    }
)

watchers: set[UploadWatch] = set()  # of this process, those that are open


class WatchedTable(Protocol):
    """Where watchers find uploads of all processes."""

    def find(self, upload: str) -> ProgressRecord | None: ...

    def end_if_orphan(self, record: ProgressRecord) -> None: ...

    def is_here(self, record: ProgressRecord) -> bool: ...


def look_interval(count: int) -> float:
    """Seconds between two looks of one of this many watchers."""
    return max(LOOK_INTERVAL, count / MOST_LOOKS)


@dataclass(frozen=True, slots=True)
class ThreadLimits:
    """What a watcher may hold where it takes a thread that could take an upload.

    Args:
        begin_timeout: Seconds until its upload must have begun.
        most_waiting: Watchers of a process whose uploads have not begun.
        alone: The process has no other thread: a watcher sees the state once and leaves.
    """

    begin_timeout: float
    most_waiting: int
    alone: bool


class UploadWatch:
    """One watcher: `with UploadWatch(…) as watch`, and `look` until it has `ended`.

    `waiting` is whether its upload has not begun. `clock` gives seconds.
    """

    ended: bool
    waiting: bool

    def __init__(
        self,
        table: WatchedTable,
        upload: str,
        clock: Callable[[], float],
        limits: ThreadLimits | None = None,
        resting: Mapping[str, object] | None = None,
    ) -> None:
        """`resting` is what the ledger knows of an upload that the table does not have."""
        self._table, self._upload, self._clock = table, upload, clock
        self._began = self._sent_at = self._checked_at = clock()
        self._limits = limits
        self._begin_timeout = BEGIN_TIMEOUT if limits is None else limits.begin_timeout
        self._record = table.find(upload)
        self._last: Mapping[str, object] = {}
        self._resting = resting or _before_it_begins(upload)
        self.ended, self.waiting = False, self._record is None

    def __enter__(self) -> Self:
        watchers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        watchers.discard(self)

    def rest_as(self, resting: Mapping[str, object] | None) -> None:
        """What the ledger knows now of an upload that the table does not have."""
        if resting is not None and resting != self._resting:
            self._resting, self._began = resting, self._clock()

    @property
    def interval(self) -> float:
        """Seconds until the next look."""
        return look_interval(len(watchers))

    @property
    def must_leave(self) -> bool:
        """Whether the stream ends now, to be opened again by its client: see ThreadLimits."""
        limits = self._limits
        if limits is None:
            return False
        waiting = self.waiting and sum(one.waiting for one in list(watchers)) > limits.most_waiting
        return limits.alone or waiting

    def look(self, stopping: bool = False, port_stays: bool = False) -> bytes:
        """The next bytes of the stream, if there are any: `progress` when a counter has changed,
        `end` as the last event.

        A server that is `stopping` ends the stream of an upload that has not begun and, where
        another process answers at its port, of one that another process has.
        """
        if self._record is None:
            self._record = self._table.find(self._upload)
            self.waiting = self._record is None
        record = self._record
        gone = port_stays and record is not None and not self._table.is_here(record)
        now = None if gone else self._now(stopping)
        if now is None:
            self.ended = True
            return b""
        # Asks the snapshot, not the record: that may have moved on since.
        self.ended = now["state"] in ENDED_WORDS
        if now != self._last or self.ended:
            self._last, self._sent_at = now, self._clock()
            return format_event("end" if self.ended else "progress", json.dumps(now))
        if self._clock() - self._sent_at > HEARTBEAT:
            self._sent_at = self._clock()
            return format_comment()
        return b""

    def _now(self, stopping: bool) -> Mapping[str, object] | None:
        """None when there is nothing more to see."""
        record, now = self._record, self._clock()
        if record is None:
            late = now - self._began > self._begin_timeout
            return None if late or stopping else self._resting
        if not record.still():
            return self._rest()
        record.watch()
        if now - self._checked_at > ORPHAN_CHECK:
            self._checked_at = now
            self._table.end_if_orphan(record)
        return record.snapshot()

    def _rest(self) -> Mapping[str, object]:
        """No request brings bytes to the upload any more; another one may, soon."""
        self._record, self.waiting, self._began = None, True, self._clock()
        self._resting = {**(self._last or self._resting), "state": WAITING}
        return self._resting


def _before_it_begins(upload: str) -> Mapping[str, object]:
    return {
        "id": upload,
        "state": WAITING,
        "received": 0,
        "forwarded": 0,
        "kept": 0,
        "kept_by": "destination",
        "length": None,
        "code": None,
    }
