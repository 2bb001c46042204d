"""The progress board: received, forwarded, kept of every upload under way, readable from each process of a server.

Fixed slots in shared memory, found by the hash of an upload's id. A slot is written by the process that receives the upload and
read by whichever process a watcher happens to reach; two single-writer marks go the other way: *watched* and *cancel*.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections import deque

from sluiceway.errors import Exists, SluiceError, Unavailable
from sluiceway.uploads.progress_index import ProgressIndex
from sluiceway.uploads.states import ENDED, State

__all__ = ["ProgressRecord", "ProgressTable"]

_SLOT = struct.Struct("<16s q q q q d d B B 22s B")  # the fields at _AT, the id before them
SIZE = 96  # bytes a slot: the struct, and at its end the index's link to the next slot
SLOTS = (
    8192  # uploads remembered at once, live and just ended: 768 KiB, touched only as far as used
)
WATCH = (
    2.0  # seconds a look counts: watchers look ten times a second, so this survives a slow moment
)

_AT = {
    "received": 16,
    "forwarded": 24,
    "kept": 32,
    "length": 40,
    "watched": 48,
    "told": 56,
    "state": 64,
    "cancel": 65,
    "code": 66,
    "by_kernel": 88,
}


class ProgressRecord:
    """One upload on the board. Byte counts are whole numbers; `length` is None while nobody knows it."""

    id: str
    index: int

    __slots__ = ("_at", "_map", "id", "index")

    def __init__(self, memory: mmap.mmap | bytearray, index: int, upload: str) -> None:
        self._map, self.index, self._at, self.id = memory, index, index * SIZE, upload

    @property
    def received(self) -> int:
        return self._number("received")

    @received.setter
    def received(self, value: int) -> None:
        self._put("received", value)

    @property
    def forwarded(self) -> int:
        return self._number("forwarded")

    @forwarded.setter
    def forwarded(self, value: int) -> None:
        self._put("forwarded", value)

    @property
    def kept(self) -> int:
        return self._number("kept")

    @kept.setter
    def kept(self, value: int) -> None:
        self._put("kept", value)

    @property
    def length(self) -> int | None:
        length = self._number("length")
        return None if length < 0 else length

    @length.setter
    def length(self, value: int | None) -> None:
        self._put("length", -1 if value is None else value)

    @property
    def state(self) -> State:
        return State(self._map[self._at + _AT["state"]])

    @state.setter
    def state(self, value: State) -> None:
        self._map[self._at + _AT["state"]] = value

    @property
    def code(self) -> str | None:
        """The error code of a failed upload."""
        start = self._at + _AT["code"]
        return bytes(self._map[start : start + 22]).rstrip(b"\0").decode() or None

    @code.setter
    def code(self, value: str) -> None:
        start = self._at + _AT["code"]
        self._map[start : start + 22] = value.encode()[:22].ljust(22, b"\0")

    @property
    def by_kernel(self) -> bool:
        """Whether `kept` is what the destination's kernel acknowledged (TCP), not yet what the destination itself said."""
        return bool(self._map[self._at + _AT["by_kernel"]])

    @by_kernel.setter
    def by_kernel(self, value: bool) -> None:
        self._map[self._at + _AT["by_kernel"]] = value

    @property
    def watched(self) -> bool:
        """Whether somebody looked within the last `WATCH` seconds."""
        (last,) = struct.unpack_from("<d", self._map, self._at + _AT["watched"])
        return bool(
            time.monotonic() - last < WATCH
        )  # the monotonic clock is one for all processes of a machine

    def watch(self) -> None:
        struct.pack_into("<d", self._map, self._at + _AT["watched"], time.monotonic())

    @property
    def cancel_asked(self) -> bool:
        return bool(self._map[self._at + _AT["cancel"]])

    def ask_cancel(self) -> None:
        self._map[self._at + _AT["cancel"]] = 1

    def snapshot(self) -> dict[str, object]:
        """What a watcher sees, as JSON values. The slot may be written meanwhile, by another process."""
        while True:
            state = self.state
            # In this order no counter can pass the one before it: each was at most the next when it was read.
            kept, forwarded, received = self.kept, self.forwarded, self.received
            if self.state is state:  # else the counters may be those of the next state: look again
                break
        return {
            "id": self.id,
            "state": state.word,
            "received": received,
            "forwarded": forwarded,
            "kept": kept,
            "kept_by": "kernel" if self.by_kernel else "destination",
            "length": self.length,
            "code": self.code,
        }

    def still(self) -> bool:
        """Whether the slot still belongs to this upload: ended ones are reused, the oldest first."""
        return self._map[self._at : self._at + 16] == _name(self.id)

    def _number(self, what: str) -> int:
        (value,) = struct.unpack_from("<q", self._map, self._at + _AT[what])
        return int(value)

    def _put(self, what: str, value: int) -> None:
        struct.pack_into("<q", self._map, self._at + _AT[what], value)


