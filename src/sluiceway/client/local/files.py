"""Sources on this machine: files that must not change while they are read, pipes, folders.

Reading happens in threads. A pipe has a thread that the process does not wait for at its end,
because a read from a terminal may never return. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import BinaryIO

from sluiceway.client.local.believed_sizes import measured
from sluiceway.client.local.bookmarks import SourceIdentity
from sluiceway.client.local.daemon_thread import DaemonThread
from sluiceway.client.local.lent_file import CAN_LEND, LentLocalFile
from sluiceway.client.local.part_notes import is_part_name
from sluiceway.errors import SourceChanged, SourceFailed
from sluiceway.pipe import lending
from sluiceway.pipe.lending import LentConnection
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.readahead import read_ahead
from sluiceway.pipe.source import Buffer, BytesSource, PassingSource, Source
from sluiceway.pipe.worker_thread import in_thread, open_in_thread

__all__ = [
    "READ_SIZE",
    "LocalFile",
    "files_below",
    "identity_of",
    "open_local",
    "pipe_chunks",
    "sized",
]

READ_ONLY = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
READ_SIZE = 1 << 20  # bytes; one change of threads per MiB
# Bytes of a file that is opened, read, checked and closed in one change of threads. With thousands
# of small files the changes are most of the cost.
SMALL = 64 << 10
# Bytes that a pipe may hold on Linux. The default, 64 KiB, costs a change of threads per 64 KiB.
PIPE_SIZE = 1 << 20
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ; `fcntl` has the name on Linux only

STDIN = 0
# Seconds for the end of a pipe after its last byte: less than servers and proxies wait for a byte.
END_TIMEOUT = 10.0


class LocalFile:
    """A regular file, by path or by an open descriptor.

    Its length and time of change are fixed when the source is made. A file whose content is made up
    while it is read (as in /proc) may have more or fewer bytes than its size: then the length is
    None and `version` is empty. The next block is read while the last one is sent. `opener` opens a
    file that its path does not reach.

    Raises SourceChanged when the file is another one at the end, SourceFailed when it cannot be
    read.
    """

    reopenable = True

    def __init__(
        self,
        path: str | int,
        start: int = 0,
        opener: Callable[[], int] | None = None,
        at_once: int = 0,
    ) -> None:
        """Blocking. A file of at most `at_once` bytes is read, too: they are its `content` then.

        Raises OSError; SourceChanged if it is not a regular file, or changes while it is read.
        """
        self._path, self._start, self._opener = path, start, opener
        fd = self._descriptor()
        try:
            self._seen, size = measured(fd)
            if not stat.S_ISREG(self._seen.st_mode):
                raise SourceChanged(f"{self._name} is not a plain file any more")
            self.content: bytes | None = None
            if size is not None and not start and size <= at_once:
                self.content = self._read(fd, size)
        finally:
            if fd != path:
                os.close(fd)
        self.length: int | None = None if size is None else max(0, size - start)
        self._readings = list[_Reading]()  # under way
        # It changes whenever the bytes may have. A made-up file has no version to find again.
        self.version: str = "" if size is None else f"{size}-{self._seen.st_mtime_ns}"

    @property
    def identity(self) -> SourceIdentity | None:
        """What names its bytes in another process; None for a descriptor and a made-up file."""
        if isinstance(self._path, int) or not self.version:
            return None
        seen = self._seen
        version = f"{seen.st_dev}-{seen.st_ino}-{self.version}"
        return SourceIdentity(os.path.abspath(self._path), version)

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = stop
        if self.length is not None:
            end = self.length if stop is None else min(stop, self.length)
        try:
            if self.content is not None:
                if block := self.content[start:end]:
                    yield block
                return
            if self.length is not None and (end or 0) - start <= SMALL:
                if block := await in_thread(partial(self._read_whole, start, end or 0)):
                    yield block
                return
            file = await open_in_thread(partial(self._open_at, self._start + start), _close)
            try:
                reading = _Reading(file, start, end)
                self._readings.append(reading)
                try:
                    async for block in reading.blocks(self._start):
                        yield block
                        del block
                finally:
                    self._readings.remove(reading)
                at = reading.at
                if self.length is not None:
                    if at < (end or 0):
                        raise self._shorter()
                    await in_thread(partial(self._check, file.fileno()))
            finally:
                file.close()
        except OSError as error:
            raise SourceFailed(f"{self._name} cannot be read: {error.strerror or error}") from error

    def at_hand(self) -> bytes | None:
        """All of a file that was read when it was opened."""
        return self.content

    def lend(self) -> LentConnection | None:
        """The bytes behind the block that was yielded last, but for the last block of all."""
        # Which one is meant is known only where one goes on.
        return self._readings[0].lend(self._start) if len(self._readings) == 1 else None

    @property
    def _name(self) -> str:
        return "Standard input" if isinstance(self._path, int) else self._path

    def _descriptor(self) -> int:
        if isinstance(self._path, int):
            return self._path
        return os.open(self._path, READ_ONLY) if self._opener is None else self._opener()

    def _open_at(self, offset: int) -> BinaryIO:
        fd = self._descriptor()
        file = open(fd, "rb", buffering=0, closefd=fd != self._path)  # noqa: SIM115 - open() closes it
        try:
            if offset or fd == self._path:
                file.seek(offset)
        except BaseException:
            file.close()
            raise
        return file

    def _read_whole(self, start: int, end: int) -> bytes:
        """Blocking. A small file, or a small range of one."""
        with self._open_at(self._start + start) as file:
            return self._read(file.fileno(), end - start)

    def _read(self, fd: int, size: int) -> bytes:
        """Blocking. All of a small file that stands at the place to read from."""
        block = b""
        while len(block) < size and (more := os.read(fd, size - len(block))):
            block += more
        if len(block) < size:
            raise self._shorter()
        self._check(fd)
        return block

    def _shorter(self) -> SourceChanged:
        return SourceChanged(f"{self._name} became shorter while it was read; nothing was stored")

    def _check(self, fd: int) -> None:
        now, seen = os.fstat(fd), self._seen
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (
            seen.st_size,
            seen.st_mtime_ns,
            seen.st_ino,
        ):
            raise SourceChanged(
                f"{self._name} changed while it was read ({seen.st_size} bytes before, "
                f"{now.st_size} after); nothing was stored. Copy it when no other program writes "
                "to it, or pipe it in"
            )


def identity_of(source: Source) -> SourceIdentity | None:
    """What names a local source's bytes in another process; None for a pipe."""
    return source.identity if isinstance(source, LocalFile) else None


