"""The file behind a draft: made, allocated, written at an offset, synchronised, finished, removed.

Blocking calls only, one file, no policy: which bytes come when, and how fast a sender is, `disk_draft` decides.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from collections.abc import Callable
from contextlib import suppress

from sluiceway.errors import NoSpace, StoreFailed
from sluiceway.pipe.budget import Block
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.disk.errors import NO_ROOM
from sluiceway.stores.disk.metadata import entry_of, sidecar, write_note
from sluiceway.stores.disk.permissions import usual_mode
from sluiceway.stores.disk.tree import Tree

__all__ = ["ALIGN", "DraftFile", "Publish", "Reserve"]

ALIGN = 4096  # bytes; O_DIRECT wants offsets and lengths in logical blocks, 512 or 4096
# A file gets its place on the disk ahead of its bytes, so that writes run side by side: in proportion to what has come, and never
# the announced length, or a few idle clients could reserve the disk.
AHEAD_TIMES = 4  # bytes ahead for each that has come; each step waits for the writes under way, and doubling took 4 more a GiB
MOST_AHEAD = 512 << 20  # bytes of one draft
MOST_RESERVED = 2 << 30  # bytes ahead of all drafts of a store together
RESERVED_PART = 16  # and of one draft at most this part of what the disk has free

Publish = Callable[
    [str, str, Replace], None
]  # (name of the draft, key, replace): make it visible, durably

_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
_O_DIRECT = getattr(os, "O_DIRECT", 0)


class Reserve:
    """Bytes of the disk that drafts may have ahead of what has come. Used from several threads."""

    def __init__(self, most: int = MOST_RESERVED) -> None:
        self._free = most
        self._lock = threading.Lock()

    def take(self, size: int) -> int:
        """As much of `size` as is left."""
        with self._lock:
            given = min(size, self._free)
            self._free -= given
            return given

    def give_back(self, size: int) -> None:
        with self._lock:
            self._free += size


class DraftFile:
    """A file in the drafts folder, made when first needed. `size` is what the client announced, in bytes, or None."""

    __slots__ = (
        "_allocated",
        "_allocates",
        "_closed",
        "_direct",
        "_drafts",
        "_fd",
        "_name",
        "_publish",
        "_reserve",
        "_size",
        "_tree",
        "reserved",
    )

    def __init__(
        self,
        tree: Tree,
        drafts: int,
        name: str,
        size: int | None,
        publish: Publish,
        reserve: Reserve,
    ) -> None:
        self._tree, self._drafts, self._name, self._size, self._publish = (
            tree,
            drafts,
            name,
            size,
            publish,
        )
        self._reserve = reserve
        self._fd = -1  # through the page cache
        self._direct = -1  # around it
        self._closed: tuple[int, int, int] | None = (
            None  # device, inode and size of a file that was closed for now
        )
        self._allocated = 0  # bytes that have their place on the disk
        self.reserved: int = 0  # bytes of these that had not come when they got it
        self._allocates = _libc is not None and hasattr(_libc, "fallocate")

    @property
    def is_direct(self) -> bool:
        """Whether `open_direct` was called, so that `write_direct` may be, from several threads at once."""
        return self._direct >= 0

    @staticmethod
    def largest() -> int | None:
        """Bytes a file of this process may have; None where nobody limits it. A file system's own limit shows when it is met."""
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return None if most == resource.RLIM_INFINITY else most

    def free(self) -> int | None:
        """Bytes the file system has for us; None where it does not tell."""
        told = os.fstatvfs(self._drafts)
        return told.f_bavail * told.f_frsize if told.f_blocks else None

    def make(self) -> None:
        """Make the file, or open it again. Raises StoreFailed where another file is in its place."""
        if self._fd >= 0:
            return
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._closed is None:
            self._fd = os.open(
                self._name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._drafts
            )
            return
        fd = os.open(self._name, flags, dir_fd=self._drafts)
        if _identity(fd) != self._closed:
            os.close(fd)
            raise StoreFailed(
                "A file that waited to be published was changed from outside; nothing was stored. Send it again"
            )
        self._fd, self._closed = fd, None

    def close_for_now(self) -> None:
        """Hold no descriptor until the file is needed again.

        Synchronised before: the kernel tells a failed write to those that have the file open, and perhaps to no one later.
        """
        self.make()
        os.fdatasync(self._fd)
        self._closed = _identity(self._fd)
        self._close()

    def open_direct(self) -> None:
        self.make()
        try:
            self._direct = os.open(
                self._name, os.O_WRONLY | os.O_CLOEXEC | _O_DIRECT, dir_fd=self._drafts
            )
        except OSError:
            self._direct = os.dup(
                self._fd
            )  # no O_DIRECT on this file system: large writes through the cache

    def wants_room(self, end: int) -> bool:
        """Whether `allocate` should be called before bytes up to `end` are written."""
        return self._allocates and end > self._allocated and self._allocated != self._size

    def allocate(self, end: int) -> None:
        """Give the file its place up to `end`, and ahead of it: writes that do not extend a file run side by side (ext4, XFS).

        Not os.posix_fallocate: where the file system cannot reserve, glibc would write every block. Raises NoSpace.
        """
        self._settle_reserve()
        end = end if self._size is None else min(end, self._size)
        ahead = (
            min(AHEAD_TIMES * end, MOST_AHEAD)
            if self._size is None
            else min(AHEAD_TIMES * end, MOST_AHEAD, self._size - end)
        )
        free = self.free()
        if free is not None:
            ahead = min(ahead, free // RESERVED_PART)
        self.reserved = self._reserve.take(ahead)
        if self._place(end + self.reserved):
            return
        self._settle_reserve()
        if self._place(end):
            return
        if ctypes.get_errno() in NO_ROOM and self._size is not None:
            raise NoSpace(
                "The disk filled up while the upload came. Make room there, then send it again"
            )
        self._allocates = (
            False  # this file system cannot, or there is no room: the writes themselves will tell
        )

    def _place(self, end: int) -> bool:
        at, size = ctypes.c_longlong(self._allocated), ctypes.c_longlong(end - self._allocated)
        if _libc is not None and _libc.fallocate(self._fd, 0, at, size) != 0:
            return False
        self._allocated = end
        return True

    def give_back(self, size: int) -> None:
        """Nothing comes for a while: what the file has beyond `size` bytes is free again. No write is under way."""
        os.ftruncate(self._fd, size)
        self._allocated = min(self._allocated, size)
        self._settle_reserve()

    def _settle_reserve(self) -> None:
        self._reserve.give_back(self.reserved)
        self.reserved = 0

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
        self._settle_reserve()

    def synchronise(self) -> None:
        self.make()
        os.fdatasync(self._fd)

    def finish(self, size: int, key: str, metadata: Metadata, replace: Replace) -> Entry:
        """The durable write, in the only order that survives a power cut: bytes, note, sync, name, sync of the folder."""
        self.make()
        if self._allocated > size:
            os.ftruncate(self._fd, size)
        note = write_note(self._fd, metadata)
        self._open_to_others()
        os.fsync(self._fd)  # not fdatasync: the note is an attribute and has to be there as well
        with sidecar(self._tree, self._drafts, self._name, key, note):
            self._publish(self._name, key, replace)
        # Not read back: the object is durable now, and a disk that fails from here on must not make it nameless.
        entry = entry_of(metadata, os.fstat(self._fd), key)
        self._close()
        return entry

    def _open_to_others(self) -> None:
        """A draft is its owner's alone; what becomes of it has the permissions that a file made here usually has."""
        with suppress(PermissionError):  # a file system that has one mode for all its files
            os.fchmod(self._fd, usual_mode(self._drafts, self._tree.umask))

    def remove(self) -> None:
        if self._fd < 0 and self._closed is None:
            return
        try:
            os.unlink(self._name, dir_fd=self._drafts)
        except FileNotFoundError:
            pass  # swept
        finally:
            self._closed = None
            self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct = -1
        self._settle_reserve()


def _identity(fd: int) -> tuple[int, int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size


def _write_all(fd: int, data: Buffer | Block, at: int) -> None:
    """One pwrite may write less than it was given."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            with view[done:] as part:
                done += os.pwrite(fd, part, at + done)
