"""A file that readers cannot see yet: fast senders write blocks around the cache, slow ones small.

Both ways lead to the same file, and a sender changes from one to the other as its speed changes.
Which way is taken and when memory is given back is decided here; the bytes are written by `file`
and `blocks`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from enum import Enum, auto
from functools import partial
from typing import Protocol, TypeVar, cast

from sluiceway.errors import SluiceError, StoreFailed, TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace
from sluiceway.stores.disk.drafts.blocks import BlockWriter
from sluiceway.stores.disk.drafts.file import DraftFile
from sluiceway.stores.disk.drafts.pace import SenderPace
from sluiceway.stores.disk.drafts.pieces import GatheredPieces
from sluiceway.stores.disk.drafts.publishing import Keeping, Publication
from sluiceway.stores.disk.errors import map_error, missing_bytes
from sluiceway.stores.group_commit import GroupCommit
from sluiceway.stores.unpublished import SavedDraft

__all__ = ["DiskDraft"]

# Bytes. A file that is announced as small as this is written in one go, which is faster than
# opening a second descriptor.
SMALL_FILE = 512 << 10
# Bytes an idle draft may still hold: a thread for every byte would cost more than the memory.
IDLE_BYTES = 2 << 10

T = TypeVar("T")


class _Mode(Enum):
    """How the draft gets its bytes. ENDED is final; every other mode may follow every other one."""

    BUFFERED = auto()  # small writes through the page cache
    DIRECT = auto()  # the budget counts the sender as a fast one; blocks around the page cache
    IDLE = auto()  # the sender is slow or pauses; no block is held
    PAUSED = auto()  # the object is complete and waits for other files of its form
    ENDED = auto()  # published or discarded


class _Observer(Protocol):
    """What a draft reports to; `live_drafts` has it."""

    def receiving(self, draft: DiskDraft) -> None: ...

    def paused(self, draft: DiskDraft) -> Awaitable[None]: ...

    def ended(self, draft: DiskDraft) -> None: ...

    async def write_together(self, work: Callable[[], None]) -> None: ...


class DiskDraft:
    """An object on its way to disk. `size` is what the client announced, in bytes, or None.

    `file` has the bytes of an earlier process already, where the draft is taken up again.
    """

    __slots__ = (
        "_aside",
        "_blocks",
        "_budget",
        "_failed",
        "_file",
        "_group",
        "_lock",
        "_mode",
        "_observer",
        "_pace",
        "_pieces",
        "_size",
        "_writers",
        "kept",
        "publication",
        "recent",
        "replaced",
        "written",
    )

    def __init__(
        self,
        file: DraftFile,
        size: int | None,
        budget: Budget,
        writers: Executor,
        group: GroupCommit[Keeping | Publication],
        observer: _Observer,
    ) -> None:
        self._file, self._size, self._budget = file, size, budget
        self._writers, self._group, self._observer = writers, group, observer
        self._lock = asyncio.Lock()  # `become_idle` comes from another task
        self._mode = _Mode.BUFFERED
        self._pieces = GatheredPieces()
        self._blocks: BlockWriter | None = None  # made when the sender turns out to be fast
        self._pace = SenderPace()
        self._failed: SluiceError | None = None
        self.written: int = file.position
        self.kept: int = file.position
        self.recent: int = 0  # bytes since the observer looked last
        self.replaced: bool = False  # whether `publish` replaced an object
        self._aside = ""
        self.publication: Publication | None = None  # the last one, also if it failed
        observer.receiving(self)

    @property
    def failure(self) -> SluiceError | None:
        """Why a block written in the background failed: a sender that pauses learns it too."""
        failed = self._failed or (None if self._blocks is None else self._blocks.failure)
        return None if failed is None or self._has_ended else failed

    @property
    def holds_much(self) -> bool:
        """Whether it has something to write or to give back when it becomes idle."""
        holds_block = self._blocks is not None and self._blocks.filling
        holds_file = self._file.reserved > 0 or self._file.is_direct
        return holds_block or self._pieces.size > IDLE_BYTES or holds_file

    async def write(self, data: Buffer) -> None:
        async with self._lock:
            self._check()
            if self._mode in (_Mode.PAUSED, _Mode.IDLE):
                self._observer.receiving(self)
            self.recent += len(data)
            try:
                if self._is_fast(len(data)):
                    self._enter(_Mode.DIRECT)
                    await (await self._direct_blocks()).write(data)
                else:
                    await self._write_gathered(data)
            except Exception as error:
                # Some of `data` may be in the file: nothing that follows can be right.
                self._failed = self._map_error(error)
                raise self._failed from None
            self.written += len(data)

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, into blocks."""
        began = time.monotonic()
        async with self._lock:
            if not await (await self._drawing_blocks()).reserve(lent):
                return False
        waited = time.monotonic() - began  # for the disk: memory comes back once it is written
        async with lent.turn(), self._lock:  # before which `become_idle` may have come
            blocks, before = await self._drawing_blocks(), lent.taken
            try:
                drawn = await blocks.draw(lent, update)
            except Exception as error:
                self._failed = self._map_error(error)
                raise self._failed from None
            finally:
                lent.destination_wait += waited
                self.recent += lent.taken - before
                self.written += lent.taken - before
            self._check()
            return drawn

    async def _drawing_blocks(self) -> BlockWriter:
        self._check()
        if self._mode in (_Mode.PAUSED, _Mode.IDLE):
            self._observer.receiving(self)
        self._enter(_Mode.DIRECT)
        return await self._direct_blocks()

    async def sync(self) -> int:
        async with self._lock:
            offset = self.written
            await self._commit(Keeping(self._file, self._write_rest), offset - self.kept)
            self.kept = offset
            return offset

    async def become_idle(self) -> None:
        """The sender is slow: write what is held, give back the memory and the disk's reserve."""
        async with self._lock:
            if self._has_ended or self.failure is not None:
                return
            self._enter(_Mode.IDLE)
            if self.holds_much:
                try:
                    if self._blocks is None and self._pieces.size:
                        await self._observer.write_together(self._write_pieces)
                    await self._give_back()
                except (OSError, SluiceError) as error:
                    self._map_error(error)  # the next write reports it

    async def pause(self) -> None:
        """The object is complete and waits for others, without memory; few keep their file open."""
        if self._mode is _Mode.PAUSED:
            return
        await self.become_idle()
        if not self._has_ended:
            self._enter(_Mode.PAUSED)
            await self._observer.paused(self)

    async def close_file(self) -> None:
        """Make durable what is written and close the file. The next call opens it again."""
        async with self._lock:
            if self._has_ended or self.failure is not None:
                return
            await self._give_back()
            await self._in_thread(self._file.close_for_now)

    async def file_path(self) -> str:
        """The draft's own file, with all that was written and nothing allocated ahead."""
        async with self._lock:
            self._check()
            await self._give_back()
            await self._in_thread(self._file.make)
            return self._file.path

    async def read(self, start: int, size: int) -> bytes:
        async with self._lock:
            self._check()
            await self._flush()
            most = min(size, max(0, self.written - start))
            return await self._in_thread(lambda: self._file.read(start, most))

    async def append_draft(self, other: Draft, start: int, count: int) -> None:
        """The kernel copies from file to file, or lets them share blocks."""
        part = cast("DiskDraft", other)  # of the same store
        async with self._lock, part._lock:
            for draft in (self, part):
                await draft._flush()
                draft._release_block()
            await self._in_thread(partial(self._file.append_file, part._file, start, count))
            self.written += count

    async def truncate(self, offset: int) -> None:
        async with self._lock:
            self._check()
            await self._flush()
            self._release_block()
            await self._in_thread(lambda: self._file.cut(offset))
            self.written, self.kept = offset, min(self.kept, offset)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        async with self._lock:
            each = self.publication = Publication(
                self._file, self._write_rest, self.written, key, metadata, replace, self._aside
            )
            await self._commit(each, self.written)
            self.kept, self.replaced = self.written, each.replaced
            self._end()
            return cast("Entry", each.entry)

    def keep_replaced(self, aside: str) -> None:
        """What `publish` replaces gets this name among the drafts."""
        self._aside = aside

    async def discard(self) -> None:
        await self._leave(self._file.remove)

    async def suspend(self) -> None:
        await self._leave(self._file.leave)

    async def last(self, folder: int, name: str) -> None:
        """Outlive the process from now on, under another name."""
        async with self._lock:
            self._check()
            await self._in_thread(lambda: self._file.last(folder, name))

    async def close(self) -> None:
        """Its store is closed: a draft that lasts is left, another one is discarded."""
        await (self.suspend() if self._file.lasts else self.discard())

    def save(self) -> SavedDraft:
        return SavedDraft()  # the upload's id and its offset say everything

    def saved(self) -> None: ...

    async def _leave(self, end: Callable[[], None]) -> None:
        """End, in a thread: freeing a terabyte takes a while. A cancelled caller leaves no file."""
        if not self._has_ended:
            await finish_then_cancel(self._end_by(end))

    async def _end_by(self, end: Callable[[], None]) -> None:
        async with self._lock:
            await self._finish_blocks()
            if not self._has_ended:
                self._end()
                await self._in_thread(end)

    async def _commit(self, each: Keeping | Publication, size: int) -> None:
        """Share a commit with other drafts, unless this one has `size` bytes that are many."""
        await self._finish_blocks()
        self._check()
        await self._group.commit(each, alone=size > SMALL_FILE)
        if each.error is not None:
            raise self._map_error(each.error) from None

    def _write_rest(self) -> None:
        """Write what is still held, in the thread that keeps or publishes."""
        filled = 0 if self._blocks is None else self._blocks.write_filled()
        self._write_pieces()
        # It may be more: a write that was cancelled does not count.
        if (found := self._file.position + filled) < self.written:
            raise missing_bytes(found, self.written)

    def _write_pieces(self) -> None:
        if self._pieces.size:
            self._file.append(self._pieces.joined())
            self._pieces.clear()

    async def _write_gathered(self, data: Buffer) -> None:
        if self._mode is not _Mode.DIRECT:  # which lasts until the observer calls it slow
            self._enter(_Mode.BUFFERED)
        self._pieces.add(data)
        if self._pieces.is_full:
            await self._in_thread(self._write_pieces)

    async def _direct_blocks(self) -> BlockWriter:
        if not self._file.is_direct:
            # here and not in the writers: several of those run at once
            await self._in_thread(self._file.open_direct)
        if self._pieces.size:
            await self._in_thread(self._write_pieces)
        if self._blocks is None:
            self._blocks = BlockWriter(self._file, self._budget, self._writers)
        return self._blocks

    async def _flush(self) -> None:
        """Put all that was written into the file, not yet synchronised. A block goes on filling."""
        await self._finish_blocks()
        self._check()
        if self._pieces.size:
            await self._in_thread(self._write_pieces)
        if self._blocks is not None and self._blocks.filling:
            await self._in_thread(self._blocks.write_filled)

    async def _finish_blocks(self) -> None:
        if self._blocks is not None:
            await self._blocks.finish()

    async def _give_back(self) -> None:
        """Hold nothing: no memory, no second descriptor, and no place on the disk beyond the bytes
        written."""
        await self._flush()
        self._release_block()
        self._blocks = None
        if self._file.reserved or self._file.is_direct:
            await self._in_thread(self._file.give_back)

    def _release_block(self) -> None:
        if self._blocks is not None:
            self._blocks.release()

    @property
    def _has_ended(self) -> bool:
        return self._mode is _Mode.ENDED

    def _is_fast(self, size: int) -> bool:
        fast = self._pace.is_fast(size) and (self._size is None or self._size > SMALL_FILE)
        # With a block that fills, what comes belongs behind the block's bytes.
        return fast or (self._blocks is not None and self._blocks.filling)

    def _enter(self, mode: _Mode) -> None:
        """Change the mode, here only: the budget divides its blocks among DIRECT drafts."""
        if mode is _Mode.DIRECT and self._mode is not _Mode.DIRECT:
            self._budget.start_direct()
        elif self._mode is _Mode.DIRECT and mode is not _Mode.DIRECT:
            self._budget.stop_direct()
        self._mode = mode

    def _end(self) -> None:
        self._enter(_Mode.ENDED)
        self._observer.ended(self)
        self._release_block()
        self._pieces.clear()

    def _check(self) -> None:
        if self._mode is _Mode.ENDED:
            raise StoreFailed("This draft has ended already")
        if (self._failed or self._blocks is not None) and (failure := self.failure) is not None:
            raise failure

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work in a writer thread, to its end even when the caller is cancelled."""
        try:
            return await in_thread(work, self._writers)
        except (OSError, SluiceError) as error:
            raise self._map_error(error) from None

    def _map_error(self, error: BaseException) -> SluiceError:
        mapped = map_error(error, "the upload")
        if isinstance(mapped, StoreFailed | TooLarge):
            self._failed = mapped  # bytes may be missing now: nothing that follows can be right
        return mapped
