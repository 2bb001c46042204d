"""The progress of every upload under way, readable from each process of a server.

Fixed records in shared memory, found by the hash of an upload's id. A process claims one part of
them and writes only there. Knows nothing of HTTP or of stores.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

from sluiceway.errors import Exists, SluiceError, Unavailable
from sluiceway.pipe.file_lock import HAS_LOCKS, try_lock_part, unlock_part
from sluiceway.uploads.live_facts import LiveFacts
from sluiceway.uploads.progress_index import ProgressIndex
from sluiceway.uploads.progress_record import ProgressRecord, hash_id
from sluiceway.uploads.states import ENDED, State
from sluiceway.uploads.totals import CODES, Totals

__all__ = ["SLOTS", "ProgressTable", "add_shown", "read_totals", "table_layout"]

# Uploads remembered at once, live and just ended: 4 MiB, touched only as far as used.
SLOTS = 8192
REMEMBERED = 600.0  # seconds that an ended upload can be asked for


class ProgressTable:
    """All records. With `path`, an empty file made by the parent, `parts` processes share them."""

    def __init__(
        self,
        path: str | None = None,
        parts: int = 1,
        slots: int | None = None,
        is_alone: bool = False,
    ) -> None:
        """`slots` is the number of records of all parts together. With `is_alone` no other process
        looks at them before `share`. Raises SluiceError, OSError."""
        slots = slots or SLOTS
        records, buckets = ProgressRecord * slots, ctypes.c_uint32 * slots
        totals, facts = Totals * parts, LiveFacts * slots
        totals_at, facts_at, size = _layout(slots, parts)
        self._file, part = -1, 0
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            os.ftruncate(self._file, size)
            part = self._claim(parts)
        self._memory = mmap.mmap(self._file, size)
        self._records = records.from_buffer(self._memory)
        self._buckets = buckets.from_buffer(self._memory, ctypes.sizeof(records))
        # Of all processes; `totals` is that of this one.
        self.all_totals: Sequence[Totals] = list(totals.from_buffer(self._memory, totals_at))
        self.totals: Totals = self.all_totals[part]
        self._facts = facts.from_buffer(self._memory, facts_at)
        self._live: dict[int, ProgressRecord] = {}  # records that a request of this process has
        self._index: ProgressIndex | None = None
        self._parts, self._part, self._share = parts, part, slots // parts
        if path is not None and not is_alone:
            self.share()
        share = self._share
        self._own: dict[str, int] = {}  # id -> record of this process's uploads, live or remembered
        self._ids: dict[int, str] = {}  # and back, to forget an id when its record is reused
        self._free = deque(range(part * share, (part + 1) * share))
        if path is not None:
            self._end_orphans()

    def share(self) -> None:
        """From now on other processes find our uploads, and we find theirs. Until then each upload
        saves the 8 microseconds of the index."""
        if self._index is None:
            self._index = ProgressIndex(self._records, self._buckets, self._parts, self._part)

    def resume(self, upload: str, length: int | None, kept: int) -> ProgressRecord:
        """Return a record for an upload that goes on, whichever process had it before.

        Its counters begin at `kept` bytes. Watchers find the newest record.
        """
        index = self._own.get(upload)
        record = None if index is None else self._record(index, upload)
        if record is None or record.ended_at:
            record = self._begin(upload, length)
        record.length, record.state, record.outlives = length, State.RECEIVING, True
        record.received = record.forwarded = record.kept = kept
        record.counted, record.taken = (kept, kept, kept), 0
        self._live[record.index] = record
        return record

    def rest(self, record: ProgressRecord) -> None:
        """Give back the record of an upload that no request brings bytes to: others need it.

        Its watchers look for it again; meanwhile the ledger knows the upload.
        """
        self._count(record)
        self._live.pop(record.index, None)
        if record.index < 0 or not record.still():
            return
        if self._index is not None:
            self._index.remove(record.index)
        self._own.pop(record.id, None)
        self._ids.pop(record.index, None)
        record.forget_name()
        self._free.append(record.index)

    def begin(self, upload: str, length: int | None) -> ProgressRecord:
        """Return a record for an upload that begins.

        Raises Exists when the id is in use or was a moment ago. When thousands are live at once,
        the upload goes unwatched; nothing else is lost.
        """
        if upload in self._own or (self._index is not None and self._find(upload) is not None):
            raise Exists(f"The upload id {upload!r} is taken; choose a fresh one for each upload")
        return self._begin(upload, length)

    def _begin(self, upload: str, length: int | None) -> ProgressRecord:
        if not self._free:
            return self.unwatched(upload, length)
        index = self._free.popleft()
        self._own.pop(self._ids.get(index, ""), None)
        self._own[upload], self._ids[index] = index, upload
        record = self._record(index, upload)
        if self._index is not None:
            self._index.remove(index)
        record.begin(upload, length)
        self._live[index] = record
        if self._index is not None:
            self._index.add(index)
        return record

    def unwatched(self, upload: str, length: int | None) -> ProgressRecord:
        """Return a record that nobody finds."""
        record = ProgressRecord()
        record.index = -1
        record.begin(upload, length)
        return record

    def end(self, record: ProgressRecord) -> None:
        """The record stays readable until it is the oldest of the ended ones and one is needed."""
        state = record.state
        if state not in ENDED:
            raise SluiceError("A record is given back only when its upload has ended")
        self._count(record)
        self._live.pop(record.index, None)
        if not record.is_part:
            self.totals.count_end(state, record.kept)
        record.ended_at = time.monotonic()
        if record.index >= 0:
            self._free.append(record.index)

    def find(self, upload: str) -> ProgressRecord | None:
        """Return the record of an upload of any process; None if it ended long ago."""
        record = self._find(upload)
        if record is None or not record.ended_at:
            return record
        return record if time.monotonic() - record.ended_at < REMEMBERED else None

    def end_if_orphan(self, record: ProgressRecord) -> None:
        """An upload of a process that died has failed, also before its part is claimed again.

        One that a ledger has rests there, and its watchers look for it again.
        """
        if self._file < 0 or not record.under_way or record.index < 0:
            return
        part = record.index // self._share
        if part == self._part:  # ours; to try our own lock would be to give it up
            return
        if not try_lock_part(self._file, part):
            return  # its process lives
        try:
            if record.under_way and record.still():
                self._end_orphan(record)
        finally:
            unlock_part(self._file, part)

    def has_own(self, upload: str) -> bool:
        """Whether this process has the upload, or had it last."""
        return upload in self._own

    def is_here(self, record: ProgressRecord) -> bool:
        """Whether a request of this process has the upload."""
        return record.index in self._live

    @property
    def descriptor(self) -> int:
        """Of the shared file; negative without one, or when it was closed."""
        return self._file

    def close(self) -> None:
        """Give up this process's part. The memory goes with the last record that is held."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def running(self) -> int:
        """Uploads that requests of this process bring bytes of; parts beside them are not more."""
        return sum(not record.whole for record in self._live.values())

    def count_running(self) -> None:
        """Add to the totals what running uploads moved since the last time."""
        for record in self._live.values():
            self._count(record)
            self._facts[record.index].write(record)

    def shown_running(self, most: int, *, own: bool = False) -> dict[str, dict[str, object]]:
        """At most so many uploads under way by their ids, as an operator sees them: of any process,
        or of this one alone.

        An upload and the parts beside it are one, and as fast as all of them together.
        """
        found: dict[str, dict[str, object]] = {}
        first = self._part * self._share if own else 0
        for index in range(first, first + self._share if own else len(self._records)):
            record, facts = self._records[index], self._facts[index]
            if record.under_way and (shown := facts.shown(record)) is not None:
                add_shown(found, facts.whole or record.id, shown)
            if len(found) > most:
                found.popitem()
                break
        return found

    def _count(self, record: ProgressRecord) -> None:
        received, forwarded, kept = record.counted
        now = record.received, record.forwarded, record.kept
        self.totals.count_bytes(now[0] - received, now[1] - forwarded, now[2] - kept)
        record.taken += max(0, now[0] - received)
        record.counted = now

    def _find(self, upload: str) -> ProgressRecord | None:
        index = self._own.get(upload)
        if index is None and self._index is not None:
            index = self._index.find(hash_id(upload))
        return None if index is None else self._record(index, upload)

    def _record(self, index: int, upload: str) -> ProgressRecord:
        record = self._records[index]
        record.id, record.index = upload, index
        return record

    def _claim(self, parts: int) -> int:
        """Return the first part that no process holds. The kernel frees that of one that dies."""
        for part in range(parts):
            if try_lock_part(self._file, part):
                return part
        if not HAS_LOCKS:
            raise SluiceError("This system has no file locks; serve with one worker")
        raise SluiceError(
            f"All {parts} parts of the progress table are taken; is an old worker still ending?"
        )

    def _end_orphan(self, record: ProgressRecord) -> None:
        if record.outlives:
            record.forget_name()
            return
        record.code, record.ended_at = Unavailable.code, time.monotonic()
        record.state = State.FAILED
        self.totals.count_end(State.FAILED, 0)

    def _end_orphans(self) -> None:
        """Uploads of a worker that died have failed; their watchers would wait for ever."""
        for index in list(self._free):
            record = self._records[index]
            if record.under_way and any(record.name):  # one that rests has given its memory back
                if record.outlives and self._index is not None:
                    self._index.remove(index)
                self._end_orphan(record)
                self._free.remove(index)
                self._free.append(index)  # reused last, so that its watchers see it