class ProgressTable:
    """All slots. With `path` (an empty file made by the parent) several processes share them, each writing its own part."""

    def __init__(self, path: str | None = None, parts: int = 1) -> None:
        self._file = -1
        self._index: ProgressIndex | None
        if path is None:
            self._map = mmap.mmap(-1, SLOTS * SIZE)
            part = 0
            self._index = None
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            size = ProgressIndex.size(SLOTS, SIZE)
            os.ftruncate(self._file, size)
            self._map = mmap.mmap(self._file, size)
            part = self._claim(parts)
            self._index = ProgressIndex(self._map, SLOTS, SIZE, parts, part)
        share = SLOTS // parts
        self._own: dict[str, int] = {}  # id -> slot of this process's uploads, live or remembered
        self._ids: dict[int, str] = {}  # and back, to forget an id when its slot is reused
        self._free = deque(range(part * share, (part + 1) * share))
        if path is not None:
            self._end_orphans()

    def _claim(self, parts: int) -> int:
        """The first part nobody holds. The kernel frees the claim of a process that dies."""
        for part in range(parts):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, part)
            except OSError:
                continue
            return part
        raise SluiceError(
            f"All {parts} parts of the progress board are taken; is an old worker still ending?"
        )

    def _end_orphans(self) -> None:
        """What a dead worker received has failed; its watchers would wait for ever."""
        for index in list(self._free):
            record = ProgressRecord(self._map, index, "")
            if record.state in (State.RECEIVING, State.CHECKING):
                record.code = Unavailable.code
                record.state = State.FAILED
                self._free.remove(index)
                self._free.append(index)  # used again last, so that its watchers see it

    def begin(self, upload: str, length: int | None) -> ProgressRecord:
        """A slot for an upload that begins. Raises Exists when the id is in use or was a moment ago."""
        if self.find(upload) is not None:
            raise Exists(f"The upload id {upload!r} is taken; choose a fresh one for each upload")
        if not self._free:  # thousands live at once: this one goes unwatched, nothing else is lost
            return self._fill(ProgressRecord(bytearray(SIZE), 0, upload), length)
        record = ProgressRecord(self._map, self._free.popleft(), upload)
        self._own.pop(self._ids.get(record.index, ""), None)
        self._own[upload], self._ids[record.index] = record.index, upload
        if self._index is None:
            return self._fill(record, length)
        self._index.remove(record.index)
        self._fill(record, length)
        self._index.add(record.index)
        return record

    def end(self, record: ProgressRecord) -> None:
        """The slot stays readable until it is the oldest of the ended ones and somebody needs it."""
        if record.state not in ENDED:
            raise SluiceError("A slot is given back only when its upload has ended")
        if record._map is self._map:
            self._free.append(record.index)

    def find(self, upload: str) -> ProgressRecord | None:
        """The slot of an upload of any process, or None. Another process's is looked up, our own are known."""
        if upload in self._own:
            return ProgressRecord(self._map, self._own[upload], upload)
        if self._index is None:
            return None
        index = self._index.find(_name(upload))
        return None if index is None else ProgressRecord(self._map, index, upload)

    def close(self) -> None:
        self._map.close()
        if self._file >= 0:
            os.close(self._file)

    @staticmethod
    def _fill(record: ProgressRecord, length: int | None) -> ProgressRecord:
        told = -1 if length is None else length
        _SLOT.pack_into(
            record._map,
            record._at,
            _name(record.id),
            0,
            0,
            0,
            told,
            0.0,
            0.0,
            State.RECEIVING,
            0,
            b"",
            0,
        )
        return record


def _name(upload: str) -> bytes:
    return hashlib.blake2b(upload.encode(), digest_size=16).digest()
