"""A file nobody can see yet. Fast senders fill page-aligned blocks that go around the page cache; slow ones write small.

Two ways lead to the same file: *pouring* (blocks lent by the budget, O_DIRECT, several in flight) and *trickling* (pieces
up to 64 KiB through the page cache). A sender changes from one to the other as its speed changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from sluiceway.errors import NoSpace, SluiceError, StoreFailed, TooLarge
from sluiceway.pipe.budget import BLOCK, Block, Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.disk.errors import map_error
from sluiceway.stores.disk.file import ALIGN, DraftFile

__all__ = ["DiskDraft"]

PIECE = (
    64 << 10
)  # bytes a trickling draft gathers per thread hop; a chunk this large marks a fast sender
PIECES = 64  # a sender of single bytes must not cost sixty bytes for each
FAST = BLOCK // 4  # bytes within WINDOW that mark a fast sender: it fills a block within a second
WINDOW = 0.25  # seconds
SMALL = (
    512 << 10
)  # bytes; a file known to be this small is written in one hop, faster than a second descriptor opens
RESTING = (
    2 << 10
)  # bytes a resting draft may go on holding: a hop for every byte would cost more than the memory

T = TypeVar("T")


class _Watch(Protocol):
    """Who is told what a draft is at; see `disk_live`."""

    def receiving(self, draft: DiskDraft) -> None: ...

    def paused(self, draft: DiskDraft) -> Awaitable[None]: ...

    def ended(self, draft: DiskDraft) -> None: ...


class DiskDraft:
    """An object on its way to disk. `size` is what the client announced, in bytes, or None."""

    __slots__ = (
        "_at",
        "_block",
        "_budget",
        "_failed",
        "_file",
        "_filled",
        "_flying",
        "_gathered",
        "_lock",
        "_paused",
        "_pieces",
        "_pouring",
        "_size",
        "_watch",
        "_window",
        "_window_bytes",
        "_writers",
        "ended",
        "kept",
        "recent",
        "written",
    )

    def __init__(
        self, file: DraftFile, size: int | None, budget: Budget, writers: Executor, watch: _Watch
    ) -> None:
        self._file, self._size, self._budget, self._writers, self._watch = (
            file,
            size,
            budget,
            writers,
            watch,
        )
        self._lock = asyncio.Lock()  # the store's resting round comes from another task
        self._pieces: list[Buffer] = []
        self._gathered = 0
        self._block: Block | None = None
        self._filled = 0
        self._flying: list[
            asyncio.Future[None]
        ] = []  # at most DEPTH; an empty set would be 0.2 KiB
        self._pouring = False
        self._at = 0  # file offset of the next byte that goes to the file
        self._window, self._window_bytes = 0.0, 0
        self._failed: SluiceError | None = None
        self.ended: bool = False
        self.written: int = 0
        self.kept: int = 0
        self.recent: int = 0  # bytes since the last resting round
        self._paused = False
        watch.receiving(self)

    @property
    def failure(self) -> SluiceError | None:
        """Why a block that was written behind the sender's back failed: a sender that pauses learns it, too."""
        return None if self.ended else self._failed

    # Writing

    async def check_room(self, size: int) -> None:
        """Raises NoSpace, TooLarge when `size` bytes cannot be kept, so that it is told before the body comes."""
        if (most := self._file.largest()) is not None and size > most:
            raise TooLarge(
                f"The server's process may write no file above {most} bytes (ulimit -f); this one has {size}",
                limit=most,
            )
        free = await self._in_thread(self._file.free)
        if free is not None and free < size:
            raise NoSpace(
                f"The disk has no room for {size} bytes. Make room there, then send it again"
            )

    async def write(self, data: Buffer) -> None:
        async with self._lock:
            self._check()
            if self._paused:
                self._paused = False
                self._watch.receiving(self)
            self.recent += len(data)
            if self._is_fast(len(data)):
                await self._pour(data)
            else:
                await self._trickle(data)
            self.written += len(data)

    async def sync(self) -> int:
        async with self._lock:
            self._check()
            offset = self.written
            await self._flush()
            await self._in_thread(self._file.synchronise)
            self.kept = offset
            return offset

    async def rest(self) -> None:
        """The sender is slow: write what is held, hand the memory and the reserve of the disk back."""
        async with self._lock:
            if self.ended or self._failed:
                return
            self._stop_pouring()
            if self._block is None and self._gathered <= RESTING and not self._file.reserved:
                return
            try:
                await self._let_go()
            except SluiceError:
                return  # the next write reports it

    async def pause(self) -> None:
        """The object came whole and waits for others: it holds no memory, and a descriptor only while there are few of them."""
        if not self._paused:
            await self.rest()
            self._paused = True
            await self._watch.paused(self)

    async def close_file(self) -> None:
        """What is written is durable, and the file closed. Whatever comes next opens it again."""
        async with self._lock:
            if self.ended or self._failed:
                return
            await self._let_go()
            await self._in_thread(self._file.close_for_now)

    async def _let_go(self) -> None:
        await self._flush()
        self._release_block()
        if self._file.reserved:
            await self._in_thread(lambda: self._file.give_back(self._at))

    async def truncate(self, offset: int) -> None:
        async with self._lock:
            self._check()
            await self._flush()
            self._release_block()
            await self._in_thread(lambda: self._file.cut(offset))
            self._at = self.written = offset
            self.kept = min(self.kept, offset)

    # The two endings

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        async with self._lock:
            self._check()
            await self._land()
            self._check()
            entry = await self._in_thread(lambda: self._finish(key, metadata, replace), stands=True)
            self.kept = self.written
            self._end()
            return entry

    async def discard(self) -> None:
        if self.ended:
            return
        async with self._lock:
            try:
                await self._land()
            finally:
                if not self.ended:
                    self._end()
                    # in a thread, because freeing a terabyte takes a while; shielded, because a cancelled caller
                    # must not leave the file behind
                    await asyncio.shield(
                        asyncio.get_running_loop().run_in_executor(self._writers, self._file.remove)
                    )

    # Slow: small pieces through the page cache

    async def _trickle(self, data: Buffer) -> None:
        self._pieces.append(data)
        self._gathered += len(data)
        if len(self._pieces) > PIECES:
            self._pieces = [b"".join(self._pieces)]
        if self._gathered > PIECE:
            await self._in_thread(self._write_pieces)

    def _write_pieces(self) -> None:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        if not pieces:
            return
        self._write_through(b"".join(pieces) if len(pieces) > 1 else pieces[0])

    def _write_through(self, data: Buffer) -> None:
        self._file.write(data, self._at)
        self._at += len(data)

    # Fast: blocks around the page cache

    async def _pour(self, data: Buffer) -> None:
        if not self._pouring:
            self._pouring = True
            self._budget.start_direct()
        if not self._file.is_direct:
            await self._in_thread(
                self._file.open_direct
            )  # here and not in the writers: several of those run at once
        if self._pieces:
            await self._in_thread(self._write_pieces)
        rest = memoryview(data)
        if self._block is None and self._at % ALIGN:
            head = rest[
                : ALIGN - self._at % ALIGN
            ]  # up to the next boundary through the cache: O_DIRECT needs it
            rest = rest[len(head) :]
            await self._in_thread(lambda: self._write_through(head))
        while len(rest):
            if self._block is None and not await self._take_block():
                await self._in_thread(partial(self._write_through, rest))
                return
            rest = rest[self._fill(rest) :]
            if self._filled == BLOCK:
                end = self._at + BLOCK
                if self._file.wants_room(end):
                    await self._in_thread(partial(self._file.allocate, end))
                self._launch()

    def _fill(self, data: memoryview) -> int:
        if self._block is None:
            return 0
        size = min(len(data), BLOCK - self._filled)
        self._block[self._filled : self._filled + size] = data[:size]
        self._filled += size
        return size

    async def _take_block(self) -> bool:
        """Get a block to fill: wait for one of our own while we hold our share, do without when the budget is used up."""
        while len(self._flying) >= self._budget.share:
            await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
        self._check()
        self._block = self._budget.acquire_block()
        if self._block is None and self._flying:
            await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
            self._check()
            self._block = self._budget.acquire_block()
        self._filled = 0
        return self._block is not None

    def _launch(self) -> None:
        """Send the full block off to a writer; it comes back to the budget by itself."""
        block, at = self._block, self._at
        if block is None:
            return
        self._block, self._filled = None, 0
        self._at += BLOCK
        flight = asyncio.get_running_loop().run_in_executor(
            self._writers, self._file.write_direct, block, at
        )
        self._flying.append(flight)

        def landed(flight: asyncio.Future[None]) -> None:
            self._flying.remove(flight)
            self._budget.release_block(block)
            error = None if flight.cancelled() else flight.exception()
            if error is not None and self._failed is None:
                self._failed = self._word(error)

        flight.add_done_callback(landed)

    async def _flush(self) -> None:
        """Everything written is in the file (not yet synchronised). A part-filled block is kept and goes on filling."""
        await self._land()
        self._check()
        if self._pieces:
            await self._in_thread(self._write_pieces)
        if self._block is not None and self._filled:
            await self._in_thread(self._write_part)

    def _write_part(self) -> None:
        """The aligned part directly, the tail through the cache; when the block is full it is written whole once more."""
        aligned = self._filled - self._filled % ALIGN
        with memoryview(self._block or b"") as view:
            if aligned:
                with view[:aligned] as part:
                    self._file.write_direct(part, self._at)
            with view[aligned : self._filled] as tail:
                self._file.write(tail, self._at + aligned)

    async def _land(self) -> None:
        """Wait for every block in flight. A cancelled caller still waits: the memory belongs to the writers until then."""
        cancelled: asyncio.CancelledError | None = None
        while self._flying:
            try:
                await asyncio.wait(self._flying)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _finish(self, key: str, metadata: Metadata, replace: Replace) -> Entry:
        """What is still held, then the ending, in one hop to a thread."""
        if self._filled:
            self._write_part()
        self._write_pieces()
        return self._file.finish(self.written, key, metadata, replace)

    def _release_block(self) -> None:
        """Hand the block back; what it holds must have been flushed, the next byte follows it in the file."""
        if self._block is not None:
            self._at += self._filled
            self._budget.release_block(self._block)
            self._block, self._filled = None, 0

    def _stop_pouring(self) -> None:
        if self._pouring:
            self._pouring = False
            self._budget.stop_direct()

    def _is_fast(self, size: int) -> bool:
        now = time.monotonic()
        if now - self._window > WINDOW:
            self._window, self._window_bytes = now, 0
        self._window_bytes += size
        if self._size is not None and self._size <= SMALL:
            return False
        return size >= PIECE or self._window_bytes >= FAST or self._block is not None

    # Words

    def _end(self) -> None:
        self.ended = True
        self._watch.ended(self)
        self._release_block()
        self._stop_pouring()
        self._pieces, self._gathered = [], 0

    def _check(self) -> None:
        if self.ended:
            raise StoreFailed("This draft has ended already")
        if self._failed is not None:
            raise self._failed

    def _word(self, error: BaseException) -> SluiceError:
        if isinstance(error, OSError):
            return map_error(error, "the upload")
        return error if isinstance(error, SluiceError) else StoreFailed(str(error))

    async def _in_thread(self, work: Callable[[], T], *, stands: bool = False) -> T:
        """Run blocking work in a writer thread, to its end even when the caller is cancelled meanwhile.

        With `stands` a caller who is cancelled too late gets the result: what has become visible is not unsaid.
        """
        job = asyncio.get_running_loop().run_in_executor(self._writers, work)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            while not job.done():  # it still uses our descriptors
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([job])
            if not job.cancelled() and job.exception() is None and stands:
                return job.result()
            raise
        except (OSError, SluiceError) as error:
            word = self._word(error)
            if isinstance(word, StoreFailed | TooLarge):
                self._failed = word  # bytes may be missing now: nothing that follows can be right
            raise word from None
