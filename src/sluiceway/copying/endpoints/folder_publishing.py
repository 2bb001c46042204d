"""Small files on their way into a folder: those that come at the same time become durable together.

Only this order survives a power cut on every file system: the bytes of each file, fsync of each
file, all names, fsync of each folder once. A file that fails fails alone. On Linux a file has no
name at all before its own, so a copy that is killed leaves nothing. Blocking calls, for a thread.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from sluiceway.client.local.folders import Folder, FoldersBelow
from sluiceway.client.local.part_file import HOLE, PartialFile, file_errors
from sluiceway.errors import Exists, StoreFailed
from sluiceway.pipe.source import Buffer
from sluiceway.stores.group_commit import FsyncPace

__all__ = ["FSYNCS", "FolderPublisher", "SmallFile"]

FSYNCS = 8  # threads for the fsyncs of a slow disk
UNNAMED = getattr(os, "O_TMPFILE", 0)
# Where a file system has no files without a name, or /proc is not mounted: a part file instead.
CANNOT = frozenset(
    {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.EPERM, errno.EXDEV}
)


@dataclass(slots=True, eq=False)
class SmallFile:
    """All bytes of a file that is to be at `segments` below the folder. In the end `published` is
    true, or it has an error."""

    path: str  # for people
    segments: Sequence[str]
    data: Buffer
    replace: bool
    mode: int | None = None  # permissions and time to set; None leaves them
    modified: float | None = None
    fd: int = -1
    published: bool = False
    error: Exception | None = None

    @property
    def waits(self) -> bool:
        return self.error is None and not self.published


class FolderPublisher:
    """`existing` describes the file of a name in an open folder, None for none."""

    def __init__(
        self,
        root: str,
        existing: Callable[[Folder, SmallFile], os.stat_result | None],
        threads: Executor,
    ) -> None:
        """`threads` do the fsyncs of a slow disk, beside the one that publishes."""
        self._root, self._existing, self._threads = root, existing, threads
        self._unnamed = bool(UNNAMED)
        self._fsync_pace = FsyncPace()

    def publish(self, group: Sequence[SmallFile]) -> None:
        """Publish all of them. Raises nothing: each has its own outcome."""
        with FoldersBelow(self._root, make=True) as folders:
            try:
                _each(group, lambda one: self._write(one, folders))
                self._synchronise(group)
                _each(group, lambda one: self._name(one, folders))
            finally:
                for one in group:
                    if one.fd >= 0:
                        os.close(one.fd)
            _fsync_folders(group, folders)

    def _write(self, one: SmallFile, folders: FoldersBelow) -> None:
        with file_errors(one.path):
            folder = folders.open(one.segments[:-1])
            if self._unnamed:
                one.fd = _new_unnamed(folder)
                self._unnamed = one.fd >= 0
            if one.fd < 0:
                self._publish_part(one, folder)
                return
            _write_all(one.fd, one.data)
            if one.mode is not None:
                os.fchmod(one.fd, one.mode & 0o777)
            if one.modified is not None:
                os.utime(one.fd, (one.modified, one.modified))

    def _synchronise(self, group: Sequence[SmallFile]) -> None:
        """The fsync of each file, side by side where the disk is slow: it serves them together."""
        if self._fsync_pace.is_slow and len(group) > 1:
            for _ in self._threads.map(lambda one: _each([one], self._fsync), group):
                pass
        else:
            _each(group, self._fsync)

    def _fsync(self, one: SmallFile) -> None:
        began = time.monotonic()
        with file_errors(one.path):
            (os.fdatasync if one.mode is None and one.modified is None else os.fsync)(one.fd)
        self._fsync_pace.note(time.monotonic() - began)

    def _name(self, one: SmallFile, folders: FoldersBelow) -> None:
        folder, name = folders.open(one.segments[:-1]), one.segments[-1]
        try:
            # The only way to name it without the right to read every file (AT_EMPTY_PATH).
            os.link(f"/proc/self/fd/{one.fd}", name, dst_dir_fd=folder.fd, follow_symlinks=True)
        except FileExistsError:
            self._publish_part(one, folder)  # which replaces it, or says why not
        except OSError as error:
            if error.errno not in CANNOT:
                with file_errors(one.path):
                    raise
            self._unnamed = False
            self._publish_part(one, folder)

    def _publish_part(self, one: SmallFile, folder: Folder) -> None:
        """By a part file, which is named and synchronised alone."""
        there = self._existing(folder, one)
        if there is not None and (not one.replace or stat.S_ISDIR(there.st_mode)):
            raise Exists(f"{one.path} exists already; it was not touched")
        part = PartialFile(one.path, "", folder.again())
        try:
            part.restart(None)
            part.append(one.data)
            if one.mode is not None or one.modified is not None:
                part.set_attributes(one.mode, one.modified)
            part.publish(one.replace)
        finally:
            part.close()
        one.published = True


def _fsync_folders(group: Iterable[SmallFile], folders: FoldersBelow) -> None:
    """Make the new names survive a power cut: then their files are published."""
    failed: dict[Folder, OSError | None] = {}
    for one in group:
        if not one.waits:
            continue
        folder = folders.open(one.segments[:-1])
        if folder not in failed:
            failed[folder] = None
            try:
                folder.sync()
            except OSError as error:
                failed[folder] = error
        if (why := failed[folder]) is None:
            one.published = True
        else:
            one.error = StoreFailed(f"{one.path} cannot be written: {why.strerror or why}")


def _each(group: Iterable[SmallFile], step: Callable[[SmallFile], object]) -> None:
    """Take a step with each one that waits."""
    for one in group:
        if one.waits:
            try:
                step(one)
            except Exception as error:  # of one file only
                one.error = error


def _new_unnamed(folder: Folder) -> int:
    """A file without a name in the folder; -1 where there is none to be had."""
    flags = UNNAMED | os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(".", flags, 0o666, dir_fd=folder.fd)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        return -1


def _write_all(fd: int, data: Buffer) -> None:
    """Zeros become a hole, as in every part file."""
    view = memoryview(data)
    if len(view) >= HOLE and not any(view[:HOLE]) and not any(view):
        os.ftruncate(fd, len(view))
        return
    while len(view):
        view = view[os.write(fd, view) :]