def add_shown(found: dict[str, dict[str, object]], upload: str, shown: dict[str, object]) -> None:
    """Add what runs for an upload: itself, or one of the parts beside it."""
    there = found.get(upload)
    if there is None:
        found[upload] = shown
        return
    rates = cast("int", there["bytes_per_second"]) + cast("int", shown["bytes_per_second"])
    if shown["id"] == upload:
        found[upload] = there = shown
    there["bytes_per_second"] = rates


def read_totals(path: str, parts: int, slots: int | None = None) -> Sequence[Totals]:
    """The totals of all processes that share the table at `path`, for one that has no part.

    Raises OSError.
    """
    at, _, size = _layout(slots or SLOTS, parts)
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(file, size)  # as each process does: the first one may not have begun
        memory = mmap.mmap(file, size)
    finally:
        os.close(file)
    return list((Totals * parts).from_buffer(memory, at))


def table_layout() -> str:
    """What all processes that share a table must agree on: those of two versions may not."""
    kinds = (ProgressRecord, Totals, LiveFacts)
    fields = [[(each[0], ctypes.sizeof(each[1])) for each in kind._fields_] for kind in kinds]
    return hashlib.blake2b(repr((fields, CODES)).encode(), digest_size=8).hexdigest()


def _layout(slots: int, parts: int) -> tuple[int, int, int]:
    """Where the totals and the facts begin, and the size of the whole. Numbers are aligned."""
    at = -(-(ctypes.sizeof(ProgressRecord) + ctypes.sizeof(ctypes.c_uint32)) * slots // 8) * 8
    facts = at + ctypes.sizeof(Totals) * parts
    return at, facts, facts + ctypes.sizeof(LiveFacts) * slots
