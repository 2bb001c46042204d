"""The bytes of a file behind fsspec: blocks written while they arrive, and the blocks of a range read one by one.

A block is as large as the client is quick. The last bytes of a draft are withheld until it is published, so that the time of its
file is the time of its publishing. A reader looks after each block whether the file is still the version it opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache
from fsspec.spec import AbstractBufferedFile

from sluiceway.errors import NotFound, PeerTimeout, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.fsspec.connections import PATIENCE, PooledConnection
from sluiceway.stores.fsspec.errors import Version

if TYPE_CHECKING:
    from sluiceway.stores.fsspec.store import FsspecStore

__all__ = ["FsspecDraft", "FsspecReader"]

LARGEST = 1 << 20  # bytes of a block
SMALLEST = 32 << 10  # bytes: what a slow upload holds
QUICK = 0.5  # seconds between two blocks, below which the next one may be larger
SEEN_EVERY = 600.0  # seconds after which a slow draft writes what it has, so that its file's time says that it lives
PIECE = 32 << 10  # bytes: what an SFTP server takes in one request
SLOW = 0.05  # seconds a reader may take for a block before the next one is smaller
SLOWEST = (
    256 << 10
)  # bytes a second below which an implementation that sends at its end is given up
OWN_BUFFER = 256 << 10  # bytes an implementation may gather itself, where it lets us say


class FsspecDraft:
    """An upload under way. One block is on its way while the next one gathers."""

    def __init__(
        self, store: FsspecStore, line: PooledConnection, path: str, budget: Budget
    ) -> None:
        self._store, self._line, self._budget = store, line, budget
        self.path: str = path
        self._file: Any = None  # used in the line's thread only
        self._made = True  # there may be a file
        self._held: list[Buffer] = []
        self._size = 0  # bytes of them
        self._row, self._lent = (
            SMALLEST,
            0,
        )  # bytes a block shall have; of the budget, for it and the one under way
        self._sent = 0
        self._kept = 0
        self._began = time.monotonic()  # this block
        self._flight: asyncio.Task[None] | None = None
        self._ended = False
        line.take()

    @property
    def written(self) -> int:
        return self._sent + self._size

    @property
    def kept(self) -> int:
        return self._kept

    @property
    def line(self) -> PooledConnection:
        return self._line

    async def begin(self) -> None:
        """Make the file. Raises what the destination says, before the first byte is taken."""
        try:
            await self._line.call(self._open)
        except SluiceError:
            self._made = False
            raise

    async def write(self, data: Buffer) -> None:
        self._check()
        self._held.append(data)
        self._size += len(data)
        if self._size >= self._row or (
            self._size > 1 and time.monotonic() - self._began > SEEN_EVERY
        ):
            await self._flush()

    async def sync(self) -> int:
        """Nothing is kept before it is published."""
        self._check()
        return self._kept

    async def truncate(self, offset: int) -> None:
        raise StoreFailed(
            "What was sent to this destination cannot be taken back in part; send the file again"
        )

    async def pause(self) -> None:
        """It waits for the other files of its form: a byte of it is held, and what it was lent is given back."""
        self._check()
        if self._size > 1:
            await self._flush()
        await self._land()
        self._settle()
        self._row = SMALLEST

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        await self._land()
        entry = await self._store.publish(self, key, metadata, replace)
        self._kept = self.written
        self._end()
        return entry

    async def finish(self) -> Version:
        """Write the rest and close. The version of the finished file; raises StoreFailed where it is not whole."""
        await self._land()
        rest = b"".join(self._held)

        def close(fs: Any) -> Version | None:
            if rest:
                _write(self._file, memoryview(rest))
            if self._file is not None:
                self._file.close()
                self._file = None
            return self._store.tree.look(fs, self.path)

        self._sent, self._held, self._size = self._sent + len(rest), [], 0
        version = await self._line.call(
            close, PATIENCE + self._sent / SLOWEST
        )  # some send all of it only now
        if version is None or version.size != self._sent:
            there = "none" if version is None else version.size
            raise StoreFailed(
                f"The destination has {there} of {self._sent} bytes; nothing was stored. Send it again"
            )
        return version

    async def discard(self) -> None:
        if self._ended:
            return
        if self._flight is not None:
            await asyncio.wait([self._flight])
        self._held.clear()
        broken = self._line.lost
        self._end()
        if self._made and broken:  # its file is as lost; closing it could wait for nobody
            await self._store.forget(None, lambda fs: self._store.tree.drop(fs, self.path))
        elif self._made:
            await self._store.forget(self._line, self._close_and_drop)

    def _close_and_drop(self, fs: Any) -> None:
        file, self._file = self._file, None
        with suppress(Exception):  # what it could not write any more is not wanted
            if isinstance(file, SpooledTemporaryFile) and hasattr(file, "discard"):
                file.discard()  # sends nothing; its close would send all
            elif file is not None:
                file.close()
        self._store.tree.drop(fs, self.path)

    def _end(self) -> None:
        self._ended = True
        self._settle()
        self._line.leave()
        self._store.ended(self)

    def _open(self, fs: Any) -> None:
        try:
            self._file = fs.open(self.path, "wb", block_size=_own_buffer(fs))
            if isinstance(
                self._file, SpooledTemporaryFile
            ):  # it would learn at its end that there is no folder
                self._store.tree.prepare(fs)
        except FileNotFoundError:
            self._store.tree.prepare(fs)
            self._file = fs.open(self.path, "wb", block_size=_own_buffer(fs))

    async def _flush(self) -> None:
        """Send what is held, but for its last byte, when the block before has arrived."""
        await self._land()
        data = b"".join(self._held)
        self._held, self._size = [data[-1:]], 1
        self._sent += len(data) - 1
        self._flight = asyncio.get_running_loop().create_task(self._send(memoryview(data)[:-1]))
        self._keep_pace()

    async def _send(self, data: memoryview) -> None:
        await self._line.call(lambda _: _write(self._file, data))

    def _keep_pace(self) -> None:
        now = time.monotonic()
        quick, self._began = now - self._began < QUICK, now
        self._row = min(LARGEST, self._row * 2) if quick else max(SMALLEST, self._row // 4)
        self._settle()
        if self._row > SMALLEST and self._budget.acquire(2 * self._row):
            self._lent = 2 * self._row
        else:
            self._row = SMALLEST

    async def _land(self) -> None:
        if self._flight is not None:
            await asyncio.shield(self._flight)  # its error is ours, each time it is asked
            self._flight = None

    def _settle(self) -> None:
        self._budget.release(self._lent)
        self._lent = 0

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")


class FsspecReader:
    """A file that may be read as long as it stays the version it was."""

    reopenable = True

    def __init__(self, store: FsspecStore, path: str, entry: Entry, budget: Budget) -> None:
        self._store, self._path, self._budget = store, path, budget
        self.entry: Entry = entry
        self.length: int | None = entry.size

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        loop = asyncio.get_running_loop()
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        size, at = SMALLEST, start
        reading = _Reading(self._store, self._path, self.entry)
        ahead: asyncio.Task[bytes] | None = None
        in_hand = lent = (
            0  # bytes of the budget for the block the reader has, and for the one that is read
        )
        try:
            while at < end:
                if ahead is None:
                    lent = self._lend(min(size, end - at))
                    ahead = loop.create_task(reading.read(at, min(lent or SMALLEST, end - at)))
                data = await asyncio.shield(ahead)
                ahead, in_hand, lent = None, lent, 0
                at += len(data)
                next_size = min(size, end - at)
                # Only a reader that keeps up is read ahead for: whoever is slow holds one small block.
                if next_size and size > SMALLEST and (lent := self._lend(next_size)):
                    ahead = loop.create_task(reading.read(at, next_size))
                asked = loop.time()
                yield data
                del data
                self._budget.release(in_hand)
                in_hand = 0
                size = min(size * 2, LARGEST) if loop.time() - asked < SLOW else SMALLEST
                if ahead is not None:
                    size = max(size, next_size)
        finally:
            try:
                if ahead is not None:
                    await asyncio.wait([ahead])
                    ahead.exception()
            finally:
                self._budget.release(in_hand + lent)
                reading.close()

    async def aclose(self) -> None:
        """Nothing is held between two readings."""

    def _lend(self, size: int) -> int:
        return size if self._budget.acquire(size, within=0.5) else 0


class _Reading:
    """One way through a file, on one line; on another one when that breaks."""

    def __init__(self, store: FsspecStore, path: str, entry: Entry) -> None:
        self._store, self._path, self._entry = store, path, entry
        self._line: PooledConnection | None = None
        self._file: Any = None  # used in the line's thread only
        self._guarded = False  # whether the folders of the path were looked at, on this way

    async def read(self, at: int, size: int) -> bytes:
        try:
            return await self._read(at, size)
        except PeerTimeout:
            raise
        except SluiceError:
            if self._line is None or not self._line.went_stale:
                raise
        self.close()  # it broke, perhaps while nobody read: once more, from the same byte
        return await self._read(at, size, anew=True)

    async def _read(self, at: int, size: int, anew: bool = False) -> bytes:
        if self._line is None:
            self._line = self._store.lines.pick(anew)
            self._line.take()
        try:
            return await self._line.call(lambda fs: self._block(fs, at, size))
        except NotFound:
            raise StoreFailed(f"{self._entry.key!r} was deleted while it was read") from None

    def close(self) -> None:
        if self._line is not None:
            _let_go(self._line, self._drop)
            self._line.leave()
            self._line = None

    def _block(self, fs: Any, at: int, size: int) -> bytes:
        if not self._guarded:
            self._store.tree.guard(fs, self._entry.key)
            self._guarded = True
        if self._store.by_range:
            data: bytes = fs.cat_file(self._path, start=at, end=at + size)
        else:
            if self._file is None:
                self._file = fs.open(self._path, "rb", block_size=None)
                if isinstance(
                    self._file, AbstractBufferedFile
                ):  # reads what it is asked for and no more
                    self._file.cache = BaseCache(
                        self._file.blocksize, self._file._fetch_range, self._file.size
                    )
            data = _read(self._file, at, size)
        version = self._store.tree.look(fs, self._path)
        if version is None or version.etag != self._entry.etag or len(data) != size:
            raise StoreFailed(f"{self._entry.key!r} was replaced or deleted while it was read")
        return data

    def _drop(self, _: Any) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _let_go(line: PooledConnection, work: Callable[[Any], None]) -> None:
    """In the line's order; nobody waits for it."""
    if not line.lost:
        line.ask(work)


