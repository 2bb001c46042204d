"""A download on its way to a file: `.sluiceway-….part` beside the target, and what is known of it in `….part.json`.

Nothing appears under the target's own name before `publish`. Only what carries our mark is taken up, emptied or removed: a
file of somebody else under the part's name stays as it is, and another name is used. No link is followed. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

from sluiceway.client.local.folders import Folder
from sluiceway.client.local.part_claim import is_same, open_part, rename_to_free, unmark
from sluiceway.client.local.part_notes import Notes, boot, notes_in, part_name, part_paths
from sluiceway.errors import Exists, NoSpace, StoreFailed
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["Notes", "PartialFile", "part_paths"]

_fdatasync = getattr(
    os, "fdatasync", os.fsync
)  # the size is synced with the data, only the times are not

SYNC_EVERY = (
    64 << 20
)  # bytes between syncs: what a power cut may cost, and no gigabytes of dirty pages at the end
HOLE = 4096  # bytes of zeros that become a hole: a block of most file systems
LOOK = 64 << 10  # bytes looked at at once for that

_BINARY = getattr(os, "O_BINARY", 0)
_ZEROS = bytes(LOOK)


class PartialFile:
    """The part file, open and locked. `have` bytes of it are good; `notes` is None when they cannot be continued."""

    path: str

    def __init__(self, target: str, url: str, folder: Folder | None = None) -> None:
        """Blocking. Takes up what an earlier run left, if it was of the same URL. Raises StoreFailed.

        `folder` is the target's, where a path does not reach it; the part closes it at its end.
        """
        self.target = target
        self._url = url
        self._syncing: asyncio.Future[None] | None = None
        self._dressed = False
        before, self._target_name = os.path.split(target)
        with _local(target):
            self._folder = Folder(before) if folder is None else folder
        try:
            with _local(target):
                self._fd, self._name = open_part(self._folder, part_name(self._target_name))
        except BaseException:
            self._folder.close()
            raise
        self.path = os.path.join(before, self._name)
        self._notes_name = self._name + ".json"
        told = notes_in(self._folder, self._notes_name)
        self.notes = told if told is not None and told.fits(url) else None
        self.have: int = self._good_bytes() if self.notes else 0
        self.kept: int = self.have
        with _local(target):
            os.ftruncate(self._fd, self.have)

    async def write(self, data: Buffer) -> None:
        """Append. Raises NoSpace, StoreFailed."""
        await in_thread(lambda: self._write(memoryview(data)))
        idle = self._syncing is None or self._syncing.done()
        if idle and self.have - self.kept >= SYNC_EVERY:
            self._raise_sync_error()
            self._syncing = asyncio.get_running_loop().run_in_executor(
                None, self._sync
            )  # the network need not wait

    async def sync(self) -> int:
        """What is written survives a power cut; the offset."""
        await self.settle()
        await in_thread(self._sync)
        return self.kept

    async def settle(self) -> None:
        """Wait for a sync under way; before anything else is done with the file. Raises what it met."""
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
            self._raise_sync_error()

    def _raise_sync_error(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def restart(self, notes: Notes | None) -> None:
        """Blocking. Forget the bytes; from now on the part is of `notes`, or of nothing that could be continued."""
        with _local(self.target):
            os.ftruncate(self._fd, 0)
        self.have = self.kept = 0
        self.notes = notes
        self._write_notes()

    def dress(self, mode: int | None, modified: float | None) -> None:
        """Blocking, before `publish`. The permissions and the time that the target shall have; None leaves them."""
        self._dressed = True
        with _local(self.target):
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(self._fd, mode & 0o777)  # setuid and its like are no business of a copy
            if modified is not None:
                where = self._fd if os.utime in os.supports_fd else self.path
                os.utime(where, (modified, modified))

    def publish(self, force: bool) -> None:
        """Blocking. The part becomes the target, durably. Raises Exists when the name was taken and not `force`."""
        with _local(self.target):
            self._fill_up()
            unmark(self._fd)
            (os.fsync if self._dressed else _fdatasync)(self._fd)
            if os.name == "nt":
                self._close_file()  # Windows renames no open file; elsewhere the lock is held until the name has changed
            if force:
                self._folder.rename(self._name, self._target_name)
            else:
                rename_to_free(self._folder, self._name, self._target_name)
            self._folder.sync()
        with suppress(OSError):
            self._folder.unlink(self._notes_name)
        self._name = ""

    def discard(self) -> None:
        """Blocking. Nothing remains."""
        if self._name and is_same(self._fd, self._folder, self._name):
            for name in (self._name, self._notes_name):
                with suppress(OSError):
                    self._folder.unlink(name)

    def close(self) -> None:
        """Let go. Bytes that can be continued stay; others are removed."""
        if self._fd < 0:
            return
        if self.notes is None:
            self.discard()
        else:
            with suppress(OSError):
                self._fill_up()
        self._close_file()
        self._folder.close()

    def _close_file(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def _write(self, data: memoryview) -> None:
        """Zeros become holes: what was sparse stays so, and what is not written cannot fill a disk."""
        with _local(self.target):
            while len(data):
                piece = data[:LOOK]
                if len(piece) >= HOLE and piece == _ZEROS[: len(piece)]:
                    written = len(piece)
                else:
                    written = _write_at(self._fd, piece, self.have)
                self.have += written
                data = data[written:]

    def _fill_up(self) -> None:
        """Zeros at the end are part of the file, too."""
        if os.fstat(self._fd).st_size < self.have:
            os.ftruncate(self._fd, self.have)

    def _sync(self) -> None:
        reached = self.have
        with _local(self.target):
            self._fill_up()
            _fdatasync(self._fd)
        self.kept = reached
        self._write_notes()

    def _good_bytes(self) -> int:
        size = os.fstat(self._fd).st_size
        if self.notes is None:
            return 0
        return size if self.notes.boot and self.notes.boot == boot() else min(size, self.notes.kept)

    def _write_notes(self) -> None:
        with _local(self.target):
            if self.notes is None:
                with suppress(FileNotFoundError):
                    self._folder.unlink(self._notes_name)
                return
            self.notes = replace(self.notes, kept=self.kept)
            fresh = self._notes_name + ".new"
            with suppress(FileNotFoundError):
                self._folder.unlink(fresh)
            fd = self._folder.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
            with open(fd, "w", encoding="ascii") as file:
                json.dump(asdict(self.notes), file)
            self._folder.rename(fresh, self._notes_name)


def _write_at(fd: int, data: memoryview, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, at)
    os.lseek(fd, at, os.SEEK_SET)
    return os.write(fd, data)


@contextmanager
def _local(target: str) -> Iterator[None]:
    """OS errors under our names, with the target's path instead of the part's."""
    try:
        yield
    except FileExistsError as error:
        raise Exists(f"{target} is there already; use --force to replace it") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"No space for {target}; make room and run the same command to go on"
            ) from error
        raise StoreFailed(f"{target} cannot be written: {error.strerror or error}") from error
