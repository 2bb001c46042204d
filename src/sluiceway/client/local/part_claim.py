"""Opening a part file: a new one, or that of an earlier run.

A file without our mark is neither written nor removed.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

from sluiceway.client.local.folders import Folder
from sluiceway.client.local.part_notes import notes_in, part_name
from sluiceway.errors import StoreFailed

__all__ = ["is_same", "open_part", "remove_published", "rename_to_free", "unmark"]

NO_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
)

_BINARY = getattr(os, "O_BINARY", 0)
# an attribute that only our parts have, and only until they are published
_MARK = "user.sluiceway.part"


def open_part(folder: Folder, name: str) -> tuple[int, str]:
    """Return a part file, locked, and its name.

    It is the one of an earlier run of ours, else a new one; other files stay as they are.
    """
    for _ in range(2):
        notes = notes_in(folder, name + ".json")
        if notes is not None or not _there(folder, name + ".json"):
            try:
                return _create(folder, name), name
            except FileExistsError:
                pass
            if (fd := _continue(folder, name, notes is not None)) is not None:
                return fd, name
        name = f".sluiceway-{secrets.token_hex(8)}.part"
    return _create(folder, name), name


def remove_published(folder: Folder, target: str) -> None:
    """Remove what a copy left that was killed right after its part became the target.

    That is the part's name, where both name one file, and notes without a part.
    """
    part = part_name(target)
    with suppress(OSError):
        found = folder.lstat(target)
        try:
            if not os.path.samestat(found, folder.lstat(part)):
                return
            folder.unlink(part)
        except FileNotFoundError:
            pass
        if notes_in(folder, part + ".json") is not None:
            folder.unlink(part + ".json")


def _create(folder: Folder, name: str) -> int:
    fd = folder.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY)
    _mark(fd)
    _lock(fd, folder, name)
    return fd


def _continue(folder: Folder, name: str, noted: bool) -> int | None:
    """Open the file under a part's name, if it is ours.

    That is a plain file of this user, with one name and our mark. An empty one needs no mark: a
    copy was killed before it set it, and there are no bytes to lose.
    """
    try:
        fd = folder.open(name, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except OSError:
        return None  # a link, a folder, a pipe, or another user's file
    found = os.fstat(fd)
    own = stat.S_ISREG(found.st_mode) and _is_own(found)
    if own and found.st_nlink == 1 and (noted or not found.st_size or _is_marked(fd)):
        _lock(fd, folder, name)
        _mark(fd)
        return fd
    os.close(fd)
    return None


def _there(folder: Folder, name: str) -> bool:
    try:
        folder.lstat(name)
    except OSError:
        return False
    return True


def _is_own(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _is_marked(fd: int) -> bool:
    try:
        return hasattr(os, "getxattr") and bool(os.getxattr(fd, _MARK))
    except OSError:
        return False


def _mark(fd: int) -> None:
    if hasattr(os, "setxattr"):
        # Without attributes in the file system, only the notes say that it is ours.
        with suppress(OSError):
            os.setxattr(fd, _MARK, b"1")


def unmark(fd: int) -> None:
    """Take the mark off: the file becomes the target."""
    if hasattr(os, "removexattr"):
        with suppress(OSError):
            os.removexattr(fd, _MARK)


def _lock(fd: int, folder: Folder, name: str) -> None:
    path = os.path.join(folder.path, name)
    try:
        import fcntl
    except ImportError:
        return  # Windows: an open file cannot be renamed over there
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreFailed(f"Another copy is writing {path} already; wait for it") from None
        raise
    if not is_same(fd, folder, name):
        # It was published or removed between opening and locking: it is not a part any more.
        os.close(fd)
        raise StoreFailed(f"Another copy finished {path} just now; try again")


def is_same(fd: int, folder: Folder, name: str) -> bool:
    """Whether the open file has this name in the folder."""
    try:
        return os.path.samestat(os.fstat(fd), folder.lstat(name))
    except OSError:
        return False


def rename_to_free(folder: Folder, name: str, target: str) -> None:
    """Rename without replacing: a link fails where the name is taken, a rename would not."""
    try:
        folder.link(name, target)
    except OSError as error:
        if error.errno not in NO_LINKS or _there(folder, target):
            raise
        folder.rename(name, target)
    else:
        with suppress(FileNotFoundError):  # another copy took it for one that was killed here
            folder.unlink(name)
