"""How fast a sender is: a fast one fills blocks, a slow one gets small writes.

Knows nothing of files; `draft` asks it about each chunk.
"""

from __future__ import annotations

import time

from sluiceway.pipe.budget import BLOCK

__all__ = ["SenderPace"]

# Bytes. A chunk of this size marks a fast sender.
FAST_CHUNK = 64 << 10
FAST_BYTES = BLOCK // 4  # within FAST_WINDOW they mark one, too: it fills a block in a second
FAST_WINDOW = 0.25  # seconds


class SenderPace:
    """The bytes of the last moment."""

    __slots__ = ("_bytes", "_since")

    def __init__(self) -> None:
        self._since, self._bytes = 0.0, 0

    def is_fast(self, size: int) -> bool:
        """Whether the sender of a chunk of `size` bytes, which comes now, is a fast one."""
        now = time.monotonic()
        if now - self._since > FAST_WINDOW:
            self._since, self._bytes = now, 0
        self._bytes += size
        return size >= FAST_CHUNK or self._bytes >= FAST_BYTES
