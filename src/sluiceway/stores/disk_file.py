"""The file behind a draft: made, allocated, written at an offset, synchronised, finished, removed.

Blocking calls only, one file, no policy: which bytes come when, and how fast a sender is, `disk_draft` decides.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Callable

from sluiceway.errors import NoSpace
from sluiceway.pipe.budget import Block
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import About, Entry, Replace
from sluiceway.stores.disk_about import entry_of, sidecar, write_note
from sluiceway.stores.disk_tree import NO_ROOM, Tree

__all__ = ["ALIGN", "DraftFile", "Publish"]

ALIGN = 4096  # bytes; O_DIRECT wants offsets and lengths in logical blocks, 512 or 4096
AHEAD = 64 << 20  # bytes allocated ahead of the writing at first, then as much again as there is, up to MOST_AHEAD:
MOST_AHEAD = 1 << 30  # never the whole announced length, or a few idle clients could reserve the disk
UNTOLD_AHEAD = 8 << 20  # at first where the length is unknown: twenty small uploads at once must not fill a disk with nothing

Publish = Callable[[str, str, Replace], None]  # (name of the draft, key, replace): make it visible, durably

_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
_O_DIRECT = getattr(os, "O_DIRECT", 0)


class DraftFile:
    """A file in the drafts folder, made when first needed. `size` is what the client announced, in bytes, or None."""

    __slots__ = ("_allocated", "_allocates", "_direct", "_drafts", "_fd", "_name", "_publish", "_size", "_tree")

    def __init__(self, tree: Tree, drafts: int, name: str, size: int | None, publish: Publish) -> None:
        self._tree, self._drafts, self._name, self._size, self._publish = tree, drafts, name, size, publish
        self._fd = -1  # through the page cache
        self._direct = -1  # around it
        self._allocated = 0  # bytes that have their place on the disk
        self._allocates = _libc is not None and hasattr(_libc, "fallocate")

    @property
    def is_direct(self) -> bool:
        """Whether `open_direct` was called, so that `write_direct` may be, from several threads at once."""
        return self._direct >= 0

    def free(self) -> int | None:
        """Bytes the file system has for us; None where it does not tell."""
        told = os.fstatvfs(self._drafts)
        return told.f_bavail * told.f_frsize if told.f_blocks else None

    def make(self) -> None:
        if self._fd >= 0:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            fd = os.open(self._name, flags, 0o666, dir_fd=self._drafts)
            fcntl.flock(fd, fcntl.LOCK_EX)  # tells a sweep that this draft is alive
            if os.fstat(fd).st_nlink:
                break
            os.close(fd)  # a sweep of another process was quicker than the lock: make the file anew
        self._fd = fd

    def open_direct(self) -> None:
        self.make()
        try:
            self._direct = os.open(self._name, os.O_WRONLY | os.O_CLOEXEC | _O_DIRECT, dir_fd=self._drafts)
        except OSError:
            self._direct = os.dup(self._fd)  # no O_DIRECT on this file system: large writes through the cache

    def wants_room(self, end: int) -> bool:
        """Whether `allocate` should be called before bytes up to `end` are written."""
        return self._allocates and end > self._allocated and self._allocated != self._size

    def allocate(self) -> None:
        """Give the next stretch of the file its place: writes that do not extend a file run side by side (ext4, XFS).

        Not os.posix_fallocate: where the file system cannot reserve, glibc would write every block. Raises NoSpace.
        """
        first = UNTOLD_AHEAD if self._size is None else AHEAD
        end = self._allocated + max(first, min(self._allocated, MOST_AHEAD))
        end = end if self._size is None else min(end, self._size)
        at, size = ctypes.c_longlong(self._allocated), ctypes.c_longlong(end - self._allocated)
        if _libc is None or _libc.fallocate(self._fd, 0, at, size) == 0:
            self._allocated = end
            return
        if ctypes.get_errno() in NO_ROOM and self._size is not None:
            raise NoSpace("The disk filled up while the upload came. Make room or use another --to, then send it again")
        self._allocates = False  # this file system cannot, or there is no room ahead: the writes themselves will tell

    def write(self, data: Buffer, at: int) -> None:
        self.make()
        _write_all(self._fd, data, at)

    def write_direct(self, data: Buffer | Block, at: int) -> None:
        """`data` and `at` are aligned."""
        _write_all(self._direct, data, at)

    def cut(self, size: int) -> None:
        self.make()
        os.ftruncate(self._fd, size)
        self._allocated = min(self._allocated, size)

    def synchronise(self) -> None:
        self.make()
        os.fdatasync(self._fd)

    def finish(self, size: int, key: str, about: About, replace: Replace) -> Entry:
        """The durable write, in the only order that survives a power cut: bytes, note, sync, name, sync of the folder."""
        self.make()
        if self._allocated > size:
            os.ftruncate(self._fd, size)
        note = write_note(self._fd, about)
        os.fsync(self._fd)  # not fdatasync: the note is an attribute and has to be there as well
        with sidecar(self._tree, self._drafts, self._name, key, note):
            self._publish(self._name, key, replace)
        # Not read back: the object is durable now, and a disk that fails from here on must not make it nameless.
        entry = entry_of(about, os.fstat(self._fd), key)
        self._close()
        return entry

    def remove(self) -> None:
        if self._fd < 0:
            return
        try:
            os.unlink(self._name, dir_fd=self._drafts)
        except FileNotFoundError:
            pass  # swept
        finally:
            self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct = -1


def _write_all(fd: int, data: Buffer | Block, at: int) -> None:
    """One pwrite may write less than it was given."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            with view[done:] as part:
                done += os.pwrite(fd, part, at + done)
