"""Has the kernel send a file's bytes: from the page cache to the socket, without a copy in this process.

In worker threads, because a file that is not in the page cache blocks whoever sends it. Knows sockets and descriptors only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from sluiceway.errors import StoreFailed, TooSlow
from sluiceway.pipe.cancellation import finish_all

__all__ = ["STALLED", "ZEROCOPY", "Sending", "patience", "until_written"]

ZEROCOPY = "http.response.zerocopysend"  # ASGI's name for it: of the message, and in a scope's "extensions"
STALLED = 300.0  # seconds a reader may take nothing at all
THREADS = 16
PIECE = 1 << 20  # bytes of one system call, and of a turn when there are more readers than threads
MOMENT = 20  # milliseconds a thread waits for room in the socket; slower readers wait on the event loop, where it costs none

_senders = ThreadPoolExecutor(THREADS, thread_name_prefix="sluiceway-send")
_CANNOT = {
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
}  # said by some network and user-space file systems


@asynccontextmanager
async def patience() -> AsyncIterator[None]:
    """Around a wait for the reader. Raises TooSlow."""
    try:
        async with asyncio.timeout(STALLED):
            yield
    except TimeoutError:
        raise TooSlow(f"The reader took nothing for {STALLED:g} seconds") from None


async def until_written(
    transport: asyncio.WriteTransport, drain: Callable[[], Awaitable[None]]
) -> None:
    """Until the transport holds nothing of what was written before. `drain` waits while the transport says that it holds
    too much. Raises TooSlow."""
    if not transport.get_write_buffer_size():
        return
    transport.set_write_buffer_limits(0)
    async with patience():
        await drain()
    if not transport.is_closing():
        transport.set_write_buffer_limits()


class Sending:
    """A stretch of a file on its way to the reader at `line`, which does not block and which nobody else writes to."""

    asked: int = 0  # of all: how many have a thread or wait for one

    def __init__(self, line: socket.socket, file: int, at: int, count: int) -> None:
        self._line, self._file, self._at, self._end = line, file, at, at + count

    def stop(self) -> None:
        """End it, and the connection, wherever it stands: `run` raises ConnectionError."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)  # wakes the thread and the event loop alike

    async def run(self) -> None:
        """Raises ConnectionError when the reader is gone, TooSlow when it takes nothing any more, StoreFailed when the file
        has become shorter, OSError when it cannot be read."""
        loop = asyncio.get_running_loop()
        self._cork(True)
        while True:
            Sending.asked += 1
            job = loop.run_in_executor(_senders, self._push)
            try:
                await asyncio.shield(job)
            except asyncio.CancelledError:
                self.stop()
                try:
                    await finish_all([job])  # the thread still uses both descriptors
                finally:
                    job.exception()
                raise
            finally:
                Sending.asked -= 1
            if self._at == self._end:
                self._cork(False)
                return
            await self._room()

    def _cork(self, full: bool) -> None:
        """Whether only full segments go out: a fifth more bytes a second, for a call of sendfile rarely ends with one."""
        if hasattr(socket, "TCP_CORK"):
            with suppress(OSError):  # no TCP
                self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, full)

    def _push(self) -> None:
        """In a thread: send until everything is sent, the reader does not keep up, or others wait for the thread."""
        room = select.poll()
        room.register(self._line, select.POLLOUT)
        while self._at < self._end:
            try:
                sent = self._send(min(PIECE, self._end - self._at))
                if not sent:
                    raise StoreFailed(
                        "A file became shorter while it was sent; its reader got no whole answer"
                    )
                self._at += sent
                if Sending.asked > THREADS:
                    return
            except BlockingIOError:
                if Sending.asked > THREADS or not room.poll(MOMENT):
                    return

    def _send(self, size: int) -> int:
        try:
            return os.sendfile(self._line.fileno(), self._file, self._at, size)
        except (BlockingIOError, ConnectionError, TimeoutError):
            raise
        except OSError as error:
            if error.errno not in _CANNOT:
                raise StoreFailed(
                    f"A file could not be read ({error.strerror}); its reader got no whole answer"
                ) from None
        data = os.pread(self._file, min(size, 64 << 10), self._at)
        return self._line.send(data) if data else 0

    async def _room(self) -> None:
        """Until the socket takes more. Raises TooSlow."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._line.fileno(), ready.set)
        try:
            async with patience():
                await ready.wait()
        finally:
            loop.remove_writer(self._line.fileno())
