"""The file behind a draft: made, allocated, written, sealed, synchronised, removed.

Blocking calls only, one file, no policy: `draft` decides which bytes come when and how fast a
sender is.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from sluiceway.errors import NoSpace, NotFound, StoreFailed, TooLarge
from sluiceway.pipe.budget import Block
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.drafts.copying import copy_range
from sluiceway.stores.disk.drafts.process_lock import DRAFTS, LASTING
from sluiceway.stores.disk.errors import NO_ROOM, missing_bytes
from sluiceway.stores.disk.metadata import write_note
from sluiceway.stores.disk.permissions import usual_mode
from sluiceway.stores.disk.tree import Tree

__all__ = ["ALIGN", "AS_USUAL", "DraftFile", "Reserve"]

ALIGN = 4096  # bytes; O_DIRECT wants offsets and lengths in logical blocks, 512 or 4096
# Permissions of a draft. One that is published at once gets those of every file made here: the
# system narrows them by umask or ACL, which would take two more calls afterwards.
OWNER_ALONE, AS_USUAL = 0o600, 0o666
# A file gets its place on the disk ahead of its bytes, so that writes run side by side. How far
# ahead follows from the bytes received and never from the announced length: a few idle clients
# could reserve the disk. Each step waits for the writes under way; doubling took 4 more of them a
# GiB.
AHEAD_TIMES = 4  # bytes ahead for each byte received
MOST_AHEAD = 512 << 20  # bytes ahead of one draft
MOST_RESERVED = 2 << 30  # bytes ahead of all drafts of a store together
RESERVED_PART = 16  # and one draft gets at most this part of what the disk has free

_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
_O_DIRECT = getattr(os, "O_DIRECT", 0)
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has none
_sync_file_range = getattr(_libc, "sync_file_range", None)  # Linux only
if _sync_file_range is not None:
    _sync_file_range.argtypes = [
        ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
    ]  # fmt: skip
_BEGIN_WRITING = 2  # SYNC_FILE_RANGE_WRITE: wait for nothing


class Reserve:
    """Bytes of the disk that drafts may have ahead of what they received.

    Used from several threads.
    """

    def __init__(self, most: int = MOST_RESERVED) -> None:
        self._free = most
        self._lock = threading.Lock()

    def acquire(self, size: int) -> int:
        """Take `size` bytes or as many as are left; returns how many."""
        with self._lock:
            taken = min(size, self._free)
            self._free -= taken
            return taken

    def release(self, size: int) -> None:
        with self._lock:
            self._free += size


class DraftFile:
    """A file in the drafts folder, made when first needed.

    `size` is what the client announced, in bytes, or None.
    """

    __slots__ = (
        "_allocated",
        "_allocates",
        "_closed",
        "_direct",
        "_fd",
        "_is_durable",
        "_mode",
        "_reserve",
        "_sealed",
        "_size",
        "_tree",
        "folder",
        "lasts",
        "name",
        "position",
        "reserved",
    )

    def __init__(
        self,
        tree: Tree,
        drafts: int,
        name: str,
        size: int | None,
        reserve: Reserve,
        lasts: bool = False,
    ) -> None:
        """`lasts`: its name survives a power cut, from the first `synchronise` on."""
        self._tree, self._size, self._reserve = tree, size, reserve
        self.lasts: bool = lasts
        self._is_durable = False  # its name
        self.folder: int = drafts  # a descriptor
        self.name: str = name  # in the folder
        self._fd = -1  # through the page cache
        self._mode = OWNER_ALONE  # which it was made with
        self._direct = -1  # around it
        # device, inode and size of a file that is closed and will be opened again
        self._closed: tuple[int, int, int] | None = None
        self._sealed: tuple[int, int, int] | None = None  # the same of one that was sealed
        self._allocated = 0  # bytes that have their place on the disk
        self._allocates = _libc is not None and hasattr(_libc, "fallocate")
        self.position: int = 0  # offset of the next byte that goes to the file
        self.reserved: int = 0  # bytes allocated ahead, counted by the reserve

    @property
    def is_direct(self) -> bool:
        """Whether `open_direct` was called: then threads may call `write_direct` at once."""
        return self._direct >= 0

    @staticmethod
    def largest() -> int | None:
        """The most bytes a file of this process may have, or None without a limit.

        A file system's own limit shows only in the write that exceeds it.
        """
        if resource is None:
            return None
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return None if most == resource.RLIM_INFINITY else most

    def free(self) -> int | None:
        """Bytes the file system has for us; None where it does not say."""
        status = os.fstatvfs(self.folder)
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def check_room(self, size: int) -> None:
        """Raises NoSpace or TooLarge when `size` bytes do not fit."""
        if (most := self.largest()) is not None and size > most:
            raise TooLarge(
                f"The server's process may write no file above {most} bytes (ulimit -f); "
                f"this one has {size}",
                limit=most,
            )
        free = self.free()
        if free is not None and free < size:
            raise NoSpace(
                f"The disk has no room for {size} bytes. Make room there, then send it again"
            ).for_everyone()

    def make(self, mode: int = OWNER_ALONE) -> None:
        """Make the file, or open it again. Raises StoreFailed where another file took its place."""
        if self._fd >= 0:
            return
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._closed is None:
            # One that lasts may be begun twice: before its process died, no byte was kept.
            flags |= os.O_CREAT | (os.O_TRUNC if self.lasts else os.O_EXCL)
            self._fd = os.open(self.name, flags, mode, dir_fd=self.folder)
            self._mode = mode
            return
        fd = os.open(self.name, flags, dir_fd=self.folder)
        if _identity(fd) != self._closed:
            os.close(fd)
            raise StoreFailed(
                "A file that waited to be published was changed by another program; "
                "nothing was stored. Send it again"
            ).for_everyone()
        self._fd, self._closed = fd, None

    def close_for_now(self) -> None:
        """Hold no descriptor until the file is needed again.

        It is synchronised before: the kernel reports a failed write to those who have the file
        open, and perhaps never again.
        """
        self.make()
        _fdatasync(self._fd)
        self._closed = _identity(self._fd)
        self._close()

    def open_direct(self) -> None:
        self.make()
        flags = os.O_WRONLY | os.O_CLOEXEC | _O_DIRECT
        try:
            self._direct = os.open(self.name, flags, dir_fd=self.folder)
        except OSError:  # no O_DIRECT here, or no descriptor: large writes go through the cache
            self._direct = self._fd

    def wants_room(self, end: int) -> bool:
        """Whether `allocate` should be called before bytes up to `end` are written."""
        return self._allocates and end > self._allocated and self._allocated != self._size

    def allocate(self, end: int) -> None:
        """Give the file its place up to `end` and ahead of it. Raises NoSpace.

        Writes that do not extend a file run side by side (ext4, XFS). Not os.posix_fallocate: where
        the file system cannot reserve, glibc would write every block.
        """
        self._release_reserve()
        end = end if self._size is None else min(end, self._size)
        ahead = min(AHEAD_TIMES * end, MOST_AHEAD)
        if self._size is not None:
            ahead = min(ahead, self._size - end)
        if (free := self.free()) is not None:
            ahead = min(ahead, free // RESERVED_PART)
        self.reserved = self._reserve.acquire(ahead)
        if self._place(end + self.reserved):
            return
        self._release_reserve()
        if self._place(end):
            return
        if ctypes.get_errno() in NO_ROOM and self._size is not None:
            raise NoSpace(
                "The disk became full during the upload. Make room there, then send it again"
            ).for_everyone()
        # This file system cannot allocate, or has no room: then the writes themselves fail.
        self._allocates = False

    def _place(self, end: int) -> bool:
        at, size = map(ctypes.c_longlong, (self._allocated, end - self._allocated))
        if _libc is not None and _libc.fallocate(self._fd, 0, at, size) != 0:
            return False
        self._allocated = end
        return True

    def give_back(self) -> None:
        """Free what the disk and the process hold for bytes to come. No write may be under way."""
        self._close_direct()
        os.ftruncate(self._fd, self.position)
        self._allocated = min(self._allocated, self.position)
        self._release_reserve()

    def _release_reserve(self) -> None:
        self._reserve.release(self.reserved)
        self.reserved = 0

    def append(self, data: Buffer) -> None:
        """Write at the position, which moves on."""
        self.write(data, self.position)
        self.position += len(data)

    def append_file(self, other: DraftFile, start: int, count: int) -> None:
        """Write `count` bytes of another draft, from `start` on, at the position."""
        self.make()
        other.make()
        copy_range(other._fd, self._fd, start, self.position, count)
        self.position += count

    def write(self, data: Buffer, at: int) -> None:
        self.make()
        _write_all(self._fd, data, at)

    def write_direct(self, data: Buffer | Block, at: int) -> None:
        """Write `data`, which is aligned, as is `at`."""
        _write_all(self._direct, data, at)

    @property
    def path(self) -> str:
        """For programs that open the draft by its name; nothing here does."""
        return "/".join([self._tree.root, *(LASTING if self.lasts else DRAFTS), self.name])

    def read(self, at: int, size: int) -> bytes:
        self.make()
        return os.pread(self._fd, size, at)

    def cut(self, size: int) -> None:
        """Forget the bytes from `size` on."""
        self.make()
        self.position = size
        self.give_back()

    def synchronise(self) -> None:
        """Make the bytes durable, but perhaps not the name."""
        _fdatasync(self._fd)

    @property
    def wants_name(self) -> bool:
        """Whether a power cut may still take the name of one that lasts."""
        return self.lasts and not self._is_durable

    def has_name(self) -> None:
        """The folder was synchronised after the file was made."""
        self._is_durable = True

    def seal(self, size: int, metadata: Metadata) -> tuple[os.stat_result, bytes | None]:
        """Add the metadata: nothing is written to the file any more.

        Returns its status, and what `write_note` returns. Raises StoreFailed where it has not
        exactly `size` bytes.
        """
        self.make()
        if self._allocated > size:
            os.ftruncate(self._fd, size)
        status = os.fstat(self._fd)
        if status.st_size != size:
            raise missing_bytes(status.st_size, size)
        note = write_note(self._fd, metadata, status)
        if self._mode != AS_USUAL:
            self._open_to_others()
        self._sealed = (status.st_dev, status.st_ino, status.st_size)
        return status, note

    def begin_writing(self) -> None:
        """Let the kernel begin to write what it holds of the file. It promises nothing."""
        if _sync_file_range is not None:
            _sync_file_range(self._fd, 0, 0, _BEGIN_WRITING)

    def fsync_and_close(self) -> None:
        """Make a sealed file durable. It can be opened again, as long as it has its name here."""
        os.fsync(self._fd)  # not fdatasync: the note is an attribute and has to be there as well
        self._closed = self._sealed
        self._close()

    def _open_to_others(self) -> None:
        """Give the file the permissions that files made here have; a draft is its owner's alone."""
        with suppress(PermissionError):  # a file system that has one mode for all its files
            os.fchmod(self._fd, usual_mode(self.folder, self._tree.umask))

    def open_again(self, size: int) -> None:
        """Open a file that an earlier process left, with its first `size` bytes.

        Raises NotFound, StoreFailed.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self.name, flags, dir_fd=self.folder)
        except FileNotFoundError:
            raise NotFound("This upload is gone; send the file again") from None
        if (found := os.fstat(self._fd).st_size) < size:
            self._close()
            raise missing_bytes(found, size)
        self.position = size
        self._is_durable = size > 0  # or nobody would know of these bytes
        if found > size:  # a file that is cut is changed, also by nothing: its next sync would wait
            try:
                self.cut(size)
            except OSError:
                self._close()
                raise

    def last(self, folder: int, name: str) -> None:
        """Move to the folder of the files that outlive their process."""
        self.make()
        os.rename(self.name, name, src_dir_fd=self.folder, dst_dir_fd=folder)
        self.folder, self.name, self.lasts, self._is_durable = folder, name, True, False

    def leave(self) -> None:
        """Close the file, which stays in its folder."""
        self._closed = None
        self._close()

    def remove(self) -> None:
        if self._fd < 0 and self._closed is None:
            return
        try:
            with suppress(FileNotFoundError):  # swept
                os.unlink(self.name, dir_fd=self.folder)
        finally:
            self._closed = None
            self._close()

    def _close_direct(self) -> None:
        direct, self._direct = self._direct, -1
        if direct not in (-1, self._fd):
            os.close(direct)

    def _close(self) -> None:
        self._close_direct()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self._release_reserve()


def _identity(fd: int) -> tuple[int, int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size


def _write_all(fd: int, data: Buffer | Block, at: int) -> None:
    """Write all of it: one pwrite may take less than it got."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            with view[done:] as part:
                done += os.pwrite(fd, part, at + done)
