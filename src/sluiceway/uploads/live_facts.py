"""What an operator sees of an upload under way besides its counters: whose it is, how fast, where
it waits.

In shared memory beside the counters. The process that has the upload writes about once a second, so
that an upload which is over at once costs nothing.
"""

from __future__ import annotations

import ctypes
import time

from sluiceway.pipe.stages import ANSWER, CLIENT, DECODE, DESTINATION, QUEUE, SOURCE
from sluiceway.uploads.progress_record import ProgressRecord

__all__ = ["LiveFacts"]

ID_BYTES = 64  # the longest id
KEY_BYTES = 256  # a longer key is cut
OWNER_BYTES = 64  # the longest name of a token
SHORTEST_LOOK = 0.5  # seconds between two looks that make a rate
_STAGES = ("", CLIENT, SOURCE, DECODE, QUEUE, DESTINATION, ANSWER)


class LiveFacts(ctypes.Structure):
    """One upload. `rate` is in bytes a second from the client, over the last second or so."""

    rate: float

    _fields_ = (
        ("_id", ctypes.c_char * ID_BYTES),
        ("_key", ctypes.c_char * KEY_BYTES),
        ("_owner", ctypes.c_char * OWNER_BYTES),
        ("_whole", ctypes.c_char * ID_BYTES),
        ("_since", ctypes.c_double),
        ("_looked_at", ctypes.c_double),
        ("_received", ctypes.c_int64),
        ("rate", ctypes.c_double),
        ("_stage", ctypes.c_uint8),
    )
    _id: bytes
    _key: bytes
    _owner: bytes
    _whole: bytes
    _since: float
    _looked_at: float
    _received: int
    _stage: int

    def write(self, record: ProgressRecord) -> None:
        """The process that has the upload says how it is now."""
        now, received, upload = time.monotonic(), record.received, record.id.encode()
        if self._id != upload:
            self._id = upload
            self._owner = record.owner_name.encode()[:OWNER_BYTES]
            self._whole = record.whole.encode()
            self._since = self._looked_at = now
            self._received, self.rate = received, 0.0
        self._key = record.key.encode("utf-8", "replace")[:KEY_BYTES]
        stage = "" if record.stages is None else record.stages.now
        self._stage = _STAGES.index(stage) if stage in _STAGES else 0
        if (passed := now - self._looked_at) >= SHORTEST_LOOK:
            self.rate = max(0, received - self._received) / passed
            self._looked_at, self._received = now, received

    @property
    def whole(self) -> str:
        """The upload that this one is a part of, where it is known; else ""."""
        return self._whole.decode("utf-8", "replace")

    def shown(self, record: ProgressRecord) -> dict[str, object] | None:
        """The upload as JSON values; None where another upload has the record meanwhile."""
        try:
            record.id = self._id.decode()
        except UnicodeDecodeError:  # it is being written
            return None
        if not record.id or not record.still():
            return None
        return {
            **record.snapshot(),
            "key": self._key.decode("utf-8", "replace"),
            "name": self._owner.decode("utf-8", "replace"),
            "bytes_per_second": round(self.rate),
            "stage": _STAGES[self._stage],
            "seconds": round(time.monotonic() - self._since, 1),
        }
