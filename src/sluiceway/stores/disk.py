"""Files on a local disk. Nothing is visible before it is whole and durable; what others put there is served too.

    root/KEY                     finished objects, what is known of them in their extended attributes
    root/.sluiceway/drafts/ID    objects nobody can see yet, locked while their process lives

The steps of a key are walked by `disk_tree`, the bytes written by `disk_draft`; this file joins them to a store.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from sluiceway.errors import Exists, Forbidden, NotFound, PreconditionFailed, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft, Entry, Label, Omitted, Opened, Page, Replace, Traits
from sluiceway.stores.disk_about import drop_note, read_entry
from sluiceway.stores.disk_draft import DiskDraft
from sluiceway.stores.disk_file import DraftFile
from sluiceway.stores.disk_read import DiskObject
from sluiceway.stores.disk_tree import PRIVATE, Tree, store_error, unreadable
from sluiceway.wire.names import is_text

__all__ = ["DiskStore"]

DRAFTS = [PRIVATE, "drafts"]
WRITERS = 16  # threads; more only queue at the disk, and 16 syncs at once share a journal commit
REST_EVERY = 0.5  # seconds between looks for drafts that hold memory and get little
SLOW = 64 << 10  # bytes in that time; at 128 KiB/s a block would take 16 seconds to fill
CHECK_FROM = 64 << 10  # bytes; a smaller file is made, written and published in one hop to a thread

TRIES = 20  # times a folder may be removed, because it became empty, between our finding and our using it

T = TypeVar("T")


class DiskStore:
    """A folder as a store. Several processes may share one root."""

    traits: Traits = Traits(name="disk", durable=True, atomic_publish=True, create_only=True, resumable=False, max_key_bytes=1024)

    def __init__(self, root: str, budget: Budget) -> None:
        self._tree = Tree(root)
        self._budget = budget
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="sluiceway-disk")
        self._live: set[DiskDraft] = set()
        self._resting: asyncio.Task[None] | None = None
        with self._tree.folder(DRAFTS, make=True) as fd:
            self._drafts = os.dup(fd)
        self._sweep()

    @property
    def root(self) -> str:
        return self._tree.root

    async def draft(self, upload: str, size: int | None, label: Label = Label()) -> Draft:
        file = DraftFile(self._tree, self._drafts, upload, size, self._publish)
        draft = DiskDraft(file, size, self._budget, self._writers)
        self._live.add(draft)
        if self._resting is None or self._resting.done():
            self._resting = asyncio.get_running_loop().create_task(self._rest_the_slow())
        if size and size > CHECK_FROM:
            try:
                await draft.check_room(size)
            except BaseException:
                await draft.discard()
                raise
        return draft

    async def stat(self, key: str) -> Entry:
        return await self._hop(lambda: self._stat(key))

    async def open(self, key: str) -> Opened:
        fd, status = await self._hop(lambda: self._tree.open_file(key))
        try:
            entry = await self._hop(lambda: read_entry(self._tree, fd, status, key))
        except BaseException:
            os.close(fd)
            raise
        return DiskObject(entry, fd, self._budget, self._writers)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return await self._hop(lambda: self._list(prefix, after, limit))

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        await self._hop(lambda: self._delete(key, replace))

    async def aclose(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            with suppress(asyncio.CancelledError):
                await self._resting
        for draft in list(self._live):
            await draft.discard()
        self._writers.shutdown(wait=True)
        os.close(self._drafts)
        self._tree.close()

    # In a worker thread

    def _publish(self, name: str, key: str, replace: Replace) -> None:
        """Give the finished draft its name. A create-only name is taken in one step; a replacement is compared first."""
        folders, last = self._tree.split(key)
        for attempt in range(TRIES):
            try:
                with self._tree.folder(folders, make=True) as folder:
                    if replace.etag is not None or not self._take_free(folder, name, last, replace):
                        with self._one_at_a_time():
                            self._check(key, replace)
                            self._refuse_stranger(folder, last, key)
                            os.rename(name, last, src_dir_fd=self._drafts, dst_dir_fd=folder)
                    os.fsync(folder)
                return
            except FileNotFoundError:
                if attempt == TRIES - 1:
                    raise
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise Exists(f"There is already something at {key!r}; it was not touched") from None
            except (SluiceError, OSError):
                self._tree.prune(folders)
                raise

    def _take_free(self, folder: int, name: str, last: str, replace: Replace) -> bool:
        """Take the name if it is free, in one step and without the lock; False when it is taken and may be replaced."""
        try:
            self._link(folder, name, last)
        except FileExistsError:
            if replace.allowed:
                return False
            raise
        return True

    def _link(self, folder: int, name: str, last: str) -> None:
        try:
            os.link(name, last, src_dir_fd=self._drafts, dst_dir_fd=folder, follow_symlinks=False)
        except PermissionError:  # a file system without hard links (FAT, some network mounts)
            with self._one_at_a_time():
                if _exists(folder, last):
                    raise FileExistsError from None
                os.rename(name, last, src_dir_fd=self._drafts, dst_dir_fd=folder)
            return
        os.unlink(name, dir_fd=self._drafts)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Compare-and-act is one step for all processes that share the root. Held for a few system calls only."""
        lock = os.open(PRIVATE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._tree.fd)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)  # and with it the lock

    def _check(self, key: str, replace: Replace) -> None:
        if replace.etag is None:
            return
        try:
            there = self._stat(key).etag
        except NotFound:
            there = None
        if there != replace.etag:
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")

    @staticmethod
    def _refuse_stranger(folder: int, last: str, key: str) -> None:
        """A rename would put a file in the place of whatever is there, except of a folder."""
        with suppress(FileNotFoundError):
            mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise Forbidden(f"{key!r} is a symbolic link; it is never written through nor replaced")
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise Forbidden(f"{key!r} is a pipe, socket or device; it is never written to nor replaced")

    def _stat(self, key: str) -> Entry:
        fd, status = self._tree.open_file(key)
        try:
            return read_entry(self._tree, fd, status, key)
        finally:
            os.close(fd)

    def _list(self, prefix: str, after: str, limit: int) -> Page:
        entries, left, last = list[Entry](), list[Omitted](), ""
        for key, why in self._tree.walk(prefix, after):
            if last and len(entries) + len(left) >= limit:
                return Page(entries, last, complete=False, omitted=tuple(left))
            last = key if is_text(key) else ""  # what has no spelling cannot be where the next page begins
            if why is not None:
                left.append(why)
                continue
            try:
                entries.append(self._stat(key))
            except NotFound:
                pass  # deleted since
            except (SluiceError, OSError) as error:
                left.append(unreadable(key, error))
        return Page(entries, complete=True, omitted=tuple(left))

    def _delete(self, key: str, replace: Replace) -> None:
        folders, last = self._tree.split(key)
        with self._one_at_a_time():
            fd, _ = self._tree.open_file(key)
            os.close(fd)
            self._check(key, replace)
            drop_note(self._tree, key)  # before the name is free: whoever takes it next writes a note of its own
            with self._tree.folder(folders) as folder:
                os.unlink(last, dir_fd=folder)
                os.fsync(folder)
        self._tree.prune(folders)

    def _sweep(self) -> None:
        """Remove drafts whose process died: nobody holds their lock."""
        with os.scandir(self._drafts) as found:
            names = [item.name for item in found if item.is_file(follow_symlinks=False)]
        for name in names:
            with suppress(OSError):  # somebody else sweeps too, or it is locked: both are fine
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._drafts)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(name, dir_fd=self._drafts)
                finally:
                    os.close(fd)

    # On the event loop

    async def _rest_the_slow(self) -> None:
        """Twice a second, drafts that got little or nothing meanwhile hand back what they hold."""
        while True:
            await asyncio.sleep(REST_EVERY)
            self._live = {draft for draft in self._live if not draft.ended}
            if not self._live:
                return
            for draft in list(self._live):
                slow, draft.recent = draft.recent < SLOW, 0
                if slow:
                    await draft.rest()

    async def _hop(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writers, work)
        except OSError as error:
            raise store_error(error, "the object") from None


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
