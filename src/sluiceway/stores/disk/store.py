"""Files on a local disk: visible when whole and durable. Other programs' files are served too.

    root/KEY                 finished objects, their metadata in extended attributes
    root/.sluiceway/drafts   drafts; see `process_lock`

`tree` walks the segments of a key, `draft` writes the bytes; this file makes a store of both.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from sluiceway.errors import Exists, Forbidden, NotFound, PreconditionFailed, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.file_lock import HAS_LOCKS, lock_file
from sluiceway.pipe.worker_thread import open_in_thread
from sluiceway.stores.contract import (
    Draft,
    Entry,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.disk.draft import DiskDraft
from sluiceway.stores.disk.errors import map_error
from sluiceway.stores.disk.file import DraftFile, Reserve
from sluiceway.stores.disk.listing import page
from sluiceway.stores.disk.live_drafts import LiveDrafts
from sluiceway.stores.disk.metadata import drop_note, read_entry
from sluiceway.stores.disk.process_lock import ProcessLock
from sluiceway.stores.disk.reader import DiskReader
from sluiceway.stores.disk.renaming import rename
from sluiceway.stores.disk.tree import PRIVATE, Tree

__all__ = ["DiskStore"]

# Threads of three kinds: neither a listing nor a download delays an upload.
WRITERS = 16  # more only queue at the disk, and 16 syncs at once share a journal commit
READERS = 8  # for downloads and zips; each reads a block for one of them at a time
LISTERS = 2  # a page of a listing opens up to a thousand files
# Bytes. A smaller file is made, written and published in one visit to a thread.
CHECK_FROM = 64 << 10

# How often another process may remove the folder, because it is empty, before the file is in it.
PUBLISH_ATTEMPTS = 20

T = TypeVar("T")


class DiskStore:
    """A folder as a store. Several processes may share one root."""

    traits: Traits = Traits(
        name="disk",
        durable=True,
        atomic_publish=True,
        create_only=True,
        resumable=False,
        max_key_bytes=1024,
        compare_and_swap=HAS_LOCKS,
        renames=True,
        readable_drafts=True,
    )

    def __init__(self, root: str, budget: Budget) -> None:
        self._tree = Tree(root)
        self._budget = budget
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="sluiceway-disk")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sluiceway-read")
        self._listers = ThreadPoolExecutor(LISTERS, thread_name_prefix="sluiceway-list")
        self._live = LiveDrafts()
        self._reserve = Reserve()
        self._process_lock = ProcessLock(self._tree)
        self._drafts = self._process_lock.drafts
        self._process_lock.sweep()
        self._here = threading.RLock()  # between the threads of this process

    @property
    def root(self) -> str:
        return self._tree.root

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        name = self._process_lock.draft_name(upload)
        file = DraftFile(self._tree, self._drafts, name, size, self._publish, self._reserve)
        draft = DiskDraft(file, size, self._budget, self._writers, self._live)
        if size and size > CHECK_FROM:
            try:
                await draft.check_room(size)
            except BaseException:
                await draft.discard()
                raise
        return draft

    async def stat(self, key: str) -> Entry:
        return await self._in_thread(lambda: self._stat(key))

    async def open(self, key: str) -> ObjectReader:
        try:
            fd, entry = await open_in_thread(
                lambda: self._open(key), lambda found: os.close(found[0]), self._readers
            )
        except OSError as error:
            raise map_error(error, "the object") from None
        return DiskReader(entry, fd, self._budget, self._readers)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return await self._in_thread(lambda: self._list(prefix, after, limit), self._listers)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        await self._in_thread(lambda: self._delete(key, replace))

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        return await self._in_thread(
            lambda: rename(self._tree, self._drafts, self._exclusive, key, new_key, etag)
        )

    async def aclose(self) -> None:
        await self._live.aclose()
        for threads in (self._writers, self._readers, self._listers):
            threads.shutdown(wait=True)
        self._process_lock.close()
        self._tree.close()

    # In a worker thread

    def _publish(self, name: str, key: str, replace: Replace) -> None:
        """Give the finished draft its name.

        Creating is one step; a replacement is compared first.
        """
        folders, last = self._tree.split_new(key)
        for attempt in range(PUBLISH_ATTEMPTS):
            try:
                with self._tree.folder(folders, make=True) as folder:
                    if replace.etag is not None or not self._take_free(folder, name, last, replace):
                        with self._exclusive():
                            self._check(key, replace)
                            self._refuse_other_kinds(folder, last, key)
                            os.rename(name, last, src_dir_fd=self._drafts, dst_dir_fd=folder)
                    os.fsync(folder)
                return
            except FileNotFoundError:
                if attempt == PUBLISH_ATTEMPTS - 1:
                    raise
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise Exists(f"There is already something at {key!r}; it was not touched") from None
            except (SluiceError, OSError):
                self._tree.prune(folders)
                raise

    def _take_free(self, folder: int, name: str, last: str, replace: Replace) -> bool:
        """Take the name in one step and without the lock, if it is free.

        Returns False when it is taken and may be replaced. Raises FileExistsError otherwise.
        """
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
            with self._exclusive():
                if _exists(folder, last):
                    raise FileExistsError from None
                os.rename(name, last, src_dir_fd=self._drafts, dst_dir_fd=folder)
            return
        os.unlink(name, dir_fd=self._drafts)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Make compare-and-swap one step for all processes that share the root.

        Held for a few system calls only.
        """
        with self._here:  # for systems without locks of files
            lock = os.open(
                PRIVATE,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=self._tree.fd,
            )
            try:
                lock_file(lock)
                yield
            finally:
                os.close(lock)  # this releases the lock

    def _check(self, key: str, replace: Replace) -> None:
        if replace.etag is None:
            return
        try:
            etag = self._stat(key).etag
        except NotFound:
            etag = None
        if etag != replace.etag:
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")

    @staticmethod
    def _refuse_other_kinds(folder: int, last: str, key: str) -> None:
        """Raises Forbidden for a link, pipe, socket or device: a rename would replace it."""
        with suppress(FileNotFoundError):
            mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise Forbidden(
                    f"{key!r} is a symbolic link; it is never written through nor replaced"
                )
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise Forbidden(
                    f"{key!r} is a pipe, socket or device; it is never written to nor replaced"
                )

    def _stat(self, key: str) -> Entry:
        fd, entry = self._open(key)
        os.close(fd)
        return entry

    def _open(self, key: str) -> tuple[int, Entry]:
        fd, status = self._tree.open_file(key)
        try:
            return fd, read_entry(self._tree, fd, status, key)
        except BaseException:
            os.close(fd)
            raise

    def _list(self, prefix: str, after: str, limit: int) -> Page:
        return page(self._tree, prefix, after, limit)

    def _delete(self, key: str, replace: Replace) -> None:
        folders, last = self._tree.split(key)
        with self._exclusive():
            fd, _ = self._tree.open_file(key)
            os.close(fd)
            self._check(key, replace)
            drop_note(
                self._tree, key
            )  # before the name is free: the next object there writes a note of its own
            with self._tree.folder(folders) as folder:
                os.unlink(last, dir_fd=folder)
                os.fsync(folder)
        self._tree.prune(folders)

    # On the event loop

    async def _in_thread(self, work: Callable[[], T], threads: Executor | None = None) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads or self._writers, work)
        except OSError as error:
            raise map_error(error, "the object") from None


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
