"""Bytes from one file to another without a way through this process, where the system can.

On file systems that share blocks (Btrfs, XFS) nothing is copied at all; others copy in the kernel.
"""

from __future__ import annotations

import errno
import os

from sluiceway.errors import StoreFailed

__all__ = ["copy_range"]

BLOCK = 1 << 20  # bytes in hand, where the system cannot
# The system, or a file system of either file, does not know how.
UNABLE = frozenset([errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM])


def copy_range(source: int, target: int, start: int, at: int, count: int) -> None:
    """Copy `count` bytes from `start` of the file `source` to `at` of `target`.

    Raises StoreFailed where the source is shorter, OSError.
    """
    copy = getattr(os, "copy_file_range", None)
    done = 0
    while done < count:
        copied = 0
        if copy is not None:
            try:
                copied = copy(source, target, count - done, start + done, at + done)
            except OSError as error:
                if error.errno not in UNABLE:
                    raise
                copy = None
        if not copied:  # also where a file system only says that it can
            data = os.pread(source, min(BLOCK, count - done), start + done)
            if not data:
                raise StoreFailed("The kept bytes of an upload are shorter than they were")
            copied = os.pwrite(target, data, at + done)
        done += copied
