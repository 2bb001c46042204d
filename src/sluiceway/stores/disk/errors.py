"""What errors of a file system mean: each errno becomes an error that says what to do.

Knows errno numbers and nothing else of files. No text names a path of the machine: clients read it.
"""

from __future__ import annotations

import errno
import os

from sluiceway.errors import (
    BadName,
    Exists,
    Forbidden,
    NoSpace,
    SluiceError,
    StoreFailed,
    TooLarge,
    Unavailable,
)
from sluiceway.pipe.descriptors import out_of_descriptors

__all__ = ["NO_ROOM", "map_error", "missing_bytes"]

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NO_RIGHT = {errno.EACCES, errno.EPERM}
_GONE = {errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT}
_IN_THE_WAY = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY}


def map_error(error: BaseException, what: str) -> SluiceError:
    """The error to raise for one of the file system.

    `what` is a key or a part of one, never a path.

    An error of ours comes back as it is.
    """
    if isinstance(error, SluiceError):
        return error
    if not isinstance(error, OSError):
        return StoreFailed(str(error))
    code = error.errno or 0
    if (busy := out_of_descriptors(error)) is not None:
        return busy
    if code == errno.EFBIG:
        return TooLarge(
            f"The destination's file system takes no file this large: {what} was not stored. "
            "Sending it again does not help; split it, or store it where larger files are taken "
            "(FAT32 ends at 4 GiB, a process at its ulimit -f)"
        )
    if code in NO_ROOM:
        quota, full = "The quota for files there is used up", "The disk is full"
        reason = quota if code == errno.EDQUOT else full
        return NoSpace(
            f"{reason}: {what} was not stored. Make room there, then send it again"
        ).for_everyone()
    if code in (errno.ENAMETOOLONG, errno.EILSEQ):
        why = "a name this long" if code == errno.ENAMETOOLONG else "a name with these characters"
        return BadName(f"The file system cannot take {why}: {what}")
    if code == errno.ELOOP:
        return Forbidden(f"A symbolic link is in the way of {what}; links are never followed")
    if code in _IN_THE_WAY:
        return Exists(f"Something else is in the way of {what}; it was not touched")
    if code == errno.ENOMEM:
        return Unavailable("The server's machine has no memory left; try again later")
    return StoreFailed(f"{_cause(code)} ({os.strerror(code)}): {what}").for_operator(
        f"The destination could not keep or read this: {what}; its operator's log says why"
    )


def missing_bytes(found: int, size: int) -> StoreFailed:
    """The error of a file that has `found` bytes where `size` are said to be kept."""
    return StoreFailed(
        f"Of an upload {size} bytes were kept and {found} are left; send it again"
    ).for_operator()


def _cause(code: int) -> str:
    """What only an operator can repair, with what to do."""
    if code == errno.EROFS:
        return "The file system is read-only, perhaps since a fault of its disk"
    if code in _NO_RIGHT:
        return "The server's user has no right to this; give it the right to read and write there"
    if code == errno.EIO:
        return "The disk has a fault; look at the kernel's log and save what is there"
    if code in _GONE:
        return "The file system is gone; mount it again, or look at the server it comes from"
    if code == errno.ENOENT:
        return "A folder of the server's own, .sluiceway, was removed; restart the server"
    return "The disk failed"
