"""The memory of one upload's counters, as every process of a server sees it.

Written by the process that receives the upload, read by the process that a watcher reaches. Two
marks go the other way, with one writer each: *watched* and *cancel asked*. Knows nothing of other
records.
"""

from __future__ import annotations

import ctypes
import hashlib
import time
from types import MappingProxyType
from typing import Final

from sluiceway.pipe.stages import Stages
from sluiceway.uploads.states import State

__all__ = ["CODE_BYTES", "FOR_BACKEND", "ProgressRecord", "hash_id"]

NAME_BYTES = 16  # of the hash of an upload's id
CODE_BYTES = 22  # the longest error code fits
# Seconds a look counts. Watchers look ten times a second, so a slow moment changes nothing.
WATCH = 2.0

# What watchers see besides while the destination does not answer
FOR_BACKEND: Final = MappingProxyType({"waiting_for": "backend"})

_Name = ctypes.c_ubyte * NAME_BYTES
_STATES = {state.value: state for state in State}  # an enum's call takes twice as long


class ProgressRecord(ctypes.Structure):
    """One upload. Counters are bytes; `length` is None while it is unknown.

    Every number is aligned and written at once, so no reader sees half of it. `id`, `index`,
    `counted` and `taken` are of this view, not of the shared memory.
    """

    id: str
    index: int
    counted: tuple[int, int, int]  # received, forwarded and kept bytes that were counted already
    taken: int  # bytes received since this view of the upload began
    # For the operator who looks at what runs; of this view, too.
    key: str = ""
    owner_name: str = ""
    stages: Stages | None = None
    # Whether it is only bytes of another upload, and of which one, "" where that is not known
    is_part: bool = False
    whole: str = ""

    name: ctypes.Array[ctypes.c_ubyte]  # the hash of the id; zeros where no upload was yet
    received: int  # from the client
    forwarded: int  # handed to the destination
    kept: int  # acknowledged by the destination
    cancel_asked: bool
    # Whether `kept` is what the destination's kernel acknowledged (TCP), not the destination
    # itself.
    by_kernel: bool
    owner: int  # the mark of its owner's name, 0 for none
    awaits_backend: bool  # the destination does not answer now; its bytes wait here
    outlives: bool  # a ledger has the upload: it goes on when its process dies
    next: int  # the next record of the index's chain: its number plus one, 0 at the end
    ended_at: float  # by the monotonic clock, 0 until then

    _fields_ = (
        ("name", _Name),
        ("received", ctypes.c_int64),
        ("forwarded", ctypes.c_int64),
        ("kept", ctypes.c_int64),
        ("_length", ctypes.c_int64),
        ("_watched_at", ctypes.c_double),
        ("ended_at", ctypes.c_double),
        ("owner", ctypes.c_uint64),
        ("_code", ctypes.c_char * CODE_BYTES),
        ("_state", ctypes.c_uint8),
        ("cancel_asked", ctypes.c_bool),
        ("by_kernel", ctypes.c_bool),
        ("awaits_backend", ctypes.c_bool),
        ("outlives", ctypes.c_bool),
        ("next", ctypes.c_uint32),
    )
    _length: int
    _watched_at: float
    _code: bytes
    _state: int

    def begin(self, upload: str, length: int | None) -> None:
        """Use the memory for another upload.

        The name comes first: a reader that sees fields of the new upload sees the new name as well.
        `next` is the index's.
        """
        self.id = upload
        # Element by element: an array of its own would be held with the record.
        self.name[:] = list(hash_id(upload))
        self.received = self.forwarded = self.kept = 0
        self.length = length
        self._watched_at, self.ended_at, self._code = 0.0, 0.0, b""
        self.cancel_asked = self.by_kernel = self.awaits_backend = self.outlives = False
        self.owner = 0
        self.counted, self.taken = (0, 0, 0), 0
        self.state = State.RECEIVING

    def join(self, count: int) -> None:
        """So many bytes of other uploads are handed over. They were counted there."""
        received, forwarded, kept = self.counted
        self.counted = received + count, forwarded + count, kept
        self.received += count
        self.forwarded += count

    def join_kept(self, count: int) -> None:
        """And they are kept: as `kept` says already."""
        received, forwarded, kept = self.counted
        self.counted = received, forwarded, kept + count

    def set_waiting(self, waits: bool) -> None:
        """Whether the destination does not answer now."""
        self.awaits_backend = waits

    def forget_name(self) -> None:
        """From now on this memory belongs to no upload."""
        self.name = _Name()

    @property
    def length(self) -> int | None:
        return None if self._length < 0 else self._length

    @length.setter
    def length(self, value: int | None) -> None:
        self._length = -1 if value is None else value

    @property
    def state(self) -> State:
        return _STATES[self._state]

    @state.setter
    def state(self, value: State) -> None:
        self._state = value

    @property
    def under_way(self) -> bool:
        """Whether an upload is received or checked. False for memory that was never used."""
        return self._state in (State.RECEIVING, State.CHECKING)

    @property
    def code(self) -> str | None:
        """The error code of a failed upload."""
        return self._code.decode() or None

    @code.setter
    def code(self, value: str) -> None:
        self._code = value.encode()[:CODE_BYTES]

    @property
    def watched(self) -> bool:
        """Whether a watcher looked within the last `WATCH` seconds.

        The monotonic clock is the same for all processes of a machine.
        """
        return time.monotonic() - self._watched_at < WATCH

    def watch(self) -> None:
        self._watched_at = time.monotonic()

    def snapshot(self) -> dict[str, object]:
        """Return what a watcher sees, as JSON values. Another process may write meanwhile."""
        while True:
            state = self.state
            # In this order no counter can pass the one before it: each was at most the next when it
            # was read.
            kept, forwarded, received = self.kept, self.forwarded, self.received
            waits = self.awaits_backend and self.under_way
            if self.state is state:  # else the counters may be those of the next state
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
            **(FOR_BACKEND if waits else {}),
        }

    def still(self) -> bool:
        """Whether the memory still belongs to this upload: that of ended ones is reused."""
        return bytes(self.name) == hash_id(self.id)


def hash_id(upload: str) -> bytes:
    """The name of an upload in shared memory."""
    return hashlib.blake2b(upload.encode(), digest_size=NAME_BYTES).digest()
