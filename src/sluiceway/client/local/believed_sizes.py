"""Whether a file's size can be believed: some files are made up while they are read.

The size in /proc is 0 for files with many bytes, in /sys 4096 for files with ten. A file with such
a size is read once before its size is used. The calls block; run them in a thread.
"""

from __future__ import annotations

import os
import stat

__all__ = ["doubtful", "measured"]

# Bytes. A larger file without blocks on the disk has holes; it is not made up.
MOST_DOUBTED = 64 << 10


def doubtful(found: os.stat_result) -> bool:
    """Whether a file's size has to be proven: it is 0, or small without a block on the disk."""
    no_blocks = not getattr(found, "st_blocks", 1)
    small = not found.st_size or (found.st_size <= MOST_DOUBTED and no_blocks)
    return small and stat.S_ISREG(found.st_mode)


def measured(fd: int) -> tuple[os.stat_result, int | None]:
    """Describe an open regular file, with its size in bytes.

    The size is None for a file that has to be read to its end. Raises OSError.
    """
    found = os.fstat(fd)
    if not doubtful(found) or not hasattr(os, "pread"):  # Windows has no such files
        return found, found.st_size
    size = found.st_size
    count = _count(fd, size + 1)
    found = os.fstat(fd)  # a file that just grew is not made up: its size is right
    return found, found.st_size if count == size or found.st_size != size else None


def _count(fd: int, most: int) -> int:
    count = 0
    while count < most and (data := os.pread(fd, most - count, count)):
        count += len(data)
    return count