class _Reading:
    """One way through a file, up to `end`; None is its end. `at`: behind the last block."""

    def __init__(self, file: BinaryIO, at: int, end: int | None) -> None:
        self._file, self.at, self._end = file, at, end
        self._was_lent = False

    async def blocks(self, first: int) -> AsyncIterator[bytes]:
        """Yield the blocks. `first` is where byte 0 stands in the file."""
        read = partial(_read_block, self._file)
        while True:
            ahead = read_ahead(read, self.at, self._end, first=READ_SIZE, most=READ_SIZE)
            self._was_lent = False
            async with aclosing(ahead):
                async for block in ahead:
                    self.at += len(block)
                    yield block
                    del block
                    if self._was_lent:
                        break
                else:
                    return
            self._file.seek(first + self.at)  # the block that was read ahead is behind

    def lend(self, first: int) -> LentConnection | None:
        # The last block comes the ordinary way: a request withholds it until all of it is right.
        most = 0 if self._end is None else self._end - self.at - READ_SIZE
        if not CAN_LEND or most < max(1, lending.LEAST):
            return None
        self._was_lent = True
        return LentLocalFile(self._file.fileno(), first + self.at, most, self._handed_back)

    def _handed_back(self, taken: int) -> None:
        self.at += taken


async def _read_block(file: BinaryIO, offset: int, size: int) -> bytes:
    """The file stands at `offset` already: blocks are read in order."""
    return await in_thread(partial(file.read, size))


def _close(file: BinaryIO) -> None:
    file.close()


