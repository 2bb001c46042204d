"""Files on a local disk: visible when whole and durable. Other programs' files are served too.

    root/KEY                 finished objects, their metadata in extended attributes
    root/.sluiceway/drafts   drafts; see `process_lock`

`tree` walks the segments of a key, `draft` writes the bytes; this file makes a store of both.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar, cast

from sluiceway.errors import Exists, NotFound, PreconditionFailed, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.pipe.worker_thread import in_thread, open_in_thread
from sluiceway.stores.contract import (
    Draft,
    Entry,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.stores.disk.drafts.file import DraftFile, Reserve
from sluiceway.stores.disk.drafts.live_drafts import LiveDrafts
from sluiceway.stores.disk.drafts.process_lock import ProcessLock, lasting_name
from sluiceway.stores.disk.drafts.publishing import Publisher
from sluiceway.stores.disk.drafts.replaced import KEPT, ReplacedFiles
from sluiceway.stores.disk.errors import map_error
from sluiceway.stores.disk.exclusive import ExclusiveLock
from sluiceway.stores.disk.listing import page
from sluiceway.stores.disk.metadata import drop_note, read_entry
from sluiceway.stores.disk.reader import DiskReader
from sluiceway.stores.disk.renaming import rename
from sluiceway.stores.disk.tree import Tree
from sluiceway.stores.group_commit import GroupCommit
from sluiceway.stores.unpublished import ResumableDraft, SavedDraft

__all__ = ["DiskStore"]

# Threads of three kinds: neither a listing nor a download delays an upload.
WRITERS = 16  # more only queue at the disk, and 16 syncs at once share a journal commit
READERS = 8  # for downloads and zips; each reads a block for one of them at a time
LISTERS = 2  # a page of a listing opens up to a thousand files
# Bytes. A smaller file is made, written and published in one visit to a thread.
CHECK_FROM = 64 << 10

T = TypeVar("T")


class DiskStore:
    """A folder as a store. Several processes may share one root."""

    traits: Traits = Traits(
        name="disk",
        durable=True,
        atomic_publish=True,
        create_only=True,
        resumable=True,
        max_key_bytes=1024,
        compare_and_swap=HAS_LOCKS,
        renames=True,
        readable_drafts=True,
        tells_replaced=True,
        compares_owner=True,
    )

    def __init__(self, root: str, budget: Budget) -> None:
        self._tree = Tree(root)
        self._budget = budget
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="sluiceway-disk")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sluiceway-read")
        self._listers = ThreadPoolExecutor(LISTERS, thread_name_prefix="sluiceway-list")
        self._live = LiveDrafts(self._writers)
        self._reserve = Reserve()
        self._process_lock = ProcessLock(self._tree)
        self._drafts = self._process_lock.drafts
        self._process_lock.sweep()
        self._exclusive = ExclusiveLock(self._tree)
        self._replaced = ReplacedFiles(self._tree, self._drafts, self._exclusive)
        publisher = Publisher(
            self._tree, self._writers, self._exclusive, self._check, self._replaced
        )
        self._group_commit = GroupCommit(publisher.commit, self._writers)

    @property
    def root(self) -> str:
        return self._tree.root

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        name = self._process_lock.draft_name(upload)
        file = DraftFile(self._tree, self._drafts, name, size, self._reserve)
        return await self._begin(file, size)

    async def check_room(self, size: int) -> None:
        if size > CHECK_FROM:
            await self._in_thread(lambda: self._lasting_file("", size).check_room(size))

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        return await self._begin(self._lasting_file(upload, size), size)

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        file = self._lasting_file(upload, size)
        try:
            await open_in_thread(
                lambda: file.open_again(offset), lambda _: file.leave(), self._writers
            )
        except OSError as error:
            raise map_error(error, "the upload") from None
        return self._draft(file, size)

    async def adopt(self, draft: Draft, upload: str) -> ResumableDraft:
        ours = cast("DiskDraft", draft)
        await ours.last(self._process_lock.lasting, lasting_name(upload))
        return ours

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        return await self._in_thread(lambda: self._find_published(lasting_name(upload), key))

    def keep_replaced(self, draft: Draft) -> None:
        name = self._process_lock.draft_name(f"replaced {uuid.uuid4().hex}")
        cast("DiskDraft", draft).keep_replaced(name + KEPT)

    async def take_back(self, draft: Draft) -> bool:
        each = cast("DiskDraft", draft).publication
        if each is None or not each.is_named:
            return True
        ours, aside = each.identity, each.aside if each.is_kept else ""
        return await self._in_thread(
            lambda: self._replaced.put_back(each.key, ours, aside, each.replaced)
        )

    async def let_go(self, draft: Draft) -> None:
        each = cast("DiskDraft", draft).publication
        if each is not None and each.is_kept:
            await self._in_thread(lambda: self._replaced.let_go(each.aside))

    def draft_name(self, upload: str) -> str:
        return lasting_name(upload)

    async def has_draft(self, upload: str) -> bool:
        return await self._in_thread(lambda: self._process_lock.has_lasting(lasting_name(upload)))

    async def draft_names(self, after: str, most: int, older: float) -> list[str]:
        return await self._in_thread(lambda: self._process_lock.lasting_names(after, most, older))

    async def remove_draft(self, name: str) -> None:
        await self._in_thread(lambda: self._process_lock.remove_lasting(name))

    def _draft(self, file: DraftFile, size: int | None) -> DiskDraft:
        return DiskDraft(file, size, self._budget, self._writers, self._group_commit, self._live)

    async def _begin(self, file: DraftFile, size: int | None) -> DiskDraft:
        self._tree.check_there()
        if size and size > CHECK_FROM:
            await self._in_thread(lambda: file.check_room(size))
        return self._draft(file, size)

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

    async def read_small(
        self, keys: Sequence[str], most: int, room: int
    ) -> Sequence[tuple[Entry, bytes]]:
        return await in_thread(lambda: self._read_small(keys, most, room), self._readers)

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
        loop = asyncio.get_running_loop()
        for threads in (self._writers, self._readers, self._listers):
            # In another thread: what they still do may take a while, and the event loop serves on.
            await finish_then_cancel(loop.run_in_executor(None, threads.shutdown))
        self._process_lock.close()
        self._tree.close()

    # In a worker thread

    def _lasting_file(self, upload: str, size: int | None) -> DraftFile:
        folder = self._process_lock.lasting
        return DraftFile(self._tree, folder, lasting_name(upload), size, self._reserve, lasts=True)

    def _find_published(self, draft: str, key: str) -> Entry | None:
        """A draft has two names for a moment, and after a power cut perhaps for longer."""
        try:
            fd, entry = self._open(key)
        except NotFound:
            return None
        try:
            left = os.stat(draft, dir_fd=self._process_lock.lasting, follow_symlinks=False)
            if not os.path.samestat(left, os.fstat(fd)):
                return None
            os.unlink(draft, dir_fd=self._process_lock.lasting)
        except FileNotFoundError:
            pass  # only a publish removes the draft of an upload that is not gone
        finally:
            os.close(fd)
        return entry

    def _check(self, key: str, replace: Replace) -> bool:
        """Whether the object may be replaced. False: there is none, and its owner counts."""
        if replace.etag is None and replace.owner is None:
            return True
        try:
            there = self._stat(key)
        except NotFound:
            there = None
        if replace.etag is not None and (there is None or there.etag != replace.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        if there is not None and replace.owner not in (None, there.metadata.owner):
            raise Exists(f"There is already a file {key!r}; it was not touched")
        return there is not None

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

    def _read_small(
        self, keys: Sequence[str], most: int, room: int
    ) -> Sequence[tuple[Entry, bytes]]:
        found = []
        for key in keys:
            try:
                fd, entry = self._open(key)
            except (SluiceError, OSError):
                continue
            try:
                if entry.size > min(most, room):
                    continue
                data = os.read(fd, entry.size + 1)
            except OSError:
                continue
            finally:
                os.close(fd)
            if len(data) == entry.size:
                found.append((entry, data))
                room -= entry.size
        return found

    def _list(self, prefix: str, after: str, limit: int) -> Page:
        return page(self._tree, prefix, after, limit)

    def _delete(self, key: str, replace: Replace) -> None:
        folders, last = self._tree.split(key)
        with self._exclusive():
            fd, _ = self._tree.open_file(key)
            os.close(fd)
            self._check(key, replace)
            # Before the name is free: the next object there writes a note of its own.
            drop_note(self._tree, key)
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
