"""A download into a file: `.sluiceway-….part` beside the target, its notes in `….part.json`.

The target's own name appears only with `publish`. Only files with our mark are continued, emptied
or removed: a file of another program under the part's name stays, and another name is used. No link
is followed. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

from sluiceway.client.local.folders import Folder
from sluiceway.client.local.part_blocks import ZEROS_BLOCK, PartBlocks
from sluiceway.client.local.part_claim import (
    is_same,
    open_part,
    remove_published,
    rename_to_free,
    unmark,
)
from sluiceway.client.local.part_notes import Notes, boot_id, notes_in, part_name
from sluiceway.errors import Exists, NoSpace, StoreFailed
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["HOLE", "PartialFile", "file_errors"]

# fdatasync syncs the size with the data; only the times are left out.
_fdatasync = getattr(os, "fdatasync", os.fsync)

# Bytes between syncs: the most that a power cut costs, and no gigabytes of dirty pages at the end.
SYNC_EVERY = 64 << 20
HOLE = 4096  # bytes of zeros that become a hole: a block of most file systems

_BINARY = getattr(os, "O_BINARY", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ZEROS = bytes(ZEROS_BLOCK)


class PartialFile:
    """The part file, open and locked.

    `have` bytes of it are good. `notes` is None when they cannot be continued in another run.
    """

    path: str

    def __init__(self, target: str, url: str, folder: Folder | None = None) -> None:
        """Blocking. Continues the part of an earlier run, if it was of the same URL.

        `folder` is the target's, where a path does not reach it; it is closed with the part.
        Raises StoreFailed.
        """
        self.target = target
        self._url = url
        self._syncing: asyncio.Future[None] | None = None
        self._blocks: PartBlocks | None = None  # of a fast sender
        # A sync that makes zeros at the end part of the file must not cut off a write behind them.
        self._growing = threading.RLock()
        self._has_attributes = False
        parent, self._target_name = os.path.split(target)
        with file_errors(target):
            self._folder = Folder(parent) if folder is None else folder
        try:
            with file_errors(target):
                remove_published(self._folder, self._target_name)
                self._fd, self._name = open_part(self._folder, part_name(self._target_name))
        except BaseException:
            self._folder.close()
            raise
        self.path = os.path.join(parent, self._name)
        self._notes_name = self._name + ".json"
        notes = notes_in(self._folder, self._notes_name)
        self.notes = notes if notes is not None and notes.fits(url) else None
        self.have: int = self._good_bytes() if self.notes else 0
        self.kept: int = self.have
        if self.notes is None or not self.notes.pieces:
            with file_errors(target):
                os.ftruncate(self._fd, self.have)

    def in_pieces(self, pieces: Sequence[tuple[int, int]]) -> None:
        """Blocking. What was written so far survives a power cut; these pieces of it count."""
        with file_errors(self.target):
            _fdatasync(self._fd)
        if self.notes is not None:
            self.notes = replace(self.notes, pieces=tuple(pieces))
            self._write_notes()

    def write_at(self, data: Buffer, at: int) -> None:
        """Blocking. For a file in pieces; call `joined` at its end."""
        view = memoryview(data)
        with file_errors(self.target):
            while len(view):
                written = _write_at(self._fd, view, at)
                view, at = view[written:], at + written

    def joined(self, have: int) -> None:
        """Blocking. From here on the file is one with `have` good bytes, which are the first."""
        with file_errors(self.target):
            os.ftruncate(self._fd, have)
        self.have = have
        self.in_pieces(())

    def continues(self, url: str) -> bool:
        """Whether a later run may go on with it: the part is of this URL, which is not empty."""
        return bool(url) and self._url == url

    def again(self) -> int:
        """Blocking. A descriptor of its own, to read what is here."""
        with suppress(OSError):
            self._fill_up()
        return self._folder.open(self._name, os.O_RDONLY | _BINARY)

    async def write(self, data: Buffer) -> None:
        """Append. Raises NoSpace, StoreFailed."""
        await in_thread(lambda: self._write(memoryview(data)))
        self._sync_behind()

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection. Raises as `write` does."""
        async with lent.turn():
            await lent.in_thread(lambda: self._burst(lent, update))
        self._sync_behind()
        return True

    def _sync_behind(self) -> None:
        """Begin a sync where one is due; the network does not wait for it."""
        idle = self._syncing is None or self._syncing.done()
        if idle and self.have - self.kept >= SYNC_EVERY:
            self._raise_sync_error()
            self._syncing = asyncio.get_running_loop().run_in_executor(None, self._sync)

    def append(self, data: Buffer) -> None:
        """Blocking. Append. Raises NoSpace, StoreFailed."""
        self._write(memoryview(data))

    async def sync(self) -> int:
        """Make the written bytes survive a power cut. Returns their number."""
        await self.finish_sync()
        await in_thread(self._sync)
        return self.kept

    async def finish_sync(self) -> None:
        """Wait for a sync under way, before anything else is done with the file.

        Raises the error of that sync.
        """
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
            self._raise_sync_error()

    def _raise_sync_error(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def restart(self, notes: Notes | None) -> None:
        """Blocking. Drop all bytes; `notes` describe the new ones, None that they are not kept."""
        with file_errors(self.target):
            os.ftruncate(self._fd, 0)
        self.have = self.kept = 0
        self.notes = notes
        self._write_notes()

    def set_attributes(self, mode: int | None, modified: float | None) -> None:
        """Blocking, before `publish`. Set the target's permissions and time; None leaves them."""
        self._has_attributes = True
        with file_errors(self.target):
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(self._fd, mode & 0o777)  # a copy sets no setuid bits
            if modified is not None:
                where = self._fd if os.utime in os.supports_fd else self.path
                os.utime(where, (modified, modified))

    def publish(self, force: bool) -> None:
        """Blocking. Make the part the target, durably.

        Raises Exists when the name is taken and not `force`.
        """
        with file_errors(self.target):
            self._fill_up()
            (os.fsync if self._has_attributes else _fdatasync)(self._fd)
            if os.name == "nt":
                # Windows renames no open file. Elsewhere the lock is held until the name changed.
                self._close_file()
            if force:
                self._folder.rename(self._name, self._target_name)
            else:
                rename_to_free(self._folder, self._name, self._target_name)
            # Behind the name: the next run of a copy that is killed here knows its own part.
            unmark(self._fd)
            self._folder.sync()
        with suppress(OSError):
            self._folder.unlink(self._notes_name)
        self._name = ""

    def discard(self) -> None:
        """Blocking. Remove the part and its notes."""
        if self._name and is_same(self._fd, self._folder, self._name):
            for name in (self._name, self._notes_name):
                with suppress(OSError):
                    self._folder.unlink(name)

    def close(self) -> None:
        """Blocking. Close it; bytes that can be continued stay, others are removed."""
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
        if self._blocks is not None:
            self._blocks.close()
        os.close(self._fd)
        self._fd = -1

    def _burst(self, lent: LentConnection, update: Update) -> None:
        if self._blocks is None:
            self._blocks = PartBlocks(self._fd, lambda: self.have, self._write, self._wrote)
        with file_errors(self.target), self._growing:
            self._blocks.burst(lent, update)

    def _wrote(self, size: int) -> None:
        self.have += size

    def _write(self, data: memoryview) -> None:
        """Zeros become holes: a sparse file stays sparse, and zeros cannot fill a disk."""
        with file_errors(self.target), self._growing:
            while len(data):
                block = data[:ZEROS_BLOCK]
                if len(block) >= HOLE and block == _ZEROS[: len(block)]:
                    written = len(block)
                else:
                    written = _write_at(self._fd, block, self.have)
                self.have += written
                data = data[written:]

    def _fill_up(self) -> None:
        """Zeros at the end are part of the file, too."""
        with self._growing:
            if os.fstat(self._fd).st_size < self.have:
                os.ftruncate(self._fd, self.have)

    def _sync(self) -> None:
        reached = self.have
        with file_errors(self.target):
            self._fill_up()
            _fdatasync(self._fd)
        self.kept = reached
        self._write_notes()

    def _good_bytes(self) -> int:
        """All bytes since this machine was started, else the synced ones."""
        size = os.fstat(self._fd).st_size
        if self.notes is None:
            return 0
        if self.notes.pieces:
            return min(size, self.notes.in_order)
        same_boot = self.notes.boot and self.notes.boot == boot_id()
        return size if same_boot else min(size, self.notes.kept)

    def _write_notes(self) -> None:
        with file_errors(self.target):
            if self.notes is None:
                with suppress(FileNotFoundError):
                    self._folder.unlink(self._notes_name)
                return
            self.notes = replace(self.notes, kept=self.kept)
            data, new = json.dumps(asdict(self.notes)).encode("ascii"), self._notes_name + ".new"
            with suppress(FileNotFoundError):
                self._folder.unlink(new)
            try:
                fd = self._folder.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
                with open(fd, "wb") as file:
                    file.write(data)
                self._folder.rename(new, self._notes_name)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._overwrite_notes(data)

    def _overwrite_notes(self, data: bytes) -> None:
        """On a full disk: the notes that are there have a block already, with room for these."""
        with suppress(OSError):
            self._folder.unlink(self._notes_name + ".new")
        fd = self._folder.open(self._notes_name, os.O_WRONLY | _BINARY)
        with open(fd, "wb") as file:
            file.write(data)
            file.truncate()


def _write_at(fd: int, data: memoryview, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, at)
    os.lseek(fd, at, os.SEEK_SET)
    return os.write(fd, data)


@contextmanager
def file_errors(target: str) -> Iterator[None]:
    """Raise OS errors as ours, with the target's path instead of the part's."""
    try:
        yield
    except FileExistsError as error:
        raise Exists(
            f"{target} is there already; use --force to replace it"
        ).for_operator() from error
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(
                f"No space for {target}; make room and run the same command to go on"
            ) from error
        raise StoreFailed(f"{target} cannot be written: {error.strerror or error}") from error
