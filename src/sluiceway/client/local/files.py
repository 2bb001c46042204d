"""What this machine gives: files that must not change while they are read, pipes, folders. Knows nothing of HTTP.

Reading happens in threads. A pipe has a thread of its own that nobody waits for at exit: a read from a terminal may
never return.
"""

from __future__ import annotations

import asyncio
import os
import queue
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import BinaryIO, TypeVar

from sluiceway.client.local.believed_sizes import measured
from sluiceway.client.local.part_notes import is_part_name
from sluiceway.errors import SourceChanged, SourceFailed
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, BytesSource, PassingSource, Source

__all__ = ["LocalFile", "Thread", "files_below", "open_local", "pipe_chunks", "sized"]

T = TypeVar("T")

READ_ONLY = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
READ_SIZE = 1 << 20  # bytes; one thread hop per MiB
PIPE_SIZE = (
    1 << 20
)  # bytes a pipe may hold on Linux: 64 KiB, the default, costs a thread hop per 64 KiB
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ; `fcntl` names it on Linux only

STDIN = 0
END_WAIT = 10.0  # seconds for the end of a pipe whose bytes are all here; below what servers and proxies wait for a byte


class LocalFile:
    """A regular file, by path or by an open descriptor. Length and time of change are fixed when the source is made.

    The length is None, and `version` empty, for a file that is made up while it is read and has more or less than it says.
    The next block is read while the last one is on its way. Raises SourceChanged when the file is another one at the end, and
    SourceFailed when it cannot be read. `opener` opens it where a path does not reach.
    """

    reopenable = True

    def __init__(
        self, path: str | int, start: int = 0, opener: Callable[[], int] | None = None
    ) -> None:
        """Blocking. Raises OSError, SourceChanged for what is no regular file."""
        self._path, self._start, self._opener = path, start, opener
        fd = self._descriptor()
        try:
            self._seen, size = measured(fd)
            if not stat.S_ISREG(self._seen.st_mode):
                raise SourceChanged(f"{self._name} is no plain file any more")
        finally:
            if fd != path:
                os.close(fd)
        self.length: int | None = None if size is None else max(0, size - start)
        # changes whenever the bytes may have; what is made up has none that could be met again
        self.version: str = "" if size is None else f"{size}-{self._seen.st_mtime_ns}"

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        loop = asyncio.get_running_loop()
        end = (
            stop if self.length is None else self.length if stop is None else min(stop, self.length)
        )
        left = None if end is None else max(0, end - start)
        opening = loop.run_in_executor(None, self._opened, self._start + start)
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise
        except OSError as error:
            raise self._failed(error) from error
        coming = loop.run_in_executor(None, file.read, _block(left))
        try:
            while left is None or left > 0:
                chunk = await asyncio.shield(coming)
                if not chunk:
                    if self.length is None:
                        break
                    raise SourceChanged(
                        f"{self._name} became shorter while it was read; nothing was stored"
                    )
                left = None if left is None else left - len(chunk)
                coming = loop.run_in_executor(None, file.read, _block(left))
                yield chunk
            if self.length is not None:
                await loop.run_in_executor(None, self._check, file)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            # A descriptor closed under a running read may be another file's next.
            coming.add_done_callback(partial(_close, file))
            await asyncio.wait([coming])

    @property
    def _name(self) -> str:
        return "Standard input" if isinstance(self._path, int) else self._path

    def _failed(self, error: OSError) -> SourceFailed:
        return SourceFailed(f"{self._name} cannot be read: {error.strerror or error}")

    def _descriptor(self) -> int:
        if isinstance(self._path, int):
            return self._path
        return os.open(self._path, READ_ONLY) if self._opener is None else self._opener()

    def _opened(self, at: int) -> BinaryIO:
        fd = self._descriptor()
        file = open(fd, "rb", buffering=0, closefd=fd != self._path)  # noqa: SIM115 - open() closes it
        try:
            if at or fd == self._path:
                file.seek(at)
        except BaseException:
            file.close()
            raise
        return file

    def _check(self, file: BinaryIO) -> None:
        now, seen = os.fstat(file.fileno()), self._seen
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (
            seen.st_size,
            seen.st_mtime_ns,
            seen.st_ino,
        ):
            raise SourceChanged(
                f"{self._name} changed while it was read ({seen.st_size} bytes before, {now.st_size} after); "
                "nothing was stored. Copy it when nobody writes to it, or pipe it in"
            )