async def pipe_chunks(fd: int) -> AsyncIterator[Buffer]:
    """Yield the bytes of a pipe, terminal or socket as they come, until its end."""
    _widen(fd)
    reader = DaemonThread("sluiceway-pipe")
    try:
        while chunk := await reader.do(partial(os.read, fd, READ_SIZE)):
            yield chunk
    finally:
        reader.close()


def _widen(fd: int) -> None:
    try:
        import fcntl

        fcntl.fcntl(fd, SET_PIPE_SIZE, PIPE_SIZE)
    except (ImportError, OSError):
        pass  # not Linux, not a pipe, or above the user's limit: slower, not wrong


async def _special_chunks(path: str) -> AsyncIterator[Buffer]:
    """A named pipe or device. Opening one may block until its writer comes."""
    opener = DaemonThread("sluiceway-open")
    try:
        fd = await opener.do(partial(os.open, path, os.O_RDONLY))
    finally:
        opener.close()
    try:
        async for chunk in pipe_chunks(fd):
            yield chunk
    finally:
        os.close(fd)


def open_local(path: str) -> Source:
    """Return the source of a path, or of standard input for "-".

    Raises SourceFailed, also for a folder (see `files_below`).
    """
    try:
        if path == "-":
            return _standard_input()
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            # It is opened once, so that an unreadable file fails before the server hears of it.
            return LocalFile(path)
    except OSError as error:
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error
    if stat.S_ISDIR(mode):
        raise SourceFailed(f"{path} is a folder")
    return PassingSource(_special_chunks(path))


def _standard_input() -> Source:
    found = os.fstat(STDIN)
    if stat.S_ISREG(found.st_mode):  # `< file`: the length is known
        return LocalFile(STDIN, os.lseek(STDIN, 0, os.SEEK_CUR))
    return PassingSource(pipe_chunks(STDIN))


async def sized(source: Source, size: int, name: str, end_timeout: float = END_TIMEOUT) -> Source:
    """Return the source, held to `size` bytes as the user gave it.

    The pump holds a pipe to its size; this waits, for `end_timeout` seconds at most, until it ends.
    Raises SourceFailed where the size is known to be wrong already.
    """
    if source.length is not None:
        if source.length != size:
            raise SourceFailed(
                f"{name} has {source.length} bytes, not the {size} that --size says; "
                "nothing was sent"
            )
        return source
    if size:
        return PassingSource(_until_end(source.open(), size, name, end_timeout), size)
    # A request of no bytes is complete with its head: bytes that follow have to be found before.
    async for _ in _until_end(source.open(), size, name, end_timeout):
        raise SourceFailed(f"{name} has more than the 0 bytes that --size says; nothing was sent")
    return BytesSource(b"")


async def _until_end(
    chunks: AsyncIterator[Buffer], size: int, name: str, end_timeout: float
) -> AsyncIterator[Buffer]:
    """Yield the chunks; after `size` bytes, the end has to come within `end_timeout`."""
    came = 0
    try:
        while True:
            try:
                async with asyncio.timeout(end_timeout if came >= size else None):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise SourceFailed(
                    f"{name} has given its {size} bytes and does not end, so more may follow; "
                    "nothing was stored. Close it, or put `head -c` before it"
                ) from None
            came += len(chunk)
            yield chunk
    finally:
        await close_stream(chunks)


def files_below(folder: str) -> Iterator[tuple[str, str | None]]:
    """Yield every file below a folder, sorted, as (path relative to it with `/`, None).

    What is left out is (path, reason). A symbolic link to a file counts as that file; links to
    folders are not followed, because they may lead back.
    """
    levels = [_sorted_entries(folder)]
    parents: list[str] = []
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            del parents[-1:]
            continue
        path = "/".join([*parents, entry.name])
        if is_part_name(entry.name):
            yield path, "a temporary file of this program"
        elif entry.is_dir(follow_symlinks=False):
            levels.append(_sorted_entries(entry.path))
            parents.append(entry.name)
        elif entry.is_file():
            yield path, None
        else:
            yield path, "a link to a folder, a broken link, or no file at all"


def _sorted_entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: entry.name))
    except OSError as error:
        raise SourceFailed(f"{folder} cannot be read: {error.strerror or error}") from error