def _own_buffer(fs: Any) -> int | None:
    """Unbuffered where "block_size" is that; else an implementation would gather megabytes that no budget counts."""
    return None if "sftp" in fs.protocol else OWN_BUFFER


def _write(file: Any, data: memoryview) -> None:
    """All of it."""
    pipelined = getattr(file, "set_pipelined", None)
    if pipelined is None:
        while data:
            taken = file.write(data)
            data = data[taken if isinstance(taken, int) else len(data) :]
        return
    # SFTP: no request waits for the answer to the one before, but all answers are in before anything else is asked:
    # the client mixes up those of two files that it waits for at once.
    pipelined(True)
    for at in range(0, len(data), PIECE):
        if at + PIECE >= len(data):
            pipelined(False)
        file.write(bytes(data[at : at + PIECE]))


def _read(file: Any, at: int, size: int) -> bytes:
    """Less than asked for at the end of the file only."""
    ranges = getattr(file, "readv", None)
    if ranges is not None:  # SFTP: all requests of the block at once
        data = b"".join(ranges([(at, size)]))
        # paramiko takes a block for complete when an answer overtakes the next request, and reads on by itself. What comes
        # late it would keep: 20 KiB of each MiB.
        getattr(file, "_prefetch_data", {}).clear()
        return data
    file.seek(at)
    found: list[bytes] = []
    while size:
        data = file.read(size)
        if not data:
            break
        found.append(data)
        size -= len(data)
    return b"".join(found)