def _block(left: int | None) -> int:
    """Bytes to read next."""
    return READ_SIZE if left is None else min(READ_SIZE, left)


def _close(file: BinaryIO, coming: asyncio.Future[bytes]) -> None:
    coming.exception()  # seen, if it was one
    file.close()


def _close_unused(opening: asyncio.Future[BinaryIO]) -> None:
    if opening.exception() is None:
        opening.result().close()


class Thread:
    """One daemon thread that does what it is told, one thing after another; the process may end without it."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], T]) -> T:
        """Run `work` there and wait for it. When the wait is cancelled, the work goes on and its outcome is dropped."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                settle = partial(outcome.set_result, work())
            except Exception as error:
                settle = partial(outcome.set_exception, error)
            try:
                loop.call_soon_threadsafe(_unless_done, outcome, settle)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        self._work.put(run)
        return await outcome

    def close(self) -> None:
        """No more work; the thread ends after what it is doing."""
        self._work.put(None)

    def _run(self) -> None:
        while work := self._work.get():
            work()


def _unless_done(outcome: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not outcome.done():  # cancelled meanwhile
        settle()


async def pipe_chunks(fd: int) -> AsyncIterator[Buffer]:
    """What flows out of a pipe, terminal or socket until its end, in pieces as they come."""
    _widen(fd)
    reader = Thread("sluiceway-pipe")
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
    """A named pipe or device; opening one may block until somebody writes to it."""
    opener = Thread("sluiceway-open")
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
    """The source of a path, or of standard input for "-". Raises SourceFailed; a folder is none (see files_below)."""
    try:
        if path == "-":
            return _standard_input()
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return LocalFile(
                path
            )  # opened once: unreadable files fail before the server hears of them
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


async def sized(source: Source, size: int, name: str) -> Source:
    """The source, held to `size` bytes as somebody said it has. Raises SourceFailed where that is known to be wrong already.

    A pipe is held to it by whoever pumps; here its end is waited for, but not without end.
    """
    if source.length is not None:
        if source.length != size:
            raise SourceFailed(
                f"{name} has {source.length} bytes, not the {size} that --size says; nothing was sent"
            )
        return source
    if size:
        return PassingSource(_ending(source.open(), size, name), size)
    # A request of no bytes is complete with its head: what it must not be followed by has to be known before.
    async for _ in _ending(source.open(), size, name):
        raise SourceFailed(f"{name} has more than the 0 bytes that --size says; nothing was sent")
    return BytesSource(b"")


async def _ending(chunks: AsyncIterator[Buffer], size: int, name: str) -> AsyncIterator[Buffer]:
    """The chunks; once `size` bytes are here, the end has to come within END_WAIT."""
    came = 0
    try:
        while True:
            try:
                async with asyncio.timeout(END_WAIT if came >= size else None):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise SourceFailed(
                    f"{name} has given its {size} bytes and does not end, so nobody knows whether more follows; nothing was "
                    "stored. Close it, or put `head -c` before it"
                ) from None
            came += len(chunk)
            yield chunk
    finally:
        await close_stream(chunks)


def files_below(folder: str) -> Iterator[tuple[str, str | None]]:
    """Every file below a folder as (path relative to it with `/`, None), sorted; what is left out as (path, why).

    Symbolic links to files count as the files they show; links to folders are not followed (they may lead back).
    """
    levels = [_sorted_entries(folder)]
    before: list[str] = []
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            del before[-1:]
            continue
        path = "/".join([*before, entry.name])
        if is_part_name(entry.name):
            yield path, "a temporary file of this program"
        elif entry.is_dir(follow_symlinks=False):
            levels.append(_sorted_entries(entry.path))
            before.append(entry.name)
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
