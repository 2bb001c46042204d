"""Whether the size that a file system tells can be believed: some files are made up while they are read.

/proc says 0 bytes of files that have many, /sys says 4096 of files that have ten. What is doubtful is read once before its size
is told to anybody. Blocking calls.
"""

from __future__ import annotations

import os
import stat

__all__ = ["doubtful", "measured"]

DOUBTED = (
    64 << 10
)  # bytes; a larger file with nothing behind it on the disk is one with holes, not one that is made up


def doubtful(found: os.stat_result) -> bool:
    """Whether a file's size has to be proven: it is 0, or small and no block of the disk stands behind it."""
    small = not found.st_size or (found.st_size <= DOUBTED and not getattr(found, "st_blocks", 1))
    return small and stat.S_ISREG(found.st_mode)


def measured(fd: int) -> tuple[os.stat_result, int | None]:
    """What is known of an open regular file, and its bytes; None where only reading it to its end tells. Raises OSError."""
    found = os.fstat(fd)
    if not doubtful(found) or not hasattr(os, "pread"):  # Windows has no such files
        return found, found.st_size
    told = found.st_size
    count = _count(fd, told + 1)
    found = os.fstat(fd)  # one that somebody writes to just now has got longer: its size is right
    return found, found.st_size if count == told or found.st_size != told else None


def _count(fd: int, most: int) -> int:
    count = 0
    while count < most and (piece := os.pread(fd, most - count, count)):
        count += len(piece)
    return count
